"""Money: to the fen, from the account it must come from, once, and never kept for nothing."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.faults.checker.stores import Fact, Json, moment
from tests.faults.checker.verdict import Complaint, of_all, of_each
from tests.faults.checker.world import Journey, World

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*"
PAID = ("SUCCESS", "REFUND")


def ordered(journey: Journey) -> tuple[Fact, ...]:
    return journey.facts("payment.order_placed")


@of_each("I14", "ordered for the policyholder's own account, by name and ID number", when=ordered)
def own_account(journey: Journey) -> Iterator[str]:
    holder = journey.opened["policyholder"]
    name, number = (journey.open(holder[part]) for part in ("name", "id_number"))
    for order in ordered(journey):
        if (order.data["payer_name"], order.data["payer_id_number"]) != (holder["name"], holder["id_number"]):
            yield "the order names another payer than the policyholder"
        asked = journey.world.ledger.of("order").get(order.data["order_no"])
        if asked is None:
            continue
        identity = asked["terms"]["payer"]["identity"]
        if (identity["name"].encode(), identity["number"].encode()) != (name, number):
            yield "the channel was asked to compare with somebody else"
        customer = journey.customer
        if customer and (identity["name"], identity["number"]) != (
            customer["values"]["name"],
            customer["values"]["id_number"],
        ):
            yield "the channel was asked to compare with somebody the customer is not"


@of_all("I16", "a policy number exactly once per product paid for, and only after the full premium was confirmed")
def numbers(world: World, checked: set[str]) -> Iterator[Complaint]:
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for journey in world.journeys:
        numbered = journey.facts("issuance.policies_numbered")
        issued = journey.facts("issuance.policy_issued")
        if not (numbered or issued or journey.facts("payment.payment_confirmed")):
            continue
        checked.add(journey.id)
        yield from ((journey.id, what) for what in _numbered(journey, numbered, issued))
        for fact in numbered:
            for policy in fact.data["policies"]:
                holders[policy["policy_no"]].add(f"{journey.id}/{policy['product']}")
        for fact in issued:
            holders[fact.data["policy_no"]].add(f"{journey.id}/{fact.data['product']}")
    for number, of in holders.items():
        if len(of) > 1:
            yield min(of).partition("/")[0], f"policy number {number} was given {len(of)} times"
        if not _sound(number):
            yield min(of).partition("/")[0], f"{number} is no policy number"
    used = world.stores.of("issuance", "numbers_used")
    for number in holders.keys() - used.keys():
        yield min(holders[number]).partition("/")[0], f"policy number {number} is not known to be used"
    for number in world.stores.of("issuance", "policies_issued"):
        if number not in holders:
            yield "", f"the register holds policy {number}, which nobody bought"


def _numbered(journey: Journey, numbered: tuple[Fact, ...], issued: tuple[Fact, ...]) -> Iterator[str]:
    if len(numbered) > 1:
        yield f"policies were numbered {len(numbered)} times"
    if issued and not numbered:
        yield "policies were issued without being numbered"
    for fact in numbered:
        order_no = fact.data["order_no"]
        order = next((o for o in ordered(journey) if o.data["order_no"] == order_no), None)
        paid = [p for p in journey.facts("payment.payment_confirmed") if p.data["order_no"] == order_no]
        if order is None or not paid:
            yield "policies were numbered without a confirmed payment"
            continue
        if paid[0].data["total_fen"] != order.data["total_fen"]:
            yield "policies were numbered for less than the full premium"
        if not journey.within(fact.data["attestation"]["heads"], paid[0]) or paid[0].at > fact.at:
            yield "policies were numbered before the payment was confirmed"
        products = Counter(policy["product"] for policy in fact.data["policies"])
        if products != Counter(dict.fromkeys(order.data["locks"], 1)):
            yield "other products were numbered than were paid for"
        made = Counter((policy.data["product"], policy.data["policy_no"]) for policy in issued)
        wanted = Counter((policy["product"], policy["policy_no"]) for policy in fact.data["policies"])
        if made - wanted:
            yield "a policy was issued that is not the one numbered, or twice"
    finished = journey.facts("issuance.journey_issued")
    if len(finished) > 1:
        yield "the journey was issued twice"
    for fact in finished:
        if sorted(fact.data["policies"]) != sorted(policy.data["policy_no"] for policy in issued):
            yield "the journey was said to be issued with other policies than it has"


def _sound(number: str) -> bool:
    """ISO 7064 MOD 37-2 over 22 characters."""
    total = 0
    for character in number:
        if character not in ALPHABET:
            return False
        total = (total * 2 + ALPHABET.index(character)) % 37
    return len(number) == 22 and total == 1


@of_each(
    "I17", "card, order, ledger and policies agree to the fen, premiums and taxes in lines of their own", when=ordered
)
def to_the_fen(journey: Journey) -> Iterator[str]:
    for order in ordered(journey):
        wanted = [line for product in order.data["locks"] for line in _lines(journey.terms[product])]
        lines = [(line["product"], line["kind"], line["fen"]) for line in order.data["lines"]]
        total = order.data["total_fen"]
        if sorted(lines) != sorted(wanted):
            yield "the lines ordered are not those of the terms"
        if sum(fen for _, _, fen in lines) != total:
            yield "the lines ordered do not add up to the total"
        body = journey.open(order.data["proof"]["body"])
        said = {} if body is None else json.loads(body)
        if (said.get("total_fen"), said.get("locks")) != (total, order.data["locks"]):
            yield "the customer ordered another sum than was placed"
        at_channel = journey.world.ledger.of("order").get(order.data["order_no"])
        if at_channel and at_channel["terms"]["amount"] != {"total": total, "currency": "CNY"}:
            yield "the channel was asked for another sum"
        for paid in journey.facts("payment.payment_confirmed"):
            if paid.data["order_no"] != order.data["order_no"]:
                continue
            if paid.data["total_fen"] != total or paid.data["lines"] != order.data["lines"]:
                yield "the sum confirmed is not the sum ordered"
            if at_channel is None or at_channel.get("paid_total") != total:
                yield "the sum confirmed is not what the channel took"
            receipt = journey.open(paid.data["receipt"])
            if receipt is None or json.loads(receipt)["amount"]["total"] != total:
                yield "the channel's receipt names another sum"
    for numbered in journey.facts("issuance.policies_numbered"):
        order = next(o for o in ordered(journey) if o.data["order_no"] == numbered.data["order_no"])
        issued = journey.facts("issuance.policy_issued")
        if len(issued) == len(numbered.data["policies"]):
            together = sum(policy.data["premium_fen"] + policy.data["taxes_fen"] for policy in issued)
            if together != order.data["total_fen"]:
                yield "the policies' premiums and taxes are not the sum paid"


def _lines(terms: Json) -> Iterator[tuple[str, str, int]]:
    yield terms["product"], "premium", terms["premium_fen"]
    for tax in terms["taxes"]:
        yield tax["product"], tax["kind"], tax["fen"]


@of_all("money", "what a customer paid once bought policies or went back: never both, never neither", settles=True)
def conserved(world: World, checked: set[str]) -> Iterator[Complaint]:
    by_id = {journey.id: journey for journey in world.journeys}
    refunds: defaultdict[str, list[Json]] = defaultdict(list)
    for refund in world.ledger.of("refund").values():
        refunds[_order_of(world, refund)].append(refund)
    transactions: Counter[Any] = Counter()
    kept: Counter[str] = Counter()
    for order_no, order in world.ledger.of("order").items():
        journey = by_id.get(order_no[2:28])
        if journey is None or all(o.data["order_no"] != order_no for o in ordered(journey)):
            yield order_no[2:28], f"the channel has an order {order_no} nobody placed"
            continue
        checked.add(journey.id)
        if order["state"] not in PAID:
            if any(paid.data["order_no"] == order_no for paid in journey.facts("payment.payment_confirmed")):
                yield journey.id, "a payment was confirmed that the channel never took"
            continue
        transactions[order["transaction_id"]] += 1
        back = sum(refund["terms"]["amount"]["refund"] for refund in refunds[order_no])
        confirmed = [p for p in journey.facts("payment.payment_confirmed") if p.data["order_no"] == order_no]
        numbered = [n for n in journey.facts("issuance.policies_numbered") if n.data["order_no"] == order_no]
        finished = numbered and journey.facts("issuance.journey_issued")
        kept[journey.id] += bool(order["paid_total"] - back)
        if len(confirmed) > 1:
            yield journey.id, "a payment was confirmed twice"
        if confirmed and confirmed[0].data["transaction_id"] != order["transaction_id"]:
            yield journey.id, "another payment was confirmed than the channel took"
        if finished and back:
            yield journey.id, "policies were issued and the money went back"
        if not finished and back != order["paid_total"]:
            yield journey.id, f"paid {order['paid_total']} fen, got {back} back and no policies"
        requested = sum(
            fact.data["fen"] for fact in journey.facts("payment.refund_requested") if fact.data["order_no"] == order_no
        )
        if requested != back:
            yield journey.id, f"{requested} fen were to go back, {back} did"
    for journey_id, times in kept.items():
        if times > 1:
            yield journey_id, f"money of {times} orders is kept"
    for journey in world.journeys:
        confirmed = journey.facts("payment.payment_confirmed")
        if len(confirmed) > 1:
            yield journey.id, f"{len(confirmed)} payments were taken for one journey"
        for fact in confirmed:
            if fact.data["order_no"] not in world.ledger.of("order"):
                yield journey.id, "a payment was confirmed for an order the channel does not know"
    for transaction, times in transactions.items():
        if times > 1:
            yield "", f"transaction {transaction} pays {times} orders"


def _order_of(world: World, refund: Json) -> str:
    terms = refund["terms"]
    if terms.get("out_trade_no"):
        return terms["out_trade_no"]
    wanted = terms.get("transaction_id")
    return next((no for no, order in world.ledger.of("order").items() if order.get("transaction_id") == wanted), "")


@of_each(
    "orders",
    "one order open at a time, each placed before it expired, no charge after the journey ended",
    when=ordered,
)
def one_order(journey: Journey) -> Iterator[str]:
    closed = {fact.data["order_no"] for fact in journey.facts("payment.order_closed")}
    paid = {fact.data["order_no"] for fact in journey.facts("payment.payment_confirmed")}
    placed = [order.data["order_no"] for order in ordered(journey)]
    if len(set(placed)) != len(placed):
        yield "an order was placed twice"
    if len([number for number in placed if number not in closed | paid]) > 1:
        yield "two orders are open"
    if closed & paid:
        yield "an order was closed and paid"
    for fact in journey.facts("payment.payment_confirmed"):
        order = next((o for o in ordered(journey) if o.data["order_no"] == fact.data["order_no"]), None)
        if order is not None and moment(fact.data["paid_at"]) > moment(order.data["expires_at"]):
            yield "a payment was taken after its order had expired"


RULES = (own_account, numbers, to_the_fen, conserved, one_order)
