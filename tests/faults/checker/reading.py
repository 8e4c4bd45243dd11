"""What must be read, answered and chosen before anything is signed or paid."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from tests.faults.checker.stores import Fact, Json, moment
from tests.faults.checker.verdict import of_each
from tests.faults.checker.world import Journey

SHORTEST_MS, LONGEST_MS = 3_000, 300_000
CLOCKS_APART = timedelta(milliseconds=1)


def committing(journey: Journey) -> list[Fact]:
    """The acts that must rest on everything: each signature and each order."""
    return [*journey.facts("signing.forms_signed"), *journey.facts("payment.order_placed")]


def bought(fact: Fact) -> list[str]:
    """The products a signature or an order is over."""
    if "locks" in fact.data:
        return list(fact.data["locks"])
    return [item["product"] for item in fact.data["items"] if item["kind"] == "form"]


def confirmations(journey: Journey, before: Fact) -> list[Fact]:
    """Readings confirmed in the device session of ``before`` and held when it was attested."""
    heads = before.data["attestation"]["heads"]
    return [
        fact
        for fact in journey.facts("disclosure.document_confirmed")
        if fact.attempt == before.attempt and journey.within(heads, fact) and fact.at <= before.at
    ]


def _place(document: Json) -> tuple[str, str, str, str]:
    return document["product"], document["document"], document["version"], document["sha256"]


@of_each(
    "I1",
    "no order (nor signature) before every mandatory document was confirmed on this device by the verified person",
    when=committing,
)
def read_before_order(journey: Journey) -> Iterator[str]:
    for act in committing(journey):
        read = {_place(fact.data["document"]) for fact in confirmations(journey, act)}
        for product in bought(act):
            for document in journey.terms[product]["documents"]:
                if _place(document) not in read:
                    yield f"{act.name} though {product}/{document['document']} was not confirmed before it"
        heads = act.data["attestation"]["heads"]
        proven = [f for f in journey.facts("identity.identity_verified") if f.data["attempt"] == act.attempt]
        if not any(journey.within(heads, fact) and fact.at <= act.at for fact in proven):
            yield f"{act.name} by somebody who was not verified in this device session"


@of_each(
    "I2",
    "each document, the exclusions above all, was shown on a page of its own and confirmed by an act of its own",
    when=lambda journey: journey.facts("disclosure.document_confirmed"),
)
def one_act_one_document(journey: Journey) -> Iterator[str]:
    used = Counter(fact.data["proof"]["proof"]["jws"] for fact in journey.all if fact.attempt is not None)
    for fact in journey.facts("disclosure.document_confirmed"):
        document = fact.data["document"]
        name = f"{document['product']}/{document['document']}"
        if used[fact.data["proof"]["proof"]["jws"]] > 1:
            yield f"{name} was confirmed by an act that did something else too"
        body = journey.open(fact.data["proof"]["body"])
        if body is None or _place(json.loads(body)) != _place(document):
            yield f"{name} was confirmed by an act over something else"
        if fact.data["paragraphs_seen"] != fact.data["paragraphs_total"]:
            yield f"{name} was confirmed though not all of it was shown"
    for terms in journey.terms.values():
        kinds = {d["code"]: d for d in journey.release["products"][terms["product"]]["documents"]}
        exclusions = [d for d in terms["documents"] if kinds[d["document"]]["kind"] == "exclusions"]
        if not exclusions or not all(kinds[d["document"]]["single_page"] for d in exclusions):
            yield f"{terms['product']} has no exclusions on a page of their own"


@of_each(
    "I3",
    "confirmed only after its end was reached and the minimum of that version was over, by the server's clock",
    when=lambda journey: journey.facts("disclosure.document_confirmed"),
)
def dwelt_upon(journey: Journey) -> Iterator[str]:
    scale = journey.world.witness.get("dwell_scale")
    for fact in journey.facts("disclosure.document_confirmed"):
        data, document = fact.data, fact.data["document"]
        name = f"{document['product']}/{document['document']}"
        minimum = data["minimum_dwell_ms"]
        published = next(
            d["minimum_dwell_seconds"] * 1000
            for d in journey.release["products"][document["product"]]["documents"]
            if d["sha256"] == document["sha256"]
        )
        if minimum != published or not SHORTEST_MS <= minimum <= LONGEST_MS:
            yield f"{name} was confirmed under a minimum that is not its version's"
        if scale is not None and data["dwell_scale"] != scale:
            yield f"{name} was confirmed under another dwell_scale than the run's"
        wanted = minimum * data["dwell_scale"]
        if data["dwell_ms"] < round(wanted):
            yield f"{name} was confirmed after {data['dwell_ms']} of {wanted:.0f} ms"
        shown = [
            opened.at
            for opened in journey.facts("disclosure.document_opened")
            if opened.data["document"] == document
            and opened.attempt == fact.attempt
            and opened.sequence < fact.sequence
        ]
        if not shown:
            yield f"{name} was confirmed without having been opened"
            continue
        if not shown[0] <= moment(data["end_reached_at"]) <= fact.at:
            yield f"{name} was confirmed without its end having been reached before"
        if (fact.at - shown[0] + CLOCKS_APART) / timedelta(milliseconds=1) < max(wanted, data["dwell_ms"]):
            yield f"{name} was confirmed sooner than it can have been read"


def _chosen(journey: Journey, before: Fact) -> set[str]:
    """The optional products ticked and not taken out again in the session of ``before``, when it was attested."""
    chosen: set[str] = set()
    for fact in journey.world.stores.facts("proposal", journey.id):
        if fact.attempt != before.attempt or not journey.within(before.data["attestation"]["heads"], fact):
            continue
        if fact.name == "proposal.product_chosen":
            chosen.add(fact.data["product"])
        elif fact.name == "proposal.product_dropped":
            chosen.discard(fact.data["product"])
    return chosen


@of_each("I4", "nothing optional in a purchase that the customer did not tick by an act of their own", when=committing)
def nothing_preselected(journey: Journey) -> Iterator[str]:
    for act in committing(journey):
        optional = {product for product in bought(act) if journey.terms[product]["optional"]}
        if unticked := optional - _chosen(journey, act):
            yield f"{act.name} over {', '.join(sorted(unticked))}, which nobody ticked"
        must = {product for product, terms in journey.terms.items() if not terms["optional"]}
        if missing := must - set(bought(act)):
            yield f"{act.name} without {', '.join(sorted(missing))}"


@of_each(
    "I5",
    "a product taken out again is in no later order; the others keep price and signature",
    when=lambda journey: journey.facts("proposal.product_dropped") and journey.facts("payment.order_placed"),
)
def dropped_is_out(journey: Journey) -> Iterator[str]:
    for order in journey.facts("payment.order_placed"):
        heads = order.data["attestation"]["heads"]
        dropped = {
            fact.data["product"]
            for fact in journey.facts("proposal.product_dropped")
            if fact.attempt == order.attempt and journey.within(heads, fact)
        } - _chosen(journey, order)
        if still := dropped & set(order.data["locks"]):
            yield f"{', '.join(sorted(still))} was ordered though taken out"
        if any(line["product"] in dropped for line in order.data["lines"]):
            yield "a product taken out is charged"
        for product, lock in order.data["locks"].items():
            if lock != journey.terms[product]["lock"]:
                yield f"{product} was ordered on other terms than offered"
    if len([fact for fact in journey.facts("signing.forms_signed") if fact.attempt == order_attempt(journey)]) > 1:
        yield "what stayed had to be signed again"


def order_attempt(journey: Journey) -> int | None:
    order = journey.order
    return None if order is None else order.attempt


@of_each("I6", "each product brings documents of its own, and they were confirmed as its own", when=committing)
def own_documents(journey: Journey) -> Iterator[str]:
    for act in committing(journey):
        for product in bought(act):
            documents = journey.terms[product]["documents"]
            if not documents or any(document["product"] != product for document in documents):
                yield f"{product} was sold on documents of another product, or on none"


@of_each("I30", "advice to stop was met by an act of own will, and every need was asked", when=committing)
def advice_met(journey: Journey) -> Iterator[str]:
    for act in committing(journey):
        heads = act.data["attestation"]["heads"]
        advice: dict[str, list[str]] = {}
        answered: set[str] = set()
        for fact in journey.world.stores.facts("disclosure", journey.id):
            if fact.attempt != act.attempt or not journey.within(heads, fact):
                continue
            if fact.name == "disclosure.needs_answered":
                answered.add(fact.data["product"])
                advice[fact.data["product"]] = fact.data["advice"]
            elif fact.name == "disclosure.continued_of_own_will":
                advice[fact.data["product"]] = []
        for product in bought(act):
            if product not in answered:
                yield f"{act.name} though nobody asked whether {product} is needed"
            if advice.get(product):
                yield f"{act.name} against advice on {product} that nobody went against"


@of_each("points", "every deadly point was shown by itself in its published words, and acknowledged", when=committing)
def points_acknowledged(journey: Journey) -> Iterator[str]:
    for act in committing(journey):
        heads = act.data["attestation"]["heads"]
        seen = {
            (fact.data["product"], fact.data["point"], fact.data["sha256"])
            for fact in journey.facts("disclosure.point_acknowledged")
            if fact.attempt == act.attempt
            and journey.within(heads, fact)
            and moment(fact.data["shown_at"]) <= fact.at <= act.at
        }
        for product in bought(act):
            published = {p["code"]: p for p in journey.release["products"][product]["deadly_points"]}
            for code in journey.terms[product]["points"]:
                words = f"{published[code]['title']}\n{published[code]['text']}"
                if (product, code, hashlib.sha256(words.encode()).hexdigest()) not in seen:
                    yield f"{act.name} though {product}/{code} was not acknowledged in its words"


@of_each("answers", "the insurer's questions were answered before, and the form that was signed is over those answers",
         when=lambda journey: journey.facts("signing.forms_signed"))  # fmt: skip
def questions_answered(journey: Journey) -> Iterator[str]:
    forms = {fact.data["form"]["commitment"]: fact for fact in journey.facts("signing.form_prepared")}
    for signed in journey.facts("signing.forms_signed"):
        heads = signed.data["attestation"]["heads"]
        answers = {
            fact.data["product"]: fact.data["answers"]["commitment"]
            for fact in journey.facts("disclosure.questions_answered")
            if fact.attempt == signed.attempt and journey.within(heads, fact)
        }
        for item in (item for item in signed.data["items"] if item["kind"] == "form"):
            asked = journey.terms[item["product"]]["questions"]
            if asked and item["product"] not in answers:
                yield f"signed though the questions about {item['product']} were not answered"
            form = forms.get(item["hash"])
            if form is not None and form.data["answers"] != answers.get(item["product"]):
                yield f"the form of {item['product']} is over other answers than were given"


RULES = (
    points_acknowledged,
    questions_answered,
    read_before_order,
    one_act_one_document,
    dwelt_upon,
    nothing_preselected,
    dropped_is_out,
    own_documents,
    advice_met,
)
