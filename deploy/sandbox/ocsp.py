"""Answers whether certificates are in force (RFC 6960).

Ours rather than certomancer's: its times carry fractions of a second, which RFC 5280 §4.1.2.5.2 forbids and strict
readers refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp

from deploy.sandbox.authority import ARCHITECTURE, certificate, private_key

GOOD_FOR = timedelta(minutes=10)


@dataclass(frozen=True)
class Status:
    """Of a certificate the authority issued."""

    revoked_at: datetime | None = None


def responder(root: Path, issuer: str, signer: str, known: Callable[[int], Status | None]) -> web.RouteDef:
    """Answers for what ``issuer`` issued; of a serial number ``known`` does not know it is not entitled to speak."""
    above, own, key = certificate(root, issuer), certificate(root, signer), private_key(root, signer)

    async def answer(request: web.Request) -> web.Response:
        try:
            asked = ocsp.load_der_ocsp_request(await request.read())
        except ValueError:
            raise web.HTTPBadRequest(text="malformed request") from None
        status = known(asked.serial_number)
        if status is None or asked.issuer_key_hash != _key_hash(above, asked.hash_algorithm):
            return _response(ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED))
        now = datetime.now(UTC).replace(microsecond=0)
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=asked.issuer_name_hash,
                issuer_key_hash=asked.issuer_key_hash,
                serial_number=asked.serial_number,
                algorithm=asked.hash_algorithm,
                cert_status=ocsp.OCSPCertStatus.GOOD if status.revoked_at is None else ocsp.OCSPCertStatus.REVOKED,
                this_update=now,
                next_update=now + GOOD_FOR,
                revocation_time=status.revoked_at,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, own)
            .certificates([own])
        )
        for extension in asked.extensions:
            if isinstance(extension.value, x509.OCSPNonce):
                builder = builder.add_extension(extension.value, critical=False)
        return _response(builder.sign(key, hashes.SHA256()))

    return web.post(f"/{ARCHITECTURE}/ocsp/{issuer}", answer)


def of_files(root: Path, labels: tuple[str, ...]) -> Callable[[int], Status | None]:
    """Certificates made at set-up: in force."""
    serials = {certificate(root, label).serial_number for label in labels}
    return lambda serial: Status() if serial in serials else None


def _response(answer: ocsp.OCSPResponse) -> web.Response:
    return web.Response(body=answer.public_bytes(serialization.Encoding.DER), content_type="application/ocsp-response")


def _key_hash(issuer: x509.Certificate, algorithm: hashes.HashAlgorithm) -> bytes:
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    digest = hashes.Hash(algorithm)
    digest.update(key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint))
    return digest.finalize()
