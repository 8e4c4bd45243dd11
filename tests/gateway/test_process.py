"""``python -m gateway`` as a process: ready, serving, gone within seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from deploy.nats.provision import provision
from products import Release
from tests.nats_server import NatsServer, free_port

ROOT = Path(__file__).resolve().parents[2]


def environment(folder: Path, server: NatsServer, port: int, ops: int) -> dict[str, str]:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "master.key").write_text("11" * 32 + "\n")
    told: dict[str, Any] = {
        "NATS_URL": server.url,
        "DATA_DIR": folder / "data",
        "BLOBS_DIR": folder / "blobs",
        "VAULT_KEYS_DIR": folder / "vault",
        "MASTER_KEY_FILE": folder / "master.key",
        "RELEASES_DIR": folder / "releases",
        "OPS_PORT": ops,
        "GATEWAY_PORT": port,
        "GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    mine = {name: value for name, value in os.environ.items() if not name.startswith("TOUBAO_")}
    return {**mine, **{f"TOUBAO_{name}": str(value) for name, value in told.items()}}


async def test_it_starts_serves_and_stops(tmp_path: Path, nats: NatsServer, release: Release) -> None:
    await nats.wipe()
    await provision(nats.url, None, ())
    port, ops = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", cwd=ROOT, env=environment(tmp_path, nats, port, ops),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(30):
                while not await answers(http, f"http://127.0.0.1:{ops}/readyz"):
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            assert await answers(http, f"http://127.0.0.1:{port}/v1/help")
            async with http.get(f"http://127.0.0.1:{ops}/metrics") as got:
                assert "toubao_http_requests_total" in await got.text()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0, said
        assert time.monotonic() - began < 5
        assert b"Traceback" not in said
        assert b"127.0.0.1 - " not in said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_says_what_is_wrong_and_ends(tmp_path: Path, nats: NatsServer, release: Release) -> None:
    told = environment(tmp_path, nats, free_port(), free_port())
    wrong = [({"TOUBAO_GATEWAY_CHANNELS_FILE": str(tmp_path / "none.yaml")}, 1), ({"TOUBAO_GATEWAY_LIMIT": "1"}, 2)]
    for one, status in wrong:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", cwd=ROOT, env={**told, **one},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == status, said
        assert b"none.yaml" in said or b"TOUBAO_GATEWAY_LIMIT" in said


async def answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as got:
            return got.status == 200
    except aiohttp.ClientError:
        return False
