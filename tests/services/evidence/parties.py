"""The outside parties evidence rests on: a certificate authority and a timestamp authority, both on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.sandbox import authority


@dataclass
class Parties:
    """``root`` holds keys, certs and trust as set-up leaves them."""

    root: Path
    app: web.Application | None = None
    asked: int = 0

    @property
    def trust(self) -> Path:
        return self.root / "trust"

    def settings(self, *urls: str) -> dict[str, Any]:
        return {
            "evidence_key_file": self.root / "keys" / "evidence.key.pem",
            "evidence_certificate_file": self.root / "certs" / "evidence.chain.pem",
            "evidence_tsa_roots_file": self.trust / "tsa-root.pem",
            "evidence_tsa_urls": urls,
        }


def make_parties(root: Path) -> Parties:
    authority.make_authority(root, "http://127.0.0.1:9104", datetime.now(UTC))
    return Parties(root)


@asynccontextmanager
async def stamping(parties: Parties) -> AsyncIterator[str]:
    """A running timestamp authority; gives its address."""
    app = authority.build_app(parties.root)

    @web.middleware
    async def counted(request: web.Request, handler: object) -> web.StreamResponse:
        parties.asked += 1
        return await handler(request)  # type: ignore[operator]

    app.middlewares.append(counted)
    async with TestServer(app) as server:
        yield authority.timestamp_url(str(server.make_url("")).rstrip("/"))
