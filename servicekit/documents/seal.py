"""Signing PDFs: PAdES with an RFC 3161 timestamp, as an incremental update.

The file given is a byte prefix of the file returned: what somebody saw before the signature stays checkable in
the signed file. The key is loaded once and the space for the signature is measured once, against the real
certificate chain and the authority's real token (a signature then costs 10 ms instead of a hundred).
"""

# pyHanko and asn1crypto say little or nothing of their types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# pyright: reportIndexIssue=false, reportMissingParameterType=false, reportUntypedBaseClass=false

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from asn1crypto import algos, crl, ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from pyhanko.pdf_utils.content import RawContent
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.layout import AxisAlignment, BoxConstraints, Margins, SimpleBoxLayoutRule
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter, enumerate_sig_fields
from pyhanko.sign.signers.pdf_byterange import PreparedByteRangeDigest
from pyhanko.sign.signers.pdf_cms import ExternalSigner
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata, PdfSigner
from pyhanko.sign.validation.dss import DocumentSecurityStore
from pyhanko.stamp import StaticStampStyle

from servicekit.documents.appearance import Appearance
from servicekit.documents.cms import STATEMENT, SignedData
from servicekit.documents.keys import Key
from servicekit.documents.status import Proofs
from servicekit.documents.timestamp import TimeStamper, TimestampUnavailable, token_over, token_size

__all__ = [
    "STATEMENT",
    "Appearance",
    "Certify",
    "NoSuchField",
    "Sealer",
    "SigningKey",
    "TimestampUnavailable",
    "field_size",
]

_ECDSA = algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"})
_MARGIN_BYTES = 2048
"""For attributes and for tokens that grow a little; the certificates and a real token are measured."""


class NoSuchField(ValueError):
    """The document has no empty signature field of that name."""


class Certify(Enum):
    """What may still change after a certifying signature (DocMDP, ISO 32000-2 §12.8.2.2)."""

    NOTHING = MDPPerm.NO_CHANGES
    FURTHER_SIGNATURES = MDPPerm.FILL_FORMS


class SigningKey:
    """A key with its certificate, held ready."""

    def __init__(self, key: Key, certificates: Sequence[x509.Certificate]) -> None:
        """``certificates``: the key's own first, then those above it.

        Raises ValueError where the key does not belong to its certificate.
        """
        if certificates[0].public_key() != key.public:
            raise ValueError("the key does not belong to its certificate")
        self.chain = tuple(certificates)
        self.signed_data = SignedData(self.chain)
        self.sign = key.sign

    @classmethod
    def load(cls, key: Key, certificates: bytes) -> SigningKey:
        """With its certificates in PEM. Raises ValueError where the key does not belong to the first."""
        return cls(key, x509.load_pem_x509_certificates(certificates))


class Sealer:
    """Signs documents with one key and one authority's timestamps."""

    def __init__(self, key: SigningKey, stamper: TimeStamper) -> None:
        self._key = key
        self._stamper = stamper

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The key's certificate, then those above it."""
        return self._key.chain

    async def seal(
        self,
        pdf: bytes,
        *,
        field: str,
        at: datetime,
        appearance: Appearance | None = None,
        certify: Certify | None = None,
        name: str | None = None,
        reason: str | None = None,
        contact: str | None = None,
        statement: bytes | None = None,
        proofs: Proofs | None = None,
    ) -> bytes:
        """The document with its signature field ``field`` signed and timestamped.

        ``at`` is the claimed time in the file; the timestamp is the one that proves. Without ``appearance``
        the field stays blank, a field that does not exist is made invisible. ``statement`` becomes a signed
        attribute. ``proofs`` go into the document's security store (DSS, PAdES B-LT) in the same revision, under
        the signature. Raises NoSuchField, TimestampUnavailable (transient). The event loop stays free: only the
        call to the authority runs on it.
        """
        token_bytes = await token_size(self._stamper)
        reserved = 2 * (self._key.signed_data.fixed_bytes + token_bytes + len(statement or b"") + _MARGIN_BYTES)
        drawn = appearance or Appearance(1, 1, b"")
        signer = PdfSigner(
            PdfSignatureMetadata(
                field_name=field,
                md_algorithm="sha256",
                subfilter=SigSeedSubFilter.PADES,
                certify=certify is not None,
                # Where the field's lock says so, a signature that does not certify forbids changes all the same.
                docmdp_permissions=(certify or Certify.NOTHING).value,
                name=name,
                reason=reason,
                contact_info=contact,
            ),
            # What goes into the space it leaves is encoded by us.
            signer=ExternalSigner(None, None, signature_mechanism=_ECDSA),
            stamp_style=StaticStampStyle(
                border_width=0,
                background=RawContent(drawn.operators, box=BoxConstraints(drawn.width, drawn.height)),
                background_opacity=1.0,
                background_layout=SimpleBoxLayoutRule(
                    x_align=AxisAlignment.ALIGN_MID, y_align=AxisAlignment.ALIGN_MID, margins=Margins.uniform(0)
                ),
            ),
        )

        def begin() -> _Begun:
            begun = _begin(pdf, signer, field, at, reserved, proofs, existing=appearance is not None)
            attributes = self._key.signed_data.attributes(begun.digest.document_digest, statement)
            return begun._replace(attributes=attributes, signature=self._key.sign(attributes))

        begun = await asyncio.to_thread(begin)
        token = await token_over(self._stamper, hashlib.sha256(begun.signature).digest())
        finished = self._key.signed_data.finished(begun.attributes, begun.signature, token.dump())
        begun.digest.fill_with_cms(begun.output, finished)
        return begun.output.getvalue()


class _Begun(NamedTuple):
    """A document with room left for its signature, and what goes there but for the timestamp."""

    output: io.BytesIO
    digest: PreparedByteRangeDigest
    attributes: bytes = b""
    signature: bytes = b""


class _Revision(IncrementalPdfFileWriter):
    """An update that leaves title, author and dates as they were shown."""

    def _update_meta(self) -> None:
        """pyHanko would write the machine's clock in, and metadata that no longer claims PDF/A."""


def _begin(
    pdf: bytes, signer: PdfSigner, field: str, at: datetime, reserved: int, proofs: Proofs | None, *, existing: bool
) -> _Begun:
    writer = _Revision(io.BytesIO(pdf))
    if existing and field not in {name for name, _, _ in enumerate_sig_fields(writer.prev, filled_status=False)}:
        raise NoSuchField(field)
    session = signer.init_signing_session(writer, existing_fields_only=existing)
    session.system_time = at
    if proofs is not None:
        DocumentSecurityStore.supply_dss_in_writer(
            writer,
            None,
            certs=[asn1_x509.Certificate.load(der) for der in proofs.certificates],
            ocsps=[ocsp.OCSPResponse.load(der) for der in proofs.ocsps],
            crls=[crl.CertificateList.load(der) for der in proofs.crls],
        )
    output = io.BytesIO()
    document = session.prepare_tbs_document(validation_info=None, bytes_reserved=reserved)
    digest, _ = document.digest_tbs_document(output=output)
    return _Begun(output, digest)


def field_size(pdf: bytes, field: str) -> tuple[float, float]:
    """Width and height of a signature field, in points. Raises NoSuchField."""
    reader = PdfFileReader(io.BytesIO(pdf))
    for _, _, reference in enumerate_sig_fields(reader, with_name=field):
        box = [float(v) for v in reference.get_object()["/Rect"]]
        return abs(box[2] - box[0]), abs(box[3] - box[1])
    raise NoSuchField(field)
