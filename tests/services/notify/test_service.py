"""Notify at its desk, with the sandbox's provider: taken at once, sent once, whatever happens in between."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stamina

from contracts.commands.notify import SendMessage
from contracts.facts.notify import MessageFailed, MessageQueued, MessageSent
from contracts.problems import Refuse
from contracts.values import Committed
from deploy.sandbox.process import Running, running
from deploy.sandbox.settings import Party, SandboxSettings
from servicekit.runner import new_ulid
from services.notify.provider import Provider, Refused, TooLate, Unreachable
from services.notify.rules import NotifyState, evolve
from services.notify.service import Notify, NotifySettings
from tests.desk import Clock, Desk, desk
from tests.nats_server import NatsServer
from tests.prepared import sandbox_keys

PHONE = "13812345678"


@pytest.fixture(autouse=True)
def quick() -> Any:
    """The provider's pauses between tries are a library's matter, not what is tried here."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(SandboxSettings(data_dir=sandbox_keys(tmp_path / "sandbox"), port=0)) as parties:
        yield parties


@dataclass
class Office:
    at: Desk
    url: str
    http: aiohttp.ClientSession

    async def command(self, journey: str, command_id: str = "", template: str = "otp", **values: str) -> SendMessage:
        stated = {
            "insurer": "示例保险",
            "code": "246810",
            "minutes": "5",
            "expires_at": (self.at.clock() + timedelta(minutes=5)).isoformat(),
            **values,
        }
        return SendMessage(
            command_id=command_id or new_ulid(),
            journey_id=journey,
            template=template,
            phone=await self.phone(journey),
            values=await self.at.vault.seal(journey, json.dumps(stated)),
        )

    async def phone(self, journey: str) -> Committed:
        # As in a proposal: sealed once, named in every message of the journey.
        if journey not in self._phones:
            self._phones[journey] = await self.at.vault.seal(journey, PHONE)
        return self._phones[journey]

    def __post_init__(self) -> None:
        self._phones: dict[str, Committed] = {}

    async def inbox(self) -> list[dict[str, Any]]:
        async with self.http.get(f"{self.url}/inbox.json", params={"phone": PHONE}) as response:
            return (await response.json())["messages"]

    async def outage(self, **how: Any) -> None:
        async with self.http.post(f"{self.url}/sandbox/outage", json=how) as response:
            assert response.status == 200

    async def over(self) -> None:
        async with self.http.delete(f"{self.url}/sandbox/outage") as response:
            assert response.status == 200

    async def settled(self, journey: str, count: int = 1) -> list[Any]:
        async def done() -> Any:
            facts = [f for f in await self.at.made(journey) if isinstance(f, MessageSent | MessageFailed)]
            return facts if len(facts) >= count else None

        return await self.at.eventually(done)


def more(sandbox: Running, tmp_path: Path) -> dict[str, Any]:
    return {
        "notify_sms_url": sandbox.urls[Party.SMS],
        "notify_sms_client_id": "toubao",
        "notify_sms_key_file": tmp_path / "sandbox/keys/sms-provider.key",
    }


@pytest.fixture
async def office(nats: NatsServer, tmp_path: Path, sandbox: Running) -> AsyncIterator[Office]:
    clock = Clock(datetime.now(UTC))  # the provider has a clock of its own
    async with (
        aiohttp.ClientSession() as http,
        desk(Notify, tmp_path, nats, clock=clock, **more(sandbox, tmp_path)) as at,
    ):
        yield Office(at, sandbox.urls[Party.SMS], http)


async def test_a_message_is_taken_at_once_and_arrives(office: Office) -> None:
    journey = new_ulid()
    taken = await office.at.ask(await office.command(journey))
    (sent,) = await office.settled(journey)
    assert isinstance(sent, MessageSent)
    assert sent.message_id == taken.message_id
    (message,) = await office.inbox()
    assert (message["message_id"], message["provider_ref"]) == (taken.message_id, sent.provider_ref)
    assert "246810" in message["text"]
    assert message["text"].startswith("【示例保险】")


async def test_the_link_arrives_as_the_proposal_fills_it(office: Office) -> None:
    journey = new_ulid()
    link = f"http://127.0.0.1:8080/j#{journey}.0123456789abcdef"
    await office.at.ask(await office.command(journey, template="link", link=link, hotline="95585"))
    await office.settled(journey)
    (message,) = await office.inbox()
    assert f"{link} " in message["text"], "a space ends the address"


async def test_the_same_command_again_is_the_same_message_also_with_values_sealed_anew(office: Office) -> None:
    journey = new_ulid()
    first, second = await office.command(journey, "link-0001"), await office.command(journey, "link-0001")
    assert first.values != second.values
    taken = [await office.at.ask(command) for command in (first, second, first)]
    assert len({reply.message_id for reply in taken}) == 1
    await office.settled(journey)
    assert len(await office.inbox()) == 1
    assert len([f for f in await office.at.made(journey) if isinstance(f, MessageQueued)]) == 1


async def test_one_command_id_in_two_journeys_is_two_messages(office: Office) -> None:
    for journey in (new_ulid(), new_ulid()):
        await office.at.ask(await office.command(journey, "same-key-1"))
        await office.settled(journey)
    assert len(await office.inbox()) == 2


async def test_an_id_used_for_another_phone_is_refused(office: Office) -> None:
    journey = new_ulid()
    command = await office.command(journey, "same-key-1")
    await office.at.ask(command)
    other = command.model_copy(update={"phone": await office.at.vault.seal(journey, "13900001111")})
    assert await office.at.refused(office.at.ask(other)) == "idempotency_key_reused"


async def test_an_unknown_template_is_refused_and_nothing_kept(office: Office) -> None:
    journey = new_ulid()
    with pytest.raises(Refuse) as refused:
        await office.at.ask(await office.command(journey, template="advertising"))
    assert refused.value.code == "invalid_fields"
    assert refused.value.problem.errors[0].pointer == "/template"
    assert await office.at.made(journey) == []


async def test_a_short_outage_costs_nothing(office: Office) -> None:
    journey = new_ulid()
    await office.outage(status=503, remaining=2)
    await office.at.ask(await office.command(journey))
    (sent,) = await office.settled(journey)
    assert isinstance(sent, MessageSent)
    assert len(await office.inbox()) == 1


async def test_a_long_outage_is_sat_out_and_then_given_up(office: Office) -> None:
    journey = new_ulid()
    await office.outage(status=503)
    values = {"template": "link", "link": "http://127.0.0.1/j#x", "hotline": "95585"}
    command = await office.command(journey, **values)
    opened = json.loads(await office.at.vault.open(journey, command.values))
    del opened["expires_at"]
    sealed = await office.at.vault.seal(journey, json.dumps(opened))
    await office.at.ask(command.model_copy(update={"values": sealed}))
    assert not [f for f in await office.at.made(journey) if isinstance(f, MessageFailed)]
    office.at.clock.pass_by(minutes=61)
    (failed,) = await office.settled(journey)
    assert failed.reason == "provider_unreachable"


async def test_a_code_is_never_sent_after_its_time(office: Office) -> None:
    journey = new_ulid()
    await office.outage(status=503)
    await office.at.ask(await office.command(journey))
    office.at.clock.pass_by(minutes=5)
    (failed,) = await office.settled(journey)
    assert failed.reason == "expired"
    await office.over()
    assert await office.inbox() == []


async def test_one_message_that_cannot_go_does_not_hold_back_the_next(office: Office) -> None:
    journey = new_ulid()
    command = await office.command(journey)
    lost = Committed(commitment="c" * 64, blob="d" * 64)
    queued = MessageQueued(
        at=office.at.clock(), message_id="lost", template=command.template, phone=command.phone, values=lost
    )

    async def taken(_: NotifyState) -> list[MessageQueued]:
        return [queued]

    # Nobody gets that far who names a blob that is not there; this one went afterwards.
    await office.at.service.journeys.append(journey, taken)
    await office.at.ask(await office.command(journey))
    (sent,) = await office.settled(journey)
    assert isinstance(sent, MessageSent)
    state = await office.at.service.journeys.state(journey)
    assert len(state.waiting) == 1, "a blob that is not there may still come"
    office.at.clock.pass_by(minutes=61)
    assert (await office.settled(journey, 2))[1].reason == "unfit"


@pytest.mark.parametrize(
    ("changes", "reason"), [({"code": ""}, "unfit"), ({"expires_at": "soon"}, "unfit"), ({"code": "1\n2"}, "unfit")]
)
async def test_values_that_do_not_fit_fail_for_good(office: Office, changes: dict[str, str], reason: str) -> None:
    journey = new_ulid()
    await office.at.ask(await office.command(journey, **changes))
    (failed,) = await office.settled(journey)
    assert failed.reason == reason
    assert await office.inbox() == []


async def test_a_number_the_provider_refuses_fails_for_good(office: Office) -> None:
    journey = new_ulid()
    command = await office.command(journey)
    landline = await office.at.vault.seal(journey, "01012345678")
    await office.at.ask(command.model_copy(update={"phone": landline}))
    (failed,) = await office.settled(journey)
    assert failed.reason == "provider_refused"


@pytest.mark.parametrize("of", ["phone", "values"])
async def test_what_nobody_sealed_for_this_journey_is_refused_at_once(office: Office, of: str) -> None:
    journey = new_ulid()
    command = await office.command(journey)
    elsewhere = await office.at.vault.seal(new_ulid(), "13800000000")
    for foreign in (elsewhere, elsewhere.model_copy(update={"blob": "0" * 64})):
        asked = command.model_copy(update={of: foreign, "command_id": new_ulid()})
        assert await office.at.refused(office.at.ask(asked)) == "malformed"
    assert await office.at.made(journey) == []


async def test_a_shredded_journey_gets_no_message(office: Office) -> None:
    journey = new_ulid()
    command = await office.command(journey)
    await office.at.vault.shred(journey)
    await office.at.ask(command)
    (failed,) = await office.settled(journey)
    assert failed.reason == "shredded"
    assert await office.inbox() == []


async def test_nothing_personal_in_logs_facts_or_store(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    journey = new_ulid()
    await office.outage(status=503, remaining=3)
    await office.at.ask(await office.command(journey))
    await office.settled(journey)
    said = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert said
    kept = [
        path.read_bytes()
        for name in ("data", "blobs")
        for path in (office.at.folder / name).rglob("*")
        if path.is_file()
    ]
    for secret in (PHONE, "246810"):
        assert not any(secret in line for line in said)
        assert not any(secret.encode() in data for data in kept)


async def test_state_is_the_fold_of_its_facts_and_outcomes_are_counted(office: Office) -> None:
    journey = new_ulid()
    await office.at.ask(await office.command(journey))
    await office.at.ask(await office.command(journey, code=""))
    await office.settled(journey, 2)
    state = NotifyState()
    for fact in await office.at.made(journey):
        state = evolve(state, fact)
    kept = await office.at.service.journeys.state(journey)
    assert kept.model_copy(update={"heard": {}}) == state

    def counted(outcome: str) -> float | None:
        registry = office.at.service.metrics.registry
        return registry.get_sample_value("toubao_notify_messages_total", {"template": "otp", "outcome": outcome})

    async def both() -> bool:
        return counted("sent") == counted("unfit") == 1

    await office.at.eventually(both)


async def test_a_wish_survives_the_service(nats: NatsServer, tmp_path: Path, sandbox: Running) -> None:
    clock = Clock(datetime.now(UTC))
    url, journey = sandbox.urls[Party.SMS], new_ulid()
    dead = {**more(sandbox, tmp_path), "notify_sms_url": "http://127.0.0.1:9"}
    async with aiohttp.ClientSession() as http:
        async with desk(Notify, tmp_path, nats, clock=clock, **dead) as at:
            taken = await at.ask(await Office(at, url, http).command(journey))
        async with desk(Notify, tmp_path, nats, clock=clock, **more(sandbox, tmp_path)) as at:
            office = Office(at, url, http)
            (sent,) = await office.settled(journey)
            (message,) = await office.inbox()
            assert message["message_id"] == sent.message_id == taken.message_id


async def test_a_crash_between_sending_and_recording_sends_nothing_twice(office: Office) -> None:
    journey = new_ulid()
    sent_before = office.at.service.provider.send  # type: ignore[attr-defined]
    crashed: list[str] = []

    async def send_and_crash(*args: Any) -> str:
        reference = await sent_before(*args)
        if not crashed:
            crashed.append(reference)
            raise Unreachable
        return reference

    office.at.service.provider.send = send_and_crash  # type: ignore[attr-defined]
    await office.at.ask(await office.command(journey))
    (sent,) = await office.settled(journey)
    assert [sent.provider_ref] == crashed
    assert len(await office.inbox()) == 1


async def test_the_provider_answers_for_good_or_not_yet(sandbox: Running, tmp_path: Path) -> None:
    key = (tmp_path / "sandbox/keys/sms-provider.key").read_bytes()
    url, now = sandbox.urls[Party.SMS], lambda: datetime.now(UTC)

    async def sending(provider: Provider, *args: Any) -> str:
        await provider.open()
        try:
            return await provider.send(*args)
        finally:
            await provider.close()

    words = "【示例保险】您好，请核对"
    assert await sending(Provider(url, "toubao", key, now), "M1", PHONE, words)
    with pytest.raises(Refused):
        await sending(Provider(url, "toubao", key, now), "M1", PHONE, words + "。")
    with pytest.raises(Unreachable):
        await sending(Provider(url, "toubao", b"another key", now), "M2", PHONE, words)
    with pytest.raises(Unreachable):
        await sending(Provider("http://127.0.0.1:9", "toubao", key, now), "M3", PHONE, words)
    with pytest.raises(TooLate):
        await sending(Provider(url, "toubao", key, now), "M4", PHONE, words, now())


def test_settings_name_what_is_wanting() -> None:
    assert {"notify_sms_url", "notify_sms_client_id", "notify_sms_key_file"} <= NotifySettings.model_fields.keys()
