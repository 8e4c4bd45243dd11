"""How far a journey has come: the fold of its facts that every gate reads.

What was said is language and shared; what follows from it is each service's own gate (DESIGN §3). Pure.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from contracts.facts import disclosure, identity, issuance, payment, proposal, signing
from contracts.facts.base import Fact
from contracts.facts.proposal import ProductTerms
from contracts.problems import Refuse
from contracts.values import Contract, DocumentRef, PremiumLine, Sha256, Slug

Point = tuple[Slug, Slug]
"""(product, deadly point)"""


class Progress(Contract):
    """What the facts heard so far say of one journey. Begins empty; ``after`` gives the next.

    Confirmations carry the attempt they were made in: a new device voids what the last had not signed (I12).
    """

    opened: proposal.JourneyOpened | None = None
    ended: Literal["withdrawn", "expired"] | None = None
    attempt: int = 0
    thumbprint: str | None = None
    absolute_limit: datetime | None = None
    consents: dict[Slug, bool] = {}
    verified: identity.IdentityVerified | None = None
    reproof_required: bool = False
    chosen_optional: tuple[Slug, ...] = ()
    locks: dict[Slug, Sha256] = {}
    """Terms the customer confirmed, product by product."""
    read: tuple[DocumentRef, ...] = ()
    points: tuple[Point, ...] = ()
    needs_answered: bool = False
    advice_open: bool = False
    questions_answered: tuple[Slug, ...] = ()
    forms: dict[Slug, signing.FormPrepared] = {}
    reviewed: tuple[Slug, ...] = ()
    signed: signing.FormsSigned | None = None
    sealed: tuple[Slug, ...] = ()
    order: payment.OrderPlaced | None = None
    order_open: bool = False
    paid: payment.PaymentConfirmed | None = None
    refunding: bool = False
    issued: bool = False

    def after(self, fact: Fact) -> Self:
        """The progress once ``fact`` is heard. A fact of no consequence here changes nothing.

        Sources arrive in any order between them, so nothing is taken from the order of facts of two services.
        """
        match fact:
            case proposal.JourneyOpened():
                return self._with(opened=fact)
            case proposal.ProposalWithdrawn():
                return self._with(ended="withdrawn")
            case proposal.ProposalExpired():
                return self._with(ended="expired")
            case proposal.ProductChosen():
                chosen = tuple(dict.fromkeys((*self.chosen_optional, fact.product)))
                return self._with(chosen_optional=chosen, locks={**self.locks, fact.product: fact.lock})
            case proposal.ProductDropped():
                return self._with(
                    chosen_optional=tuple(p for p in self.chosen_optional if p != fact.product),
                    locks={p: lock for p, lock in self.locks.items() if p != fact.product},
                )
            case proposal.TermsConfirmed():
                return self._with(locks={**self.locks, **fact.locks})
            case identity.SessionOpened():
                return self._with(
                    attempt=fact.attempt, thumbprint=fact.thumbprint, absolute_limit=fact.absolute_limit
                )
            case identity.SessionVoided():
                return self._voided()
            case identity.ConsentGiven():
                return self._with(consents={**self.consents, fact.notice.notice: True})
            case identity.ConsentDeclined():
                return self._with(consents={**self.consents, fact.notice.notice: False})
            case identity.IdentityVerified():
                return self._with(verified=fact, reproof_required=False)
            case identity.ReproofRequired():
                return self._with(reproof_required=True)
            case disclosure.DocumentConfirmed():
                return self._with(read=(*self.read, fact.document))
            case disclosure.PointAcknowledged():
                return self._with(points=tuple(dict.fromkeys((*self.points, (fact.product, fact.point)))))
            case disclosure.NeedsAnswered():
                return self._with(needs_answered=True, advice_open=bool(fact.advice))
            case disclosure.ContinuedOfOwnWill():
                return self._with(advice_open=False)
            case disclosure.QuestionsAnswered():
                answered = tuple(dict.fromkeys((*self.questions_answered, fact.product)))
                return self._with(questions_answered=answered)
            case signing.FormPrepared():
                return self._with(
                    forms={**self.forms, fact.product: fact},
                    reviewed=tuple(p for p in self.reviewed if p != fact.product),
                )
            case signing.FormReviewed():
                return self._with(reviewed=tuple(dict.fromkeys((*self.reviewed, fact.product))))
            case signing.FormsSigned():
                return self._with(signed=fact)
            case signing.FormSealed():
                return self._with(sealed=tuple(dict.fromkeys((*self.sealed, fact.product))))
            case payment.OrderPlaced():
                return self._with(order=fact, order_open=True)
            case payment.OrderClosed():
                mine = self.order is not None and self.order.order_no == fact.order_no
                return self._with(order_open=False) if mine else self
            case payment.PaymentConfirmed():
                return self._with(paid=fact, order_open=False)
            case payment.RefundRequested():
                return self._with(refunding=True)
            case issuance.JourneyIssued():
                return self._with(issued=True)
            case _:
                return self

    def _with(self, **changes: object) -> Self:
        return self.model_copy(update=changes)

    def _voided(self) -> Self:
        """A signature stands; what was not yet signed is gone (I12)."""
        if self.signed is not None:
            return self._with(verified=None)
        return self._with(
            verified=None,
            reproof_required=False,
            consents={},
            chosen_optional=(),
            locks={},
            read=(),
            points=(),
            needs_answered=False,
            advice_open=False,
            questions_answered=(),
            forms={},
            reviewed=(),
        )

    # -- what is in the purchase ---------------------------------------------------------------------------

    def offered(self, product: str) -> ProductTerms | None:
        return next((p for p in self._products() if p.product == product), None)

    def chosen(self) -> tuple[ProductTerms, ...]:
        """The products in the purchase now: those that are not optional and the optional ones ticked (I4)."""
        return tuple(p for p in self._products() if not p.optional or p.product in self.chosen_optional)

    def lines(self) -> tuple[PremiumLine, ...]:
        """What is to be paid: premium and taxes of each product as lines of their own (I17)."""
        lines: list[PremiumLine] = []
        for product in self.chosen():
            lines.append(PremiumLine(product=product.product, kind="premium", fen=product.premium_fen))
            lines.extend(product.taxes)
        return tuple(lines)

    def total_fen(self) -> int:
        return sum(line.fen for line in self.lines())

    def _products(self) -> tuple[ProductTerms, ...]:
        return () if self.opened is None else self.opened.products

    # -- what is still open --------------------------------------------------------------------------------

    def documents(self) -> tuple[DocumentRef, ...]:
        """Every mandatory document of every product in the purchase, none shared (I1, I6)."""
        return tuple(document for product in self.chosen() for document in product.documents)

    def documents_open(self) -> tuple[DocumentRef, ...]:
        return tuple(document for document in self.documents() if document not in self.read)

    def points_open(self) -> tuple[Point, ...]:
        wanted = tuple((product.product, point) for product in self.chosen() for point in product.points)
        return tuple(point for point in wanted if point not in self.points)

    def questions_open(self) -> tuple[Slug, ...]:
        return tuple(
            p.product for p in self.chosen() if p.questions and p.product not in self.questions_answered
        )

    # -- gates that more than one service keeps, each by itself ---------------------------------------------

    def check_alive(self) -> proposal.JourneyOpened:
        """Raises ``Refuse`` unless the journey was opened and neither withdrawn, expired nor issued."""
        if self.opened is None:
            raise Refuse("journey_unknown")
        if self.ended is not None:
            raise Refuse(f"journey_{self.ended}")
        if self.issued:
            raise Refuse("journey_issued")
        return self.opened

    def check_identity(self, attempt: int, now: datetime) -> None:
        """Identity was proven in this very session and still holds (I7, I12)."""
        if attempt != self.attempt:
            raise Refuse("proof_key_changed")
        if self.reproof_required:
            raise Refuse("reproof_required")
        if self.verified is None or self.verified.attempt != attempt:
            raise Refuse("identity_missing")
        if now > self.verified.valid_until:
            raise Refuse("identity_expired")

    def check_confirmed(self) -> None:
        """Every product in the purchase was confirmed by its lock, and the lock is still that of its terms
        (I17, I18)."""
        opened = self.check_alive()
        for terms in self.chosen():
            lock = self.locks.get(terms.product)
            if lock is None:
                raise Refuse("terms_not_confirmed", product=terms.product)
            fresh = proposal.terms_lock(opened.policyholder, opened.insured, opened.subject, terms)
            if not lock == terms.lock == fresh:
                raise Refuse("terms_changed", product=terms.product)

    def check_disclosed(self) -> None:
        """Everything that must be read, answered and acknowledged was (I1, I30)."""
        if not self.needs_answered:
            raise Refuse("needs_unanswered")
        if self.advice_open:
            raise Refuse("advice_open")
        if questions := self.questions_open():
            raise Refuse("questions_unanswered", products=list(questions))
        if documents := self.documents_open():
            raise Refuse("reading_incomplete", documents=[f"{d.product}/{d.document}" for d in documents])
        if points := self.points_open():
            raise Refuse("points_unacknowledged", points=[f"{product}/{point}" for product, point in points])

    def check_signed(self) -> signing.FormsSigned:
        """The act of signing covers the form of every product in the purchase (I5: of no other need it)."""
        if self.signed is None:
            raise Refuse("not_signed")
        forms = {(item.product, item.hash) for item in self.signed.items if item.kind == "form"}
        for terms in self.chosen():
            form = self.forms.get(terms.product)
            if form is None or form.lock != terms.lock or (terms.product, form.form.commitment) not in forms:
                raise Refuse("not_signed", product=terms.product)
        return self.signed
