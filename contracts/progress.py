"""How far a journey has come: the fold of its facts that every gate reads.

What was said is language and shared; what follows from it is each service's own gate (DESIGN §3). Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, Self, TypeVar

from contracts.facts import disclosure, identity, issuance, payment, proposal, signing
from contracts.facts.base import Fact
from contracts.facts.proposal import ProductTerms
from contracts.problems import Refuse
from contracts.values import ActProof, Committed, Contract, DocumentRef, Instant, PremiumLine, Sha256, Slug

Point = tuple[Slug, Slug]
"""(product, deadly point)"""

T = TypeVar("T")


class Confirmations(Contract):
    """What the customer did in one device session and a new device makes void unless signed (I12)."""

    consents: dict[Slug, bool] = {}
    chosen_optional: tuple[Slug, ...] = ()
    locks: dict[Slug, Sha256] = {}
    """Terms confirmed, product by product."""
    read: tuple[DocumentRef, ...] = ()
    points: tuple[Point, ...] = ()
    needs_answered: tuple[Slug, ...] = ()
    advice_open: dict[Slug, tuple[Slug, ...]] = {}
    """Product → questions whose answers speak against buying it, not yet gone against (I30)."""
    questions_answered: tuple[Slug, ...] = ()
    answers: dict[Slug, Committed] = {}
    """Product → its answers to the insurer's questions."""
    forms: dict[Slug, signing.FormPrepared] = {}
    reviewed: tuple[Slug, ...] = ()
    copied: tuple[Sha256, ...] = ()
    """Phrases of the declaration written by hand."""

    def after(self, fact: Fact) -> Self:
        match fact:
            case identity.ConsentGiven():
                return self._with(consents={**self.consents, fact.notice.notice: True})
            case identity.ConsentDeclined():
                return self._with(consents={**self.consents, fact.notice.notice: False})
            case proposal.ProductChosen():
                return self._with(
                    chosen_optional=_added(self.chosen_optional, fact.product),
                    locks={**self.locks, fact.product: fact.lock},
                )
            case proposal.ProductDropped():
                return self._with(
                    chosen_optional=tuple(p for p in self.chosen_optional if p != fact.product),
                    locks={p: lock for p, lock in self.locks.items() if p != fact.product},
                )
            case proposal.TermsConfirmed():
                return self._with(locks={**self.locks, **fact.locks})
            case disclosure.DocumentConfirmed():
                return self._with(read=_added(self.read, fact.document))
            case disclosure.PointAcknowledged():
                return self._with(points=_added(self.points, (fact.product, fact.point)))
            case disclosure.NeedsAnswered():
                others = {p: advice for p, advice in self.advice_open.items() if p != fact.product}
                return self._with(
                    needs_answered=_added(self.needs_answered, fact.product),
                    advice_open={**others, fact.product: fact.advice} if fact.advice else others,
                )
            case disclosure.ContinuedOfOwnWill():
                others = {p: advice for p, advice in self.advice_open.items() if p != fact.product}
                return self._with(advice_open=others)
            case disclosure.QuestionsAnswered():
                return self._with(
                    questions_answered=_added(self.questions_answered, fact.product),
                    answers={**self.answers, fact.product: fact.answers},
                )
            case signing.FormPrepared():
                return self._with(
                    forms={**self.forms, fact.product: fact},
                    reviewed=tuple(p for p in self.reviewed if p != fact.product),
                )
            case signing.FormReviewed():
                return self._with(reviewed=_added(self.reviewed, fact.product))
            case signing.PhraseCopied():
                return self._with(copied=_added(self.copied, fact.phrase))
            case _:
                return self

    def _with(self, **changes: object) -> Self:
        return self.model_copy(update=changes)


class Progress(Contract):
    """What the facts heard so far say of one journey. Begins empty; ``after`` gives the next.

    Facts of two services may be heard in any order between them, and the result is the same.
    """

    opened: proposal.JourneyOpened | None = None
    ended: Literal["withdrawn", "expired"] | None = None
    attempt: int = 0
    """The device session now; 0 before the first."""
    voided: int = 0
    """The last device session that was made void; only what was signed in it stands (I12)."""
    thumbprint: str | None = None
    absolute_limit: datetime | None = None
    verified: identity.IdentityVerified | None = None
    reproof_required: bool = False
    sessions: dict[int, Confirmations] = {}
    reviews: tuple[tuple[Instant, Instant | None], ...] = ()
    """From when to when two people looked at a signature: no clock runs meanwhile (DESIGN §5). The last may be open."""
    signed: signing.FormsSigned | None = None
    sealed: tuple[Slug, ...] = ()
    order: payment.OrderPlaced | None = None
    order_open: bool = False
    paid: payment.PaymentConfirmed | None = None
    refunding: bool = False
    issued: bool = False

    def after(self, fact: Fact) -> Self:
        """The progress once ``fact`` is heard. A fact of no consequence here changes nothing."""
        match fact:
            case proposal.JourneyOpened():
                return self._with(opened=fact)
            case proposal.ProposalWithdrawn():
                return self._with(ended="withdrawn")
            case proposal.ProposalExpired():
                return self._with(ended="expired")
            case identity.SessionOpened():
                return self._with(attempt=fact.attempt, thumbprint=fact.thumbprint, absolute_limit=fact.absolute_limit)
            case identity.SessionVoided():
                return self._void(fact.attempt)
            case identity.IdentityVerified():
                return self._with(verified=fact, reproof_required=False)
            case identity.ReproofRequired():
                return self._with(reproof_required=True)
            case signing.ReviewRequested():
                return self._with(reviews=(*self.reviews, (fact.at, None)))
            case signing.ReviewClosed():
                return self._review_over(fact.at)
            case signing.FormsSigned():
                return self._review_over(fact.at, signed=fact)
            case signing.FormSealed():
                return self._with(sealed=_added(self.sealed, fact.product))
            case payment.OrderPlaced():
                return self._with(order=fact, order_open=True)
            case payment.OrderClosed():
                mine = self.order is not None and self.order.order_no == fact.order_no
                return self._with(order_open=False) if mine else self
            case payment.PaymentConfirmed():
                return self._with(paid=fact, order_open=False)
            case payment.RefundRequested():
                # Money that was never taken as payment (wrong, late, twice) goes back without a trace here.
                of = None if self.paid is None else (self.paid.order_no, self.paid.transaction_id)
                whole = of is not None and of[0] == fact.order_no and fact.transaction_id in {None, of[1]}
                return self._with(refunding=True) if whole else self
            case issuance.JourneyIssued():
                return self._with(issued=True)
            case signing.FormPrepared():
                return self._confirmed(fact.attempt, fact)
            case _:
                proof = getattr(fact, "proof", None)
                return self._confirmed(proof.attempt, fact) if isinstance(proof, ActProof) else self

    def _confirmed(self, attempt: int, fact: Fact) -> Self:
        # Also of a session that was made void: its signature may be heard later than its end.
        session = self.sessions.get(attempt, Confirmations()).after(fact)
        return self._with(sessions={**self.sessions, attempt: session})

    def _void(self, attempt: int) -> Self:
        verified = None if self.verified is None or self.verified.attempt <= attempt else self.verified
        return self._with(voided=max(self.voided, attempt), verified=verified, reproof_required=False)

    def _review_over(self, at: datetime, **changes: object) -> Self:
        ended = tuple((since, at if until is None else until) for since, until in self.reviews)
        return self._with(reviews=ended, **changes)

    def _with(self, **changes: object) -> Self:
        return self.model_copy(update=changes)

    @property
    def confirmations(self) -> Confirmations:
        """What the customer did in the device session now; nothing if it is void, unless it was signed (I12)."""
        signed_here = self.signed is not None and self.signed.attempt == self.attempt
        if self.attempt <= self.voided and not signed_here:
            return Confirmations()
        return self.sessions.get(self.attempt, Confirmations())

    # -- what is in the purchase ---------------------------------------------------------------------------

    def offered(self, product: str) -> ProductTerms | None:
        return next((p for p in self._products() if p.product == product), None)

    def chosen(self) -> tuple[ProductTerms, ...]:
        """The products in the purchase now: those that are not optional and the optional ones ticked (I4)."""
        return tuple(p for p in self._products() if not p.optional or p.product in self.confirmations.chosen_optional)

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
        return tuple(document for document in self.documents() if document not in self.confirmations.read)

    def points_open(self) -> tuple[Point, ...]:
        wanted = tuple((product.product, point) for product in self.chosen() for point in product.points)
        return tuple(point for point in wanted if point not in self.confirmations.points)

    def needs_open(self) -> tuple[Slug, ...]:
        return tuple(p.product for p in self.chosen() if p.product not in self.confirmations.needs_answered)

    def advice_open(self) -> dict[Slug, tuple[Slug, ...]]:
        """Advice to stop, of products in the purchase, that the customer has not gone against (I30)."""
        chosen = {p.product for p in self.chosen()}
        return {p: advice for p, advice in self.confirmations.advice_open.items() if p in chosen}

    def questions_open(self) -> tuple[Slug, ...]:
        return tuple(
            p.product for p in self.chosen() if p.questions and p.product not in self.confirmations.questions_answered
        )

    # -- gates that more than one service keeps, each by itself ---------------------------------------------

    def check_alive(self) -> proposal.JourneyOpened:
        """Raises ``Refuse`` unless the journey was opened and neither withdrawn, expired nor issued."""
        opened = self.check_opened()
        if self.ended is not None:
            raise Refuse(f"journey_{self.ended}")
        if self.issued:
            raise Refuse("journey_issued")
        return opened

    def check_opened(self) -> proposal.JourneyOpened:
        """Raises ``Refuse`` for a journey nobody heard of."""
        if self.opened is None:
            raise Refuse("journey_unknown")
        return self.opened

    def check_identity(self, attempt: int, now: datetime) -> None:
        """Identity was proven in this very session and still holds (I7, I12)."""
        if attempt != self.attempt:
            raise Refuse("proof_key_changed")
        if self.reproof_required:
            raise Refuse("reproof_required")
        if self.verified is None or self.verified.attempt != attempt:
            raise Refuse("identity_missing")
        if not self.still_valid(self.verified, now):
            raise Refuse("identity_expired")

    def still_valid(self, proven: identity.IdentityVerified, at: datetime) -> bool:
        """Whether a proof of identity holds at that time: later by as long as a signature was looked at since the
        proof. A review before it, or one that began later, gives it nothing.
        """
        spans = ((max(since, proven.at), at if until is None else min(until, at)) for since, until in self.reviews)
        return at - sum((max(end - begin, timedelta(0)) for begin, end in spans), timedelta(0)) <= proven.valid_until

    def check_confirmed(self) -> None:
        """Every product in the purchase was confirmed by its lock, and the lock is still that of its terms
        (I17, I18).
        """
        opened = self.check_alive()
        for terms in self.chosen():
            lock = self.confirmations.locks.get(terms.product)
            if lock is None:
                raise Refuse("terms_not_confirmed", product=terms.product)
            fresh = proposal.terms_lock(opened.policyholder, opened.insured, opened.subject, terms)
            if not lock == terms.lock == fresh:
                raise Refuse("terms_changed", product=terms.product)

    def check_disclosed(self) -> None:
        """Everything that must be read, answered and acknowledged was (I1, I30)."""
        if needs := self.needs_open():
            raise Refuse("needs_unanswered", products=list(needs))
        if advice := self.advice_open():
            raise Refuse("advice_open", products=list(advice))
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
            form = self.confirmations.forms.get(terms.product)
            if form is None or form.lock != terms.lock or (terms.product, form.form.commitment) not in forms:
                raise Refuse("not_signed", product=terms.product)
        return self.signed


def _added(known: tuple[T, ...], item: T) -> tuple[T, ...]:
    return known if item in known else (*known, item)
