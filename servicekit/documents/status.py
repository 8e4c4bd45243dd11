"""Whether certificates were in force: OCSP answers (RFC 6960) and revocation lists (RFC 5280), to be kept in a PDF.

What is embedded (PAdES B-LT) lets a file be judged when the authorities are long gone. An answer is checked before it
is kept, and asked for again only when it says itself that a newer one is due: a chain known costs no call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from servicekit.telemetry.metrics import Watched, unwatched

FRESH: Final = timedelta(minutes=2)
"""An answer is used only while it is good for this much longer, so that it is in force when the signature is."""
SKEW: Final = timedelta(minutes=5)
LARGEST: Final = 4 * 1024 * 1024
REMEMBERED: Final = 200
"""Answers kept; one-time certificates are asked for once and pushed out by later ones."""


class StatusUnavailable(Exception):
    """An authority did not say whether a certificate is in force. Transient."""


class Revoked(Exception):
    """A certificate is not in force. Permanent."""


@dataclass(frozen=True)
class Proofs:
    """What shows that certificates were in force, DER. Without repetition, in a fixed order."""

    certificates: tuple[bytes, ...] = ()
    ocsps: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()

    def and_also(self, other: Proofs) -> Proofs:
        return Proofs(
            tuple(dict.fromkeys(self.certificates + other.certificates)),
            tuple(dict.fromkeys(self.ocsps + other.ocsps)),
            tuple(dict.fromkeys(self.crls + other.crls)),
        )


@dataclass(frozen=True)
class _Answer:
    ocsp: bytes | None
    crl: bytes | None
    begins: datetime
    until: datetime


class CertificateStatus:
    """Asks the authorities that certificates name, through the service's own HTTP session."""

    def __init__(
        self, session: aiohttp.ClientSession, now: Callable[[], datetime], *, watched: Watched = unwatched
    ) -> None:
        self._http = session
        self._now = now
        self._watched = watched
        self._known: dict[tuple[bytes, int], _Answer] = {}

    async def of(self, chain: Sequence[x509.Certificate]) -> Proofs:
        """For a chain, leaf first, up to but without its root (whom one trusts or not).

        Raises StatusUnavailable, Revoked, ValueError where a certificate names nobody to ask.
        """
        pairs = [(c, by) for c, by in pairwise(chain) if c.issuer != c.subject]
        answers = await asyncio.gather(*(self._one(c, by) for c, by in pairs))
        return Proofs(
            tuple(c.public_bytes(Encoding.DER) for c in chain),
            tuple(a.ocsp for a in answers if a.ocsp is not None),
            tuple(a.crl for a in answers if a.crl is not None),
        )

    async def _one(self, certificate: x509.Certificate, issuer: x509.Certificate) -> _Answer:
        name = (certificate.issuer.public_bytes(), certificate.serial_number)
        known = self._known.get(name)
        now = self._now()
        if known is not None and known.begins - SKEW <= now < known.until - FRESH:
            return known
        with self._watched(Revoked):
            try:
                where = _ocsp_address(certificate)
                if where is not None:
                    fresh = await self._ocsp(where, certificate, issuer)
                else:
                    fresh = await self._crl(_crl_address(certificate), certificate, issuer)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise StatusUnavailable(type(error).__name__) from None
        if len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[name] = fresh
        return fresh

    async def _ocsp(self, where: str, certificate: x509.Certificate, issuer: x509.Certificate) -> _Answer:
        # SHA-1 names the issuer here and protects nothing; every responder knows it.
        request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1()).build()  # noqa: S303
        headers = {"Content-Type": "application/ocsp-request"}
        async with self._http.post(where, data=request.public_bytes(Encoding.DER), headers=headers) as response:
            body = await self._body(response)
        try:
            answer = ocsp.load_der_ocsp_response(body)
            good = (
                answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
                and answer.serial_number == certificate.serial_number
                and answer.next_update_utc is not None
                and _signed_for(answer, issuer)
            )
        except (ValueError, InvalidSignature, x509.ExtensionNotFound):
            good = False
            answer = None
        if not good or answer is None or answer.next_update_utc is None:
            raise StatusUnavailable("no usable answer")
        if answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            raise Revoked
        if answer.certificate_status is not ocsp.OCSPCertStatus.GOOD:
            raise StatusUnavailable("the authority does not know the certificate")
        return _Answer(body, None, answer.this_update_utc, answer.next_update_utc)

    async def _crl(self, where: str, certificate: x509.Certificate, issuer: x509.Certificate) -> _Answer:
        async with self._http.get(where) as response:
            body = await self._body(response)
        try:
            revoked = x509.load_der_x509_crl(body)
            good = revoked.issuer == issuer.subject and revoked.is_signature_valid(_key_of(issuer))
        except (ValueError, TypeError):
            raise StatusUnavailable("no usable list") from None
        if not good or revoked.next_update_utc is None:
            raise StatusUnavailable("no usable list")
        if revoked.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise Revoked
        return _Answer(None, body, revoked.last_update_utc, revoked.next_update_utc)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise StatusUnavailable(str(response.status))
        body = b""
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > LARGEST:
                raise StatusUnavailable("the answer is too large")
        return body


def _signed_for(answer: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    """By the issuer, or by whom it has appointed for this (RFC 6960 §4.2.2.2)."""
    signer = next((c for c in answer.certificates if _appointed(c, issuer)), issuer)
    key, algorithm = signer.public_key(), answer.signature_hash_algorithm
    if algorithm is None:
        return False
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), algorithm)
    else:
        return False
    return True


def _appointed(candidate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        candidate.verify_directly_issued_by(issuer)
        purposes = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in purposes


def _key_of(issuer: x509.Certificate) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise TypeError("an issuer with a key of another kind")
    return key


def _ocsp_address(certificate: x509.Certificate) -> str | None:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return None
    return next(
        (str(a.access_location.value) for a in access if a.access_method == AuthorityInformationAccessOID.OCSP), None
    )


def _crl_address(certificate: x509.Certificate) -> str:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        raise ValueError("a certificate names nobody who knows its status") from None
    for point in points:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier):
                return name.value
    raise ValueError("a certificate names nobody who knows its status")
