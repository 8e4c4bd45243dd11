"""The stand-ins' HTML pages: no script, one style sheet of their own, phone first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_FOLDER = Path(__file__).with_name("templates")
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": ("default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"),
}
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


def page(template: str, status: int = 200, **values: Any) -> web.Response:
    """Renders `templates/<template>.html`."""
    text = _environment.get_template(f"{template}.html").render(**values)
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)


def page_not_found(message: str, css: str) -> web.Response:
    return page("message", 404, title="没有找到", message=message, css=css, back=None)


async def style_sheet(_request: web.Request) -> web.Response:
    css = (_FOLDER / "sandbox.css").read_text(encoding="utf-8")
    return web.Response(text=css, content_type="text/css", headers={"Cache-Control": "max-age=300"})
