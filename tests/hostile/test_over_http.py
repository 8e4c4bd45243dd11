"""Every misdeed the simulator knows, committed on one customer's way; and what is rare, but no misdeed.

What ``python -m deploy.simulator --misbehave`` tries is tried here: one registry, ``deploy.simulator.misdeeds``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from contracts.commands.signing import written_characters
from contracts.facts.signing import FormsSigned
from contracts.problems import KINDS
from deploy.local.environment import of_simulator
from deploy.local.ports import SERVICES
from deploy.local.settings import ROOT, inherited
from deploy.simulator.api import Phone
from deploy.simulator.customer import Customer, Habits
from deploy.simulator.hand import writes
from deploy.simulator.misdeeds import MISDEEDS, Attempt, commit
from deploy.simulator.proposals import person, proposal
from deploy.simulator.staff import look_at_signature
from tests.hostile.doors import doors_of
from tests.journey.whole import CHANNEL, Whole

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the platform to start and for a whole journey to be tried in every way.
    pytest.mark.timeout(300),
]

LONG_ENOUGH = 8
"""Characters from which a value found in a log is taken for one that was sent."""


class Passed:
    """A customer who came through, with everything tried on the way."""

    def __init__(self, customer: Customer, done: dict[str, list[Attempt]]) -> None:
        self.customer = customer
        self.done = done

    @property
    def journey_id(self) -> str:
        return self.customer.passage.journey_id

    def attempts(self) -> Iterator[tuple[str, Attempt]]:
        for name, attempts in self.done.items():
            for attempt in attempts:
                yield name, attempt


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def passed(whole: Whole) -> Passed:
    """One customer, all misdeeds."""
    customer = await whole.customer(Habits(score=None, use_app=False))
    return Passed(customer, await commit(doors_of(whole), customer, MISDEEDS.values()))


@pytest.mark.parametrize("name", list(MISDEEDS))
async def test_it_is_refused_as_it_must_be(passed: Passed, name: str) -> None:
    attempts = passed.done[name]
    assert attempts
    assert [str(attempt) for attempt in attempts if attempt.faults] == []


async def test_what_is_wanted_is_what_the_table_of_refusals_says(passed: Passed) -> None:
    for name, attempt in passed.attempts():
        for wanted in attempt.wanted:
            status, _, code = wanted.partition(" ")
            assert KINDS[code].status == int(status), (name, attempt.tried)


async def test_each_refusal_is_a_fact_where_a_journey_is_known(whole: Whole, passed: Passed) -> None:
    meant = {
        (attempt.journey_id, attempt.code)
        for _, attempt in passed.attempts()
        if attempt.journey_id is not None and KINDS[attempt.code].recorded
    }
    assert len(meant) > 30

    def kept(journey_id: str) -> set[str]:
        facts: list[Any] = whole.facts(journey_id)
        return {getattr(fact, "code", None) or getattr(fact, "reason", "") for fact in facts}

    def missing() -> set[tuple[str, str]]:
        return {(journey_id, code) for journey_id, code in meant if code not in kept(journey_id)}

    await whole.until_told(lambda: not missing())


async def test_I13_who_meddled_and_with_what_is_on_record(whole: Whole, passed: Passed) -> None:
    facts: list[Any] = whole.facts(passed.journey_id, "identity.refused")
    tried = {fact.command for fact in facts if fact.code == "not_the_customer"}
    # Of one code in a journey twenty are kept, then the count (DESIGN §2): those of the first misdeed are among them.
    assert {"sign_forms_by_channel", "place_order_by_channel", "confirm_document_by_channel"} <= tried


async def test_nothing_was_lost_by_it(whole: Whole, passed: Passed) -> None:
    journey = passed.journey_id
    assert len(passed.customer.passage.policies) == 3
    once = ("signing.forms_signed", "payment.order_placed", "payment.payment_confirmed", "issuance.policies_numbered")
    for name in once:
        assert len(whole.facts(journey, name)) == 1, name
    assert [told.headers for told in whole.told if told.subject.startswith("dead.")] == []
    for name in ("sandbox", *SERVICES, "gateway"):
        assert whole.run.process(name).running, name


async def test_the_evidence_of_it_is_whole(whole: Whole, passed: Passed, tmp_path: Any) -> None:
    _, findings = await whole.verdict(await whole.pack(passed.journey_id, tmp_path))
    assert all("dwell_scale" in doubt for doubt in findings["doubts"]), findings["doubts"]


async def test_no_answer_was_a_failure_of_ours(whole: Whole, passed: Passed) -> None:
    """By the gateway's own count: of all requests, only waiting for what was never seen ended above 499."""
    async with whole.http.get(f"{whole.run.ops_url('gateway')}/metrics") as answer:
        text = await answer.text()
    counted = re.findall(r'toubao_http_requests_total\{(?=[^}]*status="5)[^}]*\} ([0-9.]+)', text)
    forged = sum(attempt.status >= 500 for _, attempt in passed.attempts())
    waited = sum(1 for _, attempt in passed.attempts() if attempt.code == "premise_pending")
    assert forged == waited == 1
    # Readers of their own writes are told to wait now and then, and come again.
    assert sum(float(count) for count in counted) < 20
    for name in (*SERVICES, "gateway"):
        lines = [json.loads(line) for line in whole.run.log(name).read_text("utf-8").splitlines()]
        assert [line for line in lines if line["level"] in {"ERROR", "CRITICAL"}] == [], name


async def test_no_log_repeats_what_was_sent(whole: Whole, passed: Passed) -> None:
    sent = {value for _, attempt in passed.attempts() for value in attempt.sent if len(value) >= LONG_ENOUGH}
    assert len(sent) > 50
    for name in (*SERVICES, "gateway"):
        text = whole.run.log(name).read_text("utf-8")
        found = [value for value in sent if value in text or json.dumps(value)[1:-1] in text]
        assert found == [], name


# -- rare, and right ------------------------------------------------------------------------------------------

RARE = (("𬭚㛃䶮", "赵"), ("阿卜杜热合曼·买买提·吾布力卡斯木江", "王"))
"""Characters beyond the first plane and outside common fonts; twenty characters with the dots of their people.
With what the simulated hand, which has not learnt them, writes in every box: of neither too few nor too many strokes.
"""


@pytest.mark.parametrize(("name", "instead"), RARE)
async def test_a_rare_name_is_signed_and_stands_on_the_policy(
    whole: Whole, name: str, instead: str, monkeypatch: Any
) -> None:
    who = person(whole.chance, name)
    whole.people.append(who)
    accepted = await whole.channel.submit(proposal(who, datetime.now(UTC), whole.chance, extra=False))
    phone, habits = Phone(whole.http, accepted["link"]), Habits(score=None, use_app=False)
    customer = Customer(phone, who, whole.parties, whole.chance, habits)
    monkeypatch.setattr(
        "deploy.simulator.customer.writes", lambda of, chance: writes(instead * len(written_characters(of)), chance)
    )
    reviewers = [whole.staff("clerk"), whole.staff("counsel")]
    async with asyncio.TaskGroup() as group:
        # What is written is not the name, or the reader does not know it: two people look, and here they say it is.
        group.create_task(look_at_signature(reviewers, phone.session.journey_id))
        passing = group.create_task(customer.pass_through())
    passage = passing.result()
    assert len(passage.policies) == 2
    (signed,) = whole.facts(phone.session.journey_id, "signing.forms_signed")
    assert isinstance(signed, FormsSigned)
    assert signed.legibility == "manual"
    shown = next(iter(passage.policies.values()))
    assert name in await _words(shown)


async def _words(pdf: bytes) -> str:
    process = await asyncio.create_subprocess_exec(
        "pdftotext", "-layout", "-", "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate(pdf)
    return "".join(said.decode().split())


# -- by its flag ----------------------------------------------------------------------------------------------


async def test_the_simulator_misbehaves_by_a_flag(whole: Whole) -> None:
    """Tries, prints how it was refused, goes on; 0 when all of it was."""
    named = ("pay-before-signing", "sign-before-reading", "use-a-stolen-token", "act-with-a-staff-key")
    command = ["-m", "deploy.simulator", *(word for name in named for word in ("--misbehave", name))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        env={**inherited(), **of_simulator(whole.run.place, CHANNEL, "north_agency")},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    said = output.decode()
    assert process.returncode == 0, said
    for name in named:
        assert f"{name}: {MISDEEDS[name].sentence}" in said
    assert "refused  place-order: 409 not_signed" in said
    assert "WRONG" not in said
