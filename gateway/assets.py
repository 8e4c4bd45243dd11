"""The built pages: what ``make web`` made of ``gateway/web`` and committed under ``gateway/built``.

Names of assets hold the hash of their content, so they may be kept for ever; the pages themselves are asked for anew
each time. Read once, when the process starts.
"""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from contracts.problems import Refuse
from gateway.edge import edge_of

BUILT: Final = Path(__file__).with_name("built")
LOOKING: Final = ["GET", "HEAD"]
"""Link previews ask with HEAD."""
PAGES: Final[Mapping[str, str]] = {"/j": "customer.html", "/sales": "sales.html", "/staff": "staff.html"}
FOR_EVER: Final = "public, max-age=31536000, immutable"
_MEDIA: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class Built:
    """One file as it is sent."""

    plain: bytes
    packed: bytes | None
    """gzip; none where it saves nothing."""
    media: str
    tag: str

    @classmethod
    def of(cls, plain: bytes, suffix: str) -> Built:
        packed = gzip.compress(plain, 9, mtime=0) if suffix != ".woff2" else None
        return cls(plain, packed, _MEDIA[suffix], f'"{hashlib.sha256(plain).hexdigest()[:32]}"')

    def answer(self, request: Request, cache: str) -> Response:
        headers = {"ETag": self.tag, "Cache-Control": cache, "Vary": "Accept-Encoding"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        accepted = {part.partition(";")[0].strip() for part in request.headers.get("accept-encoding", "").split(",")}
        if self.packed is not None and "gzip" in accepted:
            return Response(self.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=self.media)
        return Response(self.plain, headers=headers, media_type=self.media)


def read_built(folder: Path = BUILT) -> dict[str, Built]:
    """Every file below ``folder`` by its path. Raises ``FileNotFoundError`` where a page was not built."""
    found: dict[str, Built] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _MEDIA:
            found[path.relative_to(folder).as_posix()] = Built.of(path.read_bytes(), path.suffix)
    for page in PAGES.values():
        if page not in found:
            raise FileNotFoundError(f"gateway/built/{page} is missing: make web")
    return found


def router() -> APIRouter:
    """Pages and their parts, outside the API's description. Asking for one changes nothing."""
    routes = APIRouter(include_in_schema=False)
    built = read_built()
    filled: dict[str, Built] = {}

    @routes.api_route("/", methods=LOOKING)
    async def home() -> Response:
        return RedirectResponse("/j", 307)

    async def page(request: Request) -> Response:
        path = request.scope["path"]
        if path not in filled:
            # Where no script runs, the page still says whom to call (I27).
            settings = edge_of(request).settings
            text = built[PAGES[path]].plain.decode()
            for key, value in (("hotline", settings.gateway_hotline), ("hours", settings.gateway_hotline_hours)):
                text = text.replace("{{" + key + "}}", html.escape(value))
            filled[path] = Built.of(text.encode(), ".html")
        return filled[path].answer(request, "no-cache")

    for path in PAGES:
        routes.add_api_route(path, page, methods=LOOKING)

    @routes.api_route("/assets/{name}", methods=LOOKING)
    async def asset(request: Request, name: str) -> Response:
        file = built.get(f"assets/{name}")
        if file is None:
            raise Refuse("not_found")
        return file.answer(request, FOR_EVER)

    return routes
