"""One-time certificates for persons (事件证书), and their status. Our own protocol (README.md).

The platform, as the authority's registration office, says whom it has identified and for which act; the request
proves possession of the key. Each certificate is good for minutes and for that one act: its subject carries the
act's hash as serial number. The authority keeps no name, only serial number, act and status.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.sandbox.authority import ARCHITECTURE, certificate, private_key
from deploy.sandbox.ocsp import Status, responder
from deploy.sandbox.records import Document, Records
from deploy.sandbox.settings import SandboxSettings
from deploy.sandbox.signed_requests import SignatureCheck

VALID_MINUTES = 15
_CLOCKS_DIFFER = timedelta(minutes=1)
_PEM = serialization.Encoding.PEM


class Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    act: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    evidence: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    csr: str = Field(min_length=1, max_length=4096)


class EventCertificates:
    """Issues and answers for their status. Certificates are dated by the machine's clock, as timestamps are."""

    def __init__(
        self,
        settings: SandboxSettings,
        records: Records,
        key: bytes,
        public_url: str,
        root: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._public_url = public_url
        self._root = root
        self._signed = SignatureCheck(settings.client_id, key, clock)
        self._issuer = certificate(root, "person")
        self._chain = (self._issuer, certificate(root, "root"))
        self._issuer_key = private_key(root, "person")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/event-certificates", self._signed(self._issue)),
            responder(self._root, "person", "person-ocsp", self._status),
            web.post("/sandbox/event-certificates/{serial}/revoke", self._revoke),
            web.get("/sandbox/event-certificates", self._list),
        ]

    async def _issue(self, request: web.Request) -> web.Response:
        try:
            asked = Request.model_validate_json(await request.read())
            csr = x509.load_pem_x509_csr(asked.csr.encode())
        except (ValidationError, ValueError):
            return _refused(400, "malformed", "wrong or missing field")
        key = csr.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            return _refused(422, "wrong_key", "not a P-256 key")
        if not csr.is_signature_valid:
            return _refused(422, "no_possession", "the request is not signed with its key")
        subject = _subject(asked.name, asked.act)
        # Not order and encoding: they are the authority's to choose.
        if _said(csr.subject) != _said(subject):
            return _refused(422, "wrong_subject", "the request names somebody or something else")
        if self._records.find("event-certificate", _fingerprint(key)):
            return _refused(409, "key_used", "a key serves one act")
        now = datetime.now(UTC).replace(microsecond=0)
        serial = secrets.randbits(120) | 1 << 120
        issued = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._issuer.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(now - _CLOCKS_DIFFER)
            .not_valid_after(now + timedelta(minutes=VALID_MINUTES))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(self._authority_key(), critical=False)
            .add_extension(self._where(), critical=False)
            .sign(self._issuer_key, hashes.SHA256())
        )
        self._keep({"serial": f"{serial:x}", "act": asked.act, "key": _fingerprint(key), "revoked_at": None})
        chain = "".join(c.public_bytes(_PEM).decode() for c in (issued, *self._chain))
        return web.json_response({"certificates": chain}, status=201)

    def _status(self, serial: int) -> Status | None:
        record = self._records.get("event-certificate", f"{serial:x}")
        if record is None:
            return None
        revoked = record["revoked_at"]
        return Status(None if revoked is None else datetime.fromisoformat(revoked))

    async def _revoke(self, request: web.Request) -> web.Response:
        serial = request.match_info["serial"]
        record = self._records.get("event-certificate", serial)
        if record is None:
            return _refused(404, "unknown", "no such certificate")
        self._keep(record | {"revoked_at": datetime.now(UTC).isoformat()})
        return web.json_response({})

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"certificates": self._records.find("event-certificate")})

    def _keep(self, record: Document) -> None:
        self._records.put("event-certificate", record["serial"], record, record["key"])

    def _authority_key(self) -> x509.AuthorityKeyIdentifier:
        identifier = self._issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)

    def _where(self) -> x509.AuthorityInformationAccess:
        status = x509.UniformResourceIdentifier(f"{self._public_url}/{ARCHITECTURE}/ocsp/person")
        return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, status)])


_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _subject(name: str, act: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, act),
        ]
    )


def _said(subject: x509.Name) -> list[tuple[str, str | bytes]]:
    return sorted((attribute.oid.dotted_string, attribute.value) for attribute in subject)


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()


def _refused(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status)
