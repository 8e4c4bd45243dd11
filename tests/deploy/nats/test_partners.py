"""Partners on a real nats-server: each hears of its own, nobody of another's, and adding one disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors
import pydantic
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from contracts.subjects import PARTNER, partner_fact
from deploy.local.ports import free_ports
from deploy.nats import generate, provision
from deploy.nats.partners import API_PREFIX, Partner, durable, read
from deploy.nats.reload import reload
from deploy.nats.rights import PROCESSES
from deploy.nats.server import NatsServer, executable

A = Partner(channel_id="harbour_motors", name="滨海汽车")
B = Partner(channel_id="north_agency", name="北方代理")
C = Partner(channel_id="lake-bank", name="湖畔银行")
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Running:
    folder: Path
    server: NatsServer
    ports: tuple[int, int]
    partners: list[Partner]
    stack: AsyncExitStack

    @property
    def seed(self) -> Path:
        return generate.operators_seed(self.folder)

    async def reload(self) -> None:
        port, monitor = self.ports
        generate.write(self.folder, self.partners, port=port, monitor=monitor)
        await asyncio.to_thread(reload, self.folder)

    async def provision(self, **options: Any) -> list[str]:
        return await provision.provision(self.server.url, self.seed, self.partners, **options)

    async def core(self) -> Client:
        return await self._connect(self.seed)

    async def partner(self, partner: Partner, complaints: list[str] | None = None) -> Client:
        return await self._connect(generate.partner_seed(self.folder, partner.channel_id), complaints)

    async def _connect(self, seed: Path, complaints: list[str] | None = None) -> Client:
        async def note(error: Exception) -> None:
            if complaints is not None:
                complaints.append(str(error))

        client = await nats.connect(self.server.url, nkeys_seed=str(seed), allow_reconnect=False, error_cb=note)
        self.stack.push_async_callback(client.close)
        return client


@asynccontextmanager
async def running(folder: Path, *partners: Partner) -> AsyncIterator[Running]:
    port, monitor = free_ports(2)
    config = generate.write(folder, partners, port=port, monitor=monitor)
    async with NatsServer(folder, config) as server, AsyncExitStack() as stack:
        here = Running(folder, server, (port, monitor), list(partners), stack)
        await here.provision()
        yield here


async def tell(core: Client, partner: Partner, number: int) -> None:
    body = json.dumps({"policy_no": f"{partner.channel_id}-{number}"}).encode()
    await core.jetstream().publish(
        partner_fact(partner.channel_id, "policy_issued", f"{number:026}"),
        body,
        headers={"ce-id": f"{number:026}", "ce-sequence": str(number)},
    )


@asynccontextmanager
async def feed(client: Client, partner: Partner) -> AsyncIterator[JetStreamContext.PullSubscription]:
    subscription = await client.jetstream(prefix=API_PREFIX, timeout=2).pull_subscribe_bind(
        consumer=durable(partner.channel_id), stream=PARTNER.name
    )
    try:
        yield subscription
    finally:
        await subscription.unsubscribe()


async def hear(client: Client, partner: Partner, count: int) -> list[str]:
    async with feed(client, partner) as subscription:
        heard: list[str] = []
        while len(heard) < count:
            for message in await subscription.fetch(count - len(heard), timeout=5):
                await message.ack_sync(timeout=2)
                heard.append(json.loads(message.data)["policy_no"])
        return heard


async def test_each_partner_hears_of_its_own_policies_in_order(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        for number in range(1, 6):
            await tell(core, A, number)
            await tell(core, B, number)
        assert await hear(await here.partner(A), A, 5) == [f"harbour_motors-{n}" for n in range(1, 6)]
        assert await hear(await here.partner(B), B, 5) == [f"north_agency-{n}" for n in range(1, 6)]
        async with feed(await here.partner(A), A) as subscription:
            with pytest.raises(nats.errors.TimeoutError):
                await subscription.fetch(1, timeout=0.3)
            # A partner may ask how far it is.
            assert (await subscription.consumer_info()).num_ack_pending == 0


async def test_what_was_not_acknowledged_comes_again(tmp_path: Path) -> None:
    async with running(tmp_path, A) as here:
        core = await here.core()
        await tell(core, A, 1)
        client = await here.partner(A)
        async with feed(client, A) as subscription:
            (message,) = await subscription.fetch(1, timeout=5)
            await message.nak()
            (again,) = await subscription.fetch(1, timeout=5)
            assert again.data == message.data
            assert again.metadata.num_delivered == 2


async def test_fan_out_twice_is_one_fact(tmp_path: Path) -> None:
    async with running(tmp_path, A) as here:
        core = await here.core()
        await tell(core, A, 1)
        with pytest.raises(nats.js.errors.APIError, match="maximum messages per subject"):
            await tell(core, A, 1)
        assert (await core.jetstream().stream_info(PARTNER.name)).state.messages == 1


async def test_another_partners_feed_stays_shut(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        await tell(core, A, 1)
        complaints: list[str] = []
        spy = await here.partner(B, complaints)

        async with feed(spy, A) as subscription:
            with pytest.raises(nats.errors.TimeoutError):
                await subscription.fetch(1, timeout=0.5)
            with pytest.raises(nats.errors.Error):
                await subscription.consumer_info()
        # Nor under the names the core account knows it by.
        for prefix in ("$JS.API", API_PREFIX):
            for request in (
                f"CONSUMER.MSG.NEXT.{PARTNER.name}.{A.durable}",
                f"CONSUMER.INFO.{PARTNER.name}.{A.durable}",
                f"CONSUMER.LIST.{PARTNER.name}",
                f"CONSUMER.NAMES.{PARTNER.name}",
                f"CONSUMER.DELETE.{PARTNER.name}.{A.durable}",
                f"CONSUMER.DURABLE.CREATE.{PARTNER.name}.{A.durable}",
                f"STREAM.INFO.{PARTNER.name}",
                f"STREAM.MSG.GET.{PARTNER.name}",
                f"STREAM.PURGE.{PARTNER.name}",
                f"STREAM.DELETE.{PARTNER.name}",
                f"DIRECT.GET.{PARTNER.name}",
                "STREAM.LIST",
                "STREAM.NAMES",
                "INFO",
            ):
                with pytest.raises(nats.errors.Error):
                    await spy.request(f"{prefix}.{request}", b"", timeout=0.1)
        await spy.flush()
        assert any("permissions violation" in complaint.lower() for complaint in complaints)
        # It was not for want of anything to hear.
        assert await hear(await here.partner(A), A, 1) == ["harbour_motors-1"]


async def test_no_subject_of_the_core_can_be_listened_to(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        complaints: list[str] = []
        spy = await here.partner(B, complaints)
        overheard: list[str] = []

        async def note(message: Any) -> None:
            overheard.append(message.subject)

        for subject in (">", "partner.>", "journey.>", "cmd.>", "$JS.>", "$SYS.>", "_INBOX.>"):
            await spy.subscribe(subject, cb=note)
        await spy.flush()
        await tell(core, A, 1)
        assert await hear(await here.partner(A), A, 1) == ["harbour_motors-1"]
        await core.publish("journey.x.identity.face_verified", b"{}")
        await core.flush()
        await spy.flush()
        assert overheard == []
        assert len([c for c in complaints if "permissions violation" in c.lower()]) == 6  # all but the inbox


async def test_nothing_can_be_put_into_the_core(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        arrived: list[str] = []

        async def note(message: Any) -> None:
            arrived.append(message.subject)

        await core.subscribe("journey.>", cb=note)
        await core.subscribe("cmd.>", cb=note)
        await core.subscribe("partner.>", cb=note)
        await core.flush()
        intruder = await here.partner(B)
        for subject in (
            "journey.01ARZ3NDEKTSV4RRFFQ69G5FAV.payment.premium_paid",
            "cmd.issuance.issue",
            partner_fact(A.channel_id, "policy_issued", "0" * 26),
            partner_fact(B.channel_id, "policy_issued", "0" * 26),
        ):
            await intruder.publish(subject, b"forged")
            with pytest.raises(nats.errors.Error):
                await intruder.jetstream(timeout=0.2).publish(subject, b"forged")
        await intruder.flush()
        await core.flush()
        assert arrived == []
        for stream in ("JOURNEY", "PARTNER", "AFTERCARE", "DEAD"):
            assert (await core.jetstream().stream_info(stream)).state.messages == 0


async def test_a_forged_reply_subject_does_not_send_stored_facts_anywhere(tmp_path: Path) -> None:
    """The answer to "next message" goes to the reply subject: which must not be one of the core."""
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        await tell(core, B, 1)
        intruder = await here.partner(B)
        aims = (
            "journey.01ARZ3NDEKTSV4RRFFQ69G5FAV.payment.premium_paid",
            f"$JS.ACK.{PARTNER.name}.{A.durable}.1.1.1.1.0",
            f"$JS.API.STREAM.DELETE.{PARTNER.name}",
            partner_fact(A.channel_id, "policy_issued", "9" * 26),
        )
        for aim in aims:
            await intruder.publish(f"{API_PREFIX}.{B.next_subject}", b'{"batch":1,"no_wait":true}', reply=aim)
        await intruder.flush()
        await core.flush()
        state = (await core.jetstream().stream_info(PARTNER.name)).state
        assert state.messages == 1
        assert (await core.jetstream().stream_info("JOURNEY")).state.messages == 0


async def test_a_forged_acknowledgement_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        await tell(core, A, 1)
        async with feed(await here.partner(A), A) as subscription:
            (message,) = await subscription.fetch(1, timeout=5)
            intruder = await here.partner(B)
            for verb in (b"+ACK", b"+TERM", b"-NAK"):
                await intruder.publish(message.reply, verb)
                with pytest.raises(nats.errors.Error):
                    await intruder.request(message.reply, verb, timeout=0.1)
            await intruder.flush()
            info = await core.jetstream().consumer_info(PARTNER.name, A.durable)
            assert info.num_ack_pending == 1
            assert info.num_redelivered == 0
            await message.ack_sync(timeout=2)
            info = await core.jetstream().consumer_info(PARTNER.name, A.durable)
            assert info.num_ack_pending == 0


async def test_an_unknown_key_is_not_let_in(tmp_path: Path) -> None:
    async with running(tmp_path, A) as here:
        stranger = tmp_path / "stranger.nk"
        generate.public_key(stranger)
        await turned_away(here.server.url, stranger)
        await turned_away(here.server.url, None)


async def turned_away(url: str, seed: Path | None) -> None:
    client = Client()
    try:
        with pytest.raises(nats.errors.Error):
            await client.connect(url, nkeys_seed=str(seed) if seed else None, allow_reconnect=False)
    finally:
        await client.close()


async def test_a_partner_may_keep_its_own_key(tmp_path: Path) -> None:
    """Then nobody at the insurer could speak for it."""
    theirs = tmp_path / "theirs.nk"
    own = Partner(channel_id="own-key", name="自持密钥", public_key=generate.public_key(theirs))
    async with running(tmp_path / "nats", own) as here:
        assert not generate.partner_seed(here.folder, own.channel_id).exists()
        await tell(await here.core(), own, 1)
        assert await hear(await here._connect(theirs), own, 1) == ["own-key-1"]


async def test_adding_a_partner_disturbs_nobody(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core, first, second = await here.core(), await here.partner(A), await here.partner(B)
        await tell(core, A, 1)
        seeds = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*.nk")}
        async with feed(first, A) as open_feed:
            (one,) = await open_feed.fetch(1, timeout=5)
            await one.ack_sync(timeout=2)
            waiting = asyncio.create_task(open_feed.fetch(1, timeout=10))

            here.partners.append(C)
            await here.reload()
            assert {path: path.read_bytes() for path in seeds} == seeds
            assert await here.provision() == []

            # Who was connected still is, on the very connection, in the middle of a fetch.
            await tell(core, A, 2)
            (two,) = await waiting
            await two.ack_sync(timeout=2)
            assert json.loads(two.data)["policy_no"] == "harbour_motors-2"
        assert core.is_connected
        assert first.is_connected
        assert second.is_connected
        assert core.stats["reconnects"] == first.stats["reconnects"] == second.stats["reconnects"] == 0

        third = await here.partner(C)
        await tell(core, C, 1)
        assert await hear(third, C, 1) == ["lake-bank-1"]
        async with feed(third, A) as subscription:
            with pytest.raises(nats.errors.TimeoutError):
                await subscription.fetch(1, timeout=0.3)
        await tell(core, B, 1)
        assert await hear(second, B, 1) == ["north_agency-1"]


async def test_a_removed_partner_is_out_and_its_durable_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core, second = await here.core(), await here.partner(B)
        here.partners.remove(B)
        await here.reload()
        async with asyncio.timeout(5):
            while second.is_connected:  # noqa: ASYNC110 - the driver tells of it in callbacks alone
                await asyncio.sleep(0.01)
        await turned_away(here.server.url, generate.partner_seed(tmp_path, B.channel_id))
        assert await here.provision() == [B.durable]
        assert await here.provision(prune=True) == [B.durable]
        assert await here.provision() == []
        assert core.is_connected


async def test_provisioning_again_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        await tell(core, A, 1)
        client = await here.partner(A)
        assert await hear(client, A, 1) == ["harbour_motors-1"]
        await here.provision()
        await tell(core, A, 2)
        assert await hear(client, A, 1) == ["harbour_motors-2"]


async def test_a_durable_that_sees_too_much_is_put_right(tmp_path: Path) -> None:
    async with running(tmp_path, A) as here:
        js = (await here.core()).jetstream()
        await js.delete_consumer(PARTNER.name, A.durable)
        await js.add_consumer(
            PARTNER.name, ConsumerConfig(durable_name=A.durable, filter_subject="partner.>", max_waiting=16)
        )
        await here.provision()
        info = await js.consumer_info(PARTNER.name, A.durable)
        assert info.config.filter_subject == f"partner.{A.channel_id}.>"


async def test_what_cannot_be_put_right_is_an_error(tmp_path: Path) -> None:
    async with running(tmp_path, A) as here:
        js = (await here.core()).jetstream()
        await js.delete_consumer(PARTNER.name, A.durable)
        await js.add_consumer(PARTNER.name, ConsumerConfig(durable_name=A.durable, deliver_policy=DeliverPolicy.NEW))
        with pytest.raises(nats.js.errors.APIError):
            await here.provision()


async def test_what_the_server_dropped_silently_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-server 2.9 ignores what it doesn't know, as it does with ``filter_subjects``."""

    def wishing_for_more(partners: list[Partner]) -> list[ConsumerConfig]:
        return [ConsumerConfig(durable_name=p.durable, filter_subjects=[f"partner.{p.channel_id}.>"]) for p in partners]

    async with running(tmp_path, A) as here:
        await (await here.core()).jetstream().delete_consumer(PARTNER.name, A.durable)
        monkeypatch.setattr(provision, "durables", wishing_for_more)
        monkeypatch.setattr(provision, "DURABLE_WISHES", ("filter_subjects",))
        here.partners = [A]
        with pytest.raises(provision.NotAsWished, match="filter_subjects"):
            await here.provision()


async def test_the_example_program_prints_its_own_facts(tmp_path: Path) -> None:
    async with running(tmp_path, A, B) as here:
        core = await here.core()
        await tell(core, B, 1)
        await tell(core, A, 1)
        await tell(core, A, 2)
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "examples" / "partner_listener.py"),
            "--url", here.server.url, "--channel", A.channel_id, "--once", "2",
            "--seed", str(generate.partner_seed(tmp_path, A.channel_id)),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(program.communicate(), 30)
        assert program.returncode == 0, err.decode()
        lines = [json.loads(line) for line in out.decode().splitlines()]
        assert [line["data"]["policy_no"] for line in lines] == ["harbour_motors-1", "harbour_motors-2"]
        assert [line["ce-sequence"] for line in lines] == ["1", "2"]
        info = await core.jetstream().consumer_info(PARTNER.name, A.durable)
        assert (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_the_example_program_stops_at_once_when_asked(tmp_path: Path) -> None:
    async with running(tmp_path, A) as here:
        program = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "examples" / "partner_listener.py"),
            "--url", here.server.url, "--channel", A.channel_id,
            "--seed", str(generate.partner_seed(tmp_path, A.channel_id)),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert program.stderr is not None
        assert b"connected" in await asyncio.wait_for(program.stderr.readline(), 20)
        program.terminate()
        assert await asyncio.wait_for(program.wait(), 5) == 130


# --- the files ----------------------------------------------------------------------------------------------


def test_seeds_are_their_owners_alone_and_stay(tmp_path: Path) -> None:
    generate.write(tmp_path, [A, B])
    seeds = sorted((tmp_path / "keys").rglob("*.nk"))
    names = ["harbour_motors", "north_agency", "operators", *PROCESSES]
    assert sorted(seed.stem for seed in seeds) == sorted(names)
    for seed in seeds:
        assert stat.S_IMODE(seed.stat().st_mode) == 0o600
    before = [seed.read_bytes() for seed in seeds]
    assert len(set(before)) == len(names)
    config = generate.write(tmp_path, [A, B]).read_text()
    assert [seed.read_bytes() for seed in seeds] == before
    for seed in before:
        assert seed.decode().strip() not in config


def test_the_configuration_is_one_the_server_takes(tmp_path: Path) -> None:
    config = generate.write(tmp_path, read())
    subprocess.run([executable(), "-t", "-c", str(config)], check=True, capture_output=True)


def test_the_same_partners_give_the_same_configuration(tmp_path: Path) -> None:
    assert generate.write(tmp_path, read()).read_bytes() == generate.write(tmp_path, read()).read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "partners: [{channel_id: a.b, name: x}]",  # would reach another subject
        "partners: [{channel_id: '>', name: x}]",
        "partners: [{channel_id: '*', name: x}]",
        "partners: [{channel_id: 'a b', name: x}]",
        "partners: [{channel_id: '', name: x}]",
        "partners: [{channel_id: a, name: x}, {channel_id: a, name: y}]",
        "partners: [{channel_id: a, name: x}, {channel_id: A, name: y}]",
        "partners: [{channel_id: a, name: x, seed: SUABC}]",
        "channels: []",
    ],
)
def test_a_list_of_partners_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "partners.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(pydantic.ValidationError):
        read(path)
