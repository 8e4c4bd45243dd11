"""Opens what the vault sealed, by the description of its format alone: AES-256-GCM under the journey's key, which is
wrapped by a master key; the commitment is SHA-256(16 random bytes ‖ value).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"TB1"
RANDOM_BYTES = 16
NONCE_BYTES = 12


class Vault:
    def __init__(self, keys: Path, master_key_file: Path, blobs: Path) -> None:
        self._keys = keys
        self._masters = [bytes.fromhex(line) for line in master_key_file.read_text("ascii").split()]
        self._blobs = blobs
        self._known: dict[str, bytes | None] = {}

    def open(self, journey_id: str, commitment: str, blob: str) -> bytes | None:
        """The value; none unless everything is there, opens and is what was committed to."""
        path = self._blobs / blob[:2] / blob[2:4] / blob
        key = self._key(journey_id)
        if key is None or not path.is_file():
            return None
        sealed = path.read_bytes()
        if hashlib.sha256(sealed).hexdigest() != blob or not sealed.startswith(MAGIC):
            return None
        start = len(MAGIC) + 1 + sealed[len(MAGIC)]
        nonce, body = sealed[start : start + NONCE_BYTES], sealed[start + NONCE_BYTES :]
        try:
            plain = AESGCM(key).decrypt(nonce, body, journey_id.encode())
        except InvalidTag:
            return None
        return plain[RANDOM_BYTES:] if hashlib.sha256(plain).hexdigest() == commitment else None

    def _key(self, journey_id: str) -> bytes | None:
        if journey_id not in self._known:
            self._known[journey_id] = self._unwrapped(journey_id)
        return self._known[journey_id]

    def _unwrapped(self, journey_id: str) -> bytes | None:
        path = self._keys / journey_id[-2:] / f"{journey_id}.key"
        if not path.is_file():
            return None
        _, _, nonce, wrapped = path.read_text("ascii").split()
        for master in self._masters:
            try:
                return AESGCM(master).decrypt(
                    bytes.fromhex(nonce), bytes.fromhex(wrapped), b"toubao key\0" + journey_id.encode()
                )
            except InvalidTag:
                continue
        return None
