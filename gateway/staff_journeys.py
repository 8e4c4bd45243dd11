"""Journeys as the insurer's own people see them: the list, the search, one journey's file, the texts as served.

Personal values are opened from the vault for the one answer and masked at once; in full they are shown by
``gateway.staff_unmasking`` alone (I24).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from contracts.commands.evidence import (
    FindJourneys,
    ListJourneys,
    RegisteredJourney,
    RegisteredJourneys,
    ServedDocument,
    Stage,
    Step,
    Timeline,
    TimelineEvent,
    ViewFile,
    ViewTimeline,
)
from contracts.commands.evidence import JourneyFile as Filed
from contracts.facts.proposal import Party
from contracts.problems import Refuse
from contracts.values import Committed, Contract, Instant, JourneyId, Sha256, Slug, Token
from gateway.card import FORMATS
from gateway.edge import Edge, edge_of, json_answer, json_of, staff_of
from gateway.journey import Text, document_text, notice_text
from gateway.masking import masked_party, masked_text, masked_values
from gateway.openapi import STAFF, body_of, problems
from gateway.staff import MAY, normal
from products import Product, Release, ReleaseError, field_text
from products.model import FieldRule
from products.opened import value_of
from servicekit.vault import Unopenable

WHO: Final = ("credentials_missing", "credentials_invalid", "role_missing")
EVENTS: Final = 5000
"""Most of a journey's facts that are shown; a whole purchase makes about a hundred."""
UNREADABLE: Final = "（已无法读取）"
_ULID: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


class ProductNamed(Contract):
    product: Slug
    name: str


class JourneyRow(Contract):
    journey_id: JourneyId
    proposal_no: str
    channel_id: Token
    channel_name: str
    products: tuple[ProductNamed, ...]
    state: Stage
    step: Step
    opened_at: Instant
    last_at: Instant
    attempts: int
    """Device sessions."""
    refusals: int
    policy_nos: tuple[str, ...]


class JourneyList(Contract):
    """Newest first. ``next`` is the next page's ``before``; none on the last."""

    journeys: tuple[JourneyRow, ...]
    next: JourneyId | None


class JourneySought(Contract):
    """One value. It is neither kept nor logged; a phone is looked up by its blind index."""

    kind: Literal["proposal_no", "policy_no", "phone"]
    value: Annotated[str, Field(min_length=1, max_length=60)]


class PersonShown(Contract):
    """A policyholder or an insured, masked or in full. ``id_type`` is the kind of ID document."""

    name: str
    id_type: str
    id_number: str
    phone: str
    address: str


class Labelled(Contract):
    label: str
    text: str


class ChainShown(Contract):
    count: int
    head: Sha256 | None
    anchored: int
    """How many of the facts, from the first on, the last timestamp covers."""


class FileKept(Contract):
    kind: Literal["form", "policy"]
    product: Slug
    name: str
    number: str
    size: int
    """Bytes."""


class JourneyFile(Contract):
    row: JourneyRow
    policyholder: PersonShown
    insured: PersonShown | None
    subject: tuple[Labelled, ...]
    chain: ChainShown
    documents: tuple[ServedDocument, ...]
    files: tuple[FileKept, ...]
    timeline: tuple[TimelineEvent, ...]


class ChannelNamed(Contract):
    channel_id: Token
    name: str


class ChannelList(Contract):
    channels: tuple[ChannelNamed, ...]


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1/staff", tags=["staff"])
    described: dict[str, Any] = {"openapi_extra": {"security": STAFF}}

    @routes.get(
        "/journeys",
        operation_id="list_journeys",
        summary="Journeys of all channels, newest first.",
        response_model=JourneyList,
        responses=problems(*WHO, "invalid_fields"),
        **described,
    )
    async def list_journeys(
        request: Request,
        state: Stage | None = None,
        step: Step | None = None,
        channel_id: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None,
        before: Annotated[str, Query(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")] | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["read_journeys"])
        asked = ListJourneys(state=state, step=step, channel_id=channel_id, before=before, limit=limit)
        found, _ = await edge.ask(asked, RegisteredJourneys)
        return json_answer(_list(edge, found))

    @routes.post(
        "/journeys/search",
        operation_id="search_journeys",
        summary="Journeys by proposal number, policy number or the policyholder's phone.",
        response_model=JourneyList,
        responses=problems(*WHO, "cross_site", "malformed", "unsupported_media_type", "invalid_fields"),
        openapi_extra={"security": STAFF, "requestBody": body_of(JourneySought)},
    )
    async def search_journeys(request: Request) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["read_journeys"])
        sought = await json_of(request, JourneySought)
        key = normal(sought.kind, sought.value)
        if not key:
            return json_answer(JourneyList(journeys=(), next=None))
        if sought.kind == "phone":
            key = edge.ground.vault.blind_index("phone", key)
        found, _ = await edge.ask(FindJourneys(kind=sought.kind, key=key[:80]), RegisteredJourneys)
        return json_answer(_list(edge, found))

    @routes.get(
        "/journeys/{journey_id}",
        operation_id="read_journey_file",
        summary="One journey: who (masked), what was served and kept, and every fact in words.",
        response_model=JourneyFile,
        responses=problems(*WHO, "journey_unknown", "evidence_incomplete"),
        **described,
    )
    async def read_journey_file(request: Request, journey_id: str) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["read_journeys"])
        filed = await filed_of(edge, journey_id)
        release = release_of(edge, filed.row.release)
        people, timeline = await asyncio.gather(opened_people(edge, filed), _timeline(edge, journey_id))
        return json_answer(
            JourneyFile(
                row=_row(edge, filed.row),
                **people.masked(release),
                chain=ChainShown(count=filed.chain.count, head=filed.chain.head, anchored=filed.chain.anchored),
                documents=filed.documents,
                files=tuple(
                    FileKept(
                        kind=kept.kind,
                        product=kept.product,
                        name=product_name(release, kept.product),
                        number=kept.number,
                        size=kept.file.size,
                    )
                    for kept in filed.files
                ),
                timeline=timeline,
            )
        )

    @routes.get(
        "/journeys/{journey_id}/documents/{sha256}",
        operation_id="read_served_document",
        summary="A document or notice of the journey's release, as it was served.",
        response_model=Text,
        responses=problems(*WHO, "journey_unknown", "document_unknown"),
        **described,
    )
    async def read_served_document(request: Request, journey_id: str, sha256: str) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["read_journeys"])
        filed = await filed_of(edge, journey_id)
        release = release_of(edge, filed.row.release)
        if release is None:
            raise Refuse("unavailable", retry_after=5)
        channel = next((c for c in edge.credentials.channels if c.channel_id == filed.row.channel_id), None)
        intermediary = None if channel is None else channel.intermediary
        for slug in filed.row.products:
            product = release.products.get(slug)
            for document in () if product is None else product.documents:
                if product is not None and document.sha256 == sha256:
                    return json_answer(document_text(product, document, intermediary))
        for notice in release.notices.values():
            if notice.document.sha256 == sha256:
                return json_answer(notice_text(notice, intermediary))
        raise Refuse("document_unknown")

    @routes.get(
        "/channels",
        operation_id="list_channels",
        summary="The channels by name.",
        response_model=ChannelList,
        responses=problems(*WHO),
        **described,
    )
    async def list_channels(request: Request) -> Response:
        await staff_of(request, *MAY["read_journeys"])
        known = edge_of(request).credentials.channels
        channels = tuple(ChannelNamed(channel_id=channel.channel_id, name=channel.name) for channel in known)
        return json_answer(ChannelList(channels=channels))

    return routes


# -- what evidence says, with the names people know --------------------------------------------------------


async def filed_of(edge: Edge, journey_id: str) -> Filed:
    """Raises ``Refuse``: ``journey_unknown``, ``evidence_incomplete``."""
    if _ULID.fullmatch(journey_id) is None:
        raise Refuse("journey_unknown")
    filed, _ = await edge.ask(ViewFile(journey_id=journey_id), Filed)
    return filed


async def _timeline(edge: Edge, journey_id: str) -> tuple[TimelineEvent, ...]:
    """All events, page by page; a chain that grows meanwhile is shown as far as it was at the first page."""
    events: list[TimelineEvent] = []
    count = 1
    while len(events) < min(count, EVENTS):
        page, _ = await edge.ask(ViewTimeline(journey_id=journey_id, after=len(events)), Timeline)
        if not page.events:
            break
        count = page.count if not events else count
        events += page.events
    return tuple(events)


def _list(edge: Edge, found: RegisteredJourneys) -> JourneyList:
    return JourneyList(journeys=tuple(_row(edge, journey) for journey in found.journeys), next=found.next)


def _row(edge: Edge, journey: RegisteredJourney) -> JourneyRow:
    release = release_of(edge, journey.release)
    names = {channel.channel_id: channel.name for channel in edge.credentials.channels}
    return JourneyRow(
        journey_id=journey.journey_id,
        proposal_no=journey.proposal_no,
        channel_id=journey.channel_id,
        channel_name=names.get(journey.channel_id, journey.channel_id),
        products=tuple(ProductNamed(product=slug, name=product_name(release, slug)) for slug in journey.products),
        state=journey.state,
        step=journey.step,
        opened_at=journey.opened_at,
        last_at=journey.last_at,
        attempts=journey.attempts,
        refusals=journey.refusals,
        policy_nos=journey.policy_nos,
    )


def release_of(edge: Edge, name: str) -> Release | None:
    """None where it cannot be read: then products go by their own names."""
    try:
        return edge.releases.get(name)
    except ReleaseError:
        return None


def product_name(release: Release | None, slug: str) -> str:
    known = None if release is None else release.products.get(slug)
    return slug if known is None else known.name


# -- personal values, opened for one answer ----------------------------------------------------------------


class People(Contract):
    """Opened values of one journey. Kept nowhere, and never printed: see ``masked`` and ``full``."""

    policyholder: Annotated[dict[str, str], Field(repr=False)]
    insured: Annotated[dict[str, str] | None, Field(repr=False)]
    subject: Annotated[dict[str, str], Field(repr=False)]
    products: tuple[Slug, ...]

    def masked(self, release: Release | None) -> dict[str, Any]:
        """A field no product describes is masked like a text; what could not be opened says so."""
        hidden = {code: masked_text(text) for code, text in self.subject.items()}
        for code, (product, _) in self._described(release).items():
            key = f"subject.{code}"
            hidden[code] = masked_values(product, {key: self.subject[code]})[key]

        def party(values: Mapping[str, str]) -> PersonShown:
            return PersonShown(**_or_unreadable(masked_party(values), values))

        return {
            "policyholder": party(self.policyholder),
            "insured": None if self.insured is None else party(self.insured),
            "subject": self._labelled(release, _or_unreadable(hidden, self.subject)),
        }

    def full(self, release: Release | None) -> dict[str, Any]:
        return {
            "policyholder": PersonShown(**self.policyholder),
            "insured": None if self.insured is None else PersonShown(**self.insured),
            "subject": self._labelled(release, self.subject),
        }

    def _labelled(self, release: Release | None, texts: Mapping[str, str]) -> tuple[Labelled, ...]:
        described = self._described(release)
        shown: list[Labelled] = []
        for code in (*described, *(code for code in texts if code not in described)):
            label, text = code, texts[code]
            if code in described:
                rule = described[code][1]
                label = rule.label
                # What could not be opened is no number and no date.
                with suppress(ValueError):
                    text = field_text(rule, value_of(rule, text), FORMATS)
            shown.append(Labelled(label=label, text=text))
        return tuple(shown)

    def _described(self, release: Release | None) -> dict[str, tuple[Product, FieldRule]]:
        """Each field of the subject with the first product of the journey that describes it, in its order."""
        found: dict[str, tuple[Product, FieldRule]] = {}
        for slug in self.products:
            product = None if release is None else release.products.get(slug)
            for rule in () if product is None else product.subject.fields:
                if product is not None and rule.code in self.subject:
                    found.setdefault(rule.code, (product, rule))
        return found


def _or_unreadable(masked: Mapping[str, str], opened: Mapping[str, str]) -> dict[str, str]:
    return {key: UNREADABLE if opened[key] == UNREADABLE else text for key, text in masked.items()}


async def opened_people(edge: Edge, filed: Filed) -> People:
    journey_id = filed.row.journey_id

    async def text(value: Committed) -> str:
        try:
            return await edge.ground.vault.open_text(journey_id, value)
        except Unopenable:
            return UNREADABLE

    async def person(party: Party) -> dict[str, str]:
        values = await asyncio.gather(*(text(v) for v in (party.name, party.id_number, party.phone, party.address)))
        return {"id_type": party.id_type, **dict(zip(("name", "id_number", "phone", "address"), values, strict=True))}

    subject = await asyncio.gather(*(text(value) for value in filed.subject.values()))
    return People(
        policyholder=await person(filed.policyholder),
        insured=None if filed.insured is None else await person(filed.insured),
        subject=dict(zip(filed.subject, subject, strict=True)),
        products=filed.row.products,
    )
