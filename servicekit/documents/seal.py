"""Signing PDFs: PAdES with an RFC 3161 timestamp, as an incremental update.

The file given is a byte prefix of the file returned: what somebody saw before the signature stays checkable in
the signed file. The key is loaded once and the space for the signature is measured once, against the real
certificate chain and the authority's real token (a signature then costs 10 ms instead of a hundred).
"""

# pyHanko and asn1crypto say little or nothing of their types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# pyright: reportIndexIssue=false, reportMissingParameterType=false, reportUntypedBaseClass=false

import asyncio
import io
from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from asn1crypto import algos, cms, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.x509 import load_pem_x509_certificates
from pyhanko.pdf_utils.content import RawContent
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.layout import AxisAlignment, BoxConstraints, Margins, SimpleBoxLayoutRule
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import MDPPerm, SigSeedSubFilter, enumerate_sig_fields
from pyhanko.sign.signers.pdf_cms import PdfCMSSignedAttributes, Signer
from pyhanko.sign.signers.pdf_signer import PdfSignatureMetadata, PdfSigner
from pyhanko.stamp import StaticStampStyle
from pyhanko_certvalidator.registry import SimpleCertificateStore

from servicekit.documents.appearance import Appearance
from servicekit.documents.timestamp import TimeStamper, TimestampUnavailable, token_over

__all__ = ["Appearance", "Certify", "NoSuchField", "Sealer", "SigningKey", "TimestampUnavailable", "field_size"]

_MARGIN_BYTES = 2048
"""For attributes and for tokens that grow a little; the certificates and a real token are measured."""


class NoSuchField(ValueError):
    """The document has no empty signature field of that name."""


class Certify(Enum):
    """What may still change after a certifying signature (DocMDP, ISO 32000-2 §12.8.2.2)."""

    NOTHING = MDPPerm.NO_CHANGES
    FURTHER_SIGNATURES = MDPPerm.FILL_FORMS


class SigningKey(Signer):
    """A P-256 key with its certificate, held ready."""

    def __init__(
        self, key: EllipticCurvePrivateKey, certificate: x509.Certificate, chain: Sequence[x509.Certificate]
    ) -> None:
        store = SimpleCertificateStore()
        store.register_multiple(chain)
        super().__init__(
            signing_cert=certificate,
            cert_registry=store,
            embed_roots=False,
            signature_mechanism=algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
        )
        self._key = key
        self.chain_bytes = sum(len(c.dump()) for c in (certificate, *chain))

    @classmethod
    def load(cls, key: bytes, certificates: bytes, password: bytes | None = None) -> "SigningKey":
        """From PEM: the private key; the certificate first, then those above it.

        Raises ValueError where the key is not P-256 or does not belong to the certificate.
        """
        private = serialization.load_pem_private_key(key, password)
        if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
            raise ValueError("the sealing key is not a P-256 key")  # noqa: TRY004  the value, not its type, is wrong
        chain = load_pem_x509_certificates(certificates)
        if chain[0].public_key() != private.public_key():
            raise ValueError("the sealing key does not belong to its certificate")
        first, *above = (x509.Certificate.load(c.public_bytes(serialization.Encoding.DER)) for c in chain)
        return cls(private, first, above)

    async def async_sign_raw(self, data: bytes, digest_algorithm: str, dry_run: bool = False) -> bytes:  # noqa: ARG002  pyHanko's signature
        """ECDSA over SHA-256, DER."""
        if digest_algorithm != "sha256":
            raise ValueError("only SHA-256")
        return self._key.sign(data, ECDSA(hashes.SHA256()))


class Sealer:
    """Signs documents with one key and one authority's timestamps."""

    def __init__(self, key: SigningKey, stamper: TimeStamper) -> None:
        self._key = key
        self._stamper = stamper

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
    ) -> bytes:
        """The document with its signature field ``field`` signed and timestamped.

        ``at`` is the claimed time in the file; the timestamp is the one that proves. Without ``appearance``
        the field stays blank, a field that does not exist is made invisible. Raises NoSuchField,
        TimestampUnavailable (transient). The event loop stays free: only the call to the authority runs on it.
        """
        try:
            dummy = await self._stamper.async_dummy_response("sha256")
        except OSError as error:
            raise TimestampUnavailable(type(error).__name__) from error
        reserved = 2 * (self._key.chain_bytes + len(dummy.dump()) + _MARGIN_BYTES)
        drawn = appearance or Appearance(1, 1, b"")
        signer = PdfSigner(
            PdfSignatureMetadata(
                field_name=field,
                md_algorithm="sha256",
                subfilter=SigSeedSubFilter.PADES,
                certify=certify is not None,
                docmdp_permissions=(certify or Certify.FURTHER_SIGNATURES).value,
                name=name,
                reason=reason,
                contact_info=contact,
            ),
            signer=self._key,
            timestamper=_OnLoop(self._stamper, asyncio.get_running_loop()),
            stamp_style=StaticStampStyle(
                border_width=0,
                background=RawContent(drawn.operators, box=BoxConstraints(drawn.width, drawn.height)),
                background_opacity=1.0,
                background_layout=SimpleBoxLayoutRule(
                    x_align=AxisAlignment.ALIGN_MID, y_align=AxisAlignment.ALIGN_MID, margins=Margins.uniform(0)
                ),
            ),
        )

        def work() -> bytes:
            return asyncio.run(_sign(pdf, signer, field, at, reserved, existing=appearance is not None))

        return await asyncio.to_thread(work)


async def _sign(pdf: bytes, signer: PdfSigner, field: str, at: datetime, reserved: int, *, existing: bool) -> bytes:
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    if existing and field not in {name for name, _, _ in enumerate_sig_fields(writer.prev, filled_status=False)}:
        raise NoSuchField(field)
    session = signer.init_signing_session(writer, existing_fields_only=existing)
    session.system_time = at
    document = session.prepare_tbs_document(validation_info=None, bytes_reserved=reserved)
    output = io.BytesIO()
    digest, _ = document.digest_tbs_document(output=output)
    await document.perform_signature(digest.document_digest, PdfCMSSignedAttributes(signing_time=at))
    return output.getvalue()


def field_size(pdf: bytes, field: str) -> tuple[float, float]:
    """Width and height of a signature field, in points. Raises NoSuchField."""
    reader = PdfFileReader(io.BytesIO(pdf))
    for _, _, reference in enumerate_sig_fields(reader, with_name=field):
        box = [float(v) for v in reference.get_object()["/Rect"]]
        return abs(box[2] - box[0]), abs(box[3] - box[1])
    raise NoSuchField(field)


class _OnLoop(TimeStamper):
    """Lets a signature made in a thread ask the authority on the service's loop, where the session lives."""

    def __init__(self, inner: TimeStamper, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop

    async def async_timestamp(self, message_digest: bytes, md_algorithm: str) -> cms.ContentInfo:
        token = asyncio.run_coroutine_threadsafe(token_over(self._inner, message_digest, md_algorithm), self._loop)
        return await asyncio.wrap_future(token)
