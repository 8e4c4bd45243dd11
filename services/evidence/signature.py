"""Evidence's own signature: a detached compact JWS (RFC 7515 appendix F), ES256, in one spelling only.

The same bytes signed twice give the same signature (RFC 6979), with the lower of the two possible ``s``: a
signature that verifies can then not be respelt, and a pack exported twice is the same file.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from contracts.values import canonical_json, sha256_hex

ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the P-256 group (FIPS 186-5)."""


class EvidenceKey:
    """The P-256 key with its certificate chain, the signer's first. ``kid`` is the SHA-256 of the chain's PEM text:
    whoever holds a signature knows which file says who made it, also after the key has changed.
    """

    def __init__(self, key: EllipticCurvePrivateKey, chain: bytes) -> None:
        signer = x509.load_pem_x509_certificates(chain)[0].public_key()
        if not isinstance(key.curve, SECP256R1):
            raise ValueError("the evidence key is not a P-256 key")  # noqa: TRY004 - a wrong file, not a wrong call
        if not isinstance(signer, EllipticCurvePublicKey) or signer != key.public_key():
            raise ValueError("the evidence key does not belong to its certificate")
        self._key = key
        self.chain = chain
        self.kid = sha256_hex(chain)

    @classmethod
    def load(cls, key_file: Path, chain_file: Path) -> EvidenceKey:
        """From PEM files. Raises ``ValueError`` where key and certificate do not go together, ``OSError``."""
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ValueError("the evidence key is not a P-256 key")  # noqa: TRY004 - a wrong file, not a wrong call
        return cls(key, chain_file.read_bytes())

    def sign(self, payload: bytes) -> str:
        """``header..signature`` over ``payload``, which is kept elsewhere."""
        header = _b64(canonical_json({"alg": "ES256", "kid": self.kid}))
        signed = f"{header}.{_b64(payload)}".encode()
        r, s = decode_dss_signature(self._key.sign(signed, ECDSA(hashes.SHA256(), deterministic_signing=True)))
        s = min(s, ORDER - s)
        return f"{header}..{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
