"""The customer's acts: one generic endpoint for each ``Act`` of ``contracts.commands``.

The body is checked for its shape, sealed as the very bytes that came, and sent on; the service that owns the act
has the proof judged and decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from contracts.commands.base import Act, Beat, request_types
from contracts.problems import Refuse
from gateway.customer import caller_of, fresh_nonce, heads_of, merged, told, with_nonce
from gateway.edge import edge_of, idempotency_key, json_answer, json_body
from gateway.openapi import (
    ANSWER_HEADERS,
    CUSTOMER,
    IDEMPOTENCY_KEY,
    JOURNEY_HEADS,
    OPENING,
    body_of,
    problems,
)
from servicekit.bodies import read_body

ACT_SECONDS: Final = 20.0
"""Drawing and sealing forms takes its time."""


def act_types() -> dict[str, type[Act]]:
    """Every act by its verb as it stands in an address. Raises ``TypeError`` if two services share one."""
    found: dict[str, type[Act]] = {}
    for kind in request_types().values():
        if issubclass(kind, Act):
            verb = kind.verb.replace("_", "-")
            if verb in found:
                raise TypeError(f"two acts call themselves {verb}")
            found[verb] = kind
    return found


def router() -> APIRouter:
    routes = APIRouter(tags=["acts"])
    for verb, kind in act_types().items():
        opening = kind.purpose == "open"
        routes.add_api_route(
            f"/v1/journeys/{{journey_id}}/{verb}",
            _endpoint(kind),
            methods=["POST"],
            name=kind.verb,
            operation_id=kind.verb,
            summary=(kind.__doc__ or kind.__name__).strip().split("\n")[0] if kind.__doc__ else kind.__name__,
            response_model=kind.reply,
            responses={
                200: {"description": "Done, or done before under this key.", "headers": ANSWER_HEADERS},
                **problems(
                    "malformed", "idempotency_key_missing", "credentials_missing", "use_dpop_nonce", "proof_signature",
                    "proof_replayed", "session_expired", "reproof_required", "not_the_customer", "journey_unknown",
                    "journey_withdrawn", "write_conflict", "body_too_slow", "body_too_large",
                    "unsupported_media_type", "invalid_fields", "idempotency_key_reused", "premise_pending",
                ),
            },
            openapi_extra={
                "parameters": [IDEMPOTENCY_KEY, JOURNEY_HEADS],
                "requestBody": body_of(kind.arguments, required=bool(kind.arguments.model_fields)),
                "security": OPENING if opening else CUSTOMER,
                "x-service": kind.service,
                "x-heartbeat": issubclass(kind, Beat),
            },
        )  # fmt: skip
    return routes


def _endpoint(kind: type[Act]) -> Callable[[Request, str], Awaitable[Response]]:
    async def act(request: Request, journey_id: str) -> Response:
        edge = edge_of(request)
        caller = await caller_of(request, journey_id, kind.verb, opening=kind.purpose == "open")
        heads = heads_of(request)
        command_id = idempotency_key(request)
        body = await json_body(request)
        read_body(kind.arguments, body)
        await edge.known(journey_id)
        command = kind(
            command_id=command_id,
            journey_id=journey_id,
            after=heads,
            proof=caller.proof,
            session=caller.session,
            body=await edge.ground.vault.seal(journey_id, body),
        )
        nonce = asyncio.create_task(fresh_nonce(edge))
        try:
            reply, sequence = await edge.ask(command, kind.reply, timeout=ACT_SECONDS)
        except Refuse as refusal:
            if "nonce" in refusal.problem.extra:
                nonce.cancel()
                raise await with_nonce(edge, refusal.problem) from None
            extra = {"nonce": await nonce, **refusal.problem.extra}
            raise await with_nonce(edge, refusal.problem.model_copy(update={"extra": extra})) from None
        except BaseException:
            nonce.cancel()
            raise
        answer = json_answer(reply)
        return told(answer, nonce=await nonce, heads=merged(heads, (kind.service, sequence)))

    return act
