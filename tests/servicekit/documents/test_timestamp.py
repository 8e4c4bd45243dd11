import asyncio
import hashlib
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from asn1crypto import cms, tsp
from cryptography.hazmat.primitives import serialization
from pyhanko.sign.timestamps import TimeStamper
from pyhanko.sign.timestamps.common_utils import TimestampRequestError

from servicekit.documents import timestamp
from servicekit.documents.timestamp import TimestampInvalid, TimestampUnavailable
from tests.servicekit.documents.authority import Authority, make_authority

DIGEST = hashlib.sha256(b"the head of a chain").digest()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority()


async def test_token_over_http_is_checked(authority: Authority) -> None:
    answering = authority.stamper()

    async def answer(request: web.Request) -> web.Response:
        asked = tsp.TimeStampReq.load(await request.read())
        reply = await answering.async_request_tsa_response(asked)
        return web.Response(body=reply.dump(), content_type="application/timestamp-reply")

    application = web.Application()
    application.router.add_post("/", answer)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        token = await timestamp.stamp(timestamp.authority(str(server.make_url("/")), session), DIGEST)
    said = await timestamp.check(token, DIGEST, roots=[authority.root_der])
    assert said.trusted
    assert abs((datetime.now(UTC) - said.at).total_seconds()) < 60


@pytest.mark.parametrize("status", [500, 404, 200])
async def test_an_authority_that_fails_is_unavailable(status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"nonsense", content_type="application/timestamp-reply")

    application = web.Application()
    application.router.add_post("/", answer)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        with pytest.raises(TimestampUnavailable):
            await timestamp.stamp(timestamp.authority(str(server.make_url("/")), session), DIGEST)


async def test_nobody_listens() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TimestampUnavailable):
            await timestamp.stamp(timestamp.authority("http://127.0.0.1:9/", session), DIGEST)


class Wrong(TimeStamper):
    """An authority that answers about another digest, or forgets the nonce."""

    def __init__(self, inner: TimeStamper, *, digest: bytes | None = None, nonce: bool = True) -> None:
        super().__init__()
        self.inner, self.digest, self.nonce = inner, digest, nonce

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        if self.digest is not None:
            imprint: Any = req["message_imprint"]
            imprint["hashed_message"] = self.digest
        if not self.nonce:
            req["nonce"] = 7
        return await self.inner.async_request_tsa_response(req)


async def test_a_token_over_another_digest_is_refused(authority: Authority) -> None:
    with pytest.raises(TimestampUnavailable):
        await timestamp.stamp(Wrong(authority.stamper(), digest=b"x" * 32), DIGEST)


async def test_a_token_with_another_nonce_is_refused(authority: Authority) -> None:
    with pytest.raises(TimestampUnavailable):
        await timestamp.stamp(Wrong(authority.stamper(), nonce=False), DIGEST)


async def test_one_lost_connection_is_forgiven(authority: Authority) -> None:
    class Flaky(Wrong):
        failed = False

        async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
            if not self.failed:
                self.failed = True
                raise TimestampRequestError("connection reset")
            return await super().async_request_tsa_response(req)

    assert await timestamp.stamp(Flaky(authority.stamper()), DIGEST)


async def test_check_refuses_what_was_altered(authority: Authority) -> None:
    token = await timestamp.stamp(authority.stamper(), DIGEST)
    with pytest.raises(TimestampInvalid, match="another digest"):
        await timestamp.check(token, hashlib.sha256(b"other").digest())
    parsed = cms.ContentInfo.load(token)
    signature = parsed["content"]["signer_infos"][0]["signature"].native
    with pytest.raises(TimestampInvalid, match="signature"):
        await timestamp.check(token.replace(signature, bytes(len(signature) - 1) + b"\1"), DIGEST)
    for junk in (b"", b"\x30\x03\x02\x01\x01", token[:-5], token + b"\0"):
        with pytest.raises(TimestampInvalid):
            await timestamp.check(junk, DIGEST)


async def test_check_without_the_root_is_sound_but_not_trusted(authority: Authority) -> None:
    token = await timestamp.stamp(authority.stamper(), DIGEST)
    assert not (await timestamp.check(token, DIGEST)).trusted
    assert not (await timestamp.check(token, DIGEST, roots=[make_authority().root_der])).trusted


async def test_openssl_agrees(authority: Authority, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    (tmp_path / "token").write_bytes(await timestamp.stamp(authority.stamper(), DIGEST))
    (tmp_path / "root").write_bytes(authority.root.public_bytes(serialization.Encoding.PEM))
    command = ["ts", "-verify", "-token_in", "-in", "token", "-digest", DIGEST.hex(), "-CAfile", "root"]
    said = await asyncio.to_thread(
        subprocess.run, [openssl, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Verification: OK" in said.stdout + said.stderr


async def test_a_digest_has_32_bytes(authority: Authority) -> None:
    with pytest.raises(ValueError, match="32"):
        await timestamp.stamp(authority.stamper(), b"short")
