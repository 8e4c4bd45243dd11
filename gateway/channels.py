"""What a sales channel may do: submit proposals, look at their state, take them back, hear of its policies.

Each sees its own and nothing else: another's journey is as unknown as none at all.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.responses import Response

from contracts import subjects
from contracts.commands.base import Done
from contracts.commands.proposal import (
    ListProposals,
    ProposalAccepted,
    ProposalStates,
    ResendLink,
    SubmitProposal,
    WithdrawProposal,
)
from contracts.problems import FieldFault, Refuse
from contracts.values import Contract
from gateway.edge import Edge, channel_of, edge_of, idempotency_key, json_body, json_of
from gateway.openapi import CHANNEL, IDEMPOTENCY_KEY, body_of, problems
from servicekit.store import StoredFact

BEGINNING: Final = "0" * 26
"""A cursor before every journey id."""


class ProposalBody(BaseModel):
    """A proposal as a channel sends it. What each product asks for stands in its product data, so that a new line
    of business needs no new API; every fault is named by its field.
    """

    model_config = ConfigDict(extra="allow")

    channel_reference: Annotated[str, Field(description="The channel's own number, once for each proposal.")] | None = (
        None
    )
    salesperson: dict[str, JsonValue] | None = None
    policyholder: Annotated[
        dict[str, JsonValue], Field(description="name, id_type, id_number, phone, address", examples=[{}])
    ]
    insured: dict[str, JsonValue] | None = None
    subject: dict[str, JsonValue]
    products: list[dict[str, JsonValue]]


class Withdrawal(Contract):
    reason: Literal["channel_request", "customer_request", "wrong_data"] = "channel_request"


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
    keyed: dict[str, Any] = {"openapi_extra": {"security": CHANNEL, "parameters": [IDEMPOTENCY_KEY]}}

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
                "invalid_fields", "body_too_large", "unsupported_media_type",
            ),
        },
        openapi_extra={
            "security": CHANNEL,
            "parameters": [IDEMPOTENCY_KEY],
            "requestBody": body_of(ProposalBody),
        },
    )  # fmt: skip
    async def submit(request: Request) -> Response:
        edge, channel = edge_of(request), await channel_of(request)
        command_id = idempotency_key(request)
        body = await json_body(request)
        _check_is_object(body)
        journey_id = edge.ground.new_id()
        submitted = SubmitProposal(
            command_id=command_id,
            journey_id=journey_id,
            channel_id=channel.channel_id,
            intermediary=channel.intermediary,
            body=await edge.ground.vault.seal(journey_id, body),
        )
        accepted, _ = await edge.ask(submitted, ProposalAccepted, timeout=15)
        answer = Response(accepted.model_dump_json().encode(), 201, media_type="application/json")
        answer.headers["Location"] = f"/v1/proposals?after={accepted.journey_id}"
        return answer

    @routes.get(
        "/v1/proposals",
        operation_id="list_proposals",
        summary="The channel's own proposals with their state, oldest first.",
        response_model=ProposalStates,
        responses=problems(*who, "invalid_fields"),
        openapi_extra={"security": CHANNEL},
    )
    async def list_proposals(
        request: Request,
        after: Annotated[str, Query(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")] = BEGINNING,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> Response:
        edge, channel = edge_of(request), await channel_of(request)
        query = ListProposals(journey_id=after, channel_id=channel.channel_id, limit=limit)
        states, _ = await edge.ask(query, ProposalStates)
        return Response(states.model_dump_json().encode(), media_type="application/json")

    @routes.post(
        "/v1/proposals/{journey_id}/withdraw",
        operation_id="withdraw_proposal",
        summary="Takes a proposal back, for good.",
        response_model=Done,
        responses=problems(*who, "idempotency_key_missing", "not_yours", "already_signed", "invalid_fields"),
        openapi_extra={
            "security": CHANNEL,
            "parameters": [IDEMPOTENCY_KEY],
            "requestBody": body_of(Withdrawal, required=False),
        },
    )
    async def withdraw(request: Request, journey_id: str) -> Response:
        edge, channel = edge_of(request), await channel_of(request)
        command_id = idempotency_key(request)
        asked = await json_of(request, Withdrawal)
        command = WithdrawProposal(
            command_id=command_id,
            journey_id=await _own(request, journey_id),
            channel_id=channel.channel_id,
            reason=asked.reason,
        )
        reply, _ = await edge.ask(command, Done)
        return Response(reply.model_dump_json().encode(), media_type="application/json")

    @routes.post(
        "/v1/proposals/{journey_id}/resend-link",
        operation_id="resend_link",
        summary="Sends the link once more, to the policyholder's phone only.",
        response_model=Done,
        responses=problems(*who, "idempotency_key_missing", "not_yours", "journey_expired"),
        **keyed,
    )
    async def resend(request: Request, journey_id: str) -> Response:
        edge, channel = edge_of(request), await channel_of(request)
        command_id = idempotency_key(request)
        command = ResendLink(
            command_id=command_id, journey_id=await _own(request, journey_id), channel_id=channel.channel_id
        )
        reply, _ = await edge.ask(command, Done)
        return Response(reply.model_dump_json().encode(), media_type="application/json")

    @routes.get(
        "/v1/events",
        operation_id="read_events",
        summary="The channel's own policies as they were issued: the same ids and order as on the bus.",
        response_model=Events,
        responses=problems(*who, "invalid_fields"),
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
        return Response(told.model_dump_json().encode(), media_type="application/json")

    return routes


def _check_is_object(body: bytes) -> None:
    """Nothing is sealed that is no proposal at all; what is wrong in it the proposal service says."""
    try:
        value: JsonValue = json.loads(body)
    except (ValueError, RecursionError):
        raise Refuse("malformed") from None
    if not isinstance(value, dict):
        fault = FieldFault(pointer="", code="format", detail="须为一个 JSON 对象。")
        raise Refuse("invalid_fields", errors=(fault,))


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
