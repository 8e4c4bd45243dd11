"""The customer's phone as far as keys go: a P-256 key that never leaves it, and proofs made with it (RFC 9449)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


class Device:
    """One device key. Written apart from the code that checks proofs."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwk(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": _b64(numbers.x.to_bytes(32, "big")),
            "y": _b64(numbers.y.to_bytes(32, "big")),
        }

    @property
    def thumbprint(self) -> str:
        """RFC 7638: members in lexicographic order."""
        return _b64(hashlib.sha256(json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()).digest())

    def proof(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        *,
        nonce: str = "none",
        token: str | None = None,
        **claims: Any,
    ) -> str:
        """A compact JWS over method, address, body hash and server nonce; ``claims`` overrides any claim."""
        payload: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
            "nonce": nonce,
            "bh": _b64(hashlib.sha256(body).digest()),
        }
        if token is not None:
            payload["ath"] = _b64(hashlib.sha256(token.encode()).digest())
        payload.update(claims)
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk}
        return self.sign(header, payload)

    def sign(self, header: dict[str, Any], payload: dict[str, Any]) -> str:
        """ES256 (RFC 7518 §3.4) over any header and payload."""
        signing_input = ".".join(_b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
        r, s = decode_dss_signature(self._key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signing_input}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
