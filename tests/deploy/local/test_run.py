"""The local run starts what it should, survives what it may, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import os
import random
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import nats
import pytest

from contracts.subjects import STREAMS
from deploy.local import environment
from deploy.local.ports import BASE, SERVICES, Ports, taken
from deploy.local.processes import Console, Ended, Process, Program, readable, run_to_end, until_ready
from deploy.local.run import LocalRun, PortTaken
from deploy.local.settings import ROOT, inherited
from deploy.simulator.proposals import person, proposal
from servicekit.runner import new_ulid


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def gone(pid: int, within: float = 8.0) -> None:
    async with asyncio.timeout(within):
        while alive(pid):  # noqa: ASYNC110 - the kernel tells nobody of a grandchild's end
            await asyncio.sleep(0.02)


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[LocalRun]:
    """Everything but the services: bus, outside parties, set-up."""
    async with LocalRun(tmp_path / "var", services=()) as run:
        yield run


async def test_the_ground_stands_and_is_left_clean(tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "var", services=(), store="mongodb")
    async with run:
        pids = [run.process(name).pid for name in ("nats", "mongodb", "sandbox")]
        assert all(alive(pid) for pid in pids)
        assert set(run.ready) == {"nats", "mongodb", "sandbox"}
        client = await nats.connect(run.nats_url, nkeys_seed=str(run.nats_seed))
        for stream in STREAMS:
            await client.jetstream().stream_info(stream.name)
        await client.close()
        assert (run.layout.releases).is_dir()
        assert list(run.trust.glob("*.pem"))
        assert stat.S_IMODE(run.layout.master_key.stat().st_mode) == 0o600
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 5
    assert not any(alive(pid) for pid in pids)
    assert not any(taken(port) for port in run.ports.all().values())
    await run.stop()  # again changes nothing


async def test_a_second_start_keeps_keys_and_release(tmp_path: Path) -> None:
    ports = Ports.pick(0)
    async with LocalRun(tmp_path / "var", services=(), ports=ports) as run:
        assert run.nats_seed is not None
        before = (run.place.release, run.layout.master_key.read_bytes(), run.nats_seed.read_bytes())
        accounts = {path: path.read_bytes() for path in run.layout.credentials.rglob("*") if path.is_file()}
        assert {run.layout.password(name) for name in environment.STAFF} < set(accounts)
    async with LocalRun(tmp_path / "var", services=(), ports=ports) as run:
        assert run.nats_seed is not None
        assert (run.place.release, run.layout.master_key.read_bytes(), run.nats_seed.read_bytes()) == before
        assert {path: path.read_bytes() for path in accounts} == accounts


async def test_a_salesperson_of_the_local_run_signs_in_and_sells(tmp_path: Path) -> None:
    """With the passwords it made, over HTTP, through the real proposal service."""
    who = environment.salesperson_of("harbour_motors")
    async with (
        LocalRun(tmp_path / "var", services=("proposal", "identity", "notify", "gateway")) as run,
        aiohttp.ClientSession(run.gateway_url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser,
    ):
        browser.headers["Sec-Fetch-Site"] = "same-origin"

        async def asked(method: str, path: str, body: object = None) -> Any:
            headers = {"Idempotency-Key": new_ulid()}
            async with browser.request(method, path, json=body, headers=headers) as got:
                assert got.ok, await got.text()
                return await got.json() if got.content_length else None

        for door, name in (("staff", "counsel"), ("sales", who)):
            told = await asked("POST", "/v1/sign-in", {"door": door, "name": name, "password": run.password(name)})
            assert (await asked("GET", "/v1/sign-in"))["name"] == told["name"]
        offered = [each["product"] for each in (await asked("GET", "/v1/products"))["products"]]
        chance = random.Random(5)
        body = proposal(person(chance), datetime.now(UTC), chance)
        del body["salesperson"]
        assert {part["product"] for part in body["products"]} <= set(offered)
        accepted = await asked("POST", "/v1/proposals", body)
        (mine,) = (await asked("GET", "/v1/proposals?order=newest"))["proposals"]
        assert (mine["journey_id"], mine["state"]) == (accepted["journey_id"], "open")
        path = f"/v1/proposals/{accepted['journey_id']}"
        assert (await asked("GET", f"{path}/link"))["link"] == accepted["link"]
        await asked("POST", f"{path}/withdraw", {"reason": "wrong_data"})
        assert (await asked("GET", "/v1/proposals"))["proposals"][0]["state"] == "withdrawn"
        await asked("POST", "/v1/sign-out")
        async with browser.get("/v1/proposals") as got:
            assert got.status == 401


async def test_a_bus_of_ones_own_is_used(tmp_path: Path, nats_server) -> None:
    async with LocalRun(tmp_path / "var", services=(), nats_url=nats_server.url) as run:
        assert "nats" not in run.ready
        client = await nats.connect(nats_server.url)
        for stream in STREAMS:
            await client.jetstream().stream_info(stream.name)
        await client.close()


async def test_the_bus_can_be_killed_and_comes_back_with_its_streams(ground: LocalRun) -> None:
    await ground.kill("nats")
    assert taken(ground.ports.nats) is False
    await ground.restart("nats")
    client = await nats.connect(ground.nats_url, nkeys_seed=str(ground.nats_seed))
    assert (await client.jetstream().stream_info("JOURNEY")).config.name == "JOURNEY"
    await client.close()


async def test_an_accident_is_noticed_and_told(ground: LocalRun) -> None:
    watching = asyncio.create_task(ground.watch())
    os.kill(ground.process("sandbox").pid, signal.SIGKILL)
    with pytest.raises(Ended, match="sandbox ended"):
        await asyncio.wait_for(watching, 5)


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    ports = Ports.pick(0)
    run = LocalRun(tmp_path / "var", services=(), ports=ports)
    with (
        socket.create_server(("127.0.0.1", ports.gateway)),
        pytest.raises(PortTaken, match=rf"port {ports.gateway} .for gateway."),
    ):
        await run.start()
    assert not (tmp_path / "var").exists()


async def test_a_service_that_cannot_start_stops_the_run_and_says_why(tmp_path: Path) -> None:
    told = {"proposal": {"TOUBAO_STORE": "clay tablets"}}
    run = LocalRun(tmp_path / "var", services=("proposal",), extra=told)
    with pytest.raises(BaseExceptionGroup) as caught:
        await run.__aenter__()
    assert caught.group_contains(Ended, match=r"(?is)proposal ended.*store")
    assert not alive(run.process("nats").pid)
    assert not alive(run.process("sandbox").pid)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_the_command_leaves_nothing_running_however_it_ends(tmp_path: Path, sign: signal.Signals) -> None:
    ours = {**inherited(), "TOUBAO_PORT_BASE": "0", "PYTHONUNBUFFERED": "1"}
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom deploy.local.run import LocalRun\n"
        "from deploy.local.__main__ import ended_by_signals, guarded\n"
        "async def main():\n"
        "    async with ended_by_signals(), LocalRun(Path(sys.argv[1]), services=()) as run:\n"
        "        print(*(run.process(n).pid for n in ('nats', 'sandbox')), flush=True)\n"
        "        await run.watch()\n"
        "sys.exit(guarded(main()))\n"
    )
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "var"),
        cwd=ROOT, env=ours, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert command.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(command.stdout.readline(), 60)).split()]
    assert len(pids) == 2
    command.send_signal(sign)
    code = await asyncio.wait_for(command.wait(), 10)
    assert code == (-signal.SIGKILL if sign is signal.SIGKILL else 130)
    for pid in pids:
        await gone(pid)


# --- the parts ----------------------------------------------------------------------------------------------


def program(tmp_path: Path, code: str, name: str = "one") -> Program:
    return Program(name, [sys.executable, "-c", code], inherited(), tmp_path)


async def test_what_ignores_the_request_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    out = io.StringIO()
    process = Process(program(tmp_path, code), tmp_path / "one.log", Console("everything", out))
    await process.start()

    async def spoke() -> bool:
        return process.log.exists() and process.log.read_text().endswith("\n")

    await until_ready(process, spoke, 10)
    child = int(process.log.read_text())
    assert await process.stop(within=0.2) == -signal.SIGKILL
    await gone(child)
    assert "did not stop in time" in out.getvalue()


async def test_the_end_of_a_program_carries_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(Ended, match=r"(?s)status 3.*no paper"):
        await run_to_end(
            program(tmp_path, "import sys; print('no paper'); sys.exit(3)"),
            tmp_path / "one.log",
            Console("nothing"),
        )


async def test_lines_stand_behind_their_programs_name(tmp_path: Path) -> None:
    out = io.StringIO()
    code = (
        """print('{"time": "t", "level": "WARNING", "service": "s", "message": "slow", "step": 3}'); print('plain')"""
    )
    await run_to_end(program(tmp_path, code, "signing"), tmp_path / "one.log", Console("everything", out))
    first, second = out.getvalue().splitlines()
    assert first.endswith("signing      | WARNING slow step=3")
    assert second.endswith("signing      | plain")


def test_only_problems_are_shown_when_asked() -> None:
    out = io.StringIO()
    console = Console("problems", out)
    console.say("nps", '{"level": "INFO", "message": "fine"}')
    console.say("nps", "just a line")
    console.say("nps", '{"level": "ERROR", "message": "broken"}')
    assert len(out.getvalue().splitlines()) == 1
    assert "broken" in out.getvalue()


@pytest.mark.parametrize("line", ["", "{", "[1]", '"x"', "null", "3", '{"a": 1}'])
def test_a_line_that_is_no_log_entry_stays_as_it_is(line: str) -> None:
    assert readable(line) == (line, False)


def test_all_ports_move_together() -> None:
    first, moved = Ports.pick().all(), Ports.pick(BASE + 1000).all()
    assert len(set(first.values())) == len(first)
    assert {name: port + 1000 for name, port in first.items()} == moved
    free = Ports.pick(0).all()
    assert len(set(free.values())) == len(free)


def test_every_process_is_told_its_own_port_and_nothing_of_other_services(tmp_path: Path) -> None:
    layout = environment.Layout(tmp_path, tmp_path / "fonts")
    place = environment.Place(layout, Ports.pick(), "nats://x", None, "sqlite", "mongodb://x", "0" * 64)
    told = environment.all_of(place)
    assert set(told) == {"sandbox", "gateway", *SERVICES}
    ops = [told[name]["TOUBAO_OPS_PORT"] for name in (*SERVICES, "gateway")]
    assert len(set(ops)) == len(ops)
    for name in SERVICES:
        others = [f"TOUBAO_{other.upper()}_" for other in (*SERVICES, "gateway") if other != name]
        assert not [key for key in told[name] if key.startswith(tuple(others))]
