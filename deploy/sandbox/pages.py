"""The stand-ins' HTML pages: one style sheet of their own, no script but the camera's, phone first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_FOLDER = Path(__file__).with_name("templates")
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(), microphone=()",
}
CAMERA = {
    # The stream needs no source of its own; a picture taken is shown from the page's memory. As nothing may be
    # connected to, the page could not send a picture anywhere even if its script tried.
    "Content-Security-Policy": f"{_POLICY}; script-src 'self'; img-src blob:",
    "Permissions-Policy": "camera=(self), microphone=()",
}
"""Headers of the one page with a script and a camera."""
_LINK = re.compile(r"https?://[^\s<>\"'，。；、）)】]+")


def yuan(fen: int) -> str:
    """Integer fen as yuan: 123456 → 1,234.56."""
    return f"{fen // 100:,}.{fen % 100:02d}"


def masked_name(name: str) -> str:
    return name[:1] + "*" * max(len(name) - 1, 1)


def linked(text: str) -> Markup:
    """Text with its web addresses made clickable, everything escaped."""
    parts: list[Markup] = []
    end = 0
    for match in _LINK.finditer(text):
        parts += [escape(text[end : match.start()]), Markup('<a href="{0}">{0}</a>').format(match.group())]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


_environment = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_environment.filters |= {"yuan": yuan, "masked_name": masked_name, "linked": linked}


def page(template: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> web.Response:
    """Renders `templates/<template>.html`; `headers` stand in for or beside the usual ones."""
    text = _environment.get_template(f"{template}.html").render(**values)
    return web.Response(text=text, status=status, content_type="text/html", headers={**_HEADERS, **(headers or {})})


def page_not_found(message: str, css: str) -> web.Response:
    return page("message", 404, title="没有找到", message=message, css=css, back=None)


async def style_sheet(_request: web.Request) -> web.Response:
    return _file("sandbox.css", "text/css")


async def camera_script(_request: web.Request) -> web.Response:
    return _file("face.js", "text/javascript")


def _file(name: str, media: str) -> web.Response:
    text = (_FOLDER / name).read_text(encoding="utf-8")
    return web.Response(text=text, content_type=media, headers={"Cache-Control": "max-age=300"})
