"""Every journey over the embedded store, and what is seen of a running platform from outside."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import nats
import pytest

from contracts.values import sha256_hex
from deploy.local.ports import SERVICES
from deploy.simulator.api import Phone, ProblemAnswer
from deploy.simulator.customer import Customer, Habits
from deploy.simulator.proposals import proposal
from tests.journey.bicycles import PHRASES, bicycle
from tests.journey.journeys import Journeys
from tests.journey.whole import Whole, refused

STORE = "sqlite"
pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The first test waits for the whole platform to start.
    pytest.mark.timeout(300),
]


class TestOnSqlite(Journeys):
    """The journeys as they are."""


# -- products --------------------------------------------------------------------------------------------------


async def test_a_made_up_product_from_a_folder_passes_a_journey(whole: Whole, tmp_path: Path) -> None:
    """tests/journey/made_up is data; no code knows of bicycles."""
    customer = await whole.customer(Habits(score=0, use_app=False), body=bicycle)
    passage = await customer.pass_through()
    (number,) = passage.policies
    assert number.startswith("BIKE")
    assert len(passage.forms) == 1
    assert (passage.view["survey"] or {})["state"] == "invited"
    assert (await customer.look())["survey"]["state"] == "answered"  # 0 is an answer
    text = words_of(passage.policies[number], tmp_path)
    assert "自行车盗窃保险单" in text
    assert "AB1234" in text
    _, findings = await whole.verdict(await whole.pack(passage.journey_id, tmp_path))
    assert all("dwell_scale" in doubt for doubt in findings["doubts"]), findings["doubts"]
    written = f"bicycle_theft: the declaration was copied by hand, {len(PHRASES)} phrases, before the signature"
    assert written in findings["proven"]


async def test_I18_the_policy_says_what_was_submitted(whole: Whole, bought: Customer, tmp_path: Path) -> None:
    who = bought.person
    for number, pdf in bought.passage.policies.items():
        text = words_of(pdf, tmp_path)
        for value in (number, who.name, who.id_number):
            assert value in text
    for number, pdf in bought.passage.forms.items():
        text = words_of(pdf, tmp_path)
        assert number in text
        assert who.id_number in text


async def test_I23_number_and_code_on_the_paper_answer_authentic(
    whole: Whole, bought: Customer, tmp_path: Path
) -> None:
    number, pdf = next(iter(bought.passage.policies.items()))
    found = re.search(r"验真码\D{0,8}?([0-9A-Z-]{8,24})", words_of(pdf, tmp_path))
    assert found is not None
    asked: dict[str, str] = {"policy_no": number, "code": found[1]}
    async with whole.http.post(f"{whole.run.gateway_url}/v1/verify", json=asked) as answer:
        said = await answer.json()
    assert (said["outcome"], said["file_sha256"]) == ("authentic", sha256_hex(pdf))
    async with whole.http.post(f"{whole.run.gateway_url}/v1/verify", json={**asked, "code": "0" * 8}) as answer:
        assert (await answer.json())["outcome"] == "unknown"


def words_of(pdf: bytes, folder: Path) -> str:
    """The text of a PDF, without white space."""
    (folder / "paper.pdf").write_bytes(pdf)
    said = subprocess.run(["pdftotext", "-layout", str(folder / "paper.pdf"), "-"], check=True, capture_output=True)
    return "".join(said.stdout.decode().split())


# -- gates -----------------------------------------------------------------------------------------------------


async def test_I33_without_evidence_reading_goes_on_and_signing_waits(whole: Whole) -> None:
    customer = await whole.customer(Habits(score=None, use_app=False), body=bicycle)
    await customer.until("documents")
    await whole.run.stop_one("evidence")
    try:
        view = await customer.until("signature")
        customer.phone.patience = 0.01
        with pytest.raises(ProblemAnswer) as caught:
            await customer.turn(view)
        assert (caught.value.status, caught.value.code) == (503, "evidence_unavailable")
        assert caught.value.retry_after
    finally:
        customer.phone.patience = 60.0
        await whole.run.restart("evidence")
    await customer.until("payment")
    assert len(whole.facts(customer.passage.journey_id, "signing.forms_signed")) == 1


# -- what is seen ----------------------------------------------------------------------------------------------


async def test_one_trace_leads_from_the_tap_that_orders_to_the_last_policy(whole: Whole, bought: Customer) -> None:
    del bought
    spans = [json.loads(line) for line in (whole.run.folder / "traces.jsonl").read_text().splitlines()]
    taps = {s["trace_id"] for s in spans if s["name"] == "POST /v1/journeys/{journey_id}/place-order"}
    told = {s["trace_id"] for s in spans if s["name"] == "publish journey.*.issuance.journey_issued"}
    assert taps & told
    trace = [s for s in spans if s["trace_id"] == next(iter(taps & told))]
    assert {"gateway", "payment", "evidence", "issuance", "identity"} <= {s["service"] for s in trace}
    assert {"publish journey.*.payment.payment_confirmed", "publish journey.*.issuance.policy_issued"} <= {
        s["name"] for s in trace
    }
    ids = {s["span_id"] for s in trace}
    assert all(s["parent_id"] is None or s["parent_id"] in ids for s in trace)


async def test_every_service_answers_ping_and_is_ready(whole: Whole) -> None:
    client = await nats.connect(whole.run.nats_url, nkeys_seed=str(whole.run.nats_seed))
    answered: set[str] = set()
    inbox = await client.subscribe(client.new_inbox())
    await client.publish("$SRV.PING", reply=inbox.subject)
    async with asyncio.timeout(10):
        while answered < set(SERVICES):
            answered.add(json.loads((await inbox.next_msg(timeout=5)).data)["name"])
    await client.close()
    assert answered == set(SERVICES)
    for name in (*SERVICES, "gateway"):
        for path in ("healthz", "readyz", "metrics"):
            async with whole.http.get(f"{whole.run.ops_url(name)}/{path}") as answer:
                assert answer.status == 200, (name, path)


async def test_every_log_line_is_json_and_of_its_service(whole: Whole, bought: Customer) -> None:
    del bought
    for name in (*SERVICES, "gateway"):
        lines = whole.run.log(name).read_text("utf-8").splitlines()
        assert lines
        for line in lines:
            entry = json.loads(line)
            assert {"time", "level", "message"} <= set(entry), line
            assert entry["service"] == name
            assert entry["level"] != "ERROR", line


async def test_I24_nothing_personal_in_logs_subjects_messages_metrics_traces_or_at_rest(
    whole: Whole, bought: Customer
) -> None:
    """Searched for as it was typed, in everything but what the outside parties keep for themselves."""
    del bought
    secret = [
        value.encode()
        for who in whole.people
        for value in (who.name, who.id_number, who.phone, who.card_number, who.address)
    ]
    escaped = [json.dumps(value.decode())[1:-1].encode() for value in secret]
    wanted = {*secret, *escaped}

    def found_in(data: bytes) -> list[bytes]:
        return [value for value in wanted if value in data]

    for told in whole.told:
        assert not found_in(told.subject.encode() + json.dumps(told.headers).encode() + told.data), told.subject
    for name in (*SERVICES, "gateway"):
        async with whole.http.get(f"{whole.run.ops_url(name)}/metrics") as answer:
            text = await answer.read()
        assert not found_in(text), name
        # Ids of journeys are no labels either.
        assert not re.search(rb'="[0-9A-HJKMNP-TV-Z]{26}"', text), name
    outside = whole.run.layout.sandbox
    looked = 0
    for path in whole.run.folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(outside) and path != whole.run.log("sandbox"):
            looked += 1
            assert not found_in(path.read_bytes()), path
    assert looked > 100


async def test_nothing_ended_among_the_dead_letters(whole: Whole, bought: Customer) -> None:
    del bought
    assert [told.headers for told in whole.told if told.subject.startswith("dead.")] == []


# -- the end of a proposal (last: it changes the proposal service for whoever follows) --------------------------------


async def test_an_expired_proposal_ends_for_the_customer(whole: Whole) -> None:
    await whole.run.restart("proposal", {"TOUBAO_PROPOSAL_VALID_HOURS": "0"})
    accepted = await whole.channel.submit(proposal(whole.someone(), datetime.now(UTC), whole.chance, extra=False))
    journey = accepted["journey_id"]
    await whole.until_told(lambda: whole.facts(journey, "proposal.proposal_expired"))
    assert await refused(Phone(whole.http, accepted["link"]).open()) == "journey_expired"
    states = {p["journey_id"]: p["state"] for p in await whole.channel.proposals()}
    assert states[journey] == "expired"
