"""Issuance at its desk: real numbers, real paper, real seals and timestamps."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from contracts.commands.evidence import Attest
from contracts.commands.issuance import ListGaps, RenounceOrder, VerifyPolicy, ViewIssuance
from contracts.facts import issuance as facts
from contracts.facts import payment, proposal
from contracts.facts.base import Fact
from contracts.problems import Refuse
from contracts.values import Attestation, sha256_hex
from servicekit.runner import new_ulid
from services.issuance.numbers import PolicyNumber
from services.issuance.rules import IssuanceState, evolve
from tests.desk import Desk
from tests.purchase import Purchase, published, purchase
from tests.services.issuance.conftest import Opening

pytestmark = pytest.mark.usefixtures("warm_workers")

PRODUCTS = ("motor_compulsory", "motor_commercial", "driver_passenger_accident")


async def paying(at: Desk, **more: Any) -> Purchase:
    """A customer who has ordered and not yet paid."""
    return await purchase(at, published(at.folder / "releases"), **more).up_to("ordered")


async def made(at: Desk, journey: str, kind: type[Fact] = Fact) -> list[Any]:
    return [fact for fact in await at.made(journey) if isinstance(fact, kind)]


async def until(at: Desk, journey: str, kind: type[Fact], seconds: float = 60) -> Any:
    async def there() -> list[Any]:
        return await made(at, journey, kind)

    return (await at.eventually(there, seconds))[-1]


async def issued(buyer: Purchase) -> list[facts.PolicyIssued]:
    await buyer.tell(await buyer.payment_confirmed())
    await until(buyer.at, buyer.journey_id, facts.JourneyIssued)
    return await made(buyer.at, buyer.journey_id, facts.PolicyIssued)


async def test_I16_a_full_payment_gives_each_product_one_policy_by_itself(at: Desk) -> None:
    buyer = await paying(at)
    journey = buyer.journey_id
    assert await at.made(journey) == []
    policies = await issued(buyer)
    assert [p.product for p in policies] == list(PRODUCTS)
    (numbered,) = await made(at, journey, facts.PoliciesNumbered)
    (finished,) = await made(at, journey, facts.JourneyIssued)
    assert [p.policy_no for p in numbered.policies] == [p.policy_no for p in policies] == list(finished.policies)
    for policy in policies:
        number = PolicyNumber.read(policy.policy_no)
        assert number.series.branch == "4401"
        assert number.series.year == 2026
        assert policy.policy_no != policy.proposal_no
        pdf = await at.vault.open(journey, policy.policy)
        file = at.folder / f"{policy.product}.pdf"
        file.write_bytes(pdf)
        said = _run("pdftotext", "-layout", file, "-").replace(" ", "")
        for expected in (policy.policy_no, buyer.who.name, "电子保单", "系统自动", "投保确认时间", "收费确认时间"):
            assert expected in said, expected
        checked = _run("pdfsig", "-nocert", file)
        assert "Signature is Valid" in checked
        assert "Total document signed" in checked
    view = await at.ask(ViewIssuance(journey_id=journey))
    assert view.state == "issued"
    assert len(view.policies) == 3
    # Told again, under another sequence: nothing new.
    again = await buyer.payment_confirmed()
    await at.tell(journey, again, again)
    await at.service.sweep_once()
    assert len(await made(at, journey)) == 5


async def test_I32_the_policy_itself_says_how_to_leave_it(at: Desk) -> None:
    buyer = await paying(at)
    for policy in await issued(buyer):
        file = at.folder / f"{policy.product}.pdf"
        file.write_bytes(await at.vault.open(buyer.journey_id, policy.policy))
        said = "".join(_run("pdftotext", file, "-").split())
        surrender = buyer.release.products[policy.product].surrender
        for told in (*surrender.conditions, surrender.how):
            assert "".join(told.split()) in said


async def test_I17_premiums_and_taxes_are_separate_on_fact_and_paper(at: Desk) -> None:
    buyer = await paying(at)
    total = 0
    for policy in await issued(buyer):
        terms = buyer.progress.offered(policy.product)
        assert terms is not None
        assert policy.premium_fen == terms.premium_fen
        assert policy.taxes_fen == sum(tax.fen for tax in terms.taxes)
        total += policy.premium_fen + policy.taxes_fen
    assert total == buyer.progress.total_fen()


@pytest.mark.parametrize("spoil", ["less", "more", "lines", "locks", "other_order"])
async def test_I16_I17_what_was_not_paid_to_the_fen_for_these_terms_is_refused_once(at: Desk, spoil: str) -> None:
    buyer = await paying(at)
    order = buyer.progress.order
    assert order is not None
    line = order.lines[0]
    changes: dict[str, dict[str, Any]] = {
        "less": {"total_fen": order.total_fen - 1},
        "more": {"total_fen": order.total_fen + 1},
        "lines": {"lines": (line.model_copy(update={"fen": line.fen + 1}), *order.lines[1:])},
        "locks": {"locks": {**order.locks, PRODUCTS[0]: "0" * 64}},
        "other_order": {"order_no": "TBother"},
    }
    await buyer.tell(await buyer.payment_confirmed(**changes[spoil]))
    refused = await until(at, buyer.journey_id, facts.Refused)
    code = {"locks": "terms_changed", "other_order": "order_unknown"}.get(spoil, "amount_mismatch")
    assert (refused.code, refused.occurrence) == (code, 1)
    await at.tell(buyer.journey_id, await buyer.payment_confirmed(**changes[spoil]))
    await at.service.sweep_once()
    assert len(await made(at, buyer.journey_id)) == 1
    view = await at.ask(ViewIssuance(journey_id=buyer.journey_id))
    assert (view.state, view.problem, view.policies) == ("waiting", code, ())


async def test_I16_money_on_its_way_back_issues_nothing(at: Desk) -> None:
    buyer = await paying(at)
    await at.tell(
        buyer.journey_id,
        payment.RefundRequested(
            at=at.clock(), order_no=f"TB{buyer.journey_id}", refund_no="R1", fen=1, reason="not_issued"
        ),
        await buyer.payment_confirmed(),
    )
    await at.service.sweep_once()
    assert await made(at, buyer.journey_id) == []


async def test_I16_of_each_order_issuance_speaks_once(at: Desk) -> None:
    """Numbered or given up: money can only go back where no policy ever comes."""
    buyer = await paying(at)
    give_up = RenounceOrder(command_id=new_ulid(), journey_id=buyer.journey_id, order_no=f"TB{buyer.journey_id}")
    await at.ask(give_up)
    await at.ask(give_up.model_copy(update={"command_id": new_ulid()}))
    await buyer.tell(await buyer.payment_confirmed())
    await at.service.sweep_once()
    (refused,) = await made(at, buyer.journey_id)
    assert (refused.code, refused.order_no) == ("order_renounced", give_up.order_no)
    other = await paying(at)
    await issued(other)
    too_late = RenounceOrder(command_id=new_ulid(), journey_id=other.journey_id, order_no=f"TB{other.journey_id}")
    assert await at.refused(at.ask(too_late)) == "journey_issued"


async def test_I16_an_order_given_up_while_its_numbers_were_drawn_stays_unnumbered(at: Desk) -> None:
    buyer = await paying(at)
    give_up = RenounceOrder(command_id=new_ulid(), journey_id=buyer.journey_id, order_no=f"TB{buyer.journey_id}")

    async def meanwhile(request: Attest) -> Attestation:
        await at.ask(give_up)
        return buyer.attestation()

    at.attest = meanwhile
    await buyer.tell(await buyer.payment_confirmed())
    await until(at, buyer.journey_id, facts.Refused)
    await at.service.sweep_once()
    assert [fact.code for fact in await made(at, buyer.journey_id)] == ["order_renounced"]
    assert await made(at, buyer.journey_id, facts.PoliciesNumbered) == []


async def test_I5_a_dropped_product_gets_no_policy(at: Desk) -> None:
    buyer = purchase(at, published(at.folder / "releases"))
    await buyer.up_to("confirmed")
    await buyer.tell(proposal.ProductDropped(at=at.clock(), product=PRODUCTS[2], proof=await buyer.proof()))
    for step in ("answered", "read", "forms", "signed", "ordered"):
        await buyer.tell(*await getattr(buyer, f"_{step}")())
    assert [p.product for p in await issued(buyer)] == list(PRODUCTS[:2])


async def test_I16_late_facts_are_waited_for_and_never_held_against_the_customer(at: Desk) -> None:
    """The payment is heard first of all; everything it rests on comes in the least convenient order."""
    elsewhere = Purchase.__new__(Purchase)
    buyer = purchase(at, published(at.folder / "releases"))
    elsewhere.__dict__.update(buyer.__dict__)
    told = await _collect(buyer)
    for source in ("payment", "signing", "disclosure", "identity", "proposal"):
        assert await made(at, buyer.journey_id) == []
        await at.tell(buyer.journey_id, *(fact for fact in told if fact.service == source))
        await at.service.sweep_once()
    await until(at, buyer.journey_id, facts.JourneyIssued)
    assert await made(at, buyer.journey_id, facts.Refused) == []


async def _collect(buyer: Purchase) -> list[Fact]:
    """Every fact of a paid journey, none of it told yet, the order resting on all before it."""
    for step in ("opened", "session", "verified", "confirmed", "answered", "read", "forms", "signed", "ordered"):
        for fact in await getattr(buyer, f"_{step}")():
            buyer.facts.append(fact)
            buyer.progress = buyer.progress.after(fact)
    buyer.facts.append(await buyer.payment_confirmed())
    heads = Counter(fact.service for fact in buyer.facts if fact.service != "payment")
    attested = buyer.attestation().model_copy(update={"heads": dict(heads)})
    return [
        fact.model_copy(update={"attestation": attested}) if isinstance(fact, payment.OrderPlaced) else fact
        for fact in buyer.facts
    ]


async def test_I16_forms_not_yet_sealed_are_waited_for(at: Desk) -> None:
    from contracts.facts.signing import FormSealed

    buyer = purchase(at, published(at.folder / "releases"))
    told = await _collect(buyer)
    late = [fact for fact in told if isinstance(fact, FormSealed)]
    heads = {"signing": sum(f.service == "signing" for f in told) - len(late)}
    for fact in told:
        if isinstance(fact, payment.OrderPlaced):
            attestation = fact.attestation.model_copy(update={"heads": heads})
            await at.tell(buyer.journey_id, fact.model_copy(update={"attestation": attestation}))
        elif fact not in late:
            await at.tell(buyer.journey_id, fact)
    await at.service.sweep_once()
    assert await made(at, buyer.journey_id) == []
    await at.tell(buyer.journey_id, *late)
    await until(at, buyer.journey_id, facts.JourneyIssued)


async def test_I19_I33_without_evidence_nothing_is_numbered_and_it_goes_on_by_itself(at: Desk) -> None:
    asked = asyncio.Event()

    async def down(request: Attest) -> Attestation:
        assert set(request.heads) == {"proposal", "identity", "disclosure", "signing", "payment"}
        asked.set()
        raise Refuse("timestamp_unavailable", retry_after=5)

    at.attest = down
    buyer = await paying(at)
    await buyer.tell(await buyer.payment_confirmed())
    await asyncio.wait_for(asked.wait(), 10)
    assert await made(at, buyer.journey_id) == []
    at.attest = None
    await until(at, buyer.journey_id, facts.JourneyIssued)
    (numbered,) = await made(at, buyer.journey_id, facts.PoliciesNumbered)
    assert numbered.attestation.heads["payment"] == 3
    for product in ("ZADZ", "ZADA", "ZAEA"):
        assert (await at.ask(ListGaps(line=product, year=2026))).serials == ()


async def test_I23_I33_no_policy_is_out_without_its_timestamp(at: Desk, issuance_settings: dict[str, Any]) -> None:
    outage = issuance_settings["issuance_tsa_url"].replace("/sandbox/tsa/tsa", "/sandbox/outage")
    async with at.service.http.post(outage, json={"status": 503}) as answer:
        assert answer.status < 300
    buyer = await paying(at)
    await buyer.tell(await buyer.payment_confirmed())
    numbered = await until(at, buyer.journey_id, facts.PoliciesNumbered)

    async def tried_thrice() -> bool:
        failures, _ = at.service._pauses.get(buyer.journey_id, (0, 0.0))
        return failures >= 3

    await at.eventually(tried_thrice, 60)
    assert await made(at, buyer.journey_id, facts.PolicyIssued) == []
    view = await at.ask(ViewIssuance(journey_id=buyer.journey_id))
    assert (view.state, view.policies) == ("issuing", ())
    number = numbered.policies[0].policy_no
    code = at.service.register.code(number)
    assert (await at.ask(VerifyPolicy(policy_no=number, code=code))).outcome == "unknown"
    async with at.service.http.delete(outage) as answer:
        assert answer.status < 300
    await until(at, buyer.journey_id, facts.JourneyIssued)
    assert [p.policy_no for p in await made(at, buyer.journey_id, facts.PolicyIssued)] == [
        p.policy_no for p in numbered.policies
    ]


async def test_I23_number_and_code_give_the_hash_and_one_changed_byte_is_seen(at: Desk, tmp_path: Path) -> None:
    buyer = await paying(at)
    one, two, *_ = await issued(buyer)
    pdf = await at.vault.open(buyer.journey_id, one.policy)
    file_sha256 = sha256_hex(pdf)
    said = subprocess.run(["pdftotext", "-", "-"], input=pdf, capture_output=True, check=True).stdout.decode()
    printed = re.search(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){3}", said)
    assert printed is not None

    async def check(**asked: Any) -> Any:
        return await at.ask(VerifyPolicy(**asked))

    found = await check(policy_no=one.policy_no, code=printed[0])
    assert (found.outcome, found.file_sha256, found.product) == ("authentic", file_sha256, one.product)
    assert await check(policy_no=one.policy_no.lower(), code=printed[0].replace("-", "").lower()) == found
    assert await check(file_sha256=file_sha256) == found
    assert await check(policy_no=one.policy_no, code=printed[0], file_sha256=file_sha256) == found
    altered = await check(policy_no=one.policy_no, code=printed[0], file_sha256="0" * 64)
    assert (altered.outcome, altered.file_sha256) == ("altered", file_sha256)
    others = sha256_hex(await at.vault.open(buyer.journey_id, two.policy))
    assert (await check(policy_no=one.policy_no, code=printed[0], file_sha256=others)).outcome == "altered"
    unknown = await check(policy_no=two.policy_no, code=printed[0])
    assert unknown.model_dump(exclude_defaults=True) == {"outcome": "unknown"}
    stranger = str(PolicyNumber.read(one.policy_no).series.number(999_999))
    for asked in (
        {"policy_no": stranger, "code": printed[0]},
        {"policy_no": stranger, "code": at.service.register.code("")},
        {"policy_no": "x", "code": at.service.register.code("")},
        {"policy_no": one.policy_no, "code": "0"},
        {"policy_no": one.policy_no, "code": printed[0][:-1], "file_sha256": file_sha256},
        {"file_sha256": "0" * 64},
    ):
        assert await check(**asked) == unknown
    changed = bytearray(pdf)
    changed[len(changed) // 4] ^= 1
    file = tmp_path / "changed.pdf"
    file.write_bytes(bytes(changed))
    assert "Signature is Valid" not in _run("pdfsig", "-nocert", file, strict=False)


async def test_I22_the_retention_date_is_the_contracts_end_and_five_years(at: Desk) -> None:
    buyer = await paying(at)
    for policy in await issued(buyer):
        days = (policy.retain_until - policy.period_to).days
        assert 5 * 365 + 1 <= days <= 5 * 365 + 3


async def test_I18_what_is_issued_is_field_by_field_what_was_confirmed(at: Desk) -> None:
    import io
    import json

    import pikepdf

    buyer = await paying(at)
    opened = buyer.progress.check_opened()
    for policy in await issued(buyer):
        terms = buyer.progress.offered(policy.product)
        assert terms is not None
        assert policy.lock == terms.lock
        with pikepdf.open(io.BytesIO(await at.vault.open(buyer.journey_id, policy.policy))) as document:
            record = json.loads(document.attachments["policy.json"].get_file().read_bytes())
        assert record["terms_lock"] == terms.lock
        for key in ("name", "id_number", "phone", "address"):
            sealed = getattr(opened.policyholder, key)
            assert record["policyholder"][key] == await at.vault.open_text(buyer.journey_id, sealed)
        for key, value in record["subject"].items():
            text = await at.vault.open_text(buyer.journey_id, opened.subject[key])
            assert str(value).lower() == text.lower()
        assert [(c["cover"], c["sum_fen"], c["premium_fen"]) for c in record["covers"]] == [
            (c.cover, c.sum_fen, c.premium_fen) for c in terms.covers
        ]
        assert record["period"] == {"from": terms.period_from.isoformat(), "to": terms.period_to.isoformat()}


async def test_two_journeys_never_share_a_number(at: Desk) -> None:
    one, two = await paying(at), await paying(at, name="李小红")
    await asyncio.gather(issued(one), issued(two))
    numbers = [p.policy_no for b in (one, two) for p in await made(at, b.journey_id, facts.PolicyIssued)]
    assert len(set(numbers)) == 6
    assert sorted(PolicyNumber.read(n).serial for n in numbers if n.startswith("ZADA")) == [1, 2]


async def test_a_name_no_font_has_sticks_that_journey_once_and_is_named_by_code_point(
    at: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    buyer = await paying(at, name="王\U0003134a")
    await buyer.tell(await buyer.payment_confirmed())

    async def all_stuck() -> bool:
        return len(await made(at, buyer.journey_id, facts.Refused)) == 3

    await at.eventually(all_stuck, 30)
    refused = await made(at, buyer.journey_id, facts.Refused)
    assert {(r.code, r.occurrence) for r in refused} == {("glyph_missing", 1)}
    assert {r.product for r in refused} == set(PRODUCTS)
    assert "\U0003134a" not in caplog.text
    records = [r for r in caplog.records if r.getMessage() == "policy cannot be drawn"]
    assert all(vars(r)["points"] == ["U+3134A"] for r in records)
    view = await at.ask(ViewIssuance(journey_id=buyer.journey_id))
    assert (view.state, view.problem) == ("issuing", "glyph_missing")
    for _ in range(5):
        await at.service.sweep_once()
    assert len(await made(at, buyer.journey_id, facts.Refused)) == 3, "not tried again at once"
    at.clock.pass_by(hours=1)

    async def tried_again() -> bool:
        return len(await made(at, buyer.journey_id, facts.Refused)) == 6

    await at.eventually(tried_again, 30)


async def test_state_is_the_fold_of_its_facts(at: Desk) -> None:
    buyer = await paying(at)
    await issued(buyer)
    state = IssuanceState()
    for fact in (*buyer.facts, *await at.made(buyer.journey_id)):
        state = evolve(state, fact)
    kept = await at.service.journeys.state(buyer.journey_id)
    assert state == kept.model_copy(update={"heard": {}})


async def test_nothing_personal_stands_in_a_fact(at: Desk) -> None:
    buyer = await paying(at)
    await issued(buyer)
    document = await at.service.journeys.collection.get(buyer.journey_id)
    assert document is not None
    said = " ".join(fact.data for fact in document.facts)
    opened = buyer.progress.check_opened()
    for key in ("name", "id_number", "phone", "address"):
        assert await at.vault.open_text(buyer.journey_id, getattr(opened.policyholder, key)) not in said


async def test_a_restart_keeps_numbers_and_codes(opening: Opening) -> None:
    async with opening() as at:
        buyer = await paying(at)
        one, *_ = await issued(buyer)
        code = at.service.register.code(one.policy_no)
    async with opening() as at:
        found = await at.ask(VerifyPolicy(policy_no=one.policy_no, code=code))
        assert found.outcome == "authentic"


def _run(*command: object, strict: bool = True) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert not strict or done.returncode == 0, done.stderr
    return done.stdout + done.stderr
