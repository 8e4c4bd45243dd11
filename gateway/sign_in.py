"""Signing in and out, for salespeople and staff. The session is a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from contracts.problems import Refuse
from contracts.values import Contract, Instant, Token
from gateway.accounts import IDLE, SIGN_IN, Door, SalesSession, Session
from gateway.credentials import Role
from gateway.edge import COOKIE, Edge, check_same_origin, edge_of, json_answer, json_of, session_tokens, signed_in
from gateway.limits import source_of
from gateway.openapi import SIGNED_IN, body_of, problems

PATH: Final = "/v1"
"""Where the cookie goes: to the API, never with pages and files."""


class Entrance(Contract):
    door: Door
    name: Annotated[str, Field(min_length=1, max_length=128)]
    """``salesperson_id`` or ``staff_id``."""
    password: Annotated[str, Field(min_length=1, max_length=200)]


class SignedIn(Contract):
    door: Door
    name: str
    """As shown."""
    roles: tuple[Role, ...]
    """Of staff; none for salespeople."""
    channel_id: Token | None
    channel_name: str | None
    """Of a salesperson."""
    ends_at: Instant
    """When the session ends whatever happens."""
    idle_seconds: int
    """After how long without a request it ends before that."""


def router() -> APIRouter:
    routes = APIRouter(tags=["signing in"])
    by_cookie: dict[str, Any] = {"openapi_extra": {"security": SIGNED_IN}}

    @routes.post(
        SIGN_IN,
        operation_id="sign_in",
        summary="Begins the session of a salesperson or a member of staff, as a cookie.",
        response_model=SignedIn,
        responses={
            200: {"description": "Signed in.", "headers": {"Set-Cookie": {"schema": {"type": "string"}}}},
            **problems(
                "sign_in_failed", "sign_in_attempts", "cross_site", "malformed", "invalid_fields",
                "unsupported_media_type",
            ),
        },
        openapi_extra={"requestBody": body_of(Entrance)},
    )  # fmt: skip
    async def sign_in(request: Request) -> Response:
        edge = edge_of(request)
        check_same_origin(request)
        entrance = await json_of(request, Entrance)
        source = source_of(request.client)
        session, token = await edge.accounts.sign_in(entrance.door, entrance.name, entrance.password, address=source)
        for before in session_tokens(request):
            await edge.accounts.sign_out(before)
        answer = json_answer(_told(session))
        answer.set_cookie(COOKIE, token, path=PATH, secure=_secure(edge), httponly=True, samesite="strict")
        return answer

    @routes.get(
        SIGN_IN,
        operation_id="view_sign_in",
        summary="Who is signed in here.",
        response_model=SignedIn,
        responses=problems("credentials_missing"),
        **by_cookie,
    )
    async def view_sign_in(request: Request) -> Response:
        session = await signed_in(request)
        if session is None:
            raise Refuse("credentials_missing")
        return json_answer(_told(session))

    @routes.post(
        "/v1/sign-out",
        operation_id="sign_out",
        summary="Ends the session.",
        status_code=204,
        response_class=Response,
        responses=problems("cross_site"),
        **by_cookie,
    )
    async def sign_out(request: Request) -> Response:
        edge = edge_of(request)
        check_same_origin(request)
        for token in session_tokens(request):
            await edge.accounts.sign_out(token)
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, path=PATH, secure=_secure(edge), httponly=True, samesite="strict")
        return answer

    return routes


def _told(session: Session) -> SignedIn:
    told: dict[str, Any] = {"ends_at": session.ends_at, "idle_seconds": int(IDLE.total_seconds())}
    if isinstance(session, SalesSession):
        return SignedIn(
            door="sales",
            name=session.salesperson.name,
            roles=(),
            channel_id=session.channel.channel_id,
            channel_name=session.channel.name,
            **told,
        )
    member = session.member
    return SignedIn(
        door="staff",
        name=member.name or member.staff_id,
        roles=tuple(sorted(member.roles)),
        channel_id=None,
        channel_name=None,
        **told,
    )


def _secure(edge: Edge) -> bool:
    return edge.settings.gateway_public_url.startswith("https://")
