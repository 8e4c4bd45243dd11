"""The person and the device: verified here, the same throughout, and nobody else's hand in anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from tests.faults.checker import seals
from tests.faults.checker.reading import committing
from tests.faults.checker.stores import Fact, moment
from tests.faults.checker.verdict import Complaint, of_all, of_each
from tests.faults.checker.world import Journey, World

ACTS = {
    "identity.session_opened": "open-session",
    "identity.recording_acknowledged": "acknowledge-recording",
    "identity.mode_chosen": "choose-mode",
    "identity.consent_given": "give-consent",
    "identity.consent_declined": "decline-consent",
    "identity.otp_sent": "send-otp",
    "identity.otp_verified": "verify-otp",
    "identity.real_name_checked": "check-real-name",
    "identity.face_started": "start-face",
    "identity.face_checked": "finish-face",
    "identity.bank_card_checked": "check-bank-card",
    "identity.help_requested": "request-help",
    "proposal.terms_confirmed": "confirm-terms",
    "proposal.product_chosen": "choose-product",
    "proposal.product_dropped": "drop-product",
    "disclosure.document_opened": "open-document",
    "disclosure.document_confirmed": "confirm-document",
    "disclosure.needs_answered": "answer-needs",
    "disclosure.continued_of_own_will": "continue-of-own-will",
    "disclosure.questions_answered": "answer-questions",
    "disclosure.point_acknowledged": "acknowledge-point",
    "signing.form_reviewed": "review-form",
    "signing.phrase_copied": "copy-phrase",
    "signing.phrase_rejected": "copy-phrase",
    "signing.ink_rejected": "sign-forms",
    "signing.review_requested": "sign-forms",
    "signing.forms_signed": "sign-forms",
    "payment.order_placed": "place-order",
}
"""What only the customer can do, each with the address its proof must be made for."""
FACE_FACTS = {
    "identity.face_started": {"at", "provider_ref", "signatory", "proof"},
    "identity.face_checked": {"at", "passed", "provider_ref", "score_band", "checked_at", "signatory", "proof"},
}


def acts(journey: Journey) -> list[Fact]:
    return [fact for fact in journey.all if fact.name in ACTS]


@of_each("I7", "signed only by somebody proven in this session, on the platform's own word, while it held",
         when=lambda journey: journey.facts("signing.forms_signed"))  # fmt: skip
def proven_before_signing(journey: Journey) -> Iterator[str]:
    for signed in journey.facts("signing.forms_signed"):
        heads = signed.data["attestation"]["heads"]
        proven = [
            fact
            for fact in journey.facts("identity.identity_verified")
            if fact.data["attempt"] == signed.attempt and journey.within(heads, fact)
        ]
        if not any(fact.at <= signed.at <= moment(fact.data["valid_until"]) for fact in proven):
            yield "signed without a proof of identity that held"
    for verified in journey.facts("identity.identity_verified"):
        yield from _checks(journey, verified)


def _checks(journey: Journey, verified: Fact) -> Iterator[str]:
    earlier = [
        fact
        for fact in journey.world.stores.facts("identity", journey.id)
        if fact.attempt == verified.data["attempt"] and fact.sequence < verified.sequence
    ]
    if not any(fact.name == "identity.real_name_checked" and fact.data["matched"] for fact in earlier):
        yield "verified without name and ID number having been compared"
    if verified.data["method"] == "face":
        passed = [f for f in earlier if f.name == "identity.face_checked" and f.data["passed"]]
        at_platform = {
            session.get("provider_ref")
            for session in journey.world.ledger.of("face_session").values()
            if session["status"] == "passed"
        }
        if not any(fact.data["provider_ref"] in at_platform for fact in passed):
            yield "verified by a face the platform never passed"
    else:
        if not any(fact.name == "identity.otp_verified" for fact in earlier):
            yield "verified by card without the code"
        if not any(fact.name == "identity.bank_card_checked" and fact.data["matched"] for fact in earlier):
            yield "verified by card without the card"


@of_each(
    "I8",
    "who declined the face came to the same end by the equal path",
    when=lambda journey: (
        any(fact.data["notice"]["notice"] == "face_consent" for fact in journey.facts("identity.consent_declined"))
        and journey.facts("identity.identity_verified")
    ),
)
def equal_path(journey: Journey) -> Iterator[str]:
    for verified in journey.facts("identity.identity_verified"):
        attempt = verified.data["attempt"]
        said = [
            fact.name == "identity.consent_given"
            for fact in journey.world.stores.facts("identity", journey.id)
            if fact.attempt == attempt
            and fact.sequence < verified.sequence
            and fact.name in ("identity.consent_given", "identity.consent_declined")
            and fact.data["notice"]["notice"] == "face_consent"
        ]
        if said and not said[-1] and verified.data["method"] == "face":
            yield "verified by face though it was declined"
        if said and not said[-1] and any(f.attempt == attempt for f in journey.facts("identity.face_started")):
            given = any(said)
            if not given:
                yield "a face was asked for though it was declined"


@of_each(
    "I9", "a face only after a consent to it, given alone and before", when=lambda j: j.facts("identity.face_started")
)
def face_consented(journey: Journey) -> Iterator[str]:
    for started in journey.facts("identity.face_started"):
        consents = [
            fact
            for fact in journey.world.stores.facts("identity", journey.id)
            if fact.name in ("identity.consent_given", "identity.consent_declined")
            and fact.attempt == started.attempt
            and fact.sequence < started.sequence
            and fact.data["notice"]["notice"] == "face_consent"
        ]
        if not consents or consents[-1].name != "identity.consent_given":
            yield "a face was asked for without consent"
            continue
        body = journey.open(consents[-1].data["proof"]["body"])
        if body is None or json.loads(body).get("notice") != "face_consent":
            yield "the consent to the face was given by an act over something else"


@of_each(
    "consents",
    "told of the recording and asked for each consent by itself, in time: at the entrance, and before an order",
    when=lambda journey: journey.facts("identity.identity_verified"),
)
def consented(journey: Journey) -> Iterator[str]:
    for verified in journey.facts("identity.identity_verified"):
        said = _consents(journey, verified.data["attempt"], verified.sequence)
        if not said.get("recording"):
            yield "identity was proven before the customer was told of the recording"
        for code, notice in journey.release["notices"].items():
            if notice["stage"] == "entry" and notice["required"] and not said.get(code):
                yield f"identity was proven without {code}"
    for order in journey.facts("payment.order_placed"):
        said = _consents(journey, order.attempt, order.data["attestation"]["heads"]["identity"] + 1)
        for code, notice in journey.release["notices"].items():
            if notice["stage"] == "payment" and notice["required"] and not said.get(code):
                yield f"ordered without {code}"


def _consents(journey: Journey, attempt: int | None, before: int) -> dict[str, bool]:
    """What stood of each notice in a device session before identity's fact of this sequence."""
    said: dict[str, bool] = {}
    for fact in journey.world.stores.facts("identity", journey.id):
        if fact.attempt == attempt and fact.sequence < before and "notice" in fact.data:
            said[fact.data["notice"]["notice"]] = fact.name != "identity.consent_declined"
    return said


@of_each("I10", "of a face nothing but result, reference and time", when=lambda j: j.facts("identity.face_started"))
def no_face(journey: Journey) -> Iterator[str]:
    for name, allowed in FACE_FACTS.items():
        for fact in journey.facts(name):
            if more := set(fact.data) - allowed:
                yield f"{name} also holds {', '.join(sorted(more))}"


@of_each("I11", "the name written passed every check and reads as it must, or two people found it legible",
         when=lambda journey: journey.facts("signing.forms_signed"))  # fmt: skip
def name_written(journey: Journey) -> Iterator[str]:
    name = journey.open(journey.opened["policyholder"]["name"])
    for signed in journey.facts("signing.forms_signed"):
        if failed := [check["code"] for check in signed.data["ink_checks"] if not check["ok"]]:
            yield f"signed though {', '.join(failed)}"
        yield from _not_read(journey, signed.data)
        strokes = journey.open(signed.data["strokes"])
        if strokes is None or name is None:
            yield "the strokes or the name cannot be opened"
            continue
        boxes = json.loads(strokes)["boxes"]
        if len(boxes) != len(name.decode()) or not all(box["strokes"] for box in boxes):
            yield "not every character of the name was written"


def _not_read(journey: Journey, signed: dict[str, Any]) -> Iterator[str]:
    verdict = signed["legibility"]
    characters = [] if signed["reading"] is None else signed["reading"]["characters"]
    below = [c["box"] for c in characters if c["score"] is None or c["score"] < c["limit"]]
    if verdict == "pass" and (not characters or below):
        yield f"passed with boxes {below} below their limits"
    legible = {
        fact.data["reviewer"]
        for fact in journey.facts("signing.review_decided")
        if fact.data["finding"] == "legible" and fact.data["review_no"] == signed["review_no"]
    }
    if verdict == "manual" and len(legible) < 2:
        yield f"taken after {len(legible)} people had found it legible"
    if verdict not in ("pass", "manual"):
        yield "nobody read the name"


@of_each(
    "I12", "one person, one device, one session from identity to payment; what was voided is not used", when=committing
)
def nobody_changed(journey: Journey) -> Iterator[str]:
    sessions = {fact.data["attempt"]: fact.data["thumbprint"] for fact in journey.facts("identity.session_opened")}
    signatures = {fact.attempt: fact for fact in journey.facts("signing.forms_signed")}
    for act in committing(journey):
        _, thumbprint = seals.proof(act.data["proof"]["proof"]["jws"])
        if act.attempt is None or sessions.get(act.attempt) != thumbprint:
            yield f"{act.name} on another device than that of its session"
        # The last word on its session that was heard must be that it was opened (it may be opened again after its end).
        heads = act.data["attestation"]["heads"]
        words = [
            fact.name
            for fact in journey.world.stores.facts("identity", journey.id)
            if fact.name in ("identity.session_opened", "identity.session_voided")
            and fact.data["attempt"] == act.attempt
            and journey.within(heads, fact)
        ]
        if words and words[-1] == "identity.session_voided":
            yield f"{act.name} in a session that was void"
    for order in journey.facts("payment.order_placed"):
        if order.attempt not in signatures:
            yield "ordered on another device than the forms were signed on"
    if len(signatures) > 1:
        yield f"the forms were signed on {len(signatures)} devices"
    known = [*journey.facts("identity.identity_verified"), *journey.facts("issuance.journey_issued")]
    persons = {fact.data["customer_id"] for fact in known}
    if len(persons) > 1:
        yield "verified, or issued to, as different persons"


@of_each("I13", "every act is proven by the customer's own device, for this very act and body, once", when=acts)
def only_the_customer(journey: Journey) -> Iterator[str]:
    sessions = {fact.data["attempt"]: fact.data["thumbprint"] for fact in journey.facts("identity.session_opened")}
    used: Counter[str] = Counter()
    for fact in acts(journey):
        given = fact.data.get("proof")
        if given is None:
            yield f"{fact.name} {fact.sequence} has no proof"
            continue
        try:
            claims, thumbprint = seals.proof(given["proof"]["jws"])
        except ValueError as error:
            yield f"{fact.name} {fact.sequence}: {error}"
            continue
        used[claims["jti"]] += 1
        if sessions.get(given["attempt"]) != thumbprint:
            yield f"{fact.name} {fact.sequence} is not by the device of its session"
        if urlsplit(claims["htu"]).path != f"/v1/journeys/{journey.id}/{ACTS[fact.name]}" or claims["htm"] != "POST":
            yield f"{fact.name} {fact.sequence} has a proof of another act"
        body = journey.open(given["body"])
        if body is None or _b64(hashlib.sha256(body).digest()) != claims["bh"]:
            yield f"{fact.name} {fact.sequence} has a proof over another body"
    if twice := [jti for jti, times in used.items() if times > 1]:
        yield f"{len(twice)} proofs were used more than once"


@of_each(
    "I25",
    "after consent was withdrawn nothing was done but keep what the law orders kept",
    when=lambda journey: any(fact.data["withdrawn"] for fact in journey.facts("identity.consent_declined")),
)
def withdrawn_is_over(journey: Journey) -> Iterator[str]:
    for declined in journey.facts("identity.consent_declined"):
        if not declined.data["withdrawn"] or declined.data["notice"]["notice"] != "privacy":
            continue
        for fact in committing(journey):
            if journey.within(fact.data["attestation"]["heads"], declined):
                yield f"{fact.name} after consent was withdrawn"


@of_all("kept", "every act acknowledged to a customer is a fact, and who came through has the policies they saw")
def promises_kept(world: World, checked: set[str]) -> Iterator[Complaint]:
    journeys = {journey.id: journey for journey in world.journeys}
    for journey_id, customer in world.customers.items():
        journey = journeys.get(journey_id)
        checked.add(journey_id)
        if journey is None:
            yield journey_id, "the journey is gone"
            continue
        done = {(ACTS[fact.name], _bh(fact)) for fact in acts(journey) if fact.attempt is not None}
        for verb, bh in customer["acts"]:
            act = verb.replace("_", "-")
            if act in ACTS.values() and (act, bh) not in done:
                yield journey_id, f"{act} was acknowledged and is no fact"
        issued = {fact.data["policy_no"] for fact in journey.facts("issuance.policy_issued")}
        if lost := set(customer["policies"]) - issued:
            yield journey_id, f"{len(lost)} policies were handed out that nobody issued"
        if customer.get("outcome") == "through" and not journey.facts("issuance.journey_issued"):
            yield journey_id, "somebody came through and has no policies"


def _bh(fact: Fact) -> str:
    claims = fact.data["proof"]["proof"]["jws"].split(".")[1]
    return json.loads(seals.b64(claims))["bh"]


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


RULES = (
    proven_before_signing,
    equal_path,
    face_consented,
    no_face,
    consented,
    name_written,
    nobody_changed,
    only_the_customer,
    withdrawn_is_over,
    promises_kept,
)
