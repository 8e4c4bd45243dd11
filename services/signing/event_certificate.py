"""One-time certificates (事件证书): a key made for one person and one act, certified from outside, destroyed.

电子签名法 art. 13 asks that the signing data be the signer's alone. The key exists while one act's forms are signed and
no longer; its certificate names the person as identity was proven, and its subject's serial number is the hash of the
act, so it can stand for nothing else. The authority is spoken to as deploy/sandbox/README.md describes; one with
another protocol gets a module of its own beside this.

The certificate names a person: it is kept nowhere but inside the sealed form, and no error or log quotes it.
"""

# asn1crypto carries few types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from typing import Final

import aiohttp
import stamina
from asn1crypto import csr as asn1_csr
from asn1crypto import keys as asn1_keys
from asn1crypto import pem
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, ValidationError
from yarl import URL

from contracts.facts.signing import FormsSigned
from contracts.values import sha256_hex
from servicekit.documents.keys import MEMORY, Key, one_time_key
from servicekit.documents.seal import SigningKey
from servicekit.signed_requests import signed_headers
from servicekit.telemetry.metrics import Watched, unwatched

TRIES: Final = 2
LONGEST_NAME: Final = 64
"""Characters of a common name (RFC 5280, ub-common-name)."""


class CertificateUnavailable(Exception):
    """The authority gave no certificate, or none that could be used. Transient: the form stays pending."""


class CertificateRefused(Exception):
    """The authority will not certify this, however often it is asked."""


class _Unreachable(Exception):
    """No answer, or one that says to come again."""


class _Issued(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    certificates: str
    """PEM: the person's, then those above it up to the root."""


def act_of(signed: FormsSigned) -> str:
    """What a one-time certificate is bound to: the hash of the proof by which the customer's device signed the act."""
    return sha256_hex(signed.proof.proof.jws.encode())


class CertificateAuthority:
    """One client a service. Asks through the service's own HTTP session."""

    def __init__(
        self,
        url: str,
        client_id: str,
        key: bytes,
        session: aiohttp.ClientSession,
        now: Callable[[], datetime],
        *,
        keys: str = MEMORY,
        watched: Watched = unwatched,
    ) -> None:
        """``keys`` is where one-time keys are made: memory, or the token of a PKCS#11 URI."""
        self._url = URL(url.rstrip("/") + "/v1/event-certificates", encoded=True)
        self._client_id = client_id
        self._secret = key
        self._http = session
        self._now = now
        self._keys = keys
        self._watched = watched

    @asynccontextmanager
    async def one_time(self, name: str, act: str, evidence: str) -> AsyncGenerator[SigningKey]:
        """A key certified for ``name`` and the act; when the block ends it is destroyed, however it ends.

        ``evidence`` is the hash by which the authority can later ask for the record of the identification.
        Raises CertificateUnavailable, CertificateRefused; neither quotes the name.
        """
        with one_time_key(self._keys) as key:
            with self._watched(CertificateRefused, call="certificate"):
                chain = await self._certified(key, name, act, evidence)
            yield SigningKey(key, chain)

    async def _certified(self, key: Key, name: str, act: str, evidence: str) -> list[x509.Certificate]:
        if not 0 < len(name) <= LONGEST_NAME:
            raise CertificateRefused
        asked = {"name": name, "act": act, "evidence": evidence, "csr": _request(key, name, act)}
        body = json.dumps(asked, ensure_ascii=False).encode()
        try:
            async for attempt in stamina.retry_context(
                on=(_Unreachable, aiohttp.ClientConnectionError, TimeoutError),
                attempts=TRIES,
                wait_initial=0.1,
                wait_max=0.3,
                wait_jitter=0.1,
            ):
                with attempt:
                    issued = _Issued.model_validate_json(await self._once(body))
                    chain = x509.load_pem_x509_certificates(issued.certificates.encode())
                    _check(chain, key, name, act)
                    return chain
        except (_Unreachable, aiohttp.ClientError, TimeoutError, ValueError, InvalidSignature, ValidationError):
            # "from None": the cause may quote what was asked or answered.
            raise CertificateUnavailable from None
        raise AssertionError("unreachable")

    async def _once(self, body: bytes) -> bytes:
        headers = signed_headers(self._client_id, self._secret, "POST", self._url.raw_path_qs, body, self._now())
        async with self._http.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status in {400, 422}:
                raise CertificateRefused
            if response.status != 201:
                raise _Unreachable
            return await response.read()


def _subject(name: str, act: str) -> asn1_x509.Name:
    return asn1_x509.Name.build({"country_name": "CN", "common_name": name, "serial_number": act})


def _request(key: Key, name: str, act: str) -> str:
    """PKCS#10 (RFC 2986) by a key that may sit in a token."""
    public = key.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    info = asn1_csr.CertificationRequestInfo(
        {
            "version": "v1",
            "subject": _subject(name, act),
            "subject_pk_info": asn1_keys.PublicKeyInfo.load(public),
            "attributes": [],
        }
    )
    request = asn1_csr.CertificationRequest(
        {
            "certification_request_info": info,
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signature": key.sign(info.dump()),
        }
    )
    return pem.armor("CERTIFICATE REQUEST", request.dump()).decode()


def _check(chain: list[x509.Certificate], key: Key, name: str, act: str) -> None:
    """Raises ValueError or InvalidSignature unless it is what was asked for."""
    first = chain[0]
    said = {a.oid: a.value for a in first.subject}
    if first.public_key() != key.public or said.get(NameOID.COMMON_NAME) != name:
        raise ValueError("a certificate for another key or name")
    if said.get(NameOID.SERIAL_NUMBER) != act:
        raise ValueError("a certificate for another act")
    for certificate, issuer in pairwise(chain):
        certificate.verify_directly_issued_by(issuer)
    if len(chain) < 2 or chain[-1].issuer != chain[-1].subject:
        raise ValueError("a chain that leads nowhere")
