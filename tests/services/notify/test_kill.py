"""A message taken by a process that is then killed is sent, once, by the next."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from contracts.commands.notify import MessageTaken, SendMessage
from deploy.nats.provision import provision
from deploy.sandbox.process import running
from deploy.sandbox.settings import Party, SandboxSettings
from servicekit.runner import ground, new_ulid
from services.notify.service import Notify, NotifySettings
from tests.desk import settings_for
from tests.nats_server import NatsServer
from tests.prepared import sandbox_keys

ROOT = Path(__file__).resolve().parents[3]
PHONE = "13812345678"


@contextmanager
def process(settings: NotifySettings) -> Iterator[subprocess.Popen[str]]:
    """``python -m services.notify``, ready; killed on leaving if it still runs."""
    told = settings.model_dump(mode="json", exclude_none=True, exclude={"sweep_seconds"})
    env = {"TOUBAO_" + name.upper(): str(value) for name, value in told.items()}
    with subprocess.Popen(
        [sys.executable, "-m", "services.notify"], cwd=ROOT, env=os.environ | env, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            assert any(json.loads(line)["message"] == "ready" for line in started.stdout), "ended before it was ready"
            yield started
        finally:
            started.kill()


async def test_a_message_taken_survives_kill_9(nats: NatsServer, tmp_path: Path) -> None:
    await nats.wipe()
    await provision(nats.url, None, ())
    async with (
        running(SandboxSettings(data_dir=sandbox_keys(tmp_path / "sandbox"), port=0)) as parties,
        aiohttp.ClientSession() as http,
    ):
        url = parties.urls[Party.SMS]
        settings = settings_for(
            Notify,
            tmp_path,
            nats,
            notify_sms_url=url,
            notify_sms_key_file=tmp_path / "sandbox/keys/sms-provider.key",
        )
        assert isinstance(settings, NotifySettings)
        async with ground("sender", settings.model_copy(update={"data_dir": tmp_path / "sender"})) as sender:
            journey = new_ulid()
            values = json.dumps({"insurer": "示例保险", "link": "https://t.test/j#x", "hotline": "95585"})
            wish = SendMessage(
                command_id=new_ulid(),
                journey_id=journey,
                template="link",
                phone=await sender.vault.seal(journey, PHONE),
                values=await sender.vault.seal(journey, values),
            )
            async with http.post(f"{url}/sandbox/outage", json={"status": 503}):
                pass
            with process(settings) as first:
                taken, _ = await sender.bus.request(wish, MessageTaken)
                first.kill()
                first.wait()
            async with http.delete(f"{url}/sandbox/outage"):
                pass
            with process(settings):
                again, _ = await sender.bus.request(wish, MessageTaken)
                async with asyncio.timeout(20):
                    while not (messages := await inbox(http, url)):  # noqa: ASYNC110 - an inbox rings no bell
                        await asyncio.sleep(0.05)
    assert [message["message_id"] for message in messages] == [taken.message_id] == [again.message_id]


async def inbox(http: aiohttp.ClientSession, url: str) -> list[dict[str, str]]:
    async with http.get(f"{url}/inbox.json", params={"phone": PHONE}) as response:
        return (await response.json())["messages"]
