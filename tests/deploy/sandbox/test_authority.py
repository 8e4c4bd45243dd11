"""The authority's certificates and timestamps, judged by OpenSSL, poppler and pyHanko."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import aiohttp
import pikepdf
import pytest
from cryptography import x509

from deploy.sandbox import authority
from deploy.sandbox.process import Running
from deploy.sandbox.settings import Party
from tests.deploy.sandbox.callers import Start
from tests.nats_server import free_port


async def ran(*command: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), timeout=20)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def timestamped(sandbox: Running, http: aiohttp.ClientSession, data: Path, folder: Path) -> Path:
    query, token = folder / "query.tsq", folder / "token.tsr"
    code, said = await ran("openssl", "ts", "-query", "-data", data, "-sha256", "-cert", "-out", query)
    assert code == 0, said
    url = authority.timestamp_url(sandbox.urls[Party.AUTHORITY])
    headers = {
        "Content-Type": "application/timestamp-query",
        "X-Certomancer-Fake-Time": "2001-01-01T00:00:00Z",
    }
    async with http.post(url, data=query.read_bytes(), headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/timestamp-reply"
        token.write_bytes(await answer.read())
    return token


async def test_openssl_accepts_a_timestamp_and_refuses_it_for_other_bytes(
    sandbox: Running, http: aiohttp.ClientSession, data_dir: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"head of the chain")
    token = await timestamped(sandbox, http, data, tmp_path)
    check = ("openssl", "ts", "-verify", "-in", token, "-CAfile")
    code, said = await ran(*check, data_dir / "trust" / "tsa-root.pem", "-data", data)
    assert code == 0, said
    assert "Verification: OK" in said
    # The insurer's authority vouches for no time.
    assert (await ran(*check, data_dir / "trust" / "insurer-root.pem", "-data", data))[0] != 0
    data.write_bytes(b"head of the Chain")
    assert (await ran(*check, data_dir / "trust" / "tsa-root.pem", "-data", data))[0] != 0


async def test_nobody_can_ask_for_another_time(sandbox: Running, http: aiohttp.ClientSession, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"x")
    token = await timestamped(sandbox, http, data, tmp_path)
    _, said = await ran("openssl", "ts", "-reply", "-in", token, "-text")
    assert f" {datetime.now(UTC).year} GMT" in said


@pytest.mark.parametrize("label", ["seal", "application", "evidence"])
async def test_subscriber_certificates_verify_up_to_the_root_with_the_right_usage(data_dir: Path, label: str) -> None:
    trust = data_dir / "trust"
    code, said = await ran(
        "openssl", "verify", "-x509_strict", "-CAfile", trust / "insurer-root.pem",
        "-untrusted", trust / "insurer-chain.pem", data_dir / "certs" / f"{label}.cert.pem",
    )  # fmt: skip
    assert code == 0, said
    certificate = x509.load_pem_x509_certificate((data_dir / "certs" / f"{label}.cert.pem").read_bytes())
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.content_commitment
    assert not usage.value.key_cert_sign


async def test_status_by_ocsp_and_crl(
    sandbox: Running, http: aiohttp.ClientSession, data_dir: Path, tmp_path: Path
) -> None:
    base = f"{sandbox.urls[Party.AUTHORITY]}/{authority.ARCHITECTURE}"
    chain, seal = data_dir / "trust" / "insurer-chain.pem", data_dir / "certs" / "seal.cert.pem"
    issuer = data_dir / "authority" / "certs" / "interm.cert.pem"
    code, said = await ran(
        "openssl", "ocsp", "-issuer", issuer, "-cert", seal, "-url", f"{base}/ocsp/interm", "-CAfile", chain
    )
    assert code == 0, said
    assert "Response verify OK" in said
    assert f"{seal}: good" in said
    async with http.get(f"{base}/crls/interm/latest.crl") as answer:
        assert answer.status == 200
        crl = tmp_path / "interm.crl"
        crl.write_bytes(await answer.read())
    _, said = await ran("openssl", "crl", "-inform", "DER", "-in", crl, "-CAfile", chain, "-noout")
    assert "verify OK" in said


@pytest.mark.parametrize("service", ["tsa/tsa", "ocsp/interm"])
@pytest.mark.parametrize("body", [b"", b"garbage", b"\x30\x03\x02\x01\x01", b"\x30\x82\xff\xff"])
async def test_malformed_requests_are_refused(
    sandbox: Running, http: aiohttp.ClientSession, service: str, body: bytes
) -> None:
    url = f"{sandbox.urls[Party.AUTHORITY]}/{authority.ARCHITECTURE}/{service}"
    async with http.post(url, data=body) as answer:
        assert answer.status == 400


async def test_private_keys_are_not_for_download(sandbox: Running, http: aiohttp.ClientSession) -> None:
    base = sandbox.urls[Party.AUTHORITY]
    async with http.post(f"{base}/_certomancer/pfx-download/sandbox", data={"cert": "root"}) as answer:
        assert answer.status == 404


async def test_pdfsig_and_pyhanko_accept_a_sealed_and_timestamped_pdf(
    sandbox: Running, http: aiohttp.ClientSession, data_dir: Path, tmp_path: Path
) -> None:
    from pyhanko.keys import load_cert_from_pemder
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign import PdfSignatureMetadata, SimpleSigner, async_sign_pdf
    from pyhanko.sign.fields import SigSeedSubFilter
    from pyhanko.sign.timestamps.aiohttp_client import HTTPTimeStamper
    from pyhanko.sign.validation import async_validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    blank = BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page()
        pdf.save(blank)
    signer = SimpleSigner.load(
        str(data_dir / "keys" / "seal.key.pem"),
        str(data_dir / "certs" / "seal.cert.pem"),
        ca_chain_files=(str(data_dir / "trust" / "insurer-chain.pem"),),
    )
    assert signer is not None
    url = authority.timestamp_url(sandbox.urls[Party.AUTHORITY])
    sealed = await async_sign_pdf(
        IncrementalPdfFileWriter(blank),
        PdfSignatureMetadata(field_name="Seal", subfilter=SigSeedSubFilter.PADES, md_algorithm="sha256"),
        signer=signer,
        timestamper=HTTPTimeStamper(url, session=http),
    )
    path = tmp_path / "sealed.pdf"
    path.write_bytes(sealed.getvalue())
    _, said = await ran("pdfsig", path)
    assert "Signature is Valid" in said
    assert "Total document signed" in said
    trust = data_dir / "trust"

    def only(name: str) -> ValidationContext:
        root = load_cert_from_pemder(str(trust / f"{name}-root.pem"))
        return ValidationContext(trust_roots=[root], allow_fetching=False)

    with path.open("rb") as file:
        [signature] = PdfFileReader(file).embedded_signatures
        status = await async_validate_pdf_signature(signature, only("insurer"), ts_validation_context=only("tsa"))
    assert status.bottom_line, status.summary()
    assert status.timestamp_validity is not None
    assert status.timestamp_validity.trusted


def digest_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_making_again_changes_nothing(data_dir: Path) -> None:
    before = digest_of(data_dir)
    authority.make_authority(data_dir, "http://127.0.0.1:9104", datetime.now(UTC))
    assert digest_of(data_dir) == before


def test_another_address_reissues_certificates_for_the_same_keys_and_roots(data_dir: Path) -> None:
    before = digest_of(data_dir)
    authority.make_authority(data_dir, "http://ca.example.test", datetime.now(UTC))
    after = digest_of(data_dir)
    changed = {name for name in before if before[name] != after[name]}
    assert "certs/seal.cert.pem" in changed
    assert not {name for name in changed if name.endswith((".key.pem", "-root.pem"))}
    assert authority.is_made(data_dir, "http://ca.example.test")


def test_an_interrupted_set_up_is_completed(data_dir: Path) -> None:
    authority.configuration_file(data_dir).unlink()
    root = (data_dir / "trust" / "insurer-root.pem").read_bytes()
    (data_dir / "trust" / "insurer-root.pem").unlink()
    authority.make_authority(data_dir, "http://127.0.0.1:9104", datetime.now(UTC))
    assert (data_dir / "trust" / "insurer-root.pem").read_bytes() == root


async def test_certificates_stay_the_same_over_restarts(
    start: Start, http: aiohttp.ClientSession, data_dir: Path
) -> None:
    path = f"/{authority.ARCHITECTURE}/certs/tsa-root/issued/tsa.crt"
    served: set[bytes] = set()
    port = free_port()
    for _ in range(2):
        async with start(authority_port=port) as sandbox, http.get(sandbox.urls[Party.AUTHORITY] + path) as answer:
            served.add(await answer.read())
    assert len(served) == 1


def test_only_the_owner_reads_private_keys_and_trust_holds_none(data_dir: Path) -> None:
    private = [*data_dir.rglob("*.key.pem"), *data_dir.rglob("*.key"), *data_dir.rglob("*.whsec")]
    assert len(private) == 18
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in [*(data_dir / "trust").iterdir(), *(data_dir / "certs").iterdir()]:
        assert b"PRIVATE" not in path.read_bytes()
