"""What was confirmed is what was signed, paid and issued; and the papers say so under their seals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cryptography import x509

from tests.faults.checker import seals
from tests.faults.checker.chain import canonical
from tests.faults.checker.reading import bought, committing
from tests.faults.checker.stores import Fact, Json, moment
from tests.faults.checker.verdict import of_each
from tests.faults.checker.world import Journey


def lock_of(opened: Json, terms: Json) -> str:
    """The hash over everything the customer confirms of one product, computed from the offer."""

    def party(who: Json | None) -> Json | None:
        if who is None:
            return None
        parts = {part: who[part]["commitment"] for part in ("name", "id_number", "phone", "address")}
        return {"id_type": who["id_type"], **parts}

    said = {
        "policyholder": party(opened["policyholder"]),
        "insured": party(opened["insured"]),
        "subject": {name: value["commitment"] for name, value in opened["subject"].items()},
        "product": terms["product"],
        "product_version": terms["product_version"],
        "covers": [[cover["cover"], cover["sum_fen"], cover["premium_fen"]] for cover in terms["covers"]],
        "premium_fen": terms["premium_fen"],
        "taxes": [[tax["kind"], tax["fen"]] for tax in terms["taxes"]],
        "period": [moment(terms[end]).isoformat() for end in ("period_from", "period_to")],
        "fields": {name: value["commitment"] for name, value in terms["fields"].items()},
    }
    return hashlib.sha256(canonical(said)).hexdigest()


@of_each(
    "I18",
    "who, what, covers and premium as confirmed are as signed, ordered, paid, numbered and issued",
    when=lambda j: j.opened,
)
def as_confirmed(journey: Journey) -> Iterator[str]:
    locks = {product: lock_of(journey.opened, terms) for product, terms in journey.terms.items()}
    for product, terms in journey.terms.items():
        if terms["lock"] != locks[product]:
            yield f"the lock of {product} is not over its terms"
        if sum(cover["premium_fen"] for cover in terms["covers"]) != terms["premium_fen"]:
            yield f"the premiums of the covers of {product} are not its premium"
    for act in committing(journey):
        confirmed = _confirmed(journey, act)
        for product in bought(act):
            if confirmed.get(product) != locks[product]:
                yield f"{act.name} over {product}, which was not confirmed as it is"
    forms = {(f.data["product"], f.data["form"]["commitment"]): f for f in journey.facts("signing.form_prepared")}
    for signed in journey.facts("signing.forms_signed"):
        for item in (item for item in signed.data["items"] if item["kind"] == "form"):
            form = forms.get((item["product"], item["hash"]))
            if form is None or form.data["lock"] != locks[item["product"]] or form.data["attempt"] != signed.attempt:
                yield f"the form signed for {item['product']} is not over the terms"
    for name in ("payment.order_placed", "payment.payment_confirmed"):
        for fact in journey.facts(name):
            if any(locks.get(product) != lock for product, lock in fact.data["locks"].items()):
                yield f"{name} is not over the terms"
    for numbered in journey.facts("issuance.policies_numbered"):
        if any(locks.get(policy["product"]) != policy["lock"] for policy in numbered.data["policies"]):
            yield "numbered on other terms than confirmed"
    for policy in journey.facts("issuance.policy_issued"):
        terms, data = journey.terms[policy.data["product"]], policy.data
        taxes = sum(tax["fen"] for tax in terms["taxes"])
        issued = (data["lock"], data["premium_fen"], data["taxes_fen"], data["period_from"], data["period_to"])
        wanted = (terms["lock"], terms["premium_fen"], taxes, terms["period_from"], terms["period_to"])
        if issued != wanted:
            yield f"{data['product']} was issued on other terms than confirmed"
        if (data["channel_id"], data["proposal_no"]) != (journey.opened["channel_id"], journey.opened["proposal_no"]):
            yield f"{data['product']} was issued for another proposal"
    yield from _as_the_customer_is(journey)


def _confirmed(journey: Journey, before: Fact) -> dict[str, str]:
    """Locks confirmed in the session of ``before`` and held when it was attested."""
    locks: dict[str, str] = {}
    for fact in journey.world.stores.facts("proposal", journey.id):
        if fact.attempt != before.attempt or not journey.within(before.data["attestation"]["heads"], fact):
            continue
        if fact.name == "proposal.terms_confirmed":
            locks |= fact.data["locks"]
        elif fact.name == "proposal.product_chosen":
            locks[fact.data["product"]] = fact.data["lock"]
        elif fact.name == "proposal.product_dropped":
            locks.pop(fact.data["product"], None)
    return locks


def _as_the_customer_is(journey: Journey) -> Iterator[str]:
    if journey.customer is None:
        return
    values = journey.customer["values"]
    holder, subject = journey.opened["policyholder"], journey.opened["subject"]
    kept = {**{part: holder[part] for part in ("name", "id_number", "phone", "address")}, **subject}
    for part in sorted(set(values) & set(kept)):
        if journey.open(kept[part]) != values[part].encode():
            yield f"the record holds another {part} than the customer's"


@of_each(
    "I23",
    "each policy sealed, timestamped, and known to the register by number and by bytes; so is each form",
    when=lambda journey: journey.facts("issuance.policy_issued") or journey.facts("signing.form_sealed"),
)
def sealed_papers(journey: Journey) -> Iterator[str]:
    certificates = journey.world.folder / "sandbox" / "certs"
    register = journey.world.stores.of("issuance", "policies_issued")
    for fact in journey.facts("issuance.policy_issued"):
        number, product = fact.data["policy_no"], fact.data["product"]
        pdf = journey.open(fact.data["policy"])
        if pdf is None:
            yield f"the policy of {product} cannot be opened"
            continue
        known = register.get(number)
        digest = hashlib.sha256(pdf).hexdigest()
        if known is None or known.state["file_sha256"] != digest or known.state["product"] != product:
            yield f"the register does not know the policy of {product} by number and bytes"
        downloaded = (journey.customer or {}).get("policies", {}).get(number)
        if downloaded is not None and downloaded != digest:
            yield f"the customer holds another file than was issued for {product}"
        yield from (f"the policy of {product}: {why}" for why in _signed(pdf, certificates / "seal.cert.pem"))
    forms = {f.data["form"]["commitment"]: f for f in journey.facts("signing.form_prepared")}
    for fact in journey.facts("signing.form_sealed"):
        product = fact.data["product"]
        pdf = journey.open(fact.data["form"])
        first = forms.get(fact.data["first_revision"])
        seen = None if first is None else journey.open(first.data["form"])
        if pdf is None or seen is None or not pdf.startswith(seen):
            yield f"the sealed form of {product} does not begin with the form that was seen"
            continue
        yield from (f"the form of {product}: {why}" for why in _signed(pdf, certificates / "application.cert.pem"))


def _signed(pdf: bytes, certificate: Path) -> Iterator[str]:
    try:
        signers = seals.signed_pdf(pdf)
    except ValueError as error:
        yield str(error)
        return
    if _certificate(certificate) not in signers:
        yield "it is not under the seal it should be under"


@cache
def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@of_each("signed", "each form was reviewed before it was signed, and sealed before it was insured",
         when=lambda journey: journey.facts("signing.forms_signed"))  # fmt: skip
def reviewed_and_sealed(journey: Journey) -> Iterator[str]:
    for signed in journey.facts("signing.forms_signed"):
        heads = signed.data["attestation"]["heads"]
        reviewed = {
            (fact.data["product"], fact.data["form_commitment"])
            for fact in journey.facts("signing.form_reviewed")
            if fact.attempt == signed.attempt and fact.sequence < signed.sequence and journey.within(heads, fact)
        }
        listed = {(i["product"], i["kind"], i["document"], i["hash"]) for i in signed.data["items"]}
        for product in bought(signed):
            wanted = {
                (d["product"], "document", d["document"], d["sha256"]) for d in journey.terms[product]["documents"]
            }
            if not wanted <= listed:
                yield f"the signature is not over every document of {product}"
        for item in (item for item in signed.data["items"] if item["kind"] == "form"):
            if (item["product"], item["hash"]) not in reviewed:
                yield f"the form of {item['product']} was signed without having been looked through"
    sealed = {fact.data["product"]: fact for fact in journey.facts("signing.form_sealed")}
    if len(sealed) != len(journey.facts("signing.form_sealed")):
        yield "a form was sealed twice"
    for numbered in journey.facts("issuance.policies_numbered"):
        for policy in numbered.data["policies"]:
            form = sealed.get(policy["product"])
            if form is None or not journey.within(numbered.data["attestation"]["heads"], form):
                yield f"{policy['product']} was numbered before its form was sealed"


RULES = (as_confirmed, sealed_papers, reviewed_and_sealed)
