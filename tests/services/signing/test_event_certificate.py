"""One-time certificates, against the stand-in authority, and against one that answers wrongly."""

import json
import logging
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.sandbox.signed_requests import sign_headers
from servicekit.documents.keys import KeyGone
from services.signing.event_certificate import (
    CertificateAuthority,
    CertificateRefused,
    CertificateUnavailable,
)
from tests.prepared import sandbox_keys
from tests.services.signing.finishing import NAME, Office, finishing
from tests.softhsm import token

ACT, EVIDENCE = "a" * 64, "e" * 64

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with finishing(sandbox_keys(tmp_path_factory.mktemp("sandbox"))) as opened:
        yield opened


async def test_it_names_the_person_and_the_act_and_is_short_lived(office: Office) -> None:
    async with office.completion.authority.one_time(NAME, ACT, EVIDENCE) as key:
        certificate = key.chain[0]
    said = {a.oid: a.value for a in certificate.subject}
    assert said[NameOID.COMMON_NAME] == NAME
    assert said[NameOID.SERIAL_NUMBER] == ACT
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(minutes=20)
    assert certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.content_commitment
    assert not usage.key_cert_sign
    root = x509.load_pem_x509_certificate((office.root / "trust/insurer-root.pem").read_bytes())
    assert key.chain[-1] == root


async def test_each_act_has_a_key_of_its_own_and_it_is_gone_afterwards(office: Office) -> None:
    seen: set[bytes] = set()
    for _ in range(3):
        async with office.completion.authority.one_time(NAME, ACT, EVIDENCE) as key:
            key.sign(b"during")
        with pytest.raises(KeyGone):
            key.sign(b"after")
        public = key.chain[0].public_key()
        seen.add(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    assert len(seen) == 3


@pytest.mark.parametrize("name", ["王小明", "阿依古丽·麦麦提", "𬭚㛃䶮", "John Q. Public", "王" * 20])
async def test_names_as_people_have_them(office: Office, name: str) -> None:
    async with office.completion.authority.one_time(name, ACT, EVIDENCE) as key:
        (common,) = key.chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert common.value == name


async def test_keys_may_be_made_inside_a_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = sandbox_keys(tmp_path_factory.mktemp("sandbox"))
    async with (
        finishing(root, one_time=token()) as office,
        office.completion.authority.one_time(NAME, ACT, EVIDENCE) as key,
    ):
        signature = key.sign(b"act")
        public = key.chain[0].public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(signature, b"act", ec.ECDSA(hashes.SHA256()))


async def test_the_authority_keeps_no_name_and_nothing_is_logged(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    name = "赵钱孙李"
    async with office.completion.authority.one_time(name, ACT, EVIDENCE):
        pass
    assert name not in caplog.text
    assert name.encode() not in (office.root / "parties/records.sqlite3").read_bytes()
    async with office.http.get(f"{office.url}/sandbox/event-certificates") as answer:
        assert name not in await answer.text()


# -- what the stand-in refuses ---------------------------------------------------------------------------------------


async def asked(office: Office, **changed: Any) -> tuple[int, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, NAME), x509.NameAttribute(NameOID.SERIAL_NUMBER, ACT)]
    names = [x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"), *changed.pop("subject", subject)]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    csr = request.sign(changed.pop("key", key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    body = json.dumps({"name": NAME, "act": ACT, "evidence": EVIDENCE, "csr": csr} | changed).encode()
    secret = (office.root / "keys/authority.key").read_bytes()
    path = "/authority/v1/event-certificates"
    now = int(datetime.now(UTC).timestamp())
    headers = sign_headers(secret, "toubao", "POST", path, body, timestamp=now, nonce=secrets.token_hex(8))
    async with office.http.post(office.url + "/v1/event-certificates", data=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_the_authority_certifies_what_was_asked_and_no_key_twice(office: Office) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert (await asked(office, key=key))[0] == 201
    status, said = await asked(office, key=key, evidence="f" * 64)
    assert (status, said["code"]) == (409, "key_used")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"name": "李四"}, "wrong_subject"),
        ({"act": "b" * 64}, "wrong_subject"),
        ({"act": "short"}, "malformed"),
        ({"csr": "garbage"}, "malformed"),
        ({"subject": [x509.NameAttribute(NameOID.COMMON_NAME, NAME)]}, "wrong_subject"),
        ({"key": ec.generate_private_key(ec.SECP384R1())}, "wrong_key"),
    ],
)
async def test_the_authority_refuses_what_does_not_fit(office: Office, changed: dict[str, Any], code: str) -> None:
    status, said = await asked(office, **changed)
    assert status in {400, 422}
    assert said["code"] == code


async def test_the_authority_speaks_with_nobody_else(office: Office) -> None:
    async with office.http.post(f"{office.url}/v1/event-certificates", data=b"{}") as answer:
        assert answer.status == 401


# -- an authority that answers wrongly -------------------------------------------------------------------------------


class Wrong:
    """Another server in the authority's place."""

    def __init__(self) -> None:
        self.asked = 0
        self.status, self.body = 201, b"{}"

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        await request.read()
        return web.Response(status=self.status, body=self.body)


@pytest_asyncio.fixture(loop_scope="module")
async def wrong() -> AsyncIterator[tuple[Wrong, CertificateAuthority]]:
    app, party = web.Application(), Wrong()
    app.router.add_post("/v1/event-certificates", party.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        url = str(server.make_url(""))
        yield party, CertificateAuthority(url, "toubao", b"secret", http, lambda: datetime.now(UTC))


async def certify(authority: CertificateAuthority, name: str = NAME) -> None:
    async with authority.one_time(name, ACT, EVIDENCE):
        raise AssertionError("certified")


async def test_a_certificate_for_another_key_is_none(office: Office, wrong: tuple[Wrong, CertificateAuthority]) -> None:
    party, authority = wrong
    _, said = await asked(office)
    party.body = json.dumps(said).encode()
    with pytest.raises(CertificateUnavailable) as failed:
        await certify(authority)
    assert NAME not in repr(failed.value)
    assert failed.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (201, b"{}"), (201, b"garbage"), (201, b'{"certificates": ""}'), (302, b"")]
)
async def test_an_answer_that_is_none_is_tried_again_later(
    wrong: tuple[Wrong, CertificateAuthority], status: int, body: bytes
) -> None:
    party, authority = wrong
    party.status, party.body = status, body
    with pytest.raises(CertificateUnavailable):
        await certify(authority)


async def test_what_is_refused_is_not_asked_again(wrong: tuple[Wrong, CertificateAuthority]) -> None:
    party, authority = wrong
    party.status = 422
    with pytest.raises(CertificateRefused):
        await certify(authority)
    assert party.asked == 1


async def test_a_name_no_certificate_can_hold_is_not_asked_for(wrong: tuple[Wrong, CertificateAuthority]) -> None:
    party, authority = wrong
    for name in ("", "王" * 65):
        with pytest.raises(CertificateRefused):
            await certify(authority, name)
    assert party.asked == 0
