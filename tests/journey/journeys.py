"""Journeys that must go the same way over every store. Each store's module runs them against its platform."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from contracts.facts import identity, issuance, payment, proposal, signing
from contracts.facts.evidence import HeadAnchored
from deploy.simulator.customer import Customer, Habits
from tests.journey.whole import Whole, refused

MOTOR = {"motor_compulsory", "motor_commercial"}
EXTRA = "driver_passenger_accident"


class Journeys:
    # -- motor and extra, by face --------------------------------------------------------------------------

    async def test_motor_and_extra_pass_by_face(self, bought: Customer) -> None:
        assert len(bought.passage.policies) == 3
        assert len(bought.passage.forms) == 3
        for pdf in (*bought.passage.policies.values(), *bought.passage.forms.values()):
            assert pdf.startswith(b"%PDF-")
            assert pdf.count(b"/ByteRange") >= 1
        assert bought.passage.view["state"] == "issued"
        assert {"survey", "app"} <= set(bought.passage.took)

    async def test_I6_every_product_brings_its_own_documents_and_all_were_read(self, bought: Customer) -> None:
        view = bought.passage.view
        read = {(d["document"]["product"], d["document"]["document"]) for d in view["disclosure"]["documents"]}
        assert all(document["confirmed_at"] for document in view["disclosure"]["documents"])
        for product in view["card"]["products"]:
            own = {(d["document"]["product"], d["document"]["document"]) for d in product["documents"]}
            assert own <= read
            assert {of for of, _ in own} == {product["product"]}
            assert {"clauses", "exclusions"} <= {document for _, document in own}

    async def test_I17_premiums_and_tax_are_lines_of_their_own_and_add_up(self, whole: Whole, bought: Customer) -> None:
        (order,) = whole.facts(bought.passage.journey_id, "payment.order_placed")
        assert isinstance(order, payment.OrderPlaced)
        lines = {(line.product, line.kind): line.fen for line in order.lines}
        premiums = {(product, "premium") for product in (*MOTOR, EXTRA)}
        assert set(lines) == premiums | {("motor_compulsory", "vehicle_tax")}
        assert sum(lines.values()) == order.total_fen == bought.passage.view["card"]["total_fen"]

    async def test_I18_what_was_confirmed_is_what_is_ordered_paid_and_issued(
        self, whole: Whole, bought: Customer
    ) -> None:
        journey = bought.passage.journey_id
        shown = {p["product"]: p["lock"] for p in bought.passage.view["card"]["products"]}
        confirmed: dict[str, str] = {}
        for fact in whole.facts(journey, "proposal"):
            if isinstance(fact, proposal.ProductChosen):
                confirmed[fact.product] = fact.lock
            elif isinstance(fact, proposal.TermsConfirmed):
                confirmed.update(fact.locks)
        (order,) = whole.facts(journey, "payment.order_placed")
        (paid,) = whole.facts(journey, "payment.payment_confirmed")
        assert isinstance(order, payment.OrderPlaced)
        assert isinstance(paid, payment.PaymentConfirmed)
        issued = {f.product: f.lock for f in whole.facts(journey, "issuance") if isinstance(f, issuance.PolicyIssued)}
        assert shown == confirmed == order.locks == paid.locks == issued

    async def test_I19_the_pack_of_an_issued_journey_has_a_complete_trace(
        self, whole: Whole, bought: Customer, tmp_path: Path
    ) -> None:
        status, findings = await whole.verdict(await whole.pack(bought.passage.journey_id, tmp_path))
        # Readings were shortened for this test, and the verifier says so: consistent, not proven.
        assert status == 1
        assert all("dwell_scale" in doubt for doubt in findings["doubts"]), findings["doubts"]
        assert len(findings["doubts"]) == len(bought.passage.view["disclosure"]["documents"])
        numbered = whole.facts(bought.passage.journey_id, "issuance.policies_numbered")
        assert len(numbered) == 1
        assert isinstance(numbered[0], issuance.PoliciesNumbered)
        anchored = [f for f in whole.facts(bought.passage.journey_id, "evidence") if isinstance(f, HeadAnchored)]
        assert numbered[0].attestation.token in {fact.token for fact in anchored}

    async def test_I23_a_policy_is_authentic_by_its_bytes_and_one_changed_byte_is_seen(
        self, whole: Whole, bought: Customer
    ) -> None:
        for number, pdf in bought.passage.policies.items():
            said = await _verify(whole, {"file_sha256": sha256(pdf).hexdigest()})
            assert (said["outcome"], said["policy_no"]) == ("authentic", number)
            changed = bytearray(pdf)
            changed[len(pdf) // 2] ^= 1
            said = await _verify(whole, {"file_sha256": sha256(changed).hexdigest()})
            assert said["outcome"] == "unknown"

    async def test_the_partner_hears_of_its_policies_by_both_doors_and_of_nobody_elses(
        self, whole: Whole, bought: Customer
    ) -> None:
        journey = bought.passage.journey_id

        def told() -> list[str]:
            return [
                one.headers["ce-id"]
                for one in whole.told
                if one.subject.startswith("partner.harbour_motors.") and one.headers["ce-subject"] == journey
            ]

        await whole.until_told(lambda: len(set(told())) == 4)
        listed = (await whole.channel.events())["events"]
        mine = [event for event in listed if event["subject"] == journey]
        assert [event["id"] for event in mine] == list(dict.fromkeys(told()))
        assert {e["data"]["policy_no"] for e in mine if "policy_no" in e["data"]} == set(bought.passage.policies)
        assert (await whole.channel_of("north_agency").events())["events"] == []
        assert await whole.channel_of("north_agency").proposals() == []

    async def test_I29_survey_and_app_come_only_after_issuance_and_cost_nothing(
        self, whole: Whole, bought: Customer
    ) -> None:
        assert bought.passage.view["survey"]["state"] in ("invited", "answered")
        for one in whole.told:
            if one.subject.startswith("aftercare.") and one.headers.get("ce-subject") == bought.passage.journey_id:
                assert whole.facts(bought.passage.journey_id, "issuance.journey_issued")
        await bought.download()  # again, with neither survey nor app in its way
        assert len(bought.passage.policies) == 3

    # -- bank card, extra dropped late ---------------------------------------------------------------------

    async def test_I5_I8_by_bank_card_and_without_the_extra_dropped_after_signing(self, whole: Whole) -> None:
        customer = await whole.customer(Habits(path="bank_card", drop_extra=True, score=None, use_app=False))
        before = await customer.until("payment")
        passage = await customer.pass_through()
        journey = passage.journey_id
        assert before["identity"]["consents"]["face_consent"] == "declined"
        assert not whole.facts(journey, "identity.face_started")
        # The others stand as they were: same price, same locks, same forms, one signing act.
        kept = {p["product"]: (p["lock"], p["total_fen"]) for p in before["card"]["products"] if p["product"] in MOTOR}
        after = {p["product"]: (p["lock"], p["total_fen"]) for p in passage.view["card"]["products"] if p["chosen"]}
        assert after == kept
        assert passage.view["signing"]["signed_at"] == before["signing"]["signed_at"]
        assert len(whole.facts(journey, "signing.forms_signed")) == 1
        assert len(passage.policies) == 2
        issued = whole.facts(journey, "issuance.policy_issued")
        assert {f.product for f in issued if isinstance(f, issuance.PolicyIssued)} == MOTOR
        (order,) = whole.facts(journey, "payment.order_placed")
        assert isinstance(order, payment.OrderPlaced)
        assert order.total_fen == sum(fen for _, fen in kept.values())

    # -- motor alone, and everything that can go wrong at the till -------------------------------------------

    async def test_I12_I14_I16_motor_alone_paid_once_by_the_right_person_on_the_right_phone(self, whole: Whole) -> None:
        customer = await whole.customer(Habits(score=None, use_app=False), extra=False)
        view = await customer.until("payment")
        journey = customer.passage.journey_id
        # Signed: the journey is this phone's now (I12).
        assert await refused(whole.other_phone(customer).open()) == "device_bound"
        # Nothing but the sum shown can be ordered (I17).
        locks = {p["product"]: p["lock"] for p in view["card"]["products"]}
        wrong = {"total_fen": view["card"]["total_fen"] - 1, "locks": locks}
        assert await refused(customer.phone.act("place_order", wrong)) == "amount_mismatch"
        order = await customer.order(view)
        # Somebody else's account: the channel refuses, no money moves, it is on record (I14).
        assert (await customer.pay(order["pay_url"], whole.someone()))["result"] == "refused"
        await whole.until_told(lambda: whole.facts(journey, "payment.payer_refused"))
        assert not whole.facts(journey, "payment.payment_confirmed")
        # Then the right person, and the channel says so again and again (I16).
        faults = f"{whole.run.place.party_url('wechat')}/sandbox/faults"
        async with whole.http.post(faults, json={"duplicate": 2, "replay": 2}) as answer:
            assert answer.status == 200
        try:
            assert (await customer.pay(order["pay_url"]))["result"] == "paid"
            passage = await customer.pass_through()
        finally:
            await whole.http.delete(faults)
        assert len(passage.policies) == 2
        for once in ("payment.order_placed", "payment.payment_confirmed", "issuance.policies_numbered"):
            assert len(whole.facts(journey, once)) == 1, once
        numbers = [f.policy_no for f in whole.facts(journey, "issuance") if isinstance(f, issuance.PolicyIssued)]
        assert sorted(numbers) == sorted(set(passage.policies))
        async with whole.http.get(f"{whole.run.place.party_url('wechat')}/sandbox/ledger") as answer:
            entries = (await answer.json())["entries"]
        taken = [e for e in entries if e["out_trade_no"] == order["order_no"]]
        assert [(e["kind"], e["amount_fen"]) for e in taken] == [("taken", order["total_fen"])]

    # -- devices, channels, the end ---------------------------------------------------------------------------

    async def test_I12_another_phone_begins_anew_and_the_first_can_do_nothing_more(self, whole: Whole) -> None:
        customer = await whole.customer(extra=False)
        view = await customer.until("needs")
        assert all(product["confirmed"] for product in view["card"]["products"])
        other = whole.other_phone(customer)
        assert (await other.open())["attempt"] == 2
        assert await refused(customer.phone.act("answer_needs", {"product": "motor_compulsory", "answers": {}})) in {
            "proof_key_changed",
            "session_not_open",
        }
        view = await other.get()
        assert view["place"]["step"] == "recording"
        assert not any(product["confirmed"] for product in view["card"]["products"])
        assert not view["identity"]["verified"]

    async def test_I13_a_channels_key_can_do_nothing_in_a_journey_and_the_try_is_on_record(self, whole: Whole) -> None:
        customer = await whole.customer(extra=False)
        journey = customer.passage.journey_id
        path = f"/v1/journeys/{journey}"
        tried = ("sign-forms", "confirm-document", "place-order", "give-consent")
        for verb in tried:
            assert await refused(whole.channel.post(f"{path}/{verb}", {})) == "not_the_customer"
        assert await refused(whole.staff("counsel").get(path)) == "not_the_customer"
        await whole.until_told(lambda: len(whole.facts(journey, "identity.refused")) >= len(tried) + 1)

    async def test_a_withdrawn_proposal_ends_for_the_customer_too(self, whole: Whole) -> None:
        customer = await whole.customer(extra=False)
        await customer.until("consents")
        other = whole.channel_of("north_agency")
        assert await refused(other.withdraw(customer.passage.journey_id)) == "not_yours"
        await whole.channel.withdraw(customer.passage.journey_id)
        await whole.until_told(lambda: whole.facts(customer.passage.journey_id, "proposal.proposal_withdrawn"))
        assert (await customer.look())["place"]["step"] == "ended"
        notice = {"notice": "privacy", "version": "2026.1", "sha256": "0" * 64}
        assert await refused(customer.phone.act("give_consent", notice)) in {"journey_withdrawn", "notice_changed"}
        assert await refused(whole.other_phone(customer).open()) == "journey_withdrawn"

    async def test_I1_I7_nothing_is_signed_or_ordered_before_its_time(self, whole: Whole) -> None:
        """The customer's own phone, asked to run ahead of the pages."""
        customer = await whole.customer(extra=False)
        view = await customer.until("documents")
        signature = {
            "items": [{"product": "motor_compulsory", "kind": "document", "document": "clauses",
                       "version": "2026.1", "hash": "0" * 64}],
            "declaration_sha256": "0" * 64,
            "handwriting": {"boxes": []},
        }  # fmt: skip
        locks = {p["product"]: p["lock"] for p in view["card"]["products"]}
        order = {"total_fen": view["card"]["total_fen"], "locks": locks}
        assert await refused(customer.phone.act("prepare_forms")) == "reading_incomplete"
        assert await refused(customer.phone.act("sign_forms", signature)) == "reading_incomplete"
        assert await refused(customer.phone.act("place_order", order)) in {"reading_incomplete", "not_signed"}
        document = view["disclosure"]["documents"][0]["document"]
        assert await refused(customer.phone.act("confirm_document", document)) == "document_not_opened"
        assert not any(isinstance(f, signing.FormsSigned) for f in whole.facts(customer.passage.journey_id))

    async def test_I4_I9_I27_I30_nothing_is_ticked_consents_stand_alone_and_help_is_one_tap_away(
        self, whole: Whole
    ) -> None:
        customer = await whole.customer()
        journey = customer.passage.journey_id
        view = await customer.until("products")
        assert not any(product["chosen"] for product in view["card"]["products"] if product["optional"])
        assert view["card"]["total_fen"] + 20000 == view["card"]["totals"][EXTRA]
        consents = [f for f in whole.facts(journey, "identity") if isinstance(f, identity.ConsentGiven)]
        assert sorted(f.notice.notice for f in consents) == ["face_consent", "privacy"]
        assert len({f.proof.proof.jws for f in consents}) == 2
        # From any page, one tap reaches a human (I27).
        help_offered = await customer.phone.act("request_help", {"step": view["place"]["step"]})
        assert help_offered["hotline"]
        await whole.until_told(lambda: whole.facts(journey, "identity.help_requested"))
        # A need that speaks against buying: advice to stop, and only a word of one's own goes on (I30).
        card = next(p for p in view["card"]["products"] if p["product"] == "motor_commercial")
        answers = {q["code"]: q["answers"][0]["code"] for q in card["needs_questions"]}
        advice = await customer.phone.act(
            "answer_needs", {"product": "motor_commercial", "answers": {**answers, "duplicate_cover": "yes"}}
        )
        assert advice["advice"] == ["duplicate_cover"]
        assert await refused(customer.phone.act("prepare_forms")) in {"needs_unanswered", "advice_open"}
        await customer.until("questions")
        await whole.until_told(lambda: whole.facts(journey, "disclosure.continued_of_own_will"))


async def _verify(whole: Whole, asked: dict[str, str]) -> dict[str, str]:
    async with whole.http.post(f"{whole.run.gateway_url}/v1/verify", json=asked) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


__all__ = ["Journeys"]
