import asyncio
import io
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.timestamps import TimeStamper
from pyhanko.sign.timestamps.common_utils import TimestampRequestError
from pyhanko.sign.validation import async_validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from servicekit.documents.keys import HeldKey
from servicekit.documents.seal import STATEMENT, Appearance, Certify, NoSuchField, Sealer, SigningKey, field_size
from servicekit.documents.timestamp import TimestampUnavailable
from tests.servicekit.documents.authority import Authority, make_authority
from tests.servicekit.documents.blank import blank_form
from tests.servicekit.documents.tools import signatures_of

AT = datetime(2026, 3, 7, 8, 5, 9, tzinfo=UTC)
LINE = Appearance(170, 50, b"0 0 1 RG 2 w 0 0 m 170 50 l S")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="module")
def sealer(authority: Authority) -> Sealer:
    return Sealer(authority.signing_key(), authority.stamper())


async def test_pdfsig_calls_it_valid_and_timestamped(sealer: Sealer, tmp_path: Path) -> None:
    out = tmp_path / "out.pdf"
    out.write_bytes(
        await sealer.seal(
            blank_form(), field="signature", at=AT, appearance=LINE, certify=Certify.FURTHER_SIGNATURES, reason="签署"
        )
    )
    said = signatures_of(out)
    assert "Signature is Valid" in said
    assert "Total document signed" in said
    assert "ETSI.CAdES.detached" in said
    assert b"/DocMDP" in out.read_bytes()


async def test_what_was_seen_is_a_prefix_of_what_was_signed(sealer: Sealer) -> None:
    seen = blank_form()
    assert (await sealer.seal(seen, field="signature", at=AT, appearance=LINE)).startswith(seen)


async def test_any_byte_changed_is_seen(sealer: Sealer, tmp_path: Path) -> None:
    signed = await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE, certify=Certify.NOTHING)
    out = tmp_path / "out.pdf"
    for place in (signed.index(b"/MediaBox") + 12, signed.index(b"170 50 l"), len(signed) - 30):
        changed = bytearray(signed)
        changed[place] ^= 1
        out.write_bytes(changed)
        assert "Signature is Valid" not in signatures_of(out)


async def test_pyhanko_trusts_it_under_the_root(sealer: Sealer, authority: Authority) -> None:
    signed = await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE, certify=Certify.NOTHING)
    roots = [asn1_x509.Certificate.load(authority.root_der)]
    status = await async_validate_pdf_signature(
        PdfFileReader(io.BytesIO(signed)).embedded_signatures[0],
        signer_validation_context=ValidationContext(trust_roots=roots, allow_fetching=False),
    )
    assert status.bottom_line
    assert status.timestamp_validity is not None
    assert status.timestamp_validity.intact
    assert status.timestamp_validity.valid
    assert status.timestamp_validity.trusted


async def test_openssl_accepts_the_signature_by_itself(sealer: Sealer, authority: Authority, tmp_path: Path) -> None:
    """RFC 5652 by a reader that knows nothing of PDF."""
    signed = await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE, statement=b'{"said":1}')
    (embedded,) = PdfFileReader(io.BytesIO(signed)).embedded_signatures
    covered: Any = embedded.byte_range
    start, length, begins, rest = covered
    (tmp_path / "covered").write_bytes(signed[start : start + length] + signed[begins : begins + rest])
    (tmp_path / "signature").write_bytes(cms.ContentInfo.load(embedded.pkcs7_content).dump())
    (tmp_path / "root.pem").write_bytes(authority.root.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-cades"]
    files = ["-in", tmp_path / "signature", "-content", tmp_path / "covered", "-CAfile", tmp_path / "root.pem"]
    said = subprocess.run([*command, *files, "-out", "/dev/null"], capture_output=True, text=True, check=False)
    assert "CAdES Verification successful" in said.stderr, said.stderr


async def test_a_statement_is_under_the_signature(sealer: Sealer) -> None:
    signed = await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE, statement=b'{"said":1}')
    (embedded,) = PdfFileReader(io.BytesIO(signed)).embedded_signatures
    stated = {a["type"].native: a["values"] for a in embedded.signer_info["signed_attrs"]}
    assert stated[STATEMENT][0].native == b'{"said":1}'
    assert "signing_time" not in stated, "PAdES says it in the dictionary"


class Counting(TimeStamper):
    """How often the authority is asked."""

    def __init__(self, inner: TimeStamper) -> None:
        super().__init__()
        self._inner = inner
        self.asked = 0

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        self.asked += 1
        return await self._inner.async_request_tsa_response(req)


async def test_what_a_key_and_an_authority_have_in_common_is_made_once(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(authority.stamper())
    sealer = Sealer(authority.signing_key(), counting)
    await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE)
    assert counting.asked == 2, "once to see how large a token is"
    # From here on neither key nor certificates are read or encoded again.
    for name in ("load_pem_x509_certificates", "load_der_x509_certificate"):
        monkeypatch.setattr(x509, name, None)
    monkeypatch.setattr(serialization, "load_pem_private_key", None)
    monkeypatch.setattr("servicekit.documents.cms.as_signing_certificate_v2", None)
    for times in range(1, 6):
        await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE)
        assert counting.asked == 2 + times


async def test_a_second_signature_keeps_the_first(sealer: Sealer, tmp_path: Path) -> None:
    first = await sealer.seal(
        blank_form(), field="signature", at=AT, appearance=LINE, certify=Certify.FURTHER_SIGNATURES
    )
    both = await sealer.seal(first, field="insurer", at=AT)
    assert both.startswith(first)
    out = tmp_path / "out.pdf"
    out.write_bytes(both)
    assert signatures_of(out).count("Signature is Valid") == 2


async def test_reserved_space_fits_the_real_chain(sealer: Sealer) -> None:
    signed = await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE)
    start = signed.index(b"/Contents <") + len(b"/Contents <")
    container = signed[start : signed.index(b">", start)]
    used = 2 * (4 + int.from_bytes(bytes.fromhex(container[4:8].decode()), "big"))
    # Room to spare, yet not a container several times too large.
    assert 500 < len(container) - used < 6000


async def test_an_unknown_field_is_refused(sealer: Sealer) -> None:
    with pytest.raises(NoSuchField):
        await sealer.seal(blank_form(), field="other", at=AT, appearance=LINE)
    signed = await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE)
    with pytest.raises(NoSuchField):
        await sealer.seal(signed, field="signature", at=AT, appearance=LINE)
    with pytest.raises(NoSuchField):
        field_size(blank_form(), "other")


def test_field_size() -> None:
    assert field_size(blank_form(), "signature") == (170, 50)


class Silent(TimeStamper):
    """An authority that is not there."""

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        raise TimestampRequestError("no answer")


async def test_no_timestamp_no_signature(authority: Authority) -> None:
    with pytest.raises(TimestampUnavailable):
        await Sealer(authority.signing_key(), Silent()).seal(blank_form(), field="signature", at=AT, appearance=LINE)


async def test_authority_gone_after_the_first(authority: Authority) -> None:
    class Once(Silent):
        def __init__(self) -> None:
            super().__init__()
            self.asked = 0

        async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
            self.asked += 1
            if self.asked == 1:
                return await authority.stamper().async_request_tsa_response(req)
            return await super().async_request_tsa_response(req)

    with pytest.raises(TimestampUnavailable):
        await Sealer(authority.signing_key(), Once()).seal(blank_form(), field="signature", at=AT, appearance=LINE)


async def test_signing_leaves_the_loop_free(authority: Authority) -> None:
    sealer = Sealer(authority.signing_key(), authority.stamper())
    await sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE)
    worst = 0.0
    done = False

    async def watch() -> None:
        nonlocal worst
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    signed = await asyncio.gather(
        *(sealer.seal(blank_form(), field="signature", at=AT, appearance=LINE) for _ in range(4))
    )
    done = True
    await watching
    assert len({len(s) for s in signed}) == 1
    # The stand-in authority itself signs with RSA on the loop; ours adds nothing of that size.
    assert worst < 1.0


def test_only_p256_keys_that_belong_to_their_certificate(authority: Authority) -> None:
    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    with pytest.raises(ValueError, match="P-256"):
        HeldKey.read(pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ValueError, match="belong"):
        SigningKey.load(HeldKey.read(pem(ec.generate_private_key(ec.SECP256R1()))), authority.signing_chain_pem)
