"""One process holds every party; it starts and stops quickly and owes nobody a port."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from deploy.sandbox.credentials import Credentials
from deploy.sandbox.process import Running
from deploy.sandbox.settings import Party, SandboxSettings
from tests.deploy.sandbox.callers import Clock, Signed, Start

ROOT = Path(__file__).parents[3]


async def test_every_party_is_alive_and_ready(sandbox: Running, http: aiohttp.ClientSession) -> None:
    for party in Party:
        for path in ("/healthz", "/readyz"):
            async with http.get(sandbox.urls[party] + path) as answer:
                assert answer.status == 200, (party, path)


async def test_all_parties_can_share_one_port(start: Start, http: aiohttp.ClientSession, data_dir: Path) -> None:
    async with start(port=0) as sandbox:
        assert len({url.rsplit("/", 1)[0] for url in sandbox.urls.values()}) == 1
        for party in Party:
            async with http.get(f"{sandbox.urls[party]}/readyz") as answer:
                assert answer.status == 200
        async with http.get(sandbox.urls[Party.SMS].removesuffix("/sms") + "/readyz") as answer:
            assert answer.status == 200
        async with http.get(f"{sandbox.urls[Party.SMS]}/inbox") as page:
            assert 'href="/sms/sandbox.css"' in await page.text()
        async with http.get(sandbox.urls[Party.SMS] + "/sandbox.css") as sheet:
            assert sheet.status == 200
        written = json.loads((data_dir / "endpoints.json").read_text())
        assert written == {str(party): url for party, url in sandbox.urls.items()}


async def test_a_party_can_play_dead_while_the_others_answer(face: Signed, sms: Signed) -> None:
    person = {"name": "张小测", "id_number": "11010519491231002X"}
    switch = f"{face.base}/sandbox/outage"
    async with face.session.post(switch, json={"status": 503, "remaining": 2}) as answer:
        assert answer.status == 200
    assert (await face.call("POST", "/v1/real-name", person))[0] == 503
    async with face.session.get(f"{face.base}/readyz") as answer:
        assert answer.status == 200
    async with sms.session.get(f"{sms.base}/inbox.json") as answer:
        assert answer.status == 200
    assert (await face.call("POST", "/v1/real-name", person))[0] == 503
    assert (await face.call("POST", "/v1/real-name", person))[0] == 200
    async with face.session.post(switch, json={"status": 500}):
        pass
    assert (await face.call("POST", "/v1/real-name", person))[0] == 500
    async with face.session.delete(switch):
        pass
    assert (await face.call("POST", "/v1/real-name", person))[0] == 200
    async with face.session.post(switch, json={"status": 200}) as answer:
        assert answer.status == 400


async def test_a_party_can_do_what_it_is_asked_and_lose_the_answer(sms: Signed) -> None:
    message = {"message_id": "m-lost", "phone": "13800138000", "text": "您的验证码是123456。"}
    async with sms.session.post(f"{sms.base}/sandbox/outage", json={"status": 500, "remaining": 1, "done": True}):
        pass
    assert (await sms.call("POST", "/v1/messages", message))[0] == 500
    async with sms.session.get(f"{sms.base}/inbox.json", params={"phone": message["phone"]}) as inbox:
        assert [m["message_id"] for m in (await inbox.json())["messages"]] == ["m-lost"]
    assert (await sms.call("POST", "/v1/messages", message))[0] == 202


async def test_a_party_can_fail_half_the_time(face: Signed) -> None:
    person = {"name": "张小测", "id_number": "11010519491231002X"}
    async with face.session.post(f"{face.base}/sandbox/outage", json={"status": 500, "share": 0.5, "path": "/v1/"}):
        pass
    # That one of two does not occur among sixty happens once in 10^18.
    statuses = {(await face.call("POST", "/v1/real-name", person))[0] for _ in range(60)}
    assert statuses == {200, 500}
    async with face.session.post(f"{face.base}/sandbox/outage", json={"status": 500, "path": "/v1/face"}):
        pass
    assert (await face.call("POST", "/v1/real-name", person))[0] == 200
    assert (await face.call("GET", "/v1/face-sessions/none"))[0] == 500


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_process_starts_and_stops_within_two_seconds_each(
    data_dir: Path, number: signal.Signals, http: aiohttp.ClientSession
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {
        "TOUBAO_SANDBOX_DATA_DIR": str(data_dir),
        "TOUBAO_SANDBOX_PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.sandbox", cwd=ROOT, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), timeout=30)
        assert line, (await process.stderr.read()).decode()
        ready = json.loads(line)
        assert ready["event"] == "sandbox_ready"
        async with http.get(ready["urls"]["wechat"] + "/readyz") as answer:
            assert answer.status == 200
        told = time.monotonic()
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), timeout=10) == 0
        assert time.monotonic() - told < 2
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert await process.stderr.read() == b""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # CPU time: what the start costs by itself, whoever else uses the machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


async def test_requests_that_hang_at_every_party_do_not_hold_up_the_stop(
    start: Start, http: aiohttp.ClientSession
) -> None:
    async with start() as sandbox:
        hanging: list[asyncio.Task[None]] = []

        async def ask(party: Party) -> None:
            async with http.get(sandbox.urls[party] + "/sandbox.css"):
                pass

        for party in Party:
            async with http.post(f"{sandbox.urls[party]}/sandbox/outage", json={"delay_seconds": 60}):
                hanging.append(asyncio.create_task(ask(party)))
        for party in Party:
            # A round trip after the hanging request was sent: it has arrived by now.
            async with http.get(f"{sandbox.urls[party]}/healthz"):
                pass
        told = time.monotonic()
    assert time.monotonic() - told < 2
    assert all(isinstance(end, aiohttp.ClientError) for end in await asyncio.gather(*hanging, return_exceptions=True))


async def test_what_was_acknowledged_survives_kill_9(data_dir: Path, http: aiohttp.ClientSession, clock: Clock) -> None:
    environment = os.environ | {"TOUBAO_SANDBOX_DATA_DIR": str(data_dir), "TOUBAO_SANDBOX_PORT": "0"}
    key = Credentials(data_dir).sms_key.read_bytes()

    @asynccontextmanager
    async def killed_after() -> AsyncIterator[Signed]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.sandbox", cwd=ROOT, env=environment,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), timeout=30)
            yield Signed(http, json.loads(line)["urls"]["sms"], key, clock)
        finally:
            process.kill()
            await process.wait()

    async with killed_after() as sms:
        for number in range(20):
            message = {"message_id": f"m{number}", "phone": "13900001234", "text": "x"}
            assert (await sms.call("POST", "/v1/messages", message))[0] == 202
    async with killed_after() as sms, http.get(f"{sms.base}/inbox.json") as answer:
        assert len((await answer.json())["messages"]) == 20


async def test_a_taken_port_is_named_and_nothing_starts(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.sandbox", cwd=ROOT,
            env=os.environ | {"TOUBAO_SANDBOX_DATA_DIR": str(data_dir), "TOUBAO_SANDBOX_PORT": port},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await asyncio.wait_for(process.communicate(), timeout=30)
    assert process.returncode == 1
    assert output == b""
    assert errors.decode().startswith("sandbox cannot start: ")
    assert "Traceback" not in errors.decode()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUBAO_SANDBOX_WECHAT_PORT", "19101")
    monkeypatch.setenv("TOUBAO_SANDBOX_WECHAT_NOTIFY_SCHEDULE", "[1, 2.5]")
    monkeypatch.setenv("TOUBAO_SANDBOX_SMS_PUBLIC_URL", "https://sms.example.test/")
    settings = SandboxSettings()
    assert settings.port_of(Party.WECHAT) == 19101
    assert settings.wechat_notify_schedule == (1, 2.5)
    assert settings.public_url(Party.SMS, 1) == "https://sms.example.test"
    assert settings.public_url(Party.WECHAT, 19101) == "http://127.0.0.1:19101"
    monkeypatch.setenv("TOUBAO_SANDBOX_WECHAT_PORT", "70000")
    with pytest.raises(ValidationError):
        SandboxSettings()
