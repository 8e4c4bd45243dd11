"""What anybody may ask: help, a nonce, the check of a policy, a download by its one-time address, plain pages."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from contracts.commands.identity import IssueNonce, Nonce
from contracts.commands.issuance import Verification, VerifyPolicy
from contracts.problems import KINDS, Refuse
from contracts.values import Contract, Sha256
from gateway.assets import LOOKING
from gateway.downloads import disposition
from gateway.edge import edge_of, json_answer, json_of
from gateway.journey import downloads_of
from gateway.openapi import body_of, problems
from servicekit.bodies import read_body
from servicekit.documents.paper import paper_time
from servicekit.vault import Unopenable

PAGES: Final = Path(__file__).with_name("pages")
STATIC: Final[Mapping[str, str]] = {
    "plain.css": "text/css; charset=utf-8",
    "verify.js": "text/javascript; charset=utf-8",
}
_OUTCOMES: Final = {
    "authentic": ("这是我公司签发的保单。", "authentic"),
    "altered": ("保单号真实，但这个文件不是我公司签发的那一份。", "altered"),
    "unknown": ("没有查到这张保单，请核对保单号和验真码。", "unknown"),
}


class Help(Contract):
    """A human, from every page and without any credentials (I27)."""

    hotline: str
    hours: str


class PolicyCheck(Contract):
    """By number and code, or by the SHA-256 of a file (or both, to compare)."""

    policy_no: str | None = None
    code: str | None = None
    file_sha256: Sha256 | None = None


class ProblemPage(Contract):
    code: str
    status: int
    title: str
    detail: str


def router() -> APIRouter:
    routes = APIRouter(tags=["public"])

    @routes.get(
        "/v1/help",
        operation_id="read_help",
        summary="How to reach a human (I27).",
        response_model=Help,
        responses=problems(),
    )
    async def read_help(request: Request) -> Response:
        settings = edge_of(request).settings
        return json_answer(Help(hotline=settings.gateway_hotline, hours=settings.gateway_hotline_hours))

    @routes.post(
        "/v1/nonce",
        operation_id="issue_nonce",
        summary="A server nonce for a first proof (RFC 9449 §8); later ones come with every answer.",
        response_model=Nonce,
        responses=problems(),
    )
    async def issue_nonce(request: Request) -> Response:
        nonce, _ = await edge_of(request).ask(IssueNonce(), Nonce)
        answer = json_answer(nonce)
        answer.headers["DPoP-Nonce"] = nonce.nonce
        return answer

    @routes.post(
        "/v1/verify",
        operation_id="verify_policy",
        summary="Is this policy real? By number and code, or by the hash of the file (I23).",
        response_model=Verification,
        responses=problems("malformed", "invalid_fields", "unsupported_media_type"),
        openapi_extra={"requestBody": body_of(PolicyCheck)},
    )
    async def verify_policy(request: Request) -> Response:
        edge = edge_of(request)
        form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        from_page = form == "application/x-www-form-urlencoded"
        asked = await _form(request) if from_page else await json_of(request, PolicyCheck)
        if asked.file_sha256 is None and not (asked.policy_no and asked.code):
            raise Refuse("invalid_fields")
        check = read_body(VerifyPolicy, asked.model_dump_json().encode())
        found, _ = await edge.ask(check, Verification)
        if not from_page:
            return json_answer(found)
        sentence, style = _OUTCOMES[found.outcome]
        rows = [("保单号", found.policy_no)]
        for label, moment in (
            ("签发时间", found.issued_at),
            ("起保时间", found.period_from),
            ("终保时间", found.period_to),
        ):
            rows.append((label, paper_time(moment) if moment else None))
        details = "".join(f"<dt>{label}</dt><dd>{html.escape(text)}</dd>" for label, text in rows if text)
        return page("result.html", sentence=sentence, style=style, details=f"<dl>{details}</dl>" if details else "")

    @routes.get(
        "/v1/downloads/{token}",
        operation_id="download",
        summary="The file behind a one-time address.",
        response_class=Response,
        responses={
            200: {
                "description": "The file; the address is used up.",
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            },
            **problems("not_found", "download_expired"),
        },
    )
    async def download(request: Request, token: str) -> Response:
        try:
            offered, data = await downloads_of(request).take(token)
        except Unopenable:
            raise Refuse("not_found") from None
        answer = Response(data, media_type=offered.media_type)
        answer.headers["Content-Disposition"] = disposition(offered.file_name)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @routes.get(
        "/problems/{code}",
        operation_id="explain_problem",
        summary="What a problem's code means, as a page or as JSON.",
        response_model=ProblemPage,
        responses=problems("not_found"),
    )
    async def explain(request: Request, code: str) -> Response:
        kind = KINDS.get(code)
        if kind is None:
            raise Refuse("not_found")
        if "text/html" in request.headers.get("accept", ""):
            return page("problem.html", title=kind.title, detail=kind.next_step, code=code)
        return json_answer(ProblemPage(code=code, status=kind.status, title=kind.title, detail=kind.next_step))

    return routes


def pages() -> APIRouter:
    """Plain pages, outside the API's description. Asking for one changes nothing."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/verify", methods=LOOKING)
    async def verify(request: Request) -> Response:
        settings = edge_of(request).settings
        return page("verify.html", hotline=settings.gateway_hotline, hours=settings.gateway_hotline_hours)

    @routes.api_route("/static/{name}", methods=LOOKING)
    async def static(name: str) -> Response:
        media = STATIC.get(name)
        if media is None:
            raise Refuse("not_found")
        answer = Response((PAGES / name).read_bytes(), media_type=media)
        answer.headers["Cache-Control"] = "public, max-age=3600"
        return answer

    return routes


def page(name: str, **values: str) -> HTMLResponse:
    """A page with its place-holders filled. ``details`` is markup made here; all else is escaped."""
    text = (PAGES / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", value if key == "details" else html.escape(value))
    return HTMLResponse(text)


async def _form(request: Request) -> PolicyCheck:
    try:
        body = (await request.body()).decode("ascii")
        fields: dict[str, Any] = dict(parse_qsl(body, strict_parsing=True, max_num_fields=8, encoding="utf-8"))
    except (UnicodeDecodeError, ValueError):
        raise Refuse("malformed") from None
    return read_body(PolicyCheck, json.dumps({key: value.strip() for key, value in fields.items()}).encode())
