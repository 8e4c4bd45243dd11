"""Which page comes next (DOMAIN §2.8), from what the services say. Pure.

A hint for the page, never a gate: each service refuses by itself what is out of order.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from contracts.commands.appdownload import ReferralView
from contracts.commands.disclosure import DisclosureView
from contracts.commands.identity import IdentityView
from contracts.commands.issuance import IssuanceView
from contracts.commands.nps import SurveyView
from contracts.commands.payment import PaymentView
from contracts.commands.proposal import ProposalView
from contracts.commands.signing import SigningView
from contracts.values import Contract


class Step(StrEnum):
    RECORDING = "recording"
    CONSENTS = "consents"
    IDENTITY = "identity"
    TERMS = "terms"
    PRODUCTS = "products"
    NEEDS = "needs"
    QUESTIONS = "questions"
    DOCUMENTS = "documents"
    POINTS = "points"
    FORMS = "forms"
    SIGNATURE = "signature"
    REVIEW = "review"
    """People look at the signature; the customer waits."""
    PAYMENT = "payment"
    POLICIES = "policies"
    SURVEY = "survey"
    APP = "app"
    ENDED = "ended"
    WAIT = "wait"
    """Somebody who must be asked does not answer now."""


PAGES: dict[Step, str | None] = {
    Step.RECORDING: "P1",
    Step.CONSENTS: "P2",
    Step.IDENTITY: "P3",
    Step.TERMS: "P4",
    Step.PRODUCTS: "P5",
    Step.NEEDS: "P6",
    Step.QUESTIONS: "P6",
    Step.DOCUMENTS: "P7",
    Step.POINTS: "P8",
    Step.FORMS: "P9",
    Step.SIGNATURE: "P10",
    Step.REVIEW: "P10",
    Step.PAYMENT: "P12",
    Step.POLICIES: "P13",
    Step.SURVEY: "P14",
    Step.APP: "P15",
    Step.ENDED: None,
    Step.WAIT: None,
}


class Place(Contract):
    """Where the customer is. ``then`` are pages they may go on to without doing anything more on this one."""

    step: Step
    page: str | None
    then: tuple[Step, ...] = ()


class Parts(Contract):
    """What the services said; none where one did not answer (or was not asked yet)."""

    proposal: ProposalView | None = None
    identity: IdentityView | None = None
    disclosure: DisclosureView | None = None
    signing: SigningView | None = None
    payment: PaymentView | None = None
    issuance: IssuanceView | None = None
    survey: SurveyView | None = None
    referral: ReferralView | None = None


def place_of(parts: Parts, required_consents: Iterable[str]) -> Place:
    """``required_consents``: notices at the entrance without which nothing begins."""
    step = step_of(parts, required_consents)
    then: tuple[Step, ...] = ()
    if step is Step.PRODUCTS:
        then = (Step.NEEDS,)
    elif step is Step.POLICIES:
        then = after_policies(parts)
    return Place(step=step, page=PAGES[step], then=then)


def step_of(parts: Parts, required_consents: Iterable[str]) -> Step:
    """The first page that still needs the customer."""
    proposal, payment, issuance = parts.proposal, parts.payment, parts.issuance
    if proposal is None:
        return Step.WAIT
    if issuance is not None and issuance.state == "issued":
        return Step.POLICIES
    if proposal.state in {"withdrawn", "expired"}:
        return Step.ENDED
    if payment is not None and payment.state == "paid":
        # Paid and waiting for the policies: their page shows that they are on the way.
        return Step.POLICIES
    if payment is not None and payment.state in {"refunding", "refunded"}:
        return Step.ENDED
    if parts.signing is not None and parts.signing.in_review_since is not None:
        # No clock runs meanwhile, so nothing else is asked for.
        return Step.REVIEW
    identity = parts.identity
    if identity is None:
        return Step.WAIT
    if not identity.recording_acknowledged:
        return Step.RECORDING
    if any(identity.consents.get(notice) != "given" for notice in required_consents):
        return Step.CONSENTS
    if not identity.verified or identity.reproof_required:
        return Step.IDENTITY
    if set(proposal.chosen) - set(proposal.confirmed):
        return Step.TERMS
    return _reading(parts, proposal) or _signing(parts)


def _reading(parts: Parts, proposal: ProposalView) -> Step | None:
    disclosure = parts.disclosure
    if disclosure is None:
        return Step.WAIT
    undecided = any(p.optional and p.product not in proposal.chosen for p in proposal.products)
    if undecided and set(disclosure.needs_open) >= set(proposal.chosen):
        # Nothing answered yet: the place to look at what may be added, or not.
        return Step.PRODUCTS
    if disclosure.needs_open or disclosure.advice_open:
        return Step.NEEDS
    if disclosure.questions_open:
        return Step.QUESTIONS
    if any(document.confirmed_at is None for document in disclosure.documents):
        return Step.DOCUMENTS
    return Step.POINTS if disclosure.points_open else None


def _signing(parts: Parts) -> Step:
    signing, payment = parts.signing, parts.payment
    if signing is None:
        return Step.WAIT
    if signing.signed_at is None:
        unseen = not signing.forms or not all(form.reviewed for form in signing.forms)
        return Step.FORMS if unseen else Step.SIGNATURE
    return Step.WAIT if payment is None else Step.PAYMENT


def after_policies(parts: Parts) -> tuple[Step, ...]:
    """Survey and app are offered, and only once the policies are there (I29)."""
    if parts.issuance is None or parts.issuance.state != "issued":
        return ()
    then: list[Step] = []
    if parts.survey is not None and parts.survey.state == "invited":
        then.append(Step.SURVEY)
    if parts.referral is not None and parts.referral.state != "none":
        then.append(Step.APP)
    return tuple(then)
