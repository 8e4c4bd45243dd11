"""What a sales channel may do: submit proposals, look at their state, take them back, hear of its policies.

A program does it with the channel's key; a salesperson who signed in, for what they sold themselves. Each sees its own
and nothing else: another's journey is as unknown as none at all. Nobody who sells sees what the customer is or answers.
"""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import Response

from contracts import subjects
from contracts.commands.base import Done
from contracts.commands.proposal import (
    LinkShown,
    ListProposals,
    NameRelease,
    ProposalAccepted,
    ProposalStates,
    ReleaseNamed,
    ResendLink,
    ShowLink,
    SubmitProposal,
    WithdrawProposal,
)
from contracts.problems import FieldFault, Refuse
from contracts.values import Contract, Sha256, Slug
from gateway.edge import Edge, Seller, channel_of, edge_of, idempotency_key, json_answer, json_body, json_of, seller_of
from gateway.openapi import CHANNEL, IDEMPOTENCY_KEY, SELLER, body_of, problems
from products import Cover, FieldRule, Product, ReleaseError
from products.model import Parties, PeriodRule, PremiumBounds, Subject, Tax
from servicekit.bodies import check_unambiguous
from servicekit.store import StoredFact

log = logging.getLogger(__name__)

BEFORE_ALL: Final = {"oldest": "0" * 26, "newest": "Z" * 26}
"""A cursor before every journey id, by order."""


class ProposalBody(BaseModel):
    """A proposal as a channel sends it. What each product asks for stands in its product data, so that a new line
    of business needs no new API; every fault is named by its field.
    """

    model_config = ConfigDict(extra="allow")

    channel_reference: Annotated[str, Field(description="The channel's own number, once for each proposal.")] | None = (
        None
    )
    salesperson: (
        Annotated[
            dict[str, JsonValue],
            Field(description="name, licence_no, phone; absent from a salesperson who signed in: theirs are put in"),
        ]
        | None
    ) = None
    policyholder: Annotated[
        dict[str, JsonValue], Field(description="name, id_type, id_number, phone, address", examples=[{}])
    ]
    insured: dict[str, JsonValue] | None = None
    subject: dict[str, JsonValue]
    products: list[dict[str, JsonValue]]


class Withdrawal(Contract):
    reason: Literal["channel_request", "customer_request", "wrong_data"] = "channel_request"


class InsurerNamed(Contract):
    name: str
    hotline: str


class ProductOffered(Contract):
    """What a proposal of this product may hold, as its data says."""

    product: Slug
    name: str
    marketing_name: str | None
    summary: str
    optional: bool
    """Offered beside others; the customer alone ticks it (I4)."""
    subject: Subject
    parties: Parties
    covers: tuple[Cover, ...]
    taxes: tuple[Tax, ...]
    premium: PremiumBounds
    period: PeriodRule
    fields: tuple[FieldRule, ...]


class Catalogue(Contract):
    release: Sha256
    insurer: InsurerNamed
    products: tuple[ProductOffered, ...]


class CloudEvent(BaseModel):
    """CloudEvents 1.0, structured JSON."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    sequence: str
    data: dict[str, JsonValue]


class Events(BaseModel):
    events: list[CloudEvent]
    next: str
    """Give it as ``after`` to go on; keep it, it never grows stale. The id of the last event: it says nothing of how
    much others sell.
    """


def router() -> APIRouter:
    routes = APIRouter(tags=["channels"])
    who = ("credentials_missing", "credentials_invalid")
    keyed: dict[str, Any] = {"openapi_extra": {"security": SELLER, "parameters": [IDEMPOTENCY_KEY]}}

    @routes.get(
        "/v1/products",
        operation_id="list_products",
        summary="The products of the release new journeys open on, with what a proposal of each may hold.",
        response_model=Catalogue,
        responses=problems(*who),
        openapi_extra={"security": SELLER},
    )
    async def list_products(request: Request) -> Response:
        await seller_of(request)
        catalogue = await _catalogue(edge_of(request))
        return json_answer(catalogue)

    @routes.post(
        "/v1/proposals",
        operation_id="submit_proposal",
        summary="Submits a proposal: the journey exists and its link goes to the customer by SMS.",
        status_code=201,
        response_model=ProposalAccepted,
        responses={
            201: {"description": "Accepted.", "headers": {"Location": {"schema": {"type": "string"}}}},
            **problems(
                *who, "malformed", "idempotency_key_missing", "idempotency_key_reused", "channel_reference_used",
                "invalid_fields", "body_too_large", "unsupported_media_type", "cross_site",
            ),
        },
        openapi_extra={
            "security": SELLER,
            "parameters": [IDEMPOTENCY_KEY],
            "requestBody": body_of(ProposalBody),
        },
    )  # fmt: skip
    async def submit(request: Request) -> Response:
        edge, seller = edge_of(request), await seller_of(request)
        command_id = idempotency_key(request)
        body = _submitted(await json_body(request), seller)
        journey_id = edge.ground.new_id()
        submitted = SubmitProposal(
            command_id=command_id,
            journey_id=journey_id,
            channel_id=seller.channel.channel_id,
            intermediary=seller.channel.intermediary,
            body=await edge.ground.vault.seal(journey_id, body),
        )
        accepted, _ = await edge.ask(submitted, ProposalAccepted, timeout=15)
        answer = json_answer(accepted, 201)
        answer.headers["Location"] = f"/v1/proposals?after={accepted.journey_id}"
        return answer

    @routes.get(
        "/v1/proposals",
        operation_id="list_proposals",
        summary="The channel's own proposals with their state; for a salesperson, what they sold.",
        response_model=ProposalStates,
        responses=problems(*who, "invalid_fields"),
        openapi_extra={"security": SELLER},
    )
    async def list_proposals(
        request: Request,
        after: Annotated[str | None, Query(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
        order: Literal["oldest", "newest"] = "oldest",
        mine: Annotated[bool, Query(description="A salesperson's own only; a key has no own.")] = True,
    ) -> Response:
        edge, seller = edge_of(request), await seller_of(request)
        query = ListProposals(
            journey_id=after or BEFORE_ALL[order],
            channel_id=seller.channel.channel_id,
            seller=_index_of(edge, seller) if mine else None,
            order=order,
            limit=limit,
        )
        states, _ = await edge.ask(query, ProposalStates)
        return json_answer(states)

    @routes.get(
        "/v1/proposals/{journey_id}/link",
        operation_id="show_link",
        summary="The link once more, to show the customer as a QR code.",
        response_model=LinkShown,
        responses=problems(*who, "not_yours", "journey_expired", "journey_withdrawn", "journey_issued"),
        openapi_extra={"security": SELLER},
    )
    async def show_link(request: Request, journey_id: str) -> Response:
        edge, seller = edge_of(request), await seller_of(request)
        query = ShowLink(
            journey_id=await _own(request, journey_id),
            channel_id=seller.channel.channel_id,
            seller=_index_of(edge, seller),
        )
        shown, _ = await edge.ask(query, LinkShown)
        return json_answer(shown)

    @routes.post(
        "/v1/proposals/{journey_id}/withdraw",
        operation_id="withdraw_proposal",
        summary="Takes a proposal back, for good.",
        response_model=Done,
        responses=problems(
            *who,
            "idempotency_key_missing",
            "not_yours",
            "already_signed",
            "order_paid",
            "journey_expired",
            "journey_withdrawn",
            "invalid_fields",
            "unsupported_media_type",
            "cross_site",
        ),
        openapi_extra={
            "security": SELLER,
            "parameters": [IDEMPOTENCY_KEY],
            "requestBody": body_of(Withdrawal, required=False),
        },
    )
    async def withdraw(request: Request, journey_id: str) -> Response:
        edge, seller = edge_of(request), await seller_of(request)
        command_id = idempotency_key(request)
        asked = await json_of(request, Withdrawal)
        command = WithdrawProposal(
            command_id=command_id,
            journey_id=await _own(request, journey_id),
            channel_id=seller.channel.channel_id,
            seller=_index_of(edge, seller),
            reason=asked.reason,
        )
        reply, _ = await edge.ask(command, Done)
        return json_answer(reply)

    @routes.post(
        "/v1/proposals/{journey_id}/resend-link",
        operation_id="resend_link",
        summary="Sends the link once more, to the policyholder's phone only.",
        response_model=Done,
        responses=problems(
            *who,
            "idempotency_key_missing",
            "invalid_fields",
            "not_yours",
            "journey_expired",
            "journey_withdrawn",
            "cross_site",
        ),
        **keyed,
    )
    async def resend(request: Request, journey_id: str) -> Response:
        edge, seller = edge_of(request), await seller_of(request)
        command_id = idempotency_key(request)
        command = ResendLink(
            command_id=command_id,
            journey_id=await _own(request, journey_id),
            channel_id=seller.channel.channel_id,
            seller=_index_of(edge, seller),
        )
        reply, _ = await edge.ask(command, Done)
        return json_answer(reply)

    @routes.get(
        "/v1/events",
        operation_id="read_events",
        summary="The channel's own policies as they were issued: the same ids and order as on the bus.",
        response_model=Events,
        responses=problems(*who, "role_missing", "invalid_fields"),
        openapi_extra={"security": CHANNEL},
    )
    async def read_events(
        request: Request,
        after: Annotated[str, Query(pattern=r"^(0|[0-9A-HJKMNP-TV-Z]{26})$")] = "0",
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> Response:
        edge, channel = edge_of(request), await channel_of(request)
        found = await edge.ground.bus.history(
            subjects.PARTNER,
            subjects.partner_facts_of(channel.channel_id),
            await _place_of(edge, channel.channel_id, after),
            limit,
        )
        told = Events(events=[_event(fact) for _, fact in found], next=found[-1][1].id if found else after)
        return json_answer(told)

    return routes


async def _catalogue(edge: Edge) -> Catalogue:
    """Raises ``Refuse("unavailable")`` for a release that is not here (yet)."""
    named, _ = await edge.ask(NameRelease(), ReleaseNamed)
    try:
        release = edge.releases.get(named.release)
    except ReleaseError:
        log.exception("release missing", extra={"release": named.release})
        raise Refuse("unavailable", retry_after=5) from None
    insurer = next(iter(release.products.values())).insurer
    return Catalogue(
        release=release.hash,
        insurer=InsurerNamed(name=insurer.name, hotline=insurer.hotline),
        products=tuple(_offered(product) for product in release.products.values()),
    )


def _offered(product: Product) -> ProductOffered:
    return ProductOffered(
        product=product.code,
        name=product.name,
        marketing_name=product.marketing_name,
        summary=product.summary,
        optional=product.optional,
        subject=product.subject,
        parties=product.parties,
        covers=product.covers,
        taxes=product.taxes,
        premium=product.premium,
        period=product.period,
        fields=product.fields,
    )


def _submitted(body: bytes, seller: Seller) -> bytes:
    """The proposal as it is sealed: as sent, or with the account of the salesperson who signed in.

    Nothing is sealed that is no proposal at all; what is wrong in it the proposal service says. Raises ``Refuse``:
    ``malformed``, ``invalid_fields``.
    """
    value: JsonValue = check_unambiguous(body)
    if not isinstance(value, dict):
        fault = FieldFault(pointer="", code="format", detail="须为一个 JSON 对象。")
        raise Refuse("invalid_fields", errors=(fault,))
    who = seller.salesperson
    if who is None:
        return body
    if "salesperson" in value:
        fault = FieldFault(
            pointer="/salesperson", code="unknown_field", detail="业务员以登录的账号为准，请去掉这一项。"
        )
        raise Refuse("invalid_fields", errors=(fault,))
    value["salesperson"] = {"name": who.name, "licence_no": who.licence_no, "phone": who.phone}
    try:
        return json.dumps(value).encode()
    except RecursionError:
        raise Refuse("malformed") from None


def _index_of(edge: Edge, seller: Seller) -> str | None:
    """What a salesperson's own are found by; none for a key, which speaks for the whole channel."""
    who = seller.salesperson
    return None if who is None else edge.ground.vault.blind_index("phone", who.phone)


async def _own(request: Request, journey_id: str) -> str:
    """The proposal service knows whose it is; here only what cannot be anybody's is told apart, the same way."""
    try:
        return await edge_of(request).known(journey_id)
    except Refuse:
        raise Refuse("not_yours") from None


async def _place_of(edge: Edge, channel_id: str, event_id: str) -> int:
    """Where the channel's own event stands in the stream; 0, the beginning, for one it never had or that is gone
    with everything before it.
    """
    if event_id == "0":
        return 0
    found = await edge.ground.bus.history(subjects.PARTNER, subjects.partner_fact(channel_id, "*", event_id), 0, 1)
    return found[0][0] if found else 0


def _event(fact: StoredFact) -> CloudEvent:
    return CloudEvent(
        id=fact.id,
        source=fact.source,
        type=fact.type,
        subject=fact.subject,
        time=fact.time,
        dataschema=fact.dataschema,
        sequence=str(fact.sequence),
        data=json.loads(fact.data),
    )
