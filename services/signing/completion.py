"""From a signed act to finished forms: the customer's signature under a one-time certificate, the insurer's seal,
and what shows that every certificate was in force.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from contracts.facts.signing import FormsSigned
from contracts.values import CommittedFile, Sha256, sha256_hex
from servicekit.documents.appearance import Appearance
from servicekit.documents.seal import Sealer, TimestampUnavailable
from servicekit.documents.status import CertificateStatus, Proofs, Revoked, StatusUnavailable
from servicekit.documents.timestamp import TimeStamper, authority_chain
from services.signing.application_form import seal_form, sign_form, statement_of
from services.signing.event_certificate import (
    CertificateAuthority,
    CertificateRefused,
    CertificateUnavailable,
    act_of,
)
from services.signing.strokes import Handwriting


class Incomplete(Exception):
    """A form cannot be completed now. ``code`` says for want of what."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Completion:
    """Everybody a form needs to be completed, made once a service."""

    insurer: Sealer
    stamper: TimeStamper
    above_stamper: Sequence[x509.Certificate]
    authority: CertificateAuthority
    status: CertificateStatus

    @asynccontextmanager
    async def act(self, signed: FormsSigned, name: str) -> AsyncGenerator[Act]:
        """One certificate for one act, whose key is gone when the block ends. Raises Incomplete."""
        try:
            async with self.authority.one_time(name, act_of(signed), signed.attestation.head) as key:
                stamper = await authority_chain(self.stamper, self.above_stamper)
                proofs = Proofs()
                for chain in (key.chain, self.insurer.chain, stamper):
                    proofs = proofs.and_also(await self.status.of(chain))
                certificate = sha256_hex(key.chain[0].public_bytes(Encoding.DER))
                yield Act(self, signed, name, Sealer(key, self.stamper), proofs, certificate)
        except TimestampUnavailable:
            raise Incomplete("timestamp_unavailable") from None
        except (CertificateUnavailable, CertificateRefused, StatusUnavailable, Revoked):
            raise Incomplete("certificate_unavailable") from None


@dataclass(frozen=True)
class Act:
    """One act of signing while its certificate lives."""

    by: Completion
    signed: FormsSigned
    name: str
    customer: Sealer
    proofs: Proofs
    certificate: Sha256

    async def complete(self, preview: bytes, form: CommittedFile, handwriting: Handwriting, look: Appearance) -> bytes:
        """The form previewed, signed and sealed; ``preview`` is its beginning. Raises TimestampUnavailable."""
        statement = statement_of(self.signed, form, preview)
        at = self.signed.signed_at
        signed = await sign_form(preview, handwriting, statement, self.customer, self.name, at)
        return await seal_form(signed, look, self.by.insurer, self.proofs, at)
