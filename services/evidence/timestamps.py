"""Timestamps from the first authority that answers with a token worth having (RFC 3161, I33)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from aiohttp import ClientSession
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from servicekit.documents.timestamp import TimestampInvalid, TimestampUnavailable, authority, check, stamp
from servicekit.telemetry.metrics import Watched, unwatched

log = logging.getLogger(__name__)


class Authorities:
    """Several authorities, asked in order; a token counts only if its signer leads to one of the roots."""

    def __init__(
        self,
        urls: Sequence[str],
        roots: Sequence[bytes],
        session: ClientSession,
        timeout_s: int,
        watched: Watched = unwatched,
    ) -> None:
        self._roots = roots
        self._stampers = [(url, authority(url, session, timeout_s=timeout_s, watched=watched)) for url in urls]

    async def token_over(self, digest: bytes) -> bytes:
        """A DER token over a SHA-256 digest: status, nonce, imprint, signature and signer checked.

        Raises ``TimestampUnavailable`` when no authority gives one.
        """
        for url, stamper in self._stampers:
            try:
                token = await stamp(stamper, digest)
                if (await check(token, digest, roots=self._roots)).trusted:
                    return token
                log.error("the timestamp authority is not one we trust", extra={"url": url})
            except (TimestampUnavailable, TimestampInvalid) as error:
                log.warning("no timestamp", extra={"url": url, "error": type(error).__name__})
        raise TimestampUnavailable("no authority answered")


def roots_in(file: Path) -> list[bytes]:
    """The certificates of a PEM file, DER. Raises ``ValueError`` when it holds none, ``OSError``."""
    return [c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(file.read_bytes())]
