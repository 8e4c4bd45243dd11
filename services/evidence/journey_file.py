"""A journey's file as its chain tells it: texts served, files kept, every fact in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from contracts.commands.evidence import ChainView, JourneyFile, KeptFile, ServedDocument, Timeline, TimelineEvent
from contracts.facts import disclosure, identity, issuance, proposal, signing
from contracts.facts.base import Fact, read_fact
from contracts.facts.identity import NoticeRef
from contracts.problems import Refuse
from contracts.values import DocumentRef
from services.evidence.chain import Entry
from services.evidence.register import Row, registered
from services.evidence.words import SERVICES, Names, attempt_of, refusal_code, words

MILLISECOND: Final = timedelta(milliseconds=1)


def journey_file(journey_id: str, entries: Sequence[Entry], chain: ChainView, names: Names) -> JourneyFile:
    """Raises ``Refuse("journey_unknown")`` while the fact that opened the journey is not on record."""
    facts = [read_fact(entry.type, entry.data) for entry in entries]
    opened = next((fact for fact in facts if isinstance(fact, proposal.JourneyOpened)), None)
    row = Row()
    for fact in facts:
        row = row.after(fact)
    listed = registered(journey_id, row)
    if opened is None or listed is None:
        raise Refuse("journey_unknown")
    return JourneyFile(
        row=listed,
        policyholder=opened.policyholder,
        insured=opened.insured,
        subject=opened.subject,
        products=opened.products,
        chain=chain,
        documents=documents(facts, names),
        files=files(facts),
    )


def documents(facts: Sequence[Fact], names: Names) -> tuple[ServedDocument, ...]:
    """Notices as they were answered, then every text of every product offered, read or not."""
    notices: dict[str, ServedDocument] = {}
    served: dict[tuple[str, str], ServedDocument] = {}
    sessions: dict[tuple[str, str], int] = {}

    def read(reference: DocumentRef, attempt: int) -> ServedDocument:
        """Another device reads anew (I12)."""
        place = (reference.product, reference.sha256)
        if place not in served or sessions.get(place, attempt) != attempt:
            served[place] = _document(reference, names)
        sessions[place] = attempt
        return served[place]

    for fact in facts:
        match fact:
            case proposal.JourneyOpened():
                for reference in (document for terms in fact.products for document in terms.documents):
                    served.setdefault((reference.product, reference.sha256), _document(reference, names))
            case identity.RecordingAcknowledged() | identity.ConsentGiven() | identity.ConsentDeclined():
                agreed = not isinstance(fact, identity.ConsentDeclined)
                notices[fact.notice.notice] = _notice(fact.notice, names, fact.at if agreed else None)
            case disclosure.DocumentOpened():
                known = read(fact.document, fact.attempt)
                served[fact.document.product, fact.document.sha256] = known.model_copy(
                    update={"opened_at": known.opened_at or fact.at}
                )
            case disclosure.DocumentConfirmed():
                read(fact.document, fact.attempt)
                served[fact.document.product, fact.document.sha256] = _document(fact.document, names).model_copy(
                    update={
                        "opened_at": fact.opened_at,
                        "confirmed_at": fact.at,
                        "dwell_ms": fact.dwell_ms,
                        "minimum_dwell_ms": fact.minimum_dwell_ms,
                    }
                )
            case _:
                pass
    return (*notices.values(), *served.values())


def _document(reference: DocumentRef, names: Names) -> ServedDocument:
    return ServedDocument(
        product=reference.product,
        document=reference.document,
        title=names.document(reference.sha256, reference.document),
        kind=names.kind(reference.sha256),
        version=reference.version,
        sha256=reference.sha256,
    )


def _notice(reference: NoticeRef, names: Names, at: datetime | None) -> ServedDocument:
    return ServedDocument(
        product=None,
        document=reference.notice,
        title=names.document(reference.sha256, reference.notice),
        kind=names.kind(reference.sha256),
        version=reference.version,
        sha256=reference.sha256,
        confirmed_at=at,
    )


def files(facts: Sequence[Fact]) -> tuple[KeptFile, ...]:
    """The form of each product, sealed where it is signed, and its policy."""
    kept: dict[tuple[str, str], KeptFile] = {}
    for fact in facts:
        match fact:
            case signing.FormPrepared() | signing.FormSealed():
                kept["form", fact.product] = KeptFile(
                    kind="form", product=fact.product, number=fact.form_no, file=fact.form
                )
            case issuance.PolicyIssued():
                kept["policy", fact.product] = KeptFile(
                    kind="policy", product=fact.product, number=fact.policy_no, file=fact.policy
                )
            case _:
                pass
    return tuple(kept.values())


def timeline(entries: Sequence[Entry], names: Names, *, after: int, limit: int) -> Timeline:
    """Every fact in words, in the order of the chain. ``entries`` is the whole chain."""
    events: list[TimelineEvent] = []
    for entry in entries[after : after + limit]:
        name, data = entry.type.split(".")[2], entry.content()
        before = entries[entry.index - 2] if entry.index > 1 else None
        events.append(
            TimelineEvent(
                index=entry.index,
                at=datetime.fromisoformat(entry.time),
                service=entry.service,
                service_name=SERVICES.get(entry.service, entry.service),
                fact=name,
                words=words(name, data, names),
                code=refusal_code(name, data),
                since_ms=None if before is None else _between(before, entry),
                attempt=attempt_of(data),
            )
        )
    return Timeline(events=tuple(events), count=len(entries))


def _between(earlier: Entry, later: Entry) -> int:
    return max(0, (datetime.fromisoformat(later.time) - datetime.fromisoformat(earlier.time)) // MILLISECOND)
