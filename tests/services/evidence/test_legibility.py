"""Signatures the check of legibility took, and signatures people took, before the judge."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.facts.signing import ReviewDecided
from services.evidence import verify
from tests import readings
from tests.nats_server import NatsServer
from tests.services.evidence.journey import PERSON, PRODUCTS, Journey
from tests.services.evidence.parties import Parties, stamping
from tests.services.evidence.test_pack import evidence, export, judged, members
from tests.services.signing.finishing import finishing

BY_PEOPLE = "two members of staff found the handwriting legible, before it was taken"
BY_THE_CHECK = "the check of legibility passed every character of the name"
IN_TIME = "identity was on record before the signature and still valid"


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory, nats: NatsServer, parties: Parties) -> dict[str, bytes]:
    """A journey whose third writing was taken by two people, exported in every way; ``plain``: one whose forms bear
    the insurer's seal alone.
    """
    return asyncio.run(exported(tmp_path_factory.mktemp("packs"), nats, parties))


async def exported(folder: Path, nats: NatsServer, parties: Parties) -> dict[str, bytes]:
    roots = Path(shutil.copytree(parties.root, folder / "authorities"))
    async with (
        stamping(parties) as tsa,
        evidence(folder, nats, parties, tsa) as (at, release),
        finishing(roots) as office,
    ):
        journey = Journey(at, release, parties, tsa, office=office, reviewed=True)
        await journey.pass_through()
        made = {"journey": await export(at, journey.id), "masked": await export(at, journey.id, masked=True)}
        for slug, number in journey.numbers.items():
            made[slug] = await export(at, journey.id, scope="policy", policy_no=number)
        plain = Journey(at, release, parties, tsa, reviewed=True)
        await plain.pass_through()
        made["plain"] = await export(at, plain.id)
        assert all(pack.complete for _, pack in made.values())
        return {name: data for name, (data, _) in made.items()}


@pytest.mark.parametrize("name", ["journey", "masked", *PRODUCTS, "plain"])
def test_I11_a_signature_two_people_took_is_proven_and_says_so(
    packs: dict[str, bytes], parties: Parties, name: str
) -> None:
    status, found = judged(packs[name], parties)
    assert (status, found.doubts) == (0, [])
    assert BY_PEOPLE in found.proven
    assert not any("not judged" in line for line in found.not_recorded)


@pytest.mark.parametrize(("mine", "other"), [PRODUCTS, PRODUCTS[::-1]])
def test_I21_the_pack_of_one_policy_shows_only_its_own_of_writings_not_taken(
    packs: dict[str, bytes], mine: str, other: str
) -> None:
    shown = members(packs[mine])
    asked = [n for n in shown if n.endswith("review_requested.json")]
    assert len(asked) == 2
    for name in asked:
        assert name.startswith("views/")
        assert {item["product"] for item in json.loads(shown[name])["data"]["items"]} == {mine}
    assert any(n.endswith("ink_rejected.json") for n in shown)
    assert not [n for n, data in shown.items() if other.encode() in data or other in n]
    whole = members(packs["journey"])
    assert {item["product"] for n in asked for item in json.loads(whole[n.replace("views", "facts")])["items"]} == {
        *PRODUCTS
    }


def test_the_report_says_who_found_what(packs: dict[str, bytes]) -> None:
    report = members(packs["journey"])["report.pdf"]
    text = subprocess.run(["pdftotext", "-layout", "-", "-"], input=report, capture_output=True, check=True, timeout=30)
    said = "".join(text.stdout.decode().split())
    for line in ("字迹辨认人工判定", "li：看不清，请投保人重写", "li：能辨认为投保人姓名", "wang：能辨认为投保人姓名"):
        assert line in said


# -- by an insurer that made its record so from the beginning --------------------------------------------------------


class Told(verify.Pack):
    """A pack whose chain, heads and proofs are as they should be, of facts that say something else."""

    def __init__(self, data: bytes, trust: verify.Trust, change: Callable[[Record], None]) -> None:
        super().__init__(data, trust)
        self.change = change

    def proofs(self) -> None:
        super().proofs()
        self.facts = copy.deepcopy(self.facts)
        record = Record(self.facts)
        self.change(record)
        self.facts = sorted(record.facts, key=lambda fact: fact.index)


class Record:
    def __init__(self, facts: list[verify.Said]) -> None:
        self.facts = facts

    def all(self, *names: str) -> list[verify.Said]:
        return [fact for fact in self.facts if fact.name in names]

    def drop(self, *facts: verify.Said) -> None:
        self.facts = [fact for fact in self.facts if fact not in facts]

    @property
    def signed(self) -> verify.Said:
        return self.all("forms_signed")[-1]

    @property
    def asked(self) -> verify.Said:
        """The review the signature came through."""
        return self.all("review_requested")[-1]

    @property
    def legible(self) -> list[verify.Said]:
        return [f for f in self.all("review_decided") if f.data["finding"] == "legible"]

    def passed(self) -> None:
        """As if the check had taken the last writing by itself, and there had been no other."""
        self.drop(*self.all("ink_rejected", "review_requested", "review_decided", "review_closed"))
        said = readings.passed(PERSON["name"]).model_dump(mode="json")
        self.signed.data.update(legibility="pass", review_no=None, reading=said)


Change = Callable[[Record], None]


def doubts(packs: dict[str, bytes], parties: Parties, change: Change) -> list[str]:
    pack = Told(packs["plain"], verify.Trust.read(parties.trust), change)
    pack.judge()
    return pack.found.doubts


def the_same_reviewer_twice(record: Record) -> None:
    record.legible[1].data["reviewer"] = record.legible[0].data["reviewer"]


def only_one_reviewer(record: Record) -> None:
    record.drop(record.legible[1])


def nobody(record: Record) -> None:
    record.drop(*record.legible)


def decided_after_the_signature(record: Record) -> None:
    last = record.legible[1]
    last.index, record.signed.index = record.signed.index, last.index


def decided_before_the_request(record: Record) -> None:
    first = record.legible[0]
    first.index, record.asked.index = record.asked.index, first.index


def decided_of_another_review(record: Record) -> None:
    record.legible[1].data["review_no"] = 1


def signed_by_another_review(record: Record) -> None:
    record.signed.data["review_no"] = 1


def signed_by_no_review(record: Record) -> None:
    record.signed.data["review_no"] = None


def never_asked(record: Record) -> None:
    record.drop(record.asked)


def asked_twice(record: Record) -> None:
    record.all("review_requested")[0].data["review_no"] = 2


def of_other_strokes(record: Record) -> None:
    record.asked.data["strokes"] = record.all("review_requested")[0].data["strokes"]


def of_another_image(record: Record) -> None:
    record.asked.data["image"] = record.all("review_requested")[0].data["image"]


def of_another_act(record: Record) -> None:
    record.asked.data["proof"] = record.all("review_requested")[0].data["proof"]


def of_other_items(record: Record) -> None:
    record.asked.data["items"] = record.asked.data["items"][1:]


def of_another_reading(record: Record) -> None:
    record.asked.data["reading"]["characters"][0]["score"] += 1


def one_found_it_unclear(record: Record) -> None:
    third = copy.deepcopy(record.legible[1])
    third.data.update(reviewer="zhao", finding="handwriting_unclear")
    record.facts.append(third)


def taken_after_the_review_was_closed(record: Record) -> None:
    record.all("review_closed")[0].data["review_no"] = 2


@pytest.mark.parametrize(
    "change",
    [
        the_same_reviewer_twice,
        only_one_reviewer,
        nobody,
        decided_after_the_signature,
        decided_before_the_request,
        decided_of_another_review,
        signed_by_another_review,
        signed_by_no_review,
        never_asked,
        asked_twice,
        of_other_strokes,
        of_another_image,
        of_another_act,
        of_other_items,
        of_another_reading,
        one_found_it_unclear,
        taken_after_the_review_was_closed,
    ],
)
def test_I11_a_review_that_was_none_is_noticed(packs: dict[str, bytes], parties: Parties, change: Change) -> None:
    assert f"NOT PROVEN: {BY_PEOPLE}" in doubts(packs, parties, change)


def test_I11_it_is_the_change_that_is_noticed(packs: dict[str, bytes], parties: Parties) -> None:
    assert doubts(packs, parties, lambda _: None) == []
    assert doubts(packs, parties, Record.passed) == []


async def test_I11_one_person_twice_is_noticed_in_a_real_pack(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    class Alone(Journey):
        async def tell(self, fact: Any) -> None:
            await super().tell(fact.model_copy(update={"reviewer": "li"}) if isinstance(fact, ReviewDecided) else fact)

    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Alone(at, release, parties, tsa, reviewed=True)
        await journey.pass_through()
        data, _ = await export(at, journey.id)
        status, found = judged(data, parties)
        assert (status, found.doubts) == (1, [f"NOT PROVEN: {BY_PEOPLE}"])


def characters(record: Record) -> list[dict[str, Any]]:
    return record.signed.data["reading"]["characters"]


def below_its_limit(record: Record) -> None:
    characters(record)[1]["score"] = characters(record)[1]["limit"] - 0.01


def without_a_score(record: Record) -> None:
    characters(record)[1]["score"] = None


def one_failed(record: Record) -> None:
    characters(record)[1]["ok"] = False


def one_left_out(record: Record) -> None:
    characters(record).pop(1)


def the_last_left_out(record: Record) -> None:
    characters(record).pop()


def one_counted_twice(record: Record) -> None:
    characters(record)[1] = characters(record)[0]


def without_characters(record: Record) -> None:
    characters(record).clear()


def without_reading(record: Record) -> None:
    record.signed.data["reading"] = None


def without_a_word_of_reading(record: Record) -> None:
    del record.signed.data["reading"]


def read_as_something_else(record: Record) -> None:
    record.signed.data["reading"]["outcome"] = "retry"


def of_bad_ink(record: Record) -> None:
    record.signed.data["ink_checks"][0]["ok"] = False


@pytest.mark.parametrize(
    "change",
    [
        below_its_limit,
        without_a_score,
        one_failed,
        one_left_out,
        the_last_left_out,
        one_counted_twice,
        without_characters,
        without_reading,
        without_a_word_of_reading,
        read_as_something_else,
        of_bad_ink,
    ],
)
def test_I11_a_check_that_did_not_pass_is_noticed(packs: dict[str, bytes], parties: Parties, change: Change) -> None:
    def so(record: Record) -> None:
        record.passed()
        change(record)

    assert doubts(packs, parties, so) == [f"NOT PROVEN: {BY_THE_CHECK}"]


@pytest.mark.parametrize("name", ["ink_rejected", "review_requested"])
def test_I11_what_was_refused_or_given_to_people_cannot_pass_by_the_check_after_all(
    packs: dict[str, bytes], parties: Parties, name: str
) -> None:
    def so(record: Record) -> None:
        before = record.all(name)[-1]
        record.passed()
        before.data["proof"] = record.signed.data["proof"]
        record.facts.append(before)

    assert doubts(packs, parties, so) == [f"NOT PROVEN: {BY_THE_CHECK}"]


def test_a_reading_cannot_be_left_unsaid_by_calling_it_not_judged(packs: dict[str, bytes], parties: Parties) -> None:
    def so(record: Record) -> None:
        record.signed.data.update(legibility="not_judged", review_no=None)

    assert doubts(packs, parties, so) == [f"NOT PROVEN: {BY_PEOPLE}"]


def test_a_record_of_before_there_was_a_check_verifies_and_says_so(packs: dict[str, bytes], parties: Parties) -> None:
    def so(record: Record) -> None:
        record.passed()
        for name in ("reading", "pen", "review_no"):
            del record.signed.data[name]
        record.signed.data["legibility"] = "not_judged"

    pack = Told(packs["plain"], verify.Trust.read(parties.trust), so)
    pack.judge()
    assert pack.found.doubts == []
    assert "legibility of the handwriting (not judged)" in pack.found.not_recorded


# -- time --------------------------------------------------------------------------------------------------------------


def moved(fact: verify.Said, by: timedelta, *names: str) -> None:
    for name in names or ("at",):
        fact.data[name] = (verify.instant(fact.data[name]) + by).isoformat()


def test_I7_identity_is_valid_longer_by_as_long_as_people_looked(packs: dict[str, bytes], parties: Parties) -> None:
    """Of the first review, which took nothing: not of the one the signature came through, and not twice."""
    days = timedelta(days=2)

    def waited(record: Record, *, review: timedelta, signed: timedelta) -> None:
        first, second = record.all("review_requested")
        moved(record.all("review_closed")[0], review)
        for fact in (second, record.signed):
            moved(fact, signed, "at", "signed_at")
        assert first.index < record.signed.index

    def late(**after: timedelta) -> bool:
        return f"NOT PROVEN: {IN_TIME}" in doubts(packs, parties, lambda record: waited(record, **after))

    nothing = timedelta(0)
    assert not late(review=nothing, signed=nothing)
    assert not late(review=days, signed=days)
    assert late(review=nothing, signed=days), "nobody looked for so long"
    assert late(review=days, signed=days + timedelta(hours=2)), "and then the customer took their time"
    assert late(review=2 * days, signed=days * 3)
    assert not late(review=nothing, signed=timedelta(minutes=50))


def test_I7_a_review_before_the_proof_gives_it_no_time(packs: dict[str, bytes], parties: Parties) -> None:
    days = timedelta(days=2)

    def so(record: Record) -> None:
        """Proven after the first review was over, signed days later."""
        closed = record.all("review_closed")[0]
        moved(closed, days)
        for fact in record.all("identity_verified"):
            fact.data["at"] = closed.data["at"]
            fact.data["valid_until"] = (closed.at + timedelta(hours=1)).isoformat()
        for fact in (record.asked, record.signed):
            moved(fact, days * 2 - timedelta(hours=1), "at", "signed_at")

    assert f"NOT PROVEN: {IN_TIME}" in doubts(packs, parties, so)


def test_I7_the_review_a_signature_came_through_gives_no_time(packs: dict[str, bytes], parties: Parties) -> None:
    def so(record: Record) -> None:
        """Signed when identity had long expired; then looked at for three days."""
        for fact in (record.asked, record.signed):
            moved(fact, timedelta(hours=5), "signed_at")
        moved(record.asked, timedelta(hours=5))
        moved(record.signed, timedelta(days=3))

    assert f"NOT PROVEN: {IN_TIME}" in doubts(packs, parties, so)


@pytest.mark.parametrize(
    ("name", "doubt"),
    [
        ("recording_acknowledged", "the customer was told of the recording before the signature"),
        ("document_confirmed", "confirmed after the signature"),
        ("point_acknowledged", "every key point acknowledged"),
        ("form_reviewed", "that form was reviewed"),
        ("terms_confirmed", "the customer confirmed its terms before the signature"),
    ],
)
def test_I1_what_was_done_while_people_looked_was_not_done_before_the_signature(
    packs: dict[str, bytes], parties: Parties, name: str, doubt: str
) -> None:
    """It counts when the customer acted, not when two people had seen it."""

    def so(record: Record) -> None:
        record.asked.index = 0
        for fact in record.all(name):
            moved(fact, timedelta(hours=1))
        for fact in record.all("forms_signed"):
            moved(fact, timedelta(days=1))

    assert any(doubt in line for line in doubts(packs, parties, so))


def test_what_the_chain_has_before_the_review_was_asked_for_is_before_it_whatever_a_clock_says(
    packs: dict[str, bytes], parties: Parties
) -> None:
    def so(record: Record) -> None:
        for fact in record.all("document_confirmed", "point_acknowledged", "form_reviewed"):
            moved(fact, timedelta(hours=1))

    assert not any("signature" in line or "key point" in line for line in doubts(packs, parties, so))


# -- the declaration copied by hand ------------------------------------------------------------------------------------


def copied(record: Record, **changes: Any) -> None:
    """One phrase of the first product's declaration is on record before the signature."""
    reviewed = record.all("form_reviewed")[-1]
    said = {
        "at": reviewed.data["at"],
        "proof": reviewed.data["proof"],
        "attempt": record.signed.data["attempt"],
        "phrase": "4" * 64,
        "products": [PRODUCTS[0]],
        "checks": [{"code": "ink_empty", "ok": True, "box": None}],
        "reading": readings.passed("一二三四五").model_dump(mode="json"),
    }
    record.facts.append(dataclasses.replace(reviewed, name="phrase_copied", data=said | changes))


def test_a_declaration_copied_by_hand_is_proven_of_its_product_only(packs: dict[str, bytes], parties: Parties) -> None:
    pack = Told(packs["plain"], verify.Trust.read(parties.trust), copied)
    pack.judge()
    assert pack.found.doubts == []
    by_hand = [line for line in pack.found.proven if "copied by hand" in line]
    assert by_hand == [f"{PRODUCTS[0]}: the declaration was copied by hand, 1 phrases, before the signature"]
    confirmed = [line for line in pack.found.asserted if "copying it not demanded" in line]
    assert [line.partition(":")[0] for line in confirmed] == [*PRODUCTS[1:]]


def reading(poor: int, outcome: str = "pass") -> dict[str, Any]:
    """Of five characters, so many of them below their limit."""
    said = readings.passed("一二三四五", outcome=outcome).model_dump(mode="json")
    for each in said["characters"][:poor]:
        each |= {"score": each["limit"] - 1, "ok": False}
    return said


@pytest.mark.parametrize(
    ("changes", "proven"),
    [
        ({"reading": reading(1)}, True),
        ({"reading": reading(2)}, False),
        ({"reading": reading(0, "retry")}, False),
        ({"reading": reading(0, "manual")}, False),
        ({"reading": reading(0, "manual") | {"characters": []}}, True),
        ({"reading": reading(0) | {"characters": []}}, False),
        ({"checks": [{"code": "ink_empty", "ok": False, "box": None}]}, False),
    ],
)
def test_a_copy_counts_by_its_own_characters(
    packs: dict[str, bytes], parties: Parties, changes: dict[str, Any], proven: bool
) -> None:
    found = doubts(packs, parties, lambda record: copied(record, **changes))
    assert found == (
        []
        if proven
        else [f"NOT PROVEN: {PRODUCTS[0]}: the declaration was copied by hand, 1 phrases, before the signature"]
    )
