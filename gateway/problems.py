"""Problem details (RFC 9457) for every refusal, from the one table in ``contracts.problems``.

Never holds what was sent: faults name fields by JSON pointer, nothing more.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, MutableMapping
from typing import Annotated, Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from contracts.problems import KINDS, FieldFault, Problem, Refuse, title
from servicekit.bus import BusUnavailable
from servicekit.store import StoreUnavailable
from servicekit.vault import Shredded

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
NONCE: Final = "toubao.nonce"
"""Where a request's scope keeps the nonce of the next proof."""
PROBLEM: Final = "toubao.problem"
"""Where it keeps the code it was refused with, to be counted."""

_BY_STATUS: Final = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_fields",
    429: "too_many_requests",
    503: "unavailable",
}


class ProblemDocument(BaseModel):
    """The body of every refusal (RFC 9457)."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"description": "RFC 9457 problem details."})

    type: Annotated[str, Field(examples=["/problems/reading_too_short"])]
    """A page about this kind of problem, relative to the origin."""
    title: str
    """One sentence in plain Chinese."""
    status: int
    detail: str
    """What to do next, in plain Chinese."""
    code: str
    """Stable; programs decide by it."""
    trace_id: str
    errors: tuple[FieldFault, ...] = ()


def trace_id_of(scope: Mapping[str, Any]) -> str:
    return str(scope.get("toubao.trace_id", "0" * 32))


def problem_response(
    scope: MutableMapping[str, Any], problem: Problem, headers: Mapping[str, str] | None = None
) -> Response:
    kind = KINDS.get(problem.code)
    if kind is None:
        # A service newer than this gateway: nobody is shown a code without its sentence.
        log.error("unknown problem", extra={"code": problem.code})
        problem = Problem(code="internal")
        kind = KINDS["internal"]
    scope[PROBLEM] = problem.code
    body: dict[str, Any] = {
        **{key: value for key, value in problem.extra.items() if key != "nonce"},
        "type": f"/problems/{problem.code}",
        "title": title(kind, problem.extra),
        "status": kind.status,
        "detail": kind.next_step,
        "code": problem.code,
        "trace_id": trace_id_of(scope),
    }
    if problem.errors:
        body["errors"] = [fault.model_dump() for fault in problem.errors]
    more = dict(headers or {})
    if problem.retry_after is not None:
        more["Retry-After"] = str(problem.retry_after)
        body["retry_after"] = problem.retry_after
    if problem.code == "use_dpop_nonce":
        more["WWW-Authenticate"] = 'DPoP error="use_dpop_nonce", algs="ES256"'
        if "nonce" in problem.extra:
            more["DPoP-Nonce"] = str(problem.extra["nonce"])
    elif kind.status == 401:
        more.setdefault("WWW-Authenticate", _challenge(problem.code))
    return Response(json.dumps(body, ensure_ascii=False).encode(), kind.status, more, MEDIA_TYPE)


def _challenge(code: str) -> str:
    if code.startswith("proof_"):
        return 'DPoP error="invalid_dpop_proof", algs="ES256"'
    return 'DPoP error="invalid_token", algs="ES256"' if code.startswith("session_") else 'DPoP algs="ES256", Bearer'


class Edged(Exception):
    """A refusal with headers of the edge (nonce, heads) that must not be lost on the way out."""

    def __init__(self, problem: Problem, headers: Mapping[str, str]) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.headers = headers


def problem_of(error: BaseException) -> Problem:
    """The problem an exception is shown as; ``internal`` for what nobody foresaw."""
    if isinstance(error, BaseExceptionGroup):
        return problem_of(cast("BaseExceptionGroup[Exception]", error).exceptions[0])
    if isinstance(error, Refuse | Edged):
        return error.problem
    if isinstance(error, BusUnavailable | StoreUnavailable | TimeoutError):
        return Problem(code="unavailable", retry_after=2)
    if isinstance(error, Shredded):
        return Problem(code="journey_unknown")
    if isinstance(error, HTTPException):
        code = _BY_STATUS.get(error.status_code, "malformed" if error.status_code < 500 else "internal")
        return Problem(code=code)
    return Problem(code="internal")


def answer_with_problems(app: FastAPI) -> None:
    """Every exception of an endpoint becomes a problem document."""

    async def respond(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        headers: dict[str, str] = dict(error.headers) if isinstance(error, Edged) else {}
        if isinstance(error, HTTPException) and error.headers and "allow" in {k.lower() for k in error.headers}:
            headers.update(error.headers)
        if nonce := request.scope.get(NONCE):
            headers.setdefault("DPoP-Nonce", str(nonce))
        return problem_response(request.scope, problem, headers)

    async def invalid(request: Request, error: Exception) -> Response:
        # FastAPI's own answer would quote what was sent.
        assert isinstance(error, RequestValidationError)
        faults = tuple(
            FieldFault(pointer="".join(f"/{part}" for part in fault["loc"]), code="invalid", detail="内容不符合要求。")
            for fault in error.errors()
        )
        return problem_response(request.scope, Problem(code="invalid_fields", errors=faults))

    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (Refuse, Edged, BusUnavailable, StoreUnavailable, TimeoutError, Shredded, HTTPException):
        app.add_exception_handler(kind, respond)
    app.add_exception_handler(ExceptionGroup, respond)
