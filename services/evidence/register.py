"""The register: one row a journey, what it can be found by, and what happens hour by hour. A projection of the chains.

**Order and repetition.** A row remembers the place in the chain up to which it was folded. What lies beyond is read
from the chain and folded in the chain's own order, so a fact delivered twice, which the chain holds once, is folded
once, and a row that is missing or of an older make is folded again from the beginning. The fold itself does not
depend on the order between services, so that two chains of one journey would give one row (a property test).

**Several processes.** A row is saved only on the version it was read at; who comes second reads again and finds less
or nothing to do. Policies and the moments that are counted are documents of their own whose ids are the policy's
number and the fact's id: two processes, or one that died before it saved the row and begins again, write the same
documents once more. Counts are counts of documents (``count(equal=…)``), never sums kept, so nothing is counted twice
and a restart loses nothing.

**Cost.** A question reads one page of rows, or counts by an index: 8 steps, and for each of the last 24 hours as many
buckets as there were different refusals; the counts of hours long over are kept in memory for a minute. Moments are
forgotten after two days.

**Never in the way.** The register follows after a fact is on record. When it fails, the fact stands and the register
tries again; at every start it looks through all journeys for rows left behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from pydantic import ValidationError

from contracts.commands.evidence import (
    FindJourneys,
    HourCount,
    IssuedNow,
    ListJourneys,
    Live,
    RefusalCount,
    RegisteredJourney,
    RegisteredJourneys,
    Stage,
    Step,
    StepCount,
)
from contracts.facts import disclosure, identity, issuance, payment, proposal, signing
from contracts.facts.base import Fact, HeardFact, read_fact
from contracts.problems import Refuse
from contracts.values import Committed, Contract, Fen, Instant, Sha256, Slug, Token
from servicekit.store import Cursor, Document, Store, VersionConflict, instant
from servicekit.vault import Unopenable, Vault
from services.evidence.chain import Damaged, Entry
from services.evidence.chains import Chains
from services.evidence.rules import OWN
from services.evidence.words import refusal_code

log = logging.getLogger(__name__)

STEPS: Final[tuple[Step, ...]] = get_args(Step)
MAKE: Final = 2
"""Of the rows; raise it when the fold changes, and every row is folded again as it is met."""
HOURS: Final = 24
MOMENTS_KEPT: Final = timedelta(hours=48)
LAST_POLICIES: Final = 20
AT_ONCE: Final = 4
"""Rows folded beside each other."""
GATHER_SECONDS: Final = 0.25
"""How long a row waits for further facts: how far the register may lag."""
AGAIN_SECONDS: Final = 60.0
"""Until the look through all journeys goes on after it failed."""
TRIES: Final = 5
PAGE: Final = 200
COUNTED_SECONDS: Final = 60.0
"""How long a count of an hour that is over is believed. Facts may still arrive late."""

ROW_FIELDS: Final = ("stage", "step", "alive_step", "channel_id", "proposal_no", "phone_index", "last_at")


# -- the fold: pure --------------------------------------------------------------------------------------------------


class Policy(Contract):
    policy_no: str
    product: Slug
    issued_at: Instant
    premium_fen: Fen


class Row(Contract):
    """What the facts of a journey come to. Each part is set by facts of one service, or by a largest value, so
    that the order between services does not matter.
    """

    proposal_no: str | None = None
    channel_id: Token | None = None
    release: Sha256 | None = None
    products: tuple[Slug, ...] = ()
    phone: Committed | None = None
    """The policyholder's."""
    opened_at: Instant | None = None
    last_at: Instant | None = None
    ended: Literal["withdrawn", "expired"] | None = None
    confirmed: tuple[int, ...] = ()
    """Device sessions in which the terms were confirmed."""
    attempt: int = 0
    voided: int = 0
    furthest: dict[int, int] = {}
    """Device session → place of its furthest step in ``STEPS``; 0 for what belongs to no session."""
    since: dict[Step, Instant] = {}
    """Step → the earliest fact that led there."""
    ink_rejected: int = 0
    """Signatures that could not be taken."""
    faces: int = 0
    """Face checks."""
    signed: bool = False
    order_no: str | None = None
    """Of the open order."""
    paid: tuple[str, str] | None = None
    """Order and transaction."""
    refunding: bool = False
    issued: bool = False
    refusals: int = 0
    policies: tuple[Policy, ...] = ()

    def after(self, fact: Fact) -> Row:
        """The row once ``fact`` is heard."""
        if isinstance(fact, HeardFact):
            return self
        changes = self._by(fact) | self._reached(fact)
        if fact.service != OWN:
            changes["last_at"] = max(fact.at, self.last_at or fact.at)
        if refusal_code(fact.name, vars(fact)) is not None:
            changes["refusals"] = self.refusals + 1
        return self.model_copy(update=changes)

    def _by(self, fact: Fact) -> dict[str, object]:
        match fact:
            case proposal.JourneyOpened():
                return {
                    "proposal_no": fact.proposal_no,
                    "channel_id": fact.channel_id,
                    "release": fact.release,
                    "products": tuple(terms.product for terms in fact.products),
                    "phone": fact.policyholder.phone,
                    "opened_at": fact.at,
                }
            case proposal.ProposalWithdrawn():
                return {"ended": "withdrawn"}
            case proposal.ProposalExpired():
                return {"ended": "expired"}
            case proposal.TermsConfirmed():
                return {"confirmed": tuple(sorted({*self.confirmed, fact.proof.attempt}))}
            case identity.SessionOpened():
                return {"attempt": max(self.attempt, fact.attempt)}
            case identity.SessionVoided():
                return {"voided": max(self.voided, fact.attempt)}
            case signing.FormsSigned():
                return {"signed": True}
            case signing.InkRejected() | signing.ReviewClosed():
                return {"ink_rejected": self.ink_rejected + 1}
            case identity.FaceChecked():
                return {"faces": self.faces + 1}
            case payment.OrderPlaced():
                return {"order_no": fact.order_no}
            case payment.OrderClosed() if fact.order_no == self.order_no:
                return {"order_no": None}
            case payment.PaymentConfirmed():
                return {"paid": (fact.order_no, fact.transaction_id), "order_no": None}
            case payment.RefundRequested() if self.paid is not None:
                # Money that was never taken as payment (wrong, late, twice) goes back and changes nothing here.
                whole = self.paid[0] == fact.order_no and fact.transaction_id in {None, self.paid[1]}
                return {"refunding": self.refunding or whole}
            case issuance.PolicyIssued():
                policy = Policy(
                    policy_no=fact.policy_no, product=fact.product, issued_at=fact.at, premium_fen=fact.premium_fen
                )
                return {"policies": (*self.policies, policy)}
            case issuance.JourneyIssued():
                return {"issued": True}
            case _:
                return {}

    def _reached(self, fact: Fact) -> dict[str, object]:
        step = _AFTER.get(type(fact))
        if step is None:
            return {}
        attempt = 0 if type(fact) in _STANDS else _attempt_of(fact)
        place = max(STEPS.index(step), self.furthest.get(attempt, 0))
        since = {**self.since, step: min(fact.at, self.since.get(step, fact.at))}
        return {
            "furthest": dict(sorted({**self.furthest, attempt: place}.items())),
            "since": dict(sorted(since.items())),
        }

    @property
    def place(self) -> int:
        """Of the furthest step any device session came to, in ``STEPS``; -1 before the journey was opened."""
        return -1 if self.opened_at is None else max(self.furthest.values(), default=-1)

    @property
    def stage(self) -> Stage:
        if self.issued:
            return "issued"
        if self.ended is not None:
            return self.ended
        if self.paid is not None:
            return "paid"
        if self.order_no is not None:
            return "ordered"
        if self.signed:
            return "signed"
        return "confirmed" if self.attempt in self.confirmed and self.attempt > self.voided else "open"

    @property
    def step(self) -> Step:
        if self.issued:
            return "done"
        if self.ended is not None or self.refunding:
            return "ended"
        return STEPS[max(self.furthest.get(0, 0), self.furthest.get(self.attempt, 0))]

    @property
    def alive(self) -> bool:
        return self.step not in {"done", "ended"}


_AFTER: Final[Mapping[type[Fact], Step]] = {
    proposal.JourneyOpened: "recording",
    identity.RecordingAcknowledged: "consents",
    identity.ConsentGiven: "consents",
    identity.ConsentDeclined: "consents",
    identity.RealNameChecked: "identity",
    identity.OtpSent: "identity",
    identity.OtpVerified: "identity",
    identity.FaceStarted: "identity",
    identity.FaceChecked: "identity",
    identity.BankCardChecked: "identity",
    identity.IdentityVerified: "terms",
    proposal.TermsConfirmed: "reading",
    disclosure.NeedsAnswered: "reading",
    disclosure.ContinuedOfOwnWill: "reading",
    disclosure.QuestionsAnswered: "reading",
    disclosure.DocumentOpened: "reading",
    disclosure.DocumentConfirmed: "reading",
    disclosure.PointAcknowledged: "reading",
    signing.FormPrepared: "signature",
    signing.FormReviewed: "signature",
    signing.PhraseCopied: "signature",
    signing.PhraseRejected: "signature",
    signing.InkRejected: "signature",
    signing.ReviewRequested: "signature",
    signing.ReviewDecided: "signature",
    signing.ReviewClosed: "signature",
    signing.FormsSigned: "payment",
    signing.FormSealed: "payment",
    payment.OrderPlaced: "payment",
    payment.PaymentConfirmed: "issuance",
    issuance.PoliciesNumbered: "issuance",
    issuance.PolicyIssued: "issuance",
    issuance.JourneyIssued: "done",
}
"""The step a journey is at once a fact of this kind was made; others move nothing."""
_STANDS: Final = frozenset(
    {
        proposal.JourneyOpened, signing.FormsSigned, signing.FormSealed, payment.OrderPlaced, payment.PaymentConfirmed,
        issuance.PoliciesNumbered, issuance.PolicyIssued, issuance.JourneyIssued,
    }
)  # fmt: skip
"""What stands whatever device comes after: what was signed, and what follows from it (I12)."""


def _attempt_of(fact: Fact) -> int:
    said = getattr(fact, "attempt", None) or getattr(getattr(fact, "proof", None), "attempt", None)
    return said if isinstance(said, int) else 0


def moment_of(fact: Fact) -> str | None:
    """What is counted of a fact, under its hour: ``20261123T02/opened``, ``…/issued``, ``…/refused/otp_wrong``."""
    if isinstance(fact, HeardFact):
        return None
    code = refusal_code(fact.name, vars(fact))
    match fact:
        case proposal.JourneyOpened():
            what = "opened"
        case issuance.JourneyIssued():
            what = "issued"
        case _ if code is not None:
            what = f"refused/{code}"
        case _:
            return None
    return f"{hour_of(fact.at)}/{what}"


def hour_of(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H")


def fields_of(row: Row, phone_index: str | None) -> dict[str, str | int]:
    """What a row is searched by. One that was not opened yet is found by nothing."""
    if row.opened_at is None or row.channel_id is None or row.proposal_no is None:
        return {}
    found: dict[str, str | int] = {
        "stage": row.stage,
        "step": row.step,
        "channel_id": row.channel_id,
        "proposal_no": row.proposal_no,
        "last_at": instant(row.last_at or row.opened_at),
    }
    if row.alive:
        found["alive_step"] = row.step
    if phone_index is not None:
        found["phone_index"] = phone_index
    return found


def registered(journey_id: str, row: Row) -> RegisteredJourney | None:
    """As it is shown; none before the journey was opened."""
    if row.opened_at is None or row.channel_id is None or row.proposal_no is None or row.release is None:
        return None
    return RegisteredJourney(
        journey_id=journey_id,
        proposal_no=row.proposal_no,
        channel_id=row.channel_id,
        release=row.release,
        products=row.products,
        state=row.stage,
        step=row.step,
        opened_at=row.opened_at,
        last_at=row.last_at or row.opened_at,
        attempts=row.attempt,
        refusals=row.refusals,
        policy_nos=tuple(policy.policy_no for policy in row.policies),
    )


# -- the projection ----------------------------------------------------------------------------------------------------


class _Kept(Contract):
    """A row as it lies in the store."""

    make: int
    place: int
    """How many entries of the chain are folded in."""
    head: Sha256
    """The link of the last of them."""
    phone_index: Sha256 | None
    row: Row


class Register:
    def __init__(
        self,
        store: Store,
        chains: Chains,
        vault: Vault,
        now: Callable[[], datetime],
        moved: Callable[[Row, Row, Sequence[Fact]], Awaitable[None]] | None = None,
    ) -> None:
        """``moved`` is told of each row saved: what it was, what it is, and the facts between."""
        self._rows = store.collection("register", ROW_FIELDS)
        self._policies = store.collection("policies", ("issued_at",))
        self._moments = store.collection("moments", ("bucket",))
        self._buckets = store.collection("buckets", ("hour",))
        self._chains = chains
        self._vault = vault
        self._now = now
        self._moved = moved
        self._behind: dict[str, None] = {}
        self._failed: set[str] = set()
        self._grew = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._counted: dict[str, tuple[int, float]] = {}

    # -- following the chains ------------------------------------------------------------------------------

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._work(), name="register"),
            asyncio.create_task(self._catch_up(), name="register-catch-up"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    def grown(self, journey_id: str) -> None:
        """A chain has grown; its row follows soon."""
        self._behind[journey_id] = None
        self._grew.set()

    async def swept(self) -> None:
        """Tries again what failed, forgets moments nobody asks for any more."""
        for journey_id in self._failed:
            self.grown(journey_id)
        self._failed.clear()
        for collection in (self._moments, self._buckets):
            for document in await collection.find(up_to=("due", self._now()), order="due", limit=PAGE):
                await collection.delete(document.id)

    async def follow(self, journey_id: str) -> Row:
        """The row, folded up to the chain's end. Raises ``Damaged`` where the chain is."""
        for _ in range(TRIES):
            state = await self._chains.state(journey_id)
            document = await self._rows.get(journey_id) or Document(journey_id)
            kept = _kept(document)
            if kept is not None and kept.place >= state.count:
                return kept.row
            entries = None if kept is None else await self._chains.since(journey_id, state, kept.place, kept.head)
            if kept is None or entries is None:
                kept, entries = None, await self._chains.entries(journey_id, state.head, state.count)
            if not entries:
                return Row()
            facts = [read_fact(entry.type, entry.data) for entry in entries]
            row = before = Row() if kept is None else kept.row
            for fact in facts:
                row = row.after(fact)
            phone_index = (kept and kept.phone_index) or await self._phone_index(journey_id, row)
            # First what is found by itself: whoever dies before the row is saved writes the same again.
            await self._note(journey_id, row, entries, facts)
            last = entries[-1]
            fresh = _Kept(make=MAKE, place=last.index, head=last.link, phone_index=phone_index, row=row)
            document.state = fresh.model_dump(mode="json")
            document.fields = fields_of(row, phone_index)
            anew = kept is None and document.version > 0
            try:
                await self._rows.save(document)
            except VersionConflict:
                continue
            if self._moved is not None and not anew:
                await self._moved(before, row, facts)
            return row
        raise Refuse("write_conflict", retry_after=1)

    async def _note(self, journey_id: str, row: Row, entries: Sequence[Entry], facts: Sequence[Fact]) -> None:
        if any(isinstance(fact, issuance.PolicyIssued) for fact in facts):
            await self._policies.put_many(
                Document(
                    policy.policy_no,
                    state={"journey_id": journey_id, **policy.model_dump(mode="json")},
                    fields={"issued_at": instant(policy.issued_at)},
                )
                for policy in row.policies
            )
        moments: list[Document] = []
        buckets: dict[str, Document] = {}
        for entry, fact in zip(entries, facts, strict=True):
            bucket = moment_of(fact)
            due = fact.at + MOMENTS_KEPT
            if bucket is None or due <= self._now():
                continue
            moments.append(Document(entry.id, due=due, fields={"bucket": bucket}))
            buckets[bucket] = Document(bucket, due=due, fields={"hour": bucket.partition("/")[0]})
        if moments:
            await self._moments.put_many(moments)
            await self._buckets.put_many(buckets.values())

    async def _phone_index(self, journey_id: str, row: Row) -> str | None:
        if row.phone is None:
            return None
        try:
            phone = await self._vault.open_text(journey_id, row.phone)
        except Unopenable as error:
            # Shredded, or not yet where this process reads: looked for again when the journey moves.
            log.info("a phone cannot be indexed", extra={"journey_id": journey_id, "reason": error.reason})
            return None
        return self._vault.blind_index("phone", phone)

    async def _work(self) -> None:
        while True:
            await self._grew.wait()
            self._grew.clear()
            # Facts come in bursts: what grew by several at once is folded once.
            await asyncio.sleep(GATHER_SECONDS)
            behind = list(self._behind)
            self._behind.clear()
            for first in range(0, len(behind), AT_ONCE):
                await asyncio.gather(*(self._try(journey_id) for journey_id in behind[first : first + AT_ONCE]))

    async def _catch_up(self) -> None:
        """Looks once through all journeys, newest first: rows of before, and what a crash left behind."""
        after: Cursor | None = None
        while True:
            try:
                page = await self._chains.collection.find(descending=True, limit=PAGE, after=after)
                for document in page:
                    kept = _kept(await self._rows.get(document.id))
                    if kept is None or kept.place < int(document.state.get("count", 0)):
                        await self._try(document.id)
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends neither the look nor the service's stop
                log.warning("the register looks again later", extra={"error": type(error).__name__})
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if len(page) < PAGE:
                return
            after = page[-1].cursor()

    async def _try(self, journey_id: str) -> None:
        try:
            await self.follow(journey_id)
        except Damaged:
            # Said wherever it matters; the register cannot mend it by trying again.
            log.warning("a damaged chain cannot be registered", extra={"journey_id": journey_id})
        except Exception as error:  # noqa: BLE001 - the fact is on record, whatever became of its row
            log.warning("a row stays behind", extra={"journey_id": journey_id, "error": type(error).__name__})
            self._failed.add(journey_id)

    # -- questions -----------------------------------------------------------------------------------------

    async def listed(self, asked: ListJourneys) -> RegisteredJourneys:
        named = {"stage": asked.state, "step": asked.step, "channel_id": asked.channel_id}
        equal = {name: value for name, value in named.items() if value is not None}
        after = None if asked.before is None else Cursor(asked.before)
        found = await self._rows.find(equal=equal, descending=True, limit=asked.limit, after=after)
        return RegisteredJourneys(journeys=_shown(found), next=found[-1].id if len(found) == asked.limit else None)

    async def found(self, asked: FindJourneys) -> RegisteredJourneys:
        if asked.kind == "policy_no":
            policy = await self._policies.get(asked.key)
            row = None if policy is None else await self._rows.get(str(policy.state["journey_id"]))
            return RegisteredJourneys(journeys=() if row is None else _shown([row]), next=None)
        field = "proposal_no" if asked.kind == "proposal_no" else "phone_index"
        rows = await self._rows.find(equal={field: asked.key}, descending=True, limit=asked.limit)
        return RegisteredJourneys(journeys=_shown(rows), next=None)

    async def live(self) -> Live:
        now = self._now()
        this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        hours = [this_hour - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
        counts = await asyncio.gather(*(self._rows.count({"alive_step": step}) for step in STEPS[:-2]))
        buckets = await self._counts(hours[0] - timedelta(hours=1), hour_of(this_hour - timedelta(hours=1)))
        refusals: Counter[str] = Counter()
        for bucket, count in buckets.items():
            what, _, code = bucket.partition("/")[2].partition("/")
            if what == "refused":
                refusals[code] += count
        return Live(
            at=now,
            steps=tuple(StepCount(step=step, count=n) for step, n in zip(STEPS[:-2], counts, strict=True)),
            refusals=tuple(
                RefusalCount(code=code, count=n) for code, n in sorted(refusals.items(), key=lambda x: (-x[1], x[0]))
            ),
            policies=await self._last_policies(),
            hours=tuple(
                HourCount(
                    hour=hour,
                    opened=_sum(buckets, f"{hour_of(hour)}/opened"),
                    issued=_sum(buckets, f"{hour_of(hour)}/issued"),
                    refused=_sum(buckets, f"{hour_of(hour)}/refused/"),
                )
                for hour in hours
            ),
        )

    async def _counts(self, before: datetime, moving: str) -> dict[str, int]:
        """Moments by bucket, of the hours after ``before``. Hours earlier than ``moving`` are over."""
        clock = asyncio.get_running_loop().time()
        buckets: list[str] = []
        after: Cursor | None = None
        while page := await self._buckets.find(above=("hour", hour_of(before)), order="hour", limit=PAGE, after=after):
            buckets += [document.id for document in page]
            after = page[-1].cursor("hour")
        known = {b: c for b in buckets if (c := self._counted.get(b)) and b < moving and clock < c[1]}
        asked = [bucket for bucket in buckets if bucket not in known]
        numbers = await asyncio.gather(*(self._moments.count({"bucket": bucket}) for bucket in asked))
        until = clock + COUNTED_SECONDS
        self._counted = known | {bucket: (number, until) for bucket, number in zip(asked, numbers, strict=True)}
        return {bucket: number for bucket, (number, _) in self._counted.items()}

    async def _last_policies(self) -> tuple[IssuedNow, ...]:
        found = await self._policies.find(order="issued_at", descending=True, limit=LAST_POLICIES)
        rows = await asyncio.gather(*(self._rows.get(str(document.state["journey_id"])) for document in found))
        told: list[IssuedNow] = []
        for document, row in zip(found, rows, strict=True):
            kept = _kept(row)
            if kept is None or kept.row.release is None or kept.row.channel_id is None:
                continue
            told.append(
                IssuedNow.model_validate(
                    {**document.state, "release": kept.row.release, "channel_id": kept.row.channel_id}
                )
            )
        return tuple(told)


def _kept(document: Document | None) -> _Kept | None:
    """The row as kept; none for one that is missing or of another make: it is folded again."""
    if document is None or document.state.get("make") != MAKE:
        return None
    try:
        return _Kept.model_validate(document.state)
    except ValidationError:
        return None


def _shown(documents: Iterable[Document]) -> tuple[RegisteredJourney, ...]:
    rows = ((document.id, _kept(document)) for document in documents)
    shown = (registered(journey_id, kept.row) for journey_id, kept in rows if kept is not None)
    return tuple(row for row in shown if row is not None)


def _sum(buckets: Mapping[str, int], prefix: str) -> int:
    return sum(n for bucket, n in buckets.items() if bucket.startswith(prefix))
