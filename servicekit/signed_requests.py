"""Requests signed with a shared key, as our own protocols with outside parties want them.

The protocol is described in deploy/sandbox/README.md: HMAC-SHA256 over method, path, time, nonce and the hash of the
body.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime


def signed_headers(client_id: str, key: bytes, method: str, path_qs: str, body: bytes, now: datetime) -> dict[str, str]:
    """Headers of one request with a JSON body (empty for none). ``path_qs`` is the path with its query, as sent."""
    timestamp, nonce = str(int(now.timestamp())), secrets.token_hex(16)
    text = f"{method}\n{path_qs}\n{timestamp}\n{nonce}\n{hashlib.sha256(body).hexdigest()}\n"
    return {
        "Content-Type": "application/json",
        "X-Client-Id": client_id,
        "X-Timestamp": timestamp,
        "X-Nonce": nonce,
        "X-Signature": hmac.digest(key, text.encode(), "sha256").hex(),
    }
