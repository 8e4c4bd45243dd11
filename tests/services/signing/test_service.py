"""Signing at its desk: the real forms, the real ink checks, one act over everything."""

from __future__ import annotations

import random
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts.commands.evidence import Attest
from contracts.commands.signing import (
    FormSeen,
    PrepareForms,
    ReviewForm,
    SaveDraft,
    SignForms,
    SigningView,
    ViewSigning,
)
from contracts.facts import disclosure as disclosure_facts
from contracts.facts import proposal as proposal_facts
from contracts.facts import signing as facts
from contracts.facts.base import Fact
from contracts.problems import Refuse
from contracts.values import Attestation
from deploy.sandbox.process import running
from deploy.sandbox.settings import Party, SandboxSettings
from deploy.simulator.device import Device
from deploy.simulator.hand import writes
from services.signing.rules import FORM_VERSION, SigningState, evolve
from services.signing.service import Signing
from tests.desk import Clock, Desk, desk
from tests.nats_server import NatsServer
from tests.prepared import sandbox_keys
from tests.purchase import Purchase, published, purchase
from tests.servicekit.documents.prepared import fonts_folder
from tests.services.signing.typography import faults

pytestmark = pytest.mark.usefixtures("warm_workers", "warm_readers")


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    published(tmp_path / "releases")
    keys = sandbox_keys(tmp_path / "sandbox")
    # Authorities date what they sign by the machine's clock.
    clock = Clock(datetime.now(UTC))
    async with running(SandboxSettings(data_dir=keys, port=0), lambda: clock().timestamp()) as sandbox:
        more = {
            "signing_key": str(keys / "keys/application.key.pem"),
            "signing_chain_file": keys / "certs/application.chain.pem",
            "signing_tsa_url": sandbox.urls[Party.AUTHORITY] + "/sandbox/tsa/tsa",
            "signing_tsa_chain_file": keys / "trust/tsa-chain.pem",
            "signing_ca_url": sandbox.urls[Party.AUTHORITY],
            "signing_ca_key_file": keys / "keys/authority.key",
            "fonts_dir": fonts_folder(),
        }
        async with desk(Signing, tmp_path, nats, clock=clock, **more) as opened:
            yield opened


@asynccontextmanager
async def out_of_order(at: Desk, path: str) -> AsyncIterator[None]:
    """The authority answers 503 to what begins so."""
    url = f"{at.service.set.signing_ca_url}/sandbox/outage"
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json={"status": 503, "path": path}) as answer:
            assert answer.status == 200
        yield
        async with http.delete(url) as answer:
            assert answer.status == 200


@pytest.fixture
async def ready(at: Desk) -> Purchase:
    """A customer who has read everything."""
    return await purchase(at, published(at.folder / "releases")).up_to("read")


def hand(name: str = "王小明", seed: int = 1) -> dict[str, Any]:
    return writes(name, random.Random(seed))


async def reviewed(buyer: Purchase) -> SigningView:
    """Forms prepared and each one reviewed; what the page would show then."""
    at, journey = buyer.at, buyer.journey_id
    for form in (await at.act(PrepareForms, journey)).forms:
        await at.act(ReviewForm, journey, FormSeen(product=form.product, form_commitment=form.form.commitment))
    return await at.ask(ViewSigning(journey_id=journey))


def signature(view: SigningView, handwriting: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "items": [item.model_dump() for item in view.items],
        "declaration_sha256": view.declaration_sha256,
        "handwriting": handwriting,
        **changes,
    }


async def made(at: Desk, journey: str, kind: type[Fact]) -> list[Any]:
    return [fact for fact in await at.made(journey) if isinstance(fact, kind)]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v1/event-certificates", "certificate_unavailable"),
        ("/sandbox/ocsp/person", "certificate_unavailable"),
        ("/sandbox/tsa", "timestamp_unavailable"),
    ],
)
async def test_I33_what_an_authority_does_not_answer_is_pending_and_mended_later(
    ready: Purchase, path: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    async with out_of_order(at, path):
        await at.act(SignForms, journey, signature(view, hand()))

        async def pending() -> bool:
            return len(await made(at, journey, facts.FormPending)) == len(view.forms)

        await at.eventually(pending, seconds=30)
        assert {fact.reason for fact in await made(at, journey, facts.FormPending)} == {reason}
        assert await made(at, journey, facts.FormSealed) == []
        shown = await at.ask(ViewSigning(journey_id=journey))
        assert shown.sealed == (), "no form is handed out before"

    async def sealed() -> bool:
        return len(await made(at, journey, facts.FormSealed)) == len(view.forms)

    await at.eventually(sealed, seconds=60)
    # Once for each form, however often it was tried.
    assert len(await made(at, journey, facts.FormPending)) == len(view.forms)
    state = await at.service.journeys.state(journey)
    assert state.pending_forms == {}
    assert "王小明" not in caplog.text


async def test_a_form_of_an_older_layout_is_drawn_anew_and_not_signed(
    ready: Purchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    monkeypatch.setattr("services.signing.rules.FORM_VERSION", "2031.1")
    assert await at.refused(at.act(SignForms, journey, signature(view, hand()))) == "forms_not_prepared"
    again = await at.act(PrepareForms, journey)
    assert {form.form_version for form in again.forms} == {"2031.1"}
    assert not any(form.reviewed for form in again.forms)


async def test_one_act_signs_every_form_and_the_seal_keeps_what_was_previewed(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    assert [form.product for form in view.forms] == [
        "motor_compulsory",
        "motor_commercial",
        "driver_passenger_accident",
    ]
    reply = await at.act(SignForms, journey, signature(view, hand()))
    assert reply.legibility == "pass"

    async def sealed() -> bool:
        return len(await made(at, journey, facts.FormSealed)) == 3

    await at.eventually(sealed)
    (signed,) = await made(at, journey, facts.FormsSigned)
    assert {item.product for item in signed.items} == {form.product for form in view.forms}
    previews = {form.product: form.form for form in view.forms}
    for fact in await made(at, journey, facts.FormSealed):
        preview = await at.vault.open(journey, previews[fact.product])
        assert faults(preview, form_number=fact.form_no, form_version=FORM_VERSION) == []
        final = await at.vault.open(journey, fact.form)
        assert final.startswith(preview), "what the customer saw is a prefix of what was signed"
        assert fact.first_revision == previews[fact.product].commitment
        (at.folder / "form.pdf").write_bytes(final)
        said = subprocess.run(
            ["pdfsig", "-nocert", at.folder / "form.pdf"], capture_output=True, text=True, check=False
        )
        assert "Signature is Valid" in said.stdout, said.stdout + said.stderr
    assert (await at.vault.open(journey, signed.image)).startswith(b"\x89PNG")
    assert b"<svg" in await at.vault.open(journey, signed.vector)


async def test_state_is_the_fold_of_its_facts(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    await at.act(SignForms, journey, signature(view, hand()))

    async def sealed() -> bool:
        return len(await made(at, journey, facts.FormSealed)) == 3

    await at.eventually(sealed)
    state = SigningState()
    for fact in (*ready.facts, *await at.made(journey)):
        state = evolve(state, fact)
    kept = await at.service.journeys.state(journey)
    assert state == kept.model_copy(update={"heard": {}})


async def test_I1_nothing_is_drawn_before_everything_is_read(at: Desk) -> None:
    buyer = await purchase(at, published(at.folder / "releases")).up_to("answered")
    assert await at.refused(at.act(PrepareForms, buyer.journey_id)) == "reading_incomplete"


async def test_I7_signing_needs_an_identity_proven_in_this_session_and_still_valid(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    at.clock.pass_by(hours=3)
    assert await at.refused(at.act(SignForms, journey, signature(view, hand()))) == "identity_expired"
    at.clock.pass_by(hours=-3)
    at.attempt = 2
    assert await at.refused(at.act(SignForms, journey, signature(view, hand()))) == "proof_key_changed"


async def test_I12_another_device_cannot_sign(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    stolen = at.act(SignForms, journey, signature(view, hand()), device=Device())
    assert await at.refused(stolen) == "proof_key_changed"
    assert await made(at, journey, facts.FormsSigned) == []


async def test_the_act_lists_every_document_and_nothing_else(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    items = [item.model_dump() for item in view.items]
    for wrong in (items[1:], [*items, items[0]], [{**items[0], "hash": "0" * 64}, *items[1:]]):
        assert await at.refused(at.act(SignForms, journey, signature(view, hand(), items=wrong))) == "items_incomplete"
    changed = signature(view, hand(), declaration_sha256="0" * 64)
    assert await at.refused(at.act(SignForms, journey, changed)) == "declaration_changed"


async def test_forms_must_be_reviewed_as_they_are(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view: SigningView = await at.ask(ViewSigning(journey_id=journey))
    assert view.items == ()
    assert view.forms == ()
    forms = (await at.act(PrepareForms, journey)).forms
    view = await at.ask(ViewSigning(journey_id=journey))
    assert await at.refused(at.act(SignForms, journey, signature(view, hand()))) == "forms_unreviewed"
    wrong = FormSeen(product=forms[0].product, form_commitment="0" * 64)
    assert await at.refused(at.act(ReviewForm, journey, wrong)) == "form_changed"


BAD_INK = {
    "ink_too_few_strokes": lambda boxes: [_drawn([(20, 20), (200, 40), (40, 200), (280, 280)], box) for box in boxes],
    "ink_too_many_strokes": lambda boxes: [
        {**box, "strokes": [stroke for other in boxes for stroke in other["strokes"]]} for box in boxes
    ],
    "ink_empty": lambda boxes: [{**box, "strokes": []} for box in boxes],
    "ink_wrong_boxes": lambda boxes: boxes[:2],
    "ink_line": lambda boxes: [_drawn([(20, 150), (280, 150)], box) for box in boxes],
    "ink_dot": lambda boxes: [_drawn([(150, 150), (152, 151)], box) for box in boxes],
    "ink_too_small": lambda boxes: [_scaled(box, 0.3) for box in boxes],
    "ink_too_fast": lambda boxes: [_sped(box) for box in boxes],
}


def _drawn(path: list[tuple[float, float]], box: dict[str, Any]) -> dict[str, Any]:
    points = [{"x": x, "y": y, "t": 400 * i, "pressure": 0.5} for i, (x, y) in enumerate(path)]
    return {**box, "strokes": [points]}


def _scaled(box: dict[str, Any], by: float) -> dict[str, Any]:
    return {**box, "strokes": [[{**p, "x": p["x"] * by, "y": p["y"] * by} for p in s] for s in box["strokes"]]}


def _sped(box: dict[str, Any]) -> dict[str, Any]:
    return {**box, "strokes": [[{**p, "t": p["t"] // 40} for p in s] for s in box["strokes"]]}


async def test_I11_ink_that_is_no_handwriting_is_refused_with_its_reason_and_kept(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    for number, (code, spoil) in enumerate(BAD_INK.items(), start=1):
        spoiled = {"boxes": spoil(hand(seed=number)["boxes"])}
        assert await at.refused(at.act(SignForms, journey, signature(view, spoiled))) == code
    rejected = await made(at, journey, facts.InkRejected)
    assert [fact.reason for fact in rejected] == list(BAD_INK)
    assert [fact.attempt_no for fact in rejected] == list(range(1, len(BAD_INK) + 1))
    for fact in rejected:
        assert await at.vault.open(journey, fact.strokes), "the strokes of a failed try are kept too"


async def test_strokes_given_before_are_refused_even_moved_and_resized(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    await at.act(SignForms, journey, signature(view, hand()))
    other = await purchase(at, ready.release).up_to("read")
    view = await reviewed(other)
    again = hand()
    assert await at.refused(at.act(SignForms, other.journey_id, signature(view, again))) == "ink_seen_before"
    moved = {"boxes": [_scaled(box, 0.9) for box in again["boxes"]]}
    assert await at.refused(at.act(SignForms, other.journey_id, signature(view, moved))) == "ink_seen_before"


async def test_I33_without_evidence_nothing_is_signed_and_a_repeat_works_once_it_is_back(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)

    async def down(_: Attest) -> Attestation:
        raise Refuse("timestamp_unavailable", retry_after=5)

    at.attest = down
    written = signature(view, hand())
    assert await at.refused(at.act(SignForms, journey, written, command_id="the-same-tap")) == "timestamp_unavailable"
    assert await made(at, journey, facts.FormsSigned) == []
    at.attest = None
    await at.act(SignForms, journey, written, command_id="the-same-tap")
    assert len(await made(at, journey, facts.FormsSigned)) == 1
    assert await at.refused(at.act(SignForms, journey, signature(view, hand(seed=9)))) == "already_signed"


async def test_I5_dropping_the_optional_product_leaves_the_other_forms_as_they_are(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    await at.act(SignForms, journey, signature(view, hand()))
    product = "driver_passenger_accident"
    await ready.tell(proposal_facts.ProductDropped(at=at.clock(), product=product, proof=await ready.proof()))
    state = await at.service.journeys.state(journey)
    state.progress.check_signed()
    assert [terms.product for terms in state.progress.chosen()] == ["motor_compulsory", "motor_commercial"]


async def test_half_a_name_is_safe_on_the_server_and_sealed(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    half = {"boxes": hand()["boxes"][:1]}
    await at.act(SaveDraft, journey, half)
    view: SigningView = await at.ask(ViewSigning(journey_id=journey))
    assert view.draft is not None
    assert b"strokes" in await at.vault.open(journey, view.draft)
    assert not any(b'"strokes"' in path.read_bytes() for path in at.folder.rglob("*") if path.is_file())


async def test_I18_other_answers_need_another_form_before_anything_is_signed(ready: Purchase) -> None:
    at, journey = ready.at, ready.journey_id
    view = await reviewed(ready)
    product = next(code for code in ready.progress.confirmations.answers)
    given = await at.vault.seal(journey, "{}")
    told = disclosure_facts.QuestionsAnswered(at=at.clock(), product=product, answers=given, proof=await ready.proof())
    await ready.tell(told)
    assert await at.refused(at.act(SignForms, journey, signature(view, hand()))) == "forms_not_prepared"
    assert (await at.ask(ViewSigning(journey_id=journey))).items == ()
    forms = (await at.act(PrepareForms, journey)).forms
    assert [form.product for form in forms if not form.reviewed] == [product]
    stale = await at.refused(at.act(SignForms, journey, signature(view, hand())))
    assert stale == "forms_unreviewed"
    view = await reviewed_again(ready)
    await at.act(SignForms, journey, signature(view, hand()))


async def reviewed_again(buyer: Purchase) -> SigningView:
    at, journey = buyer.at, buyer.journey_id
    for form in (await at.ask(ViewSigning(journey_id=journey))).forms:
        if not form.reviewed:
            await at.act(ReviewForm, journey, FormSeen(product=form.product, form_commitment=form.form.commitment))
    return await at.ask(ViewSigning(journey_id=journey))


async def test_a_name_no_font_has_is_told_before_the_signature_and_nothing_personal_is_logged(
    at: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    rare = "\U0003134a"
    buyer = await purchase(at, published(at.folder / "releases"), name=f"王{rare}").up_to("read")
    assert await at.refused(at.act(PrepareForms, buyer.journey_id)) == "form_undrawable"
    assert await made(at, buyer.journey_id, facts.FormPrepared) == []
    assert rare not in caplog.text


async def test_a_name_of_twenty_characters_with_its_dot_is_written_and_printed(at: Desk) -> None:
    name = "王小明" * 3 + "·" + "王小明" * 3 + "王"
    buyer = await purchase(at, published(at.folder / "releases"), name=name).up_to("read")
    view = await reviewed(buyer)
    handwriting = hand(name.replace("·", ""))
    assert len(handwriting["boxes"]) == len(name) - 1, "nothing is written for the dot"
    await at.act(SignForms, buyer.journey_id, signature(view, handwriting))
