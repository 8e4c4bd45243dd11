"""A service as operators meet it: a process that starts, is refused, stops, is killed, and whose bus goes away."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import nats as driver
import pytest

from contracts import subjects
from contracts.problems import Refuse
from deploy.nats.provision import provision
from deploy.nats.server import dying_with_parent
from products.publish import publish
from servicekit.blobs import FileBlobs
from servicekit.bus import Bus, BusUnavailable
from servicekit.runner import ground, new_ulid
from servicekit.service import Ground
from servicekit.settings import Settings, UnknownSetting
from servicekit.store import open_store
from servicekit.telemetry.metrics import Metrics
from servicekit.vault import Vault
from tests.nats_server import NatsServer, nats_server
from tests.servicekit.abacus import Look, Move, Total

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 2.0


class Process:
    """One real process of a service; its log lines as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def line(self, message: str) -> dict[str, Any]:
        """The next log line with this message."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            async for raw in self.process.stdout:
                line = json.loads(raw)
                self.lines.append(line)
                if line["message"] == message:
                    return line
        raise AssertionError(f"ended without {message!r}: {self.lines}")

    async def ready(self) -> int:
        """The operators' port."""
        return (await self.line("ready"))["ops_port"]

    async def stopped(self) -> float:
        """SIGTERM, and how many seconds it took to leave with exit status 0."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        self.process.send_signal(signal.SIGTERM)
        await self.process.communicate()
        assert self.process.returncode == 0
        return loop.time() - before


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "master.key"
    key.write_text("11" * 32 + "\n")
    key.chmod(0o600)
    (tmp_path / "data").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOUBAO_")}
    return kept | {
        "TOUBAO_DATA_DIR": str(tmp_path / "data"),
        "TOUBAO_BLOBS_DIR": str(tmp_path / "blobs"),
        "TOUBAO_VAULT_KEYS_DIR": str(tmp_path / "vault"),
        "TOUBAO_MASTER_KEY_FILE": str(key),
        "TOUBAO_RELEASES_DIR": str(tmp_path / "releases"),
        "TOUBAO_SWEEP_SECONDS": "0.1",
    }


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[NatsServer]:
    """A bus that may be killed."""
    with nats_server(tmp_path / "bus") as server:
        yield server


Start = Callable[..., Awaitable[Process]]


@asynccontextmanager
async def processes(environment: dict[str, str]) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(module: str = "tests.servicekit.abacus", **more: str) -> Process:
            process = await asyncio.create_subprocess_exec(
                *dying_with_parent(sys.executable, "-m", module),
                cwd=ROOT,
                env=environment | more,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )

            async def end() -> None:
                if process.returncode is None:
                    process.kill()
                    await process.communicate()

            stack.push_async_callback(end)
            return Process(process)

        yield start


@pytest.fixture
async def start(environment: dict[str, str]) -> AsyncIterator[Start]:
    async with processes(environment) as starting:
        yield starting


@pytest.fixture
async def asking(mortal: NatsServer, tmp_path: Path, environment: dict[str, str]) -> AsyncIterator[Ground[Any]]:
    environment["TOUBAO_NATS_URL"] = mortal.url
    await provision(mortal.url, None, ())
    settings = Settings(
        nats_url=mortal.url,
        data_dir=tmp_path / "asking",
        blobs_dir=tmp_path / "blobs",
        vault_keys_dir=tmp_path / "vault",
        master_key_file=tmp_path / "master.key",
    )
    async with ground("asking", settings) as under:
        yield under


async def move(bus: Bus, journey: str, by: int) -> Any:
    """Asks until nobody else was writing at the same time."""
    while True:
        try:
            reply, _ = await bus.request(Move(journey_id=journey, by=by, command_id=new_ulid()), Total)
        except Refuse as refusal:
            if refusal.code != "write_conflict":
                raise
        else:
            return reply


async def history(bus: Bus, journey: str, count: int) -> list[Any]:
    """The journey's facts on the stream, once there are so many of them."""
    async with asyncio.timeout(20):
        while True:
            try:
                found = await bus.history(subjects.JOURNEY, f"journey.{journey}.>", 0, 100)
            except BusUnavailable:
                found = []
            if len(found) >= count:
                return [fact for _, fact in found]
            await asyncio.sleep(0.05)


async def ended(process: Process) -> tuple[int | None, str]:
    out, err = await asyncio.wait_for(process.process.communicate(), 60)
    return process.process.returncode, (out + err).decode()


# --- starting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TOUBAO_ABACUS_BEEDS", "TOUBAO_STROE", "TOUBAO_DATADIR"])
async def test_a_misspelt_setting_is_named_and_nothing_starts(start: Start, name: str) -> None:
    status, said = await ended(await start(**{name: "hush"}))
    assert status == 2
    assert said == f"{name}: no such setting\n"


async def test_a_wrong_value_is_named_and_not_shown(start: Start) -> None:
    status, said = await ended(await start(TOUBAO_ABACUS_BEADS="hush"))
    assert status == 2
    assert said.startswith("TOUBAO_ABACUS_BEADS: ")
    assert "hush" not in said


async def test_a_missing_setting_is_named(start: Start) -> None:
    status, said = await ended(await start("services.proposal"))
    assert (status, said) == (2, "TOUBAO_PROPOSAL_RELEASE: Field required\n")


async def test_settings_of_others_in_the_same_environment_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUBAO_GATEWAY_PORT", "1")
    monkeypatch.setenv("TOUBAO_PORT_BASE", "23000")
    Settings.read()
    monkeypatch.setenv("TOUBAO_PORTS", "1")
    with pytest.raises(UnknownSetting, match="TOUBAO_PORTS"):
        Settings.read()


async def test_without_a_bus_it_says_so_and_ends(start: Start) -> None:
    status, said = await ended(await start(TOUBAO_NATS_URL="nats://127.0.0.1:1"))
    assert status == 1
    assert "no connection to the bus" in said


async def test_without_its_master_key_it_says_so_and_ends(
    asking: Ground[Any], start: Start, environment: dict[str, str]
) -> None:
    status, said = await ended(await start(TOUBAO_MASTER_KEY_FILE=environment["TOUBAO_MASTER_KEY_FILE"] + ".gone"))
    assert status == 1
    assert "master" in said


async def test_settings_are_told_at_start_without_secrets(asking: Ground[Any], start: Start) -> None:
    process = await start(TOUBAO_ABACUS_PASSWORD="hush", TOUBAO_MONGODB_URI="mongodb://me:hush@db:27017/?w=1")
    told = (await process.line("starting"))["settings"]
    assert told["mongodb_uri"] == "mongodb://***@db:27017/?w=1"
    assert told["abacus_beads"] == "10"
    await process.ready()
    await process.stopped()
    assert "hush" not in json.dumps(process.lines)


# --- stopping ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("releases")
    return folder, publish(ROOT / "products", folder).hash


@pytest.mark.parametrize("bus_is_gone", [False, True], ids=["", "the bus is gone"])
async def test_a_service_stops_within_two_seconds(
    asking: Ground[Any], start: Start, mortal: NatsServer, release: tuple[Path, str], *, bus_is_gone: bool
) -> None:
    folder, name = release
    process = await start("services.proposal", TOUBAO_RELEASES_DIR=str(folder), TOUBAO_PROPOSAL_RELEASE=name)
    await process.ready()
    if bus_is_gone:
        mortal.kill()
        await process.line("bus connection changed")
    assert await process.stopped() < STOP_SECONDS


async def test_what_takes_for_ever_does_not_hold_up_the_stop(asking: Ground[Any], start: Start) -> None:
    process = await start()
    await process.ready()
    client = await driver.connect(asking.settings.nats_url)
    for _ in range(3):
        asked = json.dumps({"command_id": new_ulid(), "journey_id": new_ulid()}).encode()
        await client.publish("cmd.abacus.dawdle", asked)
    await client.flush()
    await move(asking.bus, journey := new_ulid(), 1)
    assert await process.stopped() < STOP_SECONDS
    await client.close()
    assert len(await history(asking.bus, journey, 2)) == 2


# --- killed -----------------------------------------------------------------------------------------------


async def test_killed_between_save_and_publish_it_publishes_when_it_comes_back(
    asking: Ground[Any], start: Start
) -> None:
    dying = await start(ABACUS_DIES_PUBLISHING="1")
    await dying.ready()
    journey = new_ulid()
    client = await driver.connect(asking.settings.nats_url)
    asked = Move(journey_id=journey, by=7, command_id=new_ulid())
    await client.publish(asked.subject(), asked.model_dump_json().encode())
    await client.close()
    assert await asyncio.wait_for(dying.process.wait(), 20) == -signal.SIGKILL
    assert await asking.bus.history(subjects.JOURNEY, f"journey.{journey}.>", 0, 10) == []
    again = await start()
    await again.ready()
    facts = await history(asking.bus, journey, 2)
    assert [fact.sequence for fact in facts] == [1, 2]
    # Whoever asked and heard nothing asks again with the same id: it was decided once.
    reply, _ = await asking.bus.request(asked, Total)
    assert reply.total == 7
    assert (await asking.bus.request(Look(journey_id=journey), Total))[0].total == 7
    await again.stopped()


async def test_what_was_saved_while_the_bus_was_killed_comes_later_and_in_order(
    asking: Ground[Any], start: Start, mortal: NatsServer, tmp_path: Path
) -> None:
    process = await start()
    port = await process.ready()
    journey = new_ulid()
    await move(asking.bus, journey, 1)
    await history(asking.bus, journey, 2)
    mortal.kill()
    await process.line("bus connection changed")
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert answer.status == 503
            failing = [check["name"] for check in (await answer.json())["checks"] if not check["ok"]]
            assert failing == ["bus"]
        async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200, "a bus that is gone is no reason to restart the process"
        mortal.start()
        await process.line("bus connection changed")
        await move(asking.bus, journey, 2)
        facts = await history(asking.bus, journey, 4)
        assert [fact.sequence for fact in facts] == [1, 2, 3, 4]
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert answer.status == 200
    assert await process.stopped() < STOP_SECONDS


async def test_a_bus_that_lost_its_disk_is_listened_to_again(
    asking: Ground[Any], start: Start, mortal: NatsServer
) -> None:
    process = await start()
    await process.ready()
    await mortal.wipe()
    await provision(mortal.url, None, ())
    client = await driver.connect(mortal.url)
    async with asyncio.timeout(20):
        while True:
            consumers = await client.jetstream().consumers_info("JOURNEY")
            if "abacus-door" in [info.name for info in consumers]:
                break
            await asyncio.sleep(0.05)
    await client.close()
    await process.stopped()


# --- two of a kind ----------------------------------------------------------------------------------------


async def test_two_processes_share_the_requests_and_one_store_loses_nothing(asking: Ground[Any], start: Start) -> None:
    pair = [await start(), await start()]
    for process in pair:
        await process.ready()
    journeys = [new_ulid() for _ in range(4)]
    replies = await asyncio.gather(*(move(asking.bus, journey, 1) for journey in journeys for _ in range(8)))
    assert {reply.process for reply in replies} == {process.process.pid for process in pair}
    for journey in journeys:
        assert (await asking.bus.request(Look(journey_id=journey), Total))[0].total == 8
        assert [fact.sequence for fact in await history(asking.bus, journey, 16)] == list(range(1, 17))
    for process in pair:
        assert await process.stopped() < STOP_SECONDS


# --- seen from outside ------------------------------------------------------------------------------------


async def test_it_is_found_by_ping_info_and_stats(asking: Ground[Any], start: Start) -> None:
    process = await start()
    await process.ready()
    await move(asking.bus, new_ulid(), 1)
    client = await driver.connect(asking.settings.nats_url)
    answers = {
        verb: json.loads((await client.request(f"$SRV.{verb}.abacus", timeout=5)).data)
        for verb in ("PING", "INFO", "STATS")
    }
    await client.close()
    assert {answer["name"] for answer in answers.values()} == {"abacus"}
    found = {endpoint["name"]: endpoint["subject"] for endpoint in answers["INFO"]["endpoints"]}
    assert found == {verb: f"cmd.abacus.{verb}" for verb in ("move", "dawdle", "look")}
    assert {endpoint["queue_group"] for endpoint in answers["INFO"]["endpoints"]} == {"q"}
    asked = {endpoint["name"]: endpoint["num_requests"] for endpoint in answers["STATS"]["endpoints"]}
    assert asked["move"] == 1
    await process.stopped()


async def test_outbox_lag_and_dead_letters_are_measured(asking: Ground[Any], start: Start) -> None:
    process = await start()
    port = await process.ready()
    client = await driver.connect(asking.settings.nats_url)
    await client.jetstream().publish(f"journey.{new_ulid()}.door.knocked", b"no fact of ours")
    await client.close()
    await move(asking.bus, new_ulid(), 1)
    wanted = (
        "toubao_outbox_entries 0.0",
        'toubao_consumer_pending{consumer="abacus-door"} 0.0',
        'toubao_consumer_ack_pending{consumer="abacus-door"} 0.0',
        'toubao_dead_letters_total{consumer="abacus-door",stream="JOURNEY"} 1.0',
        "toubao_dead_letters_waiting 1.0",
        'toubao_commands_total{outcome="accepted",verb="abacus.move"} 1.0',
    )
    async with aiohttp.ClientSession() as http, asyncio.timeout(20):
        while True:
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
            if all(line in text for line in wanted):
                break
            await asyncio.sleep(0.05)
    await process.stopped()


# --- put aside and driven again ---------------------------------------------------------------------------


async def test_what_is_no_fact_is_put_aside_and_the_command_drives_it_again(asking: Ground[Any], start: Start) -> None:
    process = await start()
    await process.ready()
    client = await driver.connect(asking.settings.nats_url)
    js = client.jetstream()
    await js.publish(f"journey.{new_ulid()}.door.knocked", b"no fact of ours")

    async def dead(at_least: int) -> int:
        async with asyncio.timeout(20):
            while True:
                last = (await js.stream_info("DEAD")).state.last_seq
                if last >= at_least:
                    return last
                await asyncio.sleep(0.02)

    await dead(1)
    command = await start_command("servicekit.redrive", "JOURNEY", "abacus-door", url=asking.settings.nats_url)
    assert command == (0, "1 driven again\n")
    assert await dead(2) == 2, "still no fact, so it is put aside again, and was not driven in circles"
    words = ("JOURNEY", "abacus-door", "--discard")
    assert await start_command("servicekit.redrive", *words, url=asking.settings.nats_url) == (0, "1 discarded\n")
    state = (await js.stream_info("DEAD")).state
    assert (state.messages, state.last_seq) == (0, 2)
    await client.close()
    await process.stopped()


async def start_command(module: str, *words: str, url: str, **more: str) -> tuple[int | None, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOUBAO_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *words,
        cwd=ROOT,
        env=kept | {"TOUBAO_NATS_URL": url} | more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode()


@pytest.mark.parametrize(
    "words", [("redrive", "JOURNEY"), ("redrive", "JOURNEY", "a", "--all"), ("republish", "nobody"), ("republish",)]
)
async def test_a_command_asked_wrongly_says_how(words: tuple[str, ...]) -> None:
    status, said = await start_command(f"servicekit.{words[0]}", *words[1:], url="nats://127.0.0.1:1")
    assert status == 1
    assert f"python -m servicekit.{words[0]}" in said


async def test_every_key_is_wrapped_by_the_new_master_key_and_the_old_one_can_go(tmp_path: Path) -> None:
    keys, file, journey = tmp_path / "vault", tmp_path / "master.key", new_ulid()

    def vault() -> Vault:
        return Vault(FileBlobs(tmp_path / "blobs"), keys, file, now=lambda: datetime.now(UTC))

    old, new = secrets.token_hex(32), secrets.token_hex(32)
    file.write_text(f"{old}\n")
    sealed = await vault().seal(journey, "words")
    file.write_text(f"{old}\n{new}\n")
    told = {
        "TOUBAO_BLOBS_DIR": str(tmp_path / "blobs"),
        "TOUBAO_VAULT_KEYS_DIR": str(keys),
        "TOUBAO_MASTER_KEY_FILE": str(file),
    }
    assert await start_command("servicekit.rewrap", url="nats://127.0.0.1:1", **told) == (0, "1 keys wrapped anew\n")
    assert await start_command("servicekit.rewrap", url="nats://127.0.0.1:1", **told) == (0, "0 keys wrapped anew\n")
    file.write_text(f"{new}\n")
    assert await vault().open_text(journey, sealed) == "words"


async def test_a_command_without_a_bus_says_so() -> None:
    status, said = await start_command("servicekit.republish", "nps", url="nats://127.0.0.1:1")
    assert status == 1
    assert said.endswith("no connection to the bus\n")
    assert "Traceback" not in said


async def test_what_happens_after_issuance_is_published_again_too(
    asking: Ground[Any], mortal: NatsServer, tmp_path: Path
) -> None:
    from contracts.facts.aftercare import SurveySkipped
    from servicekit.store import Document
    from tests.desk import stored

    settings = asking.settings.model_copy(update={"data_dir": tmp_path / "data"})
    store = open_store(settings, "nps")
    survey = new_ulid()
    fact = stored(survey, SurveySkipped.model_construct(at=asking.now()), 1)
    await store.collection("journeys").save(Document(survey, facts=(fact,)))
    await store.close()
    asked = {"TOUBAO_DATA_DIR": str(tmp_path / "data")}
    for _ in range(2):
        said = await start_command("servicekit.republish", "nps", url=mortal.url, **asked)
        assert said == (0, "1 facts published\n")
    found = await asking.bus.history(subjects.AFTERCARE, "aftercare.nps.>", 0, 10)
    assert [fact.id for _, fact in found] == [fact.id], "twice published is there once"


# --- asking what does not answer --------------------------------------------------------------------------


async def test_nobody_there_is_known_at_once_and_silence_after_the_deadline(asking: Ground[Any]) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(BusUnavailable):
        await asking.bus.request(Look(journey_id=new_ulid()), Total)
    assert loop.time() - before < 2, "no responders: not the whole deadline"
    client = await driver.connect(asking.settings.nats_url)
    await client.subscribe("cmd.abacus.look")
    await client.flush()
    with pytest.raises(BusUnavailable):
        await asking.bus.request(Look(journey_id=new_ulid()), Look.reply, timeout=0.2)
    await client.close()


async def test_a_consumer_kept_otherwise_than_asked_is_refused(
    asking: Ground[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = await Bus.connect(asking.settings, "strict", Metrics("strict", "1"))
    real = bus._js.add_consumer

    async def dropping(stream: str, wish: Any, **more: Any) -> Any:
        info = await real(stream, wish, **more)
        info.config.max_ack_pending = 1000
        return info

    monkeypatch.setattr(bus._js, "add_consumer", dropping)
    with pytest.raises(BusUnavailable, match="max_ack_pending"):
        await bus.listen(subjects.JOURNEY, "strict-door", "journey.*.door.>", lambda _: asyncio.sleep(0))
    await bus.close()
