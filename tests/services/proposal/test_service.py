"""Proposal at its desk: intake, the customer's choice, the link, the end."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.commands.base import Answer
from contracts.commands.notify import MessageTaken, SendMessage
from contracts.commands.proposal import (
    ChooseProduct,
    ConfirmTerms,
    DropProduct,
    ListProposals,
    Locks,
    NameRelease,
    ProductOnly,
    ProposalAccepted,
    ProposalView,
    ResendLink,
    ShowLink,
    SubmitProposal,
    TermsOfProduct,
    ViewProposal,
    WithdrawProposal,
)
from contracts.facts import payment as payment_facts
from contracts.facts import proposal as facts
from contracts.facts.base import Fact
from contracts.problems import Refuse
from deploy.simulator.proposals import person, proposal
from products import Release
from servicekit.runner import new_ulid
from servicekit.vault import Shredded
from services.proposal.rules import ProposalState, evolve
from services.proposal.service import Proposal
from tests.desk import Desk, desk
from tests.nats_server import NatsServer
from tests.purchase import Purchase, published, purchase

EXTRA = "driver_passenger_accident"


class At:
    """The desk with a notify that remembers what it was asked to send."""

    def __init__(self, desk: Desk, release: Release) -> None:
        self.desk = desk
        self.release = release
        self.sent: list[SendMessage] = []

    async def take(self, message: SendMessage) -> Answer[Any]:
        self.sent.append(message)
        return Answer[Any](reply=MessageTaken(message_id=message.command_id), service="notify", sequence=1)

    def body(self, **changes: Any) -> dict[str, Any]:
        chance = random.Random(new_ulid())
        return {**proposal(person(chance), self.desk.clock(), chance), **changes}

    async def submit(
        self, body: dict[str, Any], *, key: str | None = None, channel: str = "harbour_motors"
    ) -> ProposalAccepted:
        journey = new_ulid()
        sealed = await self.desk.vault.seal(journey, json.dumps(body, ensure_ascii=False))
        request = SubmitProposal(
            command_id=key or new_ulid(), journey_id=journey, channel_id=channel, intermediary="示例代理", body=sealed
        )
        return await self.desk.ask(request)

    async def buyer(self) -> Purchase:
        """A customer of an accepted proposal whose identity is proven."""
        accepted = await self.submit(self.body())
        made = purchase(self.desk, self.release)
        made.journey_id = accepted.journey_id
        for fact in await self.desk.made(accepted.journey_id):
            made.progress = made.progress.after(fact)
        await made.tell(*await made._session(), *await made._verified())
        return made


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[At]:
    release = published(tmp_path / "releases")
    async with desk(Proposal, tmp_path, nats, proposal_release=release.hash) as opened:
        here = At(opened, release)
        from servicekit.bus import Bus

        other = await Bus.connect(opened.service.set, "notify", opened.service.metrics)
        await other.serve("notify", "1.0.0", {SendMessage: here.take})
        yield here
        await other.close()


async def view(at: At, journey: str) -> ProposalView:
    return await at.desk.ask(ViewProposal(journey_id=journey))


async def made(at: At, journey: str, kind: type[Fact]) -> list[Any]:
    return [fact for fact in await at.desk.made(journey) if isinstance(fact, kind)]


# -- intake --------------------------------------------------------------------------------------------------


async def test_an_accepted_proposal_opens_a_journey_and_sends_the_link_to_the_policyholder(at: At) -> None:
    body = at.body()
    accepted = await at.submit(body)
    opened: facts.JourneyOpened = (await made(at, accepted.journey_id, facts.JourneyOpened))[0]
    assert opened.release == at.release.hash
    assert accepted.link.partition("#")[2].startswith(accepted.journey_id + ".")

    async def sent() -> bool:
        return bool(await made(at, accepted.journey_id, facts.LinkSent))

    await at.desk.eventually(sent)
    (message,) = at.sent
    vault = at.desk.vault
    assert await vault.open_text(accepted.journey_id, message.phone) == body["policyholder"]["phone"]
    assert json.loads(await vault.open(accepted.journey_id, message.values))["link"] == accepted.link


async def test_nothing_personal_is_in_the_facts_or_the_store(at: At) -> None:
    body = at.body()
    accepted = await at.submit(body)
    document = await at.desk.service.journeys.collection.get(accepted.journey_id)
    assert document is not None
    kept = " ".join(fact.data for fact in document.facts) + json.dumps(document.state, ensure_ascii=False)
    for value in (*body["policyholder"].values(), body["subject"]["vin"], body["salesperson"]["phone"]):
        assert value == "id_card" or value not in kept
    raw = b"".join(path.read_bytes() for path in at.desk.folder.rglob("*") if path.is_file())
    assert body["policyholder"]["id_number"].encode() not in raw
    assert body["policyholder"]["name"].encode() not in raw


async def test_every_fault_is_named_by_its_field_and_nothing_stays_behind(at: At) -> None:
    body = at.body()
    body["policyholder"]["phone"] = "12345"
    body["subject"]["vin"] = "TOO-SHORT"
    body["products"][1]["premium_fen"] += 1
    body["products"][0]["surprise"] = 1
    with pytest.raises(Refuse) as refusal:
        await at.submit(body)
    assert refusal.value.code == "invalid_fields"
    pointers = {error.pointer for error in refusal.value.problem.errors}
    assert {"/policyholder/phone", "/subject/vin", "/products/0/surprise"} <= pointers
    assert any(pointer.startswith("/products/1") for pointer in pointers)
    assert "TOO-SHORT" not in refusal.value.problem.model_dump_json()
    assert await at.desk.service.journeys.collection.count({}) == 0
    assert isinstance(at.desk.service, Proposal)
    assert await at.desk.service.intakes.count({}) == 0


async def test_a_repeat_is_answered_with_the_same_journey(at: At) -> None:
    body, key = at.body(), new_ulid()
    first = await at.submit(body, key=key)
    assert await at.submit(body, key=key) == first
    assert await at.desk.service.journeys.collection.count({}) == 1
    with pytest.raises(Refuse) as refusal:
        await at.submit({**body, "salesperson": None}, key=key)
    assert refusal.value.code == "idempotency_key_reused"
    other = await at.submit({**body, "channel_reference": None}, key=key, channel="north_agency")
    assert other.journey_id != first.journey_id, "keys belong to their channel"


async def test_the_same_proposal_twice_at_once_opens_one_journey(at: At) -> None:
    body, key = at.body(), new_ulid()
    answers = await asyncio.gather(*(at.submit(body, key=key) for _ in range(6)))
    assert len({answer.journey_id for answer in answers}) == 1
    assert await at.desk.service.journeys.collection.count({}) == 1


async def test_a_channels_reference_is_used_once(at: At) -> None:
    body = at.body()
    await at.submit(body)
    with pytest.raises(Refuse) as refusal:
        await at.submit(body)
    assert refusal.value.code == "channel_reference_used"
    await at.submit(body, channel="north_agency")


async def test_what_a_refused_proposal_sealed_can_never_be_opened_again(at: At) -> None:
    journey = new_ulid()
    sealed = await at.desk.vault.seal(journey, "{}")
    request = SubmitProposal(command_id=new_ulid(), journey_id=journey, channel_id="harbour_motors", body=sealed)
    assert await at.desk.refused(at.desk.ask(request)) == "invalid_fields"
    with pytest.raises(Shredded):
        await at.desk.service.vault.seal(journey, "again")


async def test_no_submission_reaches_a_journey_that_exists(at: At) -> None:
    """On the bus anybody may name any journey: its link stays secret and its key whole."""
    body = at.body()
    theirs = (await at.submit(body, key="their-own-key")).journey_id
    vault = at.desk.vault
    for words, channel, key in (
        (at.body(), "north_agency", new_ulid()),
        ({}, "north_agency", new_ulid()),
        (at.body(), "harbour_motors", new_ulid()),
    ):
        sealed = await vault.seal(theirs, json.dumps(words, ensure_ascii=False))
        request = SubmitProposal(command_id=key, journey_id=theirs, channel_id=channel, body=sealed)
        assert await at.desk.refused(at.desk.ask(request)) == "not_yours"
    sealed = await vault.seal(theirs, "{}")
    reused = SubmitProposal(command_id="their-own-key", journey_id=theirs, channel_id="harbour_motors", body=sealed)
    assert await at.desk.refused(at.desk.ask(reused)) == "idempotency_key_reused"
    opened: facts.JourneyOpened = (await made(at, theirs, facts.JourneyOpened))[0]
    name = await at.desk.service.vault.open_text(theirs, opened.policyholder.name)
    assert name == body["policyholder"]["name"], "nothing was shredded"


# -- the customer's choice -----------------------------------------------------------------------------------


async def test_I4_the_optional_product_is_not_in_the_purchase_until_the_customer_ticks_it(at: At) -> None:
    buyer = await at.buyer()
    journey = buyer.journey_id
    shown = await view(at, journey)
    assert EXTRA not in shown.chosen
    assert EXTRA in {terms.product for terms in shown.products}
    terms = next(terms for terms in shown.products if terms.product == EXTRA)
    without = shown.total_fen
    wrong = TermsOfProduct(product=EXTRA, lock="0" * 64)
    assert await at.desk.refused(at.desk.act(ChooseProduct, journey, wrong)) == "terms_changed"
    await at.desk.act(ChooseProduct, journey, TermsOfProduct(product=EXTRA, lock=terms.lock))
    assert (await view(at, journey)).total_fen == without + terms.premium_fen


async def test_I5_the_optional_product_goes_as_it_came_and_the_rest_keeps_its_price(at: At) -> None:
    buyer = await at.buyer()
    journey, act = buyer.journey_id, at.desk.act
    shown = await view(at, journey)
    locks = {t.product: t.lock for t in shown.products}
    await act(ConfirmTerms, journey, Locks(locks={p: locks[p] for p in shown.chosen}))
    await act(ChooseProduct, journey, TermsOfProduct(product=EXTRA, lock=locks[EXTRA]))
    await act(DropProduct, journey, ProductOnly(product=EXTRA))
    after = await view(at, journey)
    assert (after.chosen, after.total_fen, after.confirmed) == (shown.chosen, shown.total_fen, shown.chosen)
    assert await at.desk.refused(act(DropProduct, journey, ProductOnly(product="motor_compulsory"))) == (
        "product_not_optional"
    )


async def test_I5_not_while_a_payment_is_under_way_and_again_once_it_is_closed(at: At) -> None:
    buyer = await at.buyer()
    journey, act = buyer.journey_id, at.desk.act
    terms = buyer.progress.offered(EXTRA)
    assert terms is not None
    await act(ChooseProduct, journey, TermsOfProduct(product=EXTRA, lock=terms.lock))
    for fact in await at.desk.made(journey):
        buyer.progress = buyer.progress.after(fact)
    for step in ("forms", "signed", "ordered"):
        await buyer.tell(*await getattr(buyer, f"_{step}")())
    drop = ProductOnly(product=EXTRA)
    assert await at.desk.refused(act(DropProduct, journey, drop)) == "order_open"
    assert buyer.progress.order is not None
    closed = payment_facts.OrderClosed(at=at.desk.clock(), order_no=buyer.progress.order.order_no, reason="cancelled")
    await buyer.tell(closed)
    await act(DropProduct, journey, drop)
    again = TermsOfProduct(product=EXTRA, lock=terms.lock)
    assert await at.desk.refused(act(ChooseProduct, journey, again)) == "already_signed"


async def test_I18_confirmation_is_of_exactly_what_is_in_the_purchase(at: At) -> None:
    buyer = await at.buyer()
    journey = buyer.journey_id
    shown = await view(at, journey)
    locks = {t.product: t.lock for t in shown.products if t.product in shown.chosen}
    first = next(iter(locks))
    for wrong, code in (
        ({first: locks[first]}, "terms_not_confirmed"),
        ({**locks, first: "0" * 64}, "terms_changed"),
        ({**locks, EXTRA: "0" * 64}, "product_not_offered"),
    ):
        assert await at.desk.refused(at.desk.act(ConfirmTerms, journey, Locks(locks=wrong))) == code
    await at.desk.act(ConfirmTerms, journey, Locks(locks=locks))
    (confirmed,) = await made(at, journey, facts.TermsConfirmed)
    assert confirmed.locks == locks


async def test_I7_nothing_is_confirmed_before_identity_is_proven(at: At) -> None:
    accepted = await at.submit(at.body())
    locks = {t.product: t.lock for t in (await view(at, accepted.journey_id)).products}
    made_up = purchase(at.desk, at.release)
    made_up.journey_id = accepted.journey_id
    await made_up.tell(*await made_up._session())
    assert await at.desk.refused(at.desk.act(ConfirmTerms, accepted.journey_id, Locks(locks=locks))) == (
        "identity_missing"
    )


async def test_state_is_the_fold_of_its_facts(at: At) -> None:
    buyer = await at.buyer()
    terms = buyer.progress.offered(EXTRA)
    assert terms is not None
    await at.desk.act(ChooseProduct, buyer.journey_id, TermsOfProduct(product=EXTRA, lock=terms.lock))

    async def sent() -> bool:
        return bool(await made(at, buyer.journey_id, facts.LinkSent))

    await at.desk.eventually(sent)
    state = ProposalState()
    for fact in (*await at.desk.made(buyer.journey_id), *buyer.facts):
        state = evolve(state, fact)
    kept = await at.desk.service.journeys.state(buyer.journey_id)
    assert state == kept.model_copy(update={"heard": {}})


# -- the end -------------------------------------------------------------------------------------------------


async def test_a_channel_withdraws_its_own_and_sees_its_own_only(at: At) -> None:
    mine = await at.submit(at.body())
    other = await at.submit(at.body(), channel="north_agency")

    async def listed(channel: str) -> dict[str, str]:
        states = await at.desk.ask(ListProposals(journey_id="0" * 26, channel_id=channel))
        return {state.journey_id: state.state for state in states.proposals}

    assert await listed("harbour_motors") == {mine.journey_id: "open"}
    withdraw = WithdrawProposal(command_id=new_ulid(), journey_id=other.journey_id, channel_id="harbour_motors")
    assert await at.desk.refused(at.desk.ask(withdraw)) == "not_yours"
    resend = ResendLink(command_id=new_ulid(), journey_id=other.journey_id, channel_id="harbour_motors")
    assert await at.desk.refused(at.desk.ask(resend)) == "not_yours"
    await at.desk.ask(WithdrawProposal(command_id=new_ulid(), journey_id=mine.journey_id, channel_id="harbour_motors"))
    assert await listed("harbour_motors") == {mine.journey_id: "withdrawn"}
    again = WithdrawProposal(command_id=new_ulid(), journey_id=mine.journey_id, channel_id="harbour_motors")
    assert await at.desk.refused(at.desk.ask(again)) == "journey_withdrawn"


async def test_what_a_salesperson_sold_is_listed_shown_and_withdrawn_by_them_alone(at: At) -> None:
    anna = {"name": "安娜", "licence_no": "A-0001", "phone": "13900002222"}
    mine = await at.submit(at.body(salesperson=anna))
    colleagues = await at.submit(at.body())
    nobodys = await at.submit(at.body(salesperson=None))
    elsewhere = await at.submit(at.body(salesperson=anna), channel="north_agency")
    index = at.desk.vault.blind_index("phone", anna["phone"])

    async def listed(seller: str | None, **more: Any) -> list[str]:
        query = ListProposals(**{"journey_id": "0" * 26, "channel_id": "harbour_motors", "seller": seller, **more})
        return [state.journey_id for state in (await at.desk.ask(query)).proposals]

    assert await listed(index) == [mine.journey_id]
    assert await listed("0" * 64) == []
    assert set(await listed(None)) == {mine.journey_id, colleagues.journey_id, nobodys.journey_id}

    def named(kind: type[Any], journey: str, **more: Any) -> Any:
        return kind(journey_id=journey, channel_id="harbour_motors", seller=index, **more)

    assert (await at.desk.ask(named(ShowLink, mine.journey_id))).link == mine.link
    for other in (colleagues, nobodys, elsewhere):
        assert await at.desk.refused(at.desk.ask(named(ShowLink, other.journey_id))) == "not_yours"
        for kind in (WithdrawProposal, ResendLink):
            command = named(kind, other.journey_id, command_id=new_ulid())
            assert await at.desk.refused(at.desk.ask(command)) == "not_yours"
    await at.desk.ask(named(WithdrawProposal, mine.journey_id, command_id=new_ulid()))
    assert await at.desk.refused(at.desk.ask(named(ShowLink, mine.journey_id))) == "journey_withdrawn"


async def test_the_channel_itself_may_show_any_of_its_links(at: At) -> None:
    accepted = await at.submit(at.body())
    shown = await at.desk.ask(ShowLink(journey_id=accepted.journey_id, channel_id="harbour_motors"))
    assert (shown.link, shown.expires_at) == (accepted.link, accepted.expires_at)
    theirs = ShowLink(journey_id=accepted.journey_id, channel_id="north_agency")
    assert await at.desk.refused(at.desk.ask(theirs)) == "not_yours"
    assert await at.desk.refused(at.desk.ask(theirs.model_copy(update={"journey_id": new_ulid()}))) == "not_yours"


async def test_proposals_are_listed_page_by_page_in_either_order(at: At) -> None:
    opened = sorted([(await at.submit(at.body())).journey_id for _ in range(3)])

    async def pages(order: str, start: str) -> list[str]:
        found: list[str] = []
        while True:
            query = ListProposals.model_validate(
                {"journey_id": start, "channel_id": "harbour_motors", "limit": 2, "order": order}
            )
            states = (await at.desk.ask(query)).proposals
            if not states:
                return found
            assert {state.opened_at for state in states} == {at.desk.clock()}
            found += [state.journey_id for state in states]
            start = found[-1]

    assert await pages("oldest", "0" * 26) == opened
    assert await pages("newest", "Z" * 26) == opened[::-1]


async def test_the_release_new_journeys_open_on_is_named(at: At) -> None:
    assert (await at.desk.ask(NameRelease())).release == at.release.hash


async def test_a_journey_expires_by_itself(at: At) -> None:
    accepted = await at.submit(at.body())
    at.desk.clock.pass_by(hours=73)

    async def expired() -> bool:
        return bool(await made(at, accepted.journey_id, facts.ProposalExpired))

    assert await at.desk.eventually(expired)
    assert (await view(at, accepted.journey_id)).state == "expired"
