"""Everybody a form needs to be finished, played by the stand-in of the authorities; and an act to finish it by."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_certificates

from contracts.facts.signing import FormsSigned, InkCheck, SignedItem
from contracts.values import ActProof, Attestation, Committed, CommittedFile, Proof
from deploy.sandbox.process import running
from deploy.sandbox.settings import Party, SandboxSettings
from servicekit.documents.fonts import load
from servicekit.documents.keys import MEMORY, Key, open_key
from servicekit.documents.round_seal import round_seal
from servicekit.documents.seal import Sealer, SigningKey
from servicekit.documents.status import CertificateStatus
from servicekit.documents.timestamp import authority
from services.signing.completion import Completion
from services.signing.event_certificate import CertificateAuthority
from services.signing.strokes import Handwriting
from tests import readings
from tests.servicekit.documents.prepared import fonts_folder
from tests.services.signing.handwritten import written

AT = datetime(2026, 3, 7, 8, 15, 0, tzinfo=UTC)
NAME = "王小明"
SIGNED = FormsSigned(
    at=AT,
    attempt=1,
    items=(SignedItem(product="motor", kind="form", document="form", version="2026.1", hash="1" * 64),),
    declaration_sha256="2" * 64,
    strokes=CommittedFile(commitment="3" * 64, blob="4" * 64, media_type="application/json", size=1),
    image=CommittedFile(commitment="5" * 64, blob="6" * 64, media_type="image/png", size=1),
    vector=CommittedFile(commitment="7" * 64, blob="8" * 64, media_type="image/svg+xml", size=1),
    strokes_rendered_by="strokes",
    ink_checks=(InkCheck(code="ink_empty", ok=True),),
    reading=readings.passed(NAME),
    pen=readings.PEN,
    legibility="pass",
    signed_at=AT,
    attestation=Attestation(head="9" * 64, count=1, heads={}, at=AT, signature="a..b", token="0" * 64),
    proof=ActProof(
        proof=Proof(jws="head.claims.signature", method="POST", url="https://toubao.test/sign-forms"),
        body=Committed(commitment="b" * 64, blob="c" * 64),
        attempt=1,
    ),
)


SEAL = round_seal("示例财产保险股份有限公司", "投保受理专用章", load(fonts_folder()).outline_sources())


@dataclass(frozen=True)
class Office:
    """Where forms are finished."""

    completion: Completion
    root: Path
    """Keys and certificates of the authorities."""
    url: str
    http: aiohttp.ClientSession

    @property
    def roots(self) -> Sequence[asn1_x509.Certificate]:
        anchors = (self.root / "trust" / name for name in ("insurer-root.pem", "tsa-root.pem"))
        loaded = (load_pem_x509_certificate(file.read_bytes()) for file in anchors)
        return [asn1_x509.Certificate.load(c.public_bytes(Encoding.DER)) for c in loaded]

    async def finish(
        self,
        preview: bytes,
        signed: FormsSigned = SIGNED,
        form: str = "1" * 64,
        name: str = NAME,
        hand: Handwriting | None = None,
    ) -> bytes:
        return (await self.finish_with(preview, signed, form, name, hand))[0]

    async def finish_with(
        self, preview: bytes, signed: FormsSigned, form: str, name: str = NAME, hand: Handwriting | None = None
    ) -> tuple[bytes, str]:
        """The finished form, and the hash of the certificate its customer signed under."""
        committed = CommittedFile(commitment=form, blob="d" * 64, media_type="application/pdf", size=1)
        async with self.completion.act(signed, name) as act:
            return await act.complete(preview, committed, hand or written(), SEAL), act.certificate


@asynccontextmanager
async def finishing(root: Path, *, key: Key | None = None, one_time: str = MEMORY) -> AsyncGenerator[Office]:
    """``root`` holds the authorities' files and may be changed."""
    async with running(SandboxSettings(data_dir=root, port=0)) as parties, aiohttp.ClientSession() as http:
        yield office_at(parties.urls[Party.AUTHORITY], root, http, key=key, one_time=one_time)


def office_at(
    url: str, root: Path, http: aiohttp.ClientSession, *, key: Key | None = None, one_time: str = MEMORY
) -> Office:
    """With the authorities that answer at ``url``."""

    def now() -> datetime:
        return datetime.now(UTC)

    stamper = authority(f"{url}/sandbox/tsa/tsa", http)
    insurer = SigningKey.load(
        key or open_key(str(root / "keys/application.key.pem")),
        (root / "certs/application.chain.pem").read_bytes(),
    )
    secret = (root / "keys/authority.key").read_bytes()
    completion = Completion(
        Sealer(insurer, stamper),
        stamper,
        load_pem_x509_certificates((root / "trust/tsa-chain.pem").read_bytes()),
        CertificateAuthority(url, "toubao", secret, http, now, keys=one_time),
        CertificateStatus(http, now),
    )
    return Office(completion, root, url, http)
