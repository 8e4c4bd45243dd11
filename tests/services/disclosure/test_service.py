"""Disclosure at its desk: what a page may and may not do with the documents of a real purchase."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.commands.disclosure import (
    AcknowledgePoint,
    Advice,
    AnswerNeeds,
    AnswerQuestions,
    ConfirmDocument,
    ContinueOfOwnWill,
    DisclosureView,
    OpenDocument,
    QuestionAnswers,
    Reading,
    ReportReading,
    ShowPoint,
    ViewDisclosure,
)
from contracts.facts import disclosure as facts
from contracts.facts import identity, proposal
from contracts.facts.base import Fact
from contracts.values import DocumentRef
from servicekit.runner import new_ulid
from services.disclosure.rules import DisclosureState, evolve
from services.disclosure.service import Disclosure, DisclosureSettings
from tests.desk import Desk, desk
from tests.nats_server import NatsServer
from tests.purchase import Purchase, published, purchase


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    published(tmp_path / "releases")
    async with desk(Disclosure, tmp_path, nats) as opened:
        yield opened


@pytest.fixture
async def buyer(at: Desk) -> Purchase:
    """A customer whose identity is proven and who has confirmed the terms."""
    return await purchase(at, published(at.folder / "releases")).up_to("confirmed")


async def view(buyer: Purchase) -> DisclosureView:
    return await buyer.at.ask(ViewDisclosure(journey_id=buyer.journey_id))


async def read(buyer: Purchase, document: DocumentRef, *, share: float = 1.0, confirm: bool = True) -> None:
    """As a person would: the page shows itself every few seconds, paragraph after paragraph."""
    at, journey = buyer.at, buyer.journey_id
    text = buyer.release.document(document.sha256)
    await at.act(OpenDocument, journey, document)
    paragraphs = [block.id for block in text.paragraphs]
    for _ in range(int(text.minimum_dwell_seconds * share / 5) + 1):
        at.clock.pass_by(seconds=5)
        seen, paragraphs = paragraphs[:40], paragraphs[40:]
        at_end = not paragraphs
        await at.act(ReportReading, journey, Reading(document=document, paragraphs=tuple(seen), at_end=at_end))
    if confirm:
        await at.act(ConfirmDocument, journey, document)


async def answer_all(buyer: Purchase) -> None:
    for code in (terms.product for terms in buyer.progress.chosen()):
        product = buyer.release.products[code]
        for kind, questions in (
            (AnswerNeeds, product.needs_questions),
            (AnswerQuestions, product.disclosure_questions),
        ):
            if questions:
                good = {q.code: next(a.code for a in q.answers if a.outcome == "accept") for q in questions}
                await buyer.at.act(kind, buyer.journey_id, QuestionAnswers(product=code, answers=good))


async def acknowledge_all(buyer: Purchase) -> None:
    for point in (await view(buyer)).points:
        await buyer.at.act(ShowPoint, buyer.journey_id, point)
        await buyer.at.act(AcknowledgePoint, buyer.journey_id, point)


async def made(buyer: Purchase, kind: type[Fact]) -> list[Any]:
    return [fact for fact in await buyer.at.made(buyer.journey_id) if isinstance(fact, kind)]


async def test_I1_reading_everything_completes_the_disclosure(buyer: Purchase) -> None:
    await answer_all(buyer)
    documents = buyer.progress.documents()
    for document in documents:
        assert not (await view(buyer)).complete
        await read(buyer, document)
    assert not (await view(buyer)).complete
    await acknowledge_all(buyer)
    shown = await view(buyer)
    assert shown.complete
    assert all(document.confirmed_at for document in shown.documents)
    confirmed = await made(buyer, facts.DocumentConfirmed)
    assert [fact.document for fact in confirmed] == list(documents)
    for fact in confirmed:
        assert fact.dwell_ms >= fact.minimum_dwell_ms
        assert fact.dwell_scale == 1
        assert fact.paragraphs_seen == fact.paragraphs_total
        assert fact.opened_at <= fact.end_reached_at <= fact.at
    state = DisclosureState()
    for fact in (*buyer.facts, *await buyer.at.made(buyer.journey_id)):
        state = evolve(state, fact)
    kept = await buyer.at.service.journeys.state(buyer.journey_id)
    assert state == kept.model_copy(update={"heard": {}}), "state is the fold of its facts"


async def test_I2_one_document_an_act(buyer: Purchase) -> None:
    first, second = buyer.progress.documents()[:2]
    both = {**first.model_dump(), "also": second.model_dump()}
    assert await buyer.at.refused(buyer.at.act(ConfirmDocument, buyer.journey_id, both)) == "invalid_fields"
    several = {"documents": [first.model_dump(), second.model_dump()]}
    assert await buyer.at.refused(buyer.at.act(ConfirmDocument, buyer.journey_id, several)) == "invalid_fields"
    assert await made(buyer, facts.DocumentConfirmed) == []


async def test_I3_what_a_confirmation_waits_for_here_is_not_reading(
    buyer: Purchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, journey = buyer.at, buyer.journey_id
    document = next(d for d in buyer.progress.documents() if buyer.release.document(d.sha256).minimum_dwell_seconds > 9)
    text = buyer.release.document(document.sha256)
    everything = tuple(block.id for block in text.paragraphs)
    await at.act(OpenDocument, journey, document)
    await at.act(ReportReading, journey, Reading(document=document, paragraphs=everything, at_end=True))
    kept = at.service._reading

    async def slowly(*asked: object) -> object:
        at.clock.pass_by(seconds=text.minimum_dwell_seconds)
        return await kept(*asked)

    monkeypatch.setattr(at.service, "_reading", slowly)
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "reading_too_short"
    monkeypatch.undo()
    await at.act(ConfirmDocument, journey, document)
    (confirmed,) = await made(buyer, facts.DocumentConfirmed)
    assert confirmed.dwell_ms <= (confirmed.at - confirmed.opened_at).total_seconds() * 1000


async def test_I3_too_early_or_not_to_the_end_is_refused_and_recorded(buyer: Purchase) -> None:
    at, journey = buyer.at, buyer.journey_id
    document = next(d for d in buyer.progress.documents() if buyer.release.document(d.sha256).minimum_dwell_seconds > 9)
    text = buyer.release.document(document.sha256)
    everything = tuple(block.id for block in text.paragraphs)
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "document_not_opened"
    await at.act(OpenDocument, journey, document)
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "reading_not_at_end"
    await at.act(ReportReading, journey, Reading(document=document, paragraphs=everything[1:], at_end=True))
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "paragraphs_unread"
    await at.act(ReportReading, journey, Reading(document=document, paragraphs=everything[:1]))
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "reading_too_short"
    at.clock.pass_by(seconds=text.minimum_dwell_seconds)
    await at.act(ConfirmDocument, journey, document)
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "already_done"
    codes = [fact.code for fact in await made(buyer, facts.Refused)]
    assert codes == ["document_not_opened", "reading_not_at_end", "paragraphs_unread", "reading_too_short"]


async def test_I3_no_duration_is_ever_taken_from_the_client(buyer: Purchase) -> None:
    claim = {"document": buyer.progress.documents()[0].model_dump(), "dwell_ms": 999_999}
    assert await buyer.at.refused(buyer.at.act(ReportReading, buyer.journey_id, claim)) == "invalid_fields"


async def test_another_version_or_an_unknown_document_is_refused(buyer: Purchase) -> None:
    document = buyer.progress.documents()[0]
    for wrong, code in (
        (document.model_copy(update={"version": "1999.1"}), "document_changed"),
        (document.model_copy(update={"sha256": "0" * 64}), "document_changed"),
        (document.model_copy(update={"document": "made_up"}), "document_unknown"),
    ):
        assert await buyer.at.refused(buyer.at.act(OpenDocument, buyer.journey_id, wrong)) == code


async def test_I6_the_optional_product_brings_its_own_documents(at: Desk) -> None:
    release = published(at.folder / "releases")
    with_extra = await purchase(at, release).up_to("confirmed")
    without = await purchase(at, release, extra=False).up_to("confirmed")
    own = {d.document.document for d in (await view(with_extra)).documents if d.document.product.startswith("driver")}
    assert {"clauses", "exclusions"} <= own
    assert not any(d.document.product.startswith("driver") for d in (await view(without)).documents)
    foreign = with_extra.progress.documents()[-1]
    assert await at.refused(at.act(OpenDocument, without.journey_id, foreign)) == "document_unknown"


async def test_I30_advice_to_stop_needs_an_explicit_act_to_go_on(buyer: Purchase) -> None:
    at, journey = buyer.at, buyer.journey_id
    product = buyer.release.products["driver_passenger_accident"]
    answers = {q.code: next(a.code for a in q.answers if a.outcome == "accept") for q in product.needs_questions}
    warned = next(q for q in product.needs_questions if any(a.outcome == "advise_stop" for a in q.answers))
    answers[warned.code] = next(a.code for a in warned.answers if a.outcome == "advise_stop")
    reply = await at.act(AnswerNeeds, journey, QuestionAnswers(product=product.code, answers=answers))
    assert reply.advice == (warned.code,)
    shown = await view(buyer)
    assert shown.advice_open == (Advice(product=product.code, advice=(warned.code,)),)
    assert not shown.complete
    other = Advice(product=product.code, advice=("something_else",))
    assert await at.refused(at.act(ContinueOfOwnWill, journey, other)) == "advice_changed"
    await at.act(ContinueOfOwnWill, journey, Advice(product=product.code, advice=(warned.code,)))
    assert (await view(buyer)).advice_open == ()
    assert [fact.advice for fact in await made(buyer, facts.ContinuedOfOwnWill)] == [(warned.code,)]


async def test_I31_every_document_says_who_insures_and_whom_to_call(buyer: Purchase) -> None:
    for document in buyer.progress.documents():
        product = buyer.release.products[document.product]
        header = product.header(buyer.release.document(document.sha256), "示例保险代理有限公司")
        for said in (header.insurer, header.clause_code, header.filing_number, header.hotline, header.complaint):
            assert said
        assert header.intermediary == "示例保险代理有限公司"


async def test_deadly_points_come_when_all_is_read_and_only_once_shown(buyer: Purchase) -> None:
    at, journey = buyer.at, buyer.journey_id
    point = (await view(buyer)).points[0]
    assert await at.refused(at.act(ShowPoint, journey, point)) == "point_not_ready"
    for document in buyer.progress.documents():
        await read(buyer, document)
    assert await at.refused(at.act(AcknowledgePoint, journey, point)) == "point_not_ready"
    changed = point.model_copy(update={"sha256": "0" * 64})
    assert await at.refused(at.act(ShowPoint, journey, changed)) == "document_changed"
    # Two tabs, or one finger too many.
    await asyncio.gather(*(at.act(ShowPoint, journey, point) for _ in range(8)))
    await at.act(AcknowledgePoint, journey, point)
    assert await at.refused(at.act(AcknowledgePoint, journey, point)) == "already_done"


async def test_I12_a_new_device_starts_reading_anew(buyer: Purchase) -> None:
    at, journey = buyer.at, buyer.journey_id
    document = buyer.progress.documents()[0]
    await read(buyer, document)
    at.attempt = 2
    now = at.clock()
    await buyer.tell(identity.SessionVoided(at=now, attempt=1, reason="device_changed"))
    for step in ("session", "verified", "confirmed"):
        await buyer.tell(*await getattr(buyer, f"_{step}")())
    shown = next(d for d in (await view(buyer)).documents if d.document == document)
    assert shown.confirmed_at is None
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "document_not_opened"


async def test_I18_nothing_is_read_on_terms_nobody_confirmed(at: Desk) -> None:
    buyer = await purchase(at, published(at.folder / "releases")).up_to("verified")
    document = buyer.progress.check_opened().products[0].documents[0]
    assert await at.refused(at.act(OpenDocument, buyer.journey_id, document)) == "terms_not_confirmed"


@pytest.mark.parametrize("hours", [1, -1])
async def test_I3_a_clock_set_while_somebody_reads_neither_gives_nor_takes_time(buyer: Purchase, hours: int) -> None:
    at, journey = buyer.at, buyer.journey_id
    document = next(d for d in buyer.progress.documents() if buyer.release.document(d.sha256).minimum_dwell_seconds > 9)
    text = buyer.release.document(document.sha256)
    everything = tuple(block.id for block in text.paragraphs)
    await at.act(OpenDocument, journey, document)
    at.clock.pass_by(seconds=2)
    at.clock.set(hours=hours)
    # Heard of with the clock off already, or only in the confirmation.
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "reading_not_at_end"
    told = await at.act(ReportReading, journey, Reading(document=document, paragraphs=everything, at_end=True))
    assert told.dwell_ms == 2000
    at.clock.set(hours=-hours)
    assert await at.refused(at.act(ConfirmDocument, journey, document)) == "reading_too_short"
    at.clock.pass_by(seconds=text.minimum_dwell_seconds - 2)
    await at.act(ConfirmDocument, journey, document)


async def test_a_withdrawn_proposal_ends_the_reading(buyer: Purchase) -> None:
    await buyer.tell(proposal.ProposalWithdrawn(at=buyer.at.clock(), reason="channel_request"))
    refused = buyer.at.act(OpenDocument, buyer.journey_id, buyer.progress.documents()[0])
    assert await buyer.at.refused(refused) == "journey_withdrawn"


def test_dwell_scale_is_one_outside_the_sandbox() -> None:
    with pytest.raises(ValidationError, match="outside the sandbox"):
        DisclosureSettings(disclosure_dwell_scale=0.5)
    assert DisclosureSettings(disclosure_dwell_scale=0.5, sandboxed=True).disclosure_dwell_scale == 0.5


async def test_I3_of_two_pages_open_at_once_only_the_one_in_front_is_read(buyer: Purchase) -> None:
    at, journey = buyer.at, buyer.journey_id
    first, second = buyer.progress.documents()[:2]
    for document in (first, second):
        await at.act(OpenDocument, journey, document)
    for _ in range(60):
        at.clock.pass_by(seconds=5)
        for document in (first, second):
            everything = tuple(block.id for block in buyer.release.document(document.sha256).paragraphs)
            seen = Reading(document=document, paragraphs=everything, at_end=True)
            shown = await at.act(ReportReading, journey, seen)
            assert shown.dwell_ms <= 5000, "time counts for one page at a time"
    for document in (first, second):
        assert await at.refused(at.act(ConfirmDocument, journey, document)) == "reading_too_short"
    assert await made(buyer, facts.DocumentConfirmed) == []


async def test_I13_an_opening_cannot_be_turned_into_a_confirmation_on_the_way(buyer: Purchase) -> None:
    at, journey = buyer.at, buyer.journey_id
    document = buyer.progress.documents()[0]
    await read(buyer, document, confirm=False)
    opened = await at.make_act(OpenDocument, journey, document)
    turned = ConfirmDocument.model_validate(opened.model_dump())
    assert await at.refused(at.ask(turned)) == "proof_url"
    elsewhere = await at.make_act(
        ConfirmDocument, journey, document, path=f"/v1/journeys/{new_ulid()}/confirm-document"
    )
    assert await at.refused(at.ask(elsewhere)) == "proof_url"
    assert await made(buyer, facts.DocumentConfirmed) == []
    assert [fact.code for fact in await made(buyer, facts.Refused)] == ["proof_url"] * 2


async def test_I18_nothing_is_read_or_answered_differently_after_the_signature(buyer: Purchase) -> None:
    await buyer.up_to("signed")
    code = buyer.progress.chosen()[0].product
    questions = buyer.release.products[code].needs_questions
    answers = {q.code: q.answers[0].code for q in questions}
    again = buyer.at.act(AnswerNeeds, buyer.journey_id, QuestionAnswers(product=code, answers=answers))
    assert await buyer.at.refused(again) == "already_signed"
    assert await made(buyer, facts.NeedsAnswered) == []
