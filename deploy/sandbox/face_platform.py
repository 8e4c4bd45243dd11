"""Face and real-name platform. Our own protocol (README.md); requests are signed with HMAC.

The page opens the camera as a real platform's does, but no image leaves it: only a result does.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TypeVar, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import web
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, ValidationError

from deploy.sandbox.pages import CAMERA, camera_script, page, page_not_found, style_sheet
from deploy.sandbox.people import card_number_is_sound, name_matches, phone_is_sound
from deploy.sandbox.records import Document, Records
from deploy.sandbox.settings import SandboxSettings
from deploy.sandbox.signed_requests import SignatureCheck

# How long a session waits for its person.
SESSION_SECONDS = 600


Result = Literal["passed", "failed", "cancelled"]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RealNameRequest(_Body):
    name: str = Field(min_length=1, max_length=64)
    id_number: str = Field(min_length=1, max_length=32)


class FaceSessionRequest(RealNameRequest):
    return_url: AnyHttpUrl


class BankCardRequest(RealNameRequest):
    card_number: str = Field(min_length=1, max_length=32)
    phone: str = Field(min_length=1, max_length=20)


class Outcome(_Body):
    outcome: Result


_Model = TypeVar("_Model", bound=_Body)


def utc_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class FacePlatform:
    """The platform. `clock` gives Unix seconds."""

    def __init__(
        self,
        settings: SandboxSettings,
        records: Records,
        key: bytes,
        public_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._records, self._public_url, self._clock = settings, records, public_url, clock
        self._prefix = urlsplit(public_url).path
        self._signed = SignatureCheck(settings.client_id, key, clock)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 16)
        signed = self._signed
        app.add_routes(
            [
                web.post("/v1/real-name", signed(self._real_name)),
                web.post("/v1/bank-card", signed(self._bank_card)),
                web.post("/v1/face-sessions", signed(self._open_session)),
                web.get("/v1/face-sessions/{id}", signed(self._result)),
                web.get("/face/{id}", self._page),
                web.post("/face/{id}", self._form),
                web.post("/sandbox/face-sessions/{id}", self._decide_json),
                web.get("/sandbox.css", style_sheet),
                web.get("/face.js", camera_script),
            ]
        )
        return app

    async def _real_name(self, request: web.Request) -> web.Response:
        asked = await _parsed(request, RealNameRequest)
        return self._checked(name_matches(asked.name, asked.id_number))

    async def _bank_card(self, request: web.Request) -> web.Response:
        asked = await _parsed(request, BankCardRequest)
        known = (
            name_matches(asked.name, asked.id_number)
            and card_number_is_sound(asked.card_number)
            and phone_is_sound(asked.phone)
            and not asked.phone.endswith("0000")
        )
        return self._checked(known)

    def _checked(self, matches: bool) -> web.Response:
        return web.json_response(
            {
                "result": "match" if matches else "mismatch",
                "provider_ref": _reference(),
                "checked_at": utc_time(self._clock()),
            }
        )

    async def _open_session(self, request: web.Request) -> web.Response:
        asked = await _parsed(request, FaceSessionRequest)
        now = self._clock()
        session_id = secrets.token_urlsafe(24)
        session = {
            "id": session_id,
            "known": name_matches(asked.name, asked.id_number),
            "score": _score_band(asked.id_number),
            "return_url": str(asked.return_url),
            "expires": now + SESSION_SECONDS,
            "status": "pending",
        }
        self._records.put("face_session", session_id, session)
        return web.json_response(
            {
                "session_id": session_id,
                "redirect_url": f"{self._public_url}/face/{session_id}",
                "expires_at": utc_time(session["expires"]),
            },
            status=201,
        )

    async def _result(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is None:
            return web.json_response({"code": "unknown_session", "message": "no such session"}, status=404)
        return web.json_response(self._answer(session))

    def _session(self, request: web.Request) -> Document | None:
        return self._records.get("face_session", request.match_info["id"])

    def _answer(self, session: Document) -> Document:
        expired = session["expires"] <= self._clock()
        decided = session["status"] != "pending"
        return {
            "session_id": session["id"],
            "status": "expired" if expired else session["status"],
            "reason": session.get("reason"),
            "score_band": session["score"] if session["status"] == "passed" else None,
            "provider_ref": session.get("provider_ref"),
            "completed_at": utc_time(session["completed"]) if decided else None,
            "valid_until": utc_time(session["expires"]),
        }

    def _decide(self, session: Document, outcome: Result) -> str:
        """Settles an open session; a settled or expired one stays as it is. Returns where to go back."""
        now = self._clock()
        if session["status"] == "pending" and session["expires"] > now:
            status, reason = outcome, None
            if outcome == "cancelled":
                status, reason = "failed", "cancelled"
            elif outcome == "failed":
                reason = "not_the_same_person"
            elif not session["known"]:
                # A live face proves nothing against a name and number the register does not know.
                status, reason = "failed", "identity_unknown"
            session |= {
                "status": status,
                "reason": reason,
                "provider_ref": _reference(),
                "completed": now,
                "expires": now + self._settings.face_result_seconds,
            }
            self._records.put("face_session", session["id"], session)
        return _with_session(session["return_url"], session["id"])

    async def _page(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is None:
            return page_not_found("没有这次核验。", f"{self._prefix}/sandbox.css")
        css = f"{self._prefix}/sandbox.css"
        if session["status"] != "pending" or session["expires"] <= self._clock():
            back = _with_session(session["return_url"], session["id"])
            return page("message", title="核验已结束", message="请返回继续。", css=css, back=back)
        return page(
            "face",
            headers=CAMERA,
            css=css,
            script=f"{self._prefix}/face.js",
            action=f"{self._prefix}/face/{session['id']}",
        )

    async def _form(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is None:
            return page_not_found("没有这次核验。", f"{self._prefix}/sandbox.css")
        outcome = (await request.post()).get("outcome")
        if outcome not in ("passed", "failed", "cancelled"):
            raise web.HTTPBadRequest
        raise web.HTTPSeeOther(self._decide(session, cast("Result", outcome)))

    async def _decide_json(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is None:
            return web.json_response({"code": "unknown_session", "message": "no such session"}, status=404)
        outcome = await _parsed(request, Outcome)
        return web.json_response({"redirect_to": self._decide(session, outcome.outcome)})


def _reference() -> str:
    return "FP" + secrets.token_hex(12)


def _score_band(id_number: str) -> str:
    """Steady for a person: most are `high`, about one in eight `medium`."""
    return "medium" if hashlib.sha256(id_number.upper().encode()).digest()[0] < 32 else "high"


def _with_session(return_url: str, session_id: str) -> str:
    parts = urlsplit(return_url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("face_session", session_id)]
    return urlunsplit(parts._replace(query=urlencode(query)))


async def _parsed(request: web.Request, model: type[_Model]) -> _Model:
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        fields = sorted({"/".join(str(part) for part in e["loc"]) for e in error.errors(include_input=False)})
        answer = {"code": "malformed", "message": f"wrong or missing: {', '.join(fields)}"}
        raise web.HTTPBadRequest(text=json.dumps(answer), content_type="application/json") from error
