from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from servicekit.documents.status import CertificateStatus, Proofs, Revoked, StatusUnavailable

NOW = datetime(2026, 3, 7, 8, 0, tzinfo=UTC)


def named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certified(
    subject: str,
    by: tuple[str, ec.EllipticCurvePrivateKey],
    key: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(by[0]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(by[1], hashes.SHA256())


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Authority:
    """Answers as it is told to."""

    url: str
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=key)
    issuer_key: ec.EllipticCurvePrivateKey = field(default_factory=key)
    asked: list[str] = field(default_factory=list)
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD
    signer: ec.EllipticCurvePrivateKey | None = None
    this_update: datetime = NOW
    spoil: Callable[[bytes], bytes] = bytes
    revoked_issuer: bool = False

    def __post_init__(self) -> None:
        self.root = certified("root", ("root", self.root_key), self.root_key)
        points = x509.CRLDistributionPoints(
            [x509.DistributionPoint([x509.UniformResourceIdentifier(f"{self.url}/crl")], None, None, None)]
        )
        self.issuer = certified("issuer", ("root", self.root_key), self.issuer_key, points)
        where = x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"{self.url}/ocsp")
        )
        self.leaf = certified("leaf", ("issuer", self.issuer_key), key(), x509.AuthorityInformationAccess([where]))
        self.chain = (self.leaf, self.issuer, self.root)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append("ocsp")
        asked = ocsp.load_der_ocsp_request(await request.read())
        revoked = self.status is ocsp.OCSPCertStatus.REVOKED
        signer = self.signer or self.issuer_key
        responder = certified(
            "responder",
            ("issuer", signer),
            signer,
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]),
        )
        built = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=asked.issuer_name_hash,
                issuer_key_hash=asked.issuer_key_hash,
                serial_number=asked.serial_number,
                algorithm=asked.hash_algorithm,
                cert_status=self.status,
                this_update=self.this_update,
                next_update=self.this_update + timedelta(minutes=10),
                revocation_time=NOW if revoked else None,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, responder)
            .certificates([responder])
            .sign(signer, hashes.SHA256())
        )
        return web.Response(body=self.spoil(built.public_bytes(serialization.Encoding.DER)))

    async def list(self, _request: web.Request) -> web.Response:
        self.asked.append("crl")
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.root.subject)
            .last_update(NOW)
            .next_update(NOW + timedelta(days=30))
        )
        if self.revoked_issuer:
            entry = x509.RevokedCertificateBuilder().serial_number(self.issuer.serial_number).revocation_date(NOW)
            builder = builder.add_revoked_certificate(entry.build())
        signed = builder.sign(self.root_key, hashes.SHA256())
        return web.Response(body=self.spoil(signed.public_bytes(serialization.Encoding.DER)))


@dataclass
class Desk:
    authority: Authority
    status: CertificateStatus
    now: datetime = NOW

    async def of(self) -> Proofs:
        return await self.status.of(self.authority.chain)


@pytest.fixture
async def at() -> AsyncIterator[Desk]:
    app = web.Application()
    async with aiohttp.ClientSession() as http:
        server = TestServer(app)
        desk: Desk

        async def ocsp_answer(request: web.Request) -> web.Response:
            return await desk.authority.answer(request)

        async def crl_answer(request: web.Request) -> web.Response:
            return await desk.authority.list(request)

        app.router.add_post("/ocsp", ocsp_answer)
        app.router.add_get("/crl", crl_answer)
        async with server:
            authority = Authority(str(server.make_url("")).rstrip("/"))
            desk = Desk(authority, CertificateStatus(http, lambda: desk.now))
            yield desk


async def test_what_shows_that_a_chain_is_in_force(at: Desk) -> None:
    proofs = await at.of()
    assert (len(proofs.certificates), len(proofs.ocsps), len(proofs.crls)) == (3, 1, 1)
    assert proofs.and_also(proofs) == proofs, "nothing is kept twice"


async def test_a_chain_known_costs_no_call(at: Desk) -> None:
    first = await at.of()
    for _ in range(20):
        assert await at.of() == first
    assert sorted(at.authority.asked) == ["crl", "ocsp"]


async def test_an_answer_that_runs_out_is_asked_for_again(at: Desk) -> None:
    await at.of()
    at.now = at.authority.this_update = NOW + timedelta(minutes=9)
    await at.of()
    assert sorted(at.authority.asked) == ["crl", "ocsp", "ocsp"]


async def test_a_clock_set_back_asks_again(at: Desk) -> None:
    await at.of()
    at.now = NOW - timedelta(hours=1)
    await at.of()
    assert len(at.authority.asked) == 4


async def test_one_time_certificates_do_not_pile_up(at: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.documents.status.REMEMBERED", 3)
    for number in range(6):
        leaf = certified(
            f"leaf {number}",
            ("issuer", at.authority.issuer_key),
            key(),
            at.authority.leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value,
        )
        await at.status.of((leaf, at.authority.issuer, at.authority.root))
    assert len(at.status._known) == 3


async def test_a_certificate_revoked_is_said(at: Desk) -> None:
    at.authority.status = ocsp.OCSPCertStatus.REVOKED
    with pytest.raises(Revoked):
        await at.of()


async def test_an_issuer_revoked_is_said(at: Desk) -> None:
    at.authority.revoked_issuer = True
    with pytest.raises(Revoked):
        await at.of()


async def test_an_authority_that_does_not_know_is_no_answer(at: Desk) -> None:
    at.authority.status = ocsp.OCSPCertStatus.UNKNOWN
    with pytest.raises(StatusUnavailable):
        await at.of()


async def test_an_answer_signed_by_a_stranger_is_none(at: Desk) -> None:
    at.authority.signer = key()
    with pytest.raises(StatusUnavailable):
        await at.of()


@pytest.mark.parametrize(
    "spoil", [lambda _: b"", lambda _: b"garbage", lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: d[:40]]
)
async def test_a_broken_answer_is_none(at: Desk, spoil: Callable[[bytes], bytes]) -> None:
    at.authority.spoil = spoil
    with pytest.raises(StatusUnavailable):
        await at.of()


async def test_nobody_there(at: Desk) -> None:
    at.authority = Authority("http://127.0.0.1:9")
    with pytest.raises(StatusUnavailable):
        await at.of()


async def test_a_certificate_that_names_nobody_is_no_certificate_of_ours(at: Desk) -> None:
    bare = certified("bare", ("issuer", at.authority.issuer_key), key())
    with pytest.raises(ValueError, match="names nobody"):
        await at.status.of((bare, at.authority.issuer, at.authority.root))
