"""One-time downloads: an address that works once, within a minute (DESIGN §5).

What is kept names a sealed file; the token in the address is kept as its hash only.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from contracts.problems import Refuse
from contracts.values import Committed, Contract, Instant, JourneyId
from gateway.edge import Edge
from servicekit.store import Document, VersionConflict

LIFE: Final = timedelta(seconds=60)
KEPT: Final = timedelta(hours=1)
"""How long a used or expired address is remembered, to say so rather than 404."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Download(Contract):
    journey_id: JourneyId
    file: Committed
    media_type: str
    file_name: str
    """As the customer sees it; may hold Chinese."""
    expires_at: Instant
    used: bool = False


class DownloadLink(Contract):
    url: str
    """Works once."""
    expires_at: Instant
    file_name: str


class Downloads:
    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._collection = edge.ground.store.collection("downloads")

    async def offer(self, journey_id: str, file: Committed, *, media_type: str, file_name: str) -> DownloadLink:
        """A fresh address for a sealed file of the journey."""
        now = self._edge.ground.now()
        token = secrets.token_urlsafe(32)
        download = Download(
            journey_id=journey_id,
            file=Committed(commitment=file.commitment, blob=file.blob),
            media_type=media_type,
            file_name=file_name,
            expires_at=now + LIFE,
        )
        await self._collection.save(
            Document(_place(token), state=download.model_dump(mode="json"), due=download.expires_at + KEPT)
        )
        await self._forget(now)
        url = f"{self._edge.settings.gateway_public_url}/v1/downloads/{token}"
        return DownloadLink(url=url, expires_at=download.expires_at, file_name=file_name)

    async def take(self, token: str) -> tuple[Download, bytes]:
        """The file, once. Raises ``Refuse``: ``not_found`` or ``download_expired``."""
        document = await self._collection.get(_place(token)) if _TOKEN.fullmatch(token) else None
        if document is None:
            raise Refuse("not_found")
        download = Download.model_validate(document.state)
        if download.used or download.expires_at <= self._edge.ground.now():
            raise Refuse("download_expired")
        document.state = download.model_copy(update={"used": True}).model_dump(mode="json")
        try:
            # Two at once: the version lets one through.
            await self._collection.save(document)
        except VersionConflict:
            raise Refuse("download_expired") from None
        return download, await self._edge.ground.vault.open(download.journey_id, download.file)

    async def _forget(self, now: datetime) -> None:
        for document in await self._collection.find(up_to=("due", now), order="due", limit=20):
            await self._collection.delete(document.id)


def _place(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def disposition(file_name: str) -> str:
    """RFC 6266: a name in ASCII for old browsers and the real one in UTF-8."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", file_name.encode("ascii", "ignore").decode()).strip("-_.") or "download"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
