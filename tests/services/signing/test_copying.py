"""Phrases of the declaration in the customer's own hand, where the product demands it (DOMAIN §2.3)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from contracts.commands.signing import CopyPhrase, Handwriting, SignForms, SigningView, ViewSigning
from contracts.facts import identity
from contracts.facts import signing as facts
from contracts.problems import Refuse
from contracts.progress import Progress
from contracts.values import sha256_hex
from deploy.simulator.hand import another, writes
from products import Product
from products.model import Declaration
from services.signing import copying, handwriting
from services.signing.reading import pictures
from services.signing.recogniser import Picture
from services.signing.service import Signing
from tests.desk import Desk
from tests.purchase import Purchase, published, purchase
from tests.services.signing.test_service import at, hand, made, ready, reviewed, signature

__all__ = ["at", "ready"]
pytestmark = pytest.mark.usefixtures("warm_workers", "warm_readers")

PHRASES = ("保险人已明确说明", "免除保险人责任条款的内容", "及法律后果")
DEMANDS = "motor_compulsory"
UNKNOWN = "㒇"
"""A character the reader has not learnt."""
SENTENCE = "保险人已明确说明免除保险人责任条款的内容及法律后果。"
DEMANDED = Declaration(sentence=SENTENCE, statement="本人已阅读。", copied=PHRASES)


def demanding(product: Product) -> Product:
    return product.model_copy(update={"declaration": DEMANDED})


def test_the_phrases_are_the_whole_sentence_or_the_product_is_refused() -> None:
    rest = PHRASES[1:]
    for wrong in (PHRASES[:2], (*PHRASES, "后果"), ("保", "险人已明确说明", *rest), ("保险人，已明确说明", *rest)):
        with pytest.raises(ValueError, match=r"sentence|pattern"):
            Declaration(sentence=SENTENCE, statement="本人已阅读。", copied=wrong)
    with pytest.raises(ValueError, match="sentence"):
        Declaration(sentence="免赔100元，本人已知。", statement="本人已阅读。", copied=("免赔元", "本人已知"))
    assert Declaration(sentence=SENTENCE, statement="本人已阅读。").copied == ()


def test_a_text_that_several_products_demand_is_copied_once(tmp_path: Path) -> None:
    one, other, *_ = published(tmp_path).products.values()
    hashes = [sha256_hex(text.encode()) for text in PHRASES]
    among = copying.phrases([demanding(one), demanding(other)], [hashes[0]])
    assert [(each.text, each.copied) for each in among] == [
        (PHRASES[0], True), (PHRASES[1], False), (PHRASES[2], False),
    ]  # fmt: skip
    with pytest.raises(Refuse, match="already_done"):
        copying.wanted(among, hashes[0])
    with pytest.raises(Refuse, match="phrase_unknown"):
        copying.wanted(among, "0" * 64)
    assert copying.wanted(among, hashes[2]).text == PHRASES[2]
    offered = {"a": one, "b": demanding(other), "c": demanding(one)}
    assert copying.demanding(offered, PHRASES[0]) == ("b", "c")


def drawn(text: str, seed: int) -> list[Picture]:
    return pictures(Handwriting.model_validate(writes(text, random.Random(seed))))


@pytest.mark.parametrize("text", PHRASES)
def test_honest_copies_pass_and_other_words_do_not(text: str) -> None:
    def read(written: str, seed: int) -> facts.Reading:
        return copying.check_phrase(drawn(written, seed), text)

    for seed in range(5):
        assert read(text, seed).outcome == "pass"
        other = read(another(text), seed)
        assert (other.outcome, other.reason) == ("retry", "phrase_unclear")
    code, box = copying.failure(None, read(another(text), 1)) or ("", None)
    assert code == "phrase_unclear"
    assert box is not None


def test_one_poor_character_in_five_is_forgiven() -> None:
    text = PHRASES[2]
    poor = another(text)[0] + text[1:]
    reading = copying.check_phrase(drawn(poor, 3), text)
    assert [each.ok for each in reading.characters] == [False, True, True, True, True]
    assert (reading.outcome, copying.failure(None, reading)) == ("pass", None)
    reading = copying.check_phrase(drawn(another(text)[:2] + text[2:], 3), text)
    assert copying.failure(None, reading) == ("phrase_unclear", 0)


def test_characters_nobody_can_judge_are_left_out_and_the_others_are_judged() -> None:
    assert not handwriting.known(UNKNOWN)
    boxes = drawn(PHRASES[2], 1)
    text = UNKNOWN + PHRASES[2][1:]
    reading = copying.check_phrase(boxes, text)
    assert reading.outcome == "pass"
    assert [each.box for each in reading.characters] == [1, 2, 3, 4]
    assert copying.check_phrase(drawn(another(PHRASES[2]), 1), text).outcome == "retry"
    nothing = copying.check_phrase(boxes[:2], UNKNOWN * 2)
    assert (nothing.outcome, nothing.characters, copying.failure(None, nothing)) == ("manual", (), None)


class Copyist:
    """A customer whose product demands copying."""

    def __init__(self, buyer: Purchase, view: SigningView) -> None:
        self.at, self.journey, self.view = buyer.at, buyer.journey_id, view
        self._seed = 40

    async def copy(self, phrase: str, written: str | None = None) -> Any:
        self._seed += 1
        body = {"phrase": sha256_hex(phrase.encode()), "handwriting": hand(written or phrase, self._seed)}
        return await self.at.act(CopyPhrase, self.journey, body)

    async def sign(self) -> Any:
        return await self.at.act(SignForms, self.journey, signature(self.view, hand(seed=self._seed)))


@pytest.fixture
async def copyist(ready: Purchase, monkeypatch: pytest.MonkeyPatch) -> Copyist:
    offered = Signing._offered

    def demanded(self: Signing, progress: Progress) -> dict[str, Product]:
        return {slug: demanding(p) if slug == DEMANDS else p for slug, p in offered(self, progress).items()}

    monkeypatch.setattr(Signing, "_offered", demanded)
    return Copyist(ready, await reviewed(ready))


async def test_nothing_is_signed_before_every_phrase_is_copied(copyist: Copyist) -> None:
    shown = [(each.text, each.copied) for each in copyist.view.phrases]
    assert shown == [(text, False) for text in PHRASES]
    assert await copyist.at.refused(copyist.sign()) == "declaration_uncopied"
    for left, phrase in ((2, PHRASES[0]), (1, PHRASES[2]), (0, PHRASES[1])):
        assert (await copyist.copy(phrase)).left == left
    assert await copyist.at.refused(copyist.copy(PHRASES[0])) == "already_done"
    view = await copyist.at.ask(ViewSigning(journey_id=copyist.journey))
    assert all(each.copied for each in view.phrases)
    assert (await copyist.sign()).legibility == "pass"
    copied = await made(copyist.at, copyist.journey, facts.PhraseCopied)
    assert [fact.phrase for fact in copied] == [sha256_hex(PHRASES[at].encode()) for at in (0, 2, 1)]
    for fact in copied:
        assert (fact.reading.read_by, fact.products, fact.attempt) == (copying.VERSION, (DEMANDS,), 1)
        assert all(read.limit == copying.LEAST_SCORE for read in fact.reading.characters)
        assert await copyist.at.vault.open(copyist.journey, fact.strokes)


async def test_other_words_are_refused_with_their_box_and_kept(copyist: Copyist) -> None:
    with pytest.raises(Refuse) as refused:
        await copyist.copy(PHRASES[2], another(PHRASES[2]))
    assert (refused.value.code, refused.value.problem.extra) == ("phrase_unclear", {"box": 1})
    (rejected,) = await made(copyist.at, copyist.journey, facts.PhraseRejected)
    assert (rejected.reason, rejected.box, rejected.reading.outcome) == ("phrase_unclear", 0, "retry")
    assert (rejected.products, rejected.proof.attempt) == ((DEMANDS,), 1)
    assert await copyist.at.refused(copyist.copy(PHRASES[2], PHRASES[2][:3])) == "ink_wrong_boxes"
    assert (await copyist.copy(PHRASES[2])).left == 2


async def test_a_phrase_of_no_product_is_refused(copyist: Copyist) -> None:
    body = {"phrase": "0" * 64, "handwriting": hand()}
    assert await copyist.at.refused(copyist.at.act(CopyPhrase, copyist.journey, body)) == "phrase_unknown"


async def test_strokes_given_before_are_refused_in_another_session_too(
    copyist: Copyist, ready: Purchase, at: Desk
) -> None:
    seed = copyist._seed
    await copyist.copy(PHRASES[2])
    other = await purchase(at, ready.release).up_to("read")
    again = Copyist(other, await reviewed(other))
    assert again._seed == seed
    assert await at.refused(again.copy(PHRASES[2])) == "ink_seen_before"
    (rejected,) = await made(at, other.journey_id, facts.PhraseRejected)
    assert (rejected.reason, rejected.reading) == ("ink_seen_before", None)
    assert (await again.copy(PHRASES[2])).left == 2


async def test_I12_what_another_device_copied_counts_for_nothing(copyist: Copyist, ready: Purchase, at: Desk) -> None:
    await copyist.copy(PHRASES[0])
    await ready.tell(identity.SessionVoided(at=at.clock(), attempt=1, reason="device_changed"))
    state = await at.service.journeys.state(copyist.journey)
    assert state.progress.confirmations.copied == ()


async def test_where_nothing_is_demanded_the_sentence_is_confirmed(ready: Purchase) -> None:
    view = await reviewed(ready)
    assert view.phrases == ()
    await ready.at.act(SignForms, ready.journey_id, signature(view, hand()))
    (signed,) = await made(ready.at, ready.journey_id, facts.FormsSigned)
    assert signed.declaration_sha256 == view.declaration_sha256
    assert await made(ready.at, ready.journey_id, facts.PhraseCopied) == []
