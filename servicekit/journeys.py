"""The aggregates of one service, one a journey: state as the fold of facts, saved together in one write.

A service decides on the facts it has heard and its own; both are folded by the same pure ``evolve``. Commands
that repeat get the first answer again; refusals are facts too, until twenty of one code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict

from contracts import subjects
from contracts.commands.base import Answer, AnyAnswer, Done
from contracts.facts.base import Fact, Refusal, read_fact
from contracts.problems import Problem, Refuse
from contracts.values import Contract
from servicekit.bus import Bus, BusUnavailable, Retry, Unhandleable
from servicekit.recent import Known, Recent
from servicekit.store import Collection, Document, StoredFact, VersionConflict
from servicekit.telemetry import traces
from servicekit.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

REMEMBERED_COMMANDS: Final = 32
REFUSALS_KEPT: Final = 20
"""Of one code in a journey; after that only the count (DESIGN §2)."""
TRIES: Final = 3
AFTER_SECONDS: Final = 2.0


class JourneyState(BaseModel):
    """What a service knows of one journey. ``heard`` is how far each service's facts have come, its own too."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    heard: dict[str, int] = {}


S = TypeVar("S", bound=JourneyState)


@dataclass(frozen=True)
class Decided:
    """What a decision came to: the facts it made, in order, and what to answer.

    With ``refusal`` the command is refused and the facts are the record of it, in place of the plain ``Refused``.
    """

    facts: Sequence[Fact] = ()
    reply: Contract = field(default_factory=Done)
    refusal: Refuse | None = None


Decision = Callable[[S], Awaitable[Decided]]


class Journeys(Generic[S]):
    """Loads, decides, folds, saves, publishes. All writes of one journey in this process go one after the other;
    a writer elsewhere is met by the version in the store.
    """

    def __init__(
        self,
        *,
        service: str,
        collection: Collection,
        bus: Bus,
        metrics: Metrics,
        state: type[S],
        evolve: Callable[[S, Fact], S],
        new_id: Callable[[], str],
        now: Callable[[], datetime],
        refused: Callable[[str, str, int, datetime], Refusal] | None,
        due: Callable[[S], datetime | None],
        fields: Callable[[S], dict[str, str | int]],
        subject: Callable[[str, Fact, str], str],
    ) -> None:
        self.service = service
        self.collection = collection
        self._bus = bus
        self._metrics = metrics
        self._state = state
        self._evolve = evolve
        self._new_id = new_id
        self._now = now
        self._refused = refused
        self._due = due
        self._fields = fields
        self._subject = subject
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._relaying: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._recent = Recent[S]()
        self._growing: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        """By journey somebody waits for: set with its next save."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_saved: Callable[[str, S], None] = lambda _journey, _state: None

    # -- reading -------------------------------------------------------------------------------------------

    async def state(self, journey_id: str) -> S:
        """The state now; that of a journey never heard of if there is none."""
        return (await self._current(journey_id)).state

    async def reached(self, journey_id: str) -> int:
        """How far this service's own facts of the journey are, at least; as of the last time it was looked at."""
        known = self._recent.get(journey_id)
        state = known.state if known else await self.state(journey_id)
        return state.heard.get(self.service, 0)

    async def state_after(self, journey_id: str, after: dict[str, int], listened: frozenset[str]) -> S:
        """The state once it has heard as far as ``after``; waits up to 2 s (DESIGN §3).

        Raises ``Refuse("premise_pending")``. Sources this service does not listen to are none of its business.
        """
        wanted = {source: at for source, at in after.items() if source in listened or source == self.service}

        def reached(state: S) -> bool:
            return all(state.heard.get(source, 0) >= at for source, at in wanted.items())

        try:
            async with asyncio.timeout(AFTER_SECONDS):
                while True:
                    # Before looking: a save in between must not be missed.
                    grown = self._growing.setdefault(journey_id, asyncio.Event()) if wanted else None
                    state = await self.state(journey_id)
                    if grown is None or reached(state):
                        return state
                    await grown.wait()
        except TimeoutError:
            raise Refuse("premise_pending", retry_after=1) from None

    async def _current(self, journey_id: str) -> Known[S]:
        """The document on record and its state; those of a journey never heard of if there is none."""
        known = self._recent.get(journey_id)
        document = await self.collection.get(journey_id, known.document if known else None)
        if document is None:
            return Known(Document(journey_id), self._state())
        if known is not None and document is known.document:
            return self._recent.put(known.document, known.state)
        return self._recent.put(document, self._state.model_validate(document.state))

    # -- deciding ------------------------------------------------------------------------------------------

    async def decide(
        self, journey_id: str, command_id: str, verb: str, digest: str, decision: Decision[S]
    ) -> Answer[Contract]:
        """Runs ``decision`` on the state and saves what it came to.

        ``digest`` is what the command asked, so that an id used again for something else is noticed. A
        ``Refuse`` raised by the decision becomes the answer, and a fact if its kind is one that is recorded.
        """
        async with self._lock(journey_id):
            for _ in range(TRIES):
                current = await self._current(journey_id)
                document, state = current.document, current.state
                before = len(document.facts)
                for known in document.replies:
                    if known["id"] == command_id:
                        if known["digest"] != digest:
                            return self._problem(Problem(code="idempotency_key_reused"), before)
                        return AnyAnswer.model_validate(known["answer"])
                problem: Problem | None = None
                reply: Contract | None = None
                try:
                    decided = await decision(state)
                    facts = decided.facts
                    if decided.refusal is None:
                        reply = decided.reply
                    else:
                        problem = decided.refusal.problem
                except Refuse as refusal:
                    problem = refusal.problem
                    if not refusal.kind.recorded or not document.version:
                        return self._problem(problem, before)
                    seen = document.refusals.get(problem.code, 0) + 1
                    document = replace(document, refusals={**document.refusals, problem.code: seen})
                    facts = self._refusal_facts(verb, problem.code, seen)
                document, state = self._append(document, state, facts)
                answer = AnyAnswer(reply=reply, problem=problem, service=self.service, sequence=len(document.facts))
                remembered = {"id": command_id, "digest": digest, "answer": answer.model_dump(mode="json")}
                document.replies = (*document.replies, remembered)[-REMEMBERED_COMMANDS:]
                try:
                    await self._save(document, state)
                except VersionConflict:
                    continue
                return answer
        return self._problem(Problem(code="write_conflict", retry_after=1), 0)

    async def append(self, journey_id: str, decision: Callable[[S], Awaitable[Sequence[Fact]]]) -> S:
        """For what a service does by itself (a due time, a reply from outside): facts without a command.

        ``decision`` may run again when somebody else saved first. Raises ``VersionConflict`` after three tries.
        """
        async with self._lock(journey_id):
            for attempt in range(TRIES):
                current = await self._current(journey_id)
                facts = await decision(current.state)
                if not facts:
                    return current.state
                document, state = self._append(current.document, current.state, facts)
                try:
                    return await self._save(document, state)
                except VersionConflict:
                    if attempt == TRIES - 1:
                        raise
        raise AssertionError("unreachable")

    async def record_refusal(self, journey_id: str, verb: str, code: str) -> None:
        """Keeps a refusal met before any command was decided (a proof that did not hold).

        Nothing is kept of a journey nobody knows, and no reply is remembered: whoever cannot prove who they are
        must not push out the replies of the customer.
        """
        async with self._lock(journey_id):
            for _ in range(TRIES):
                current = await self._current(journey_id)
                document = current.document
                if not document.version:
                    return
                seen = document.refusals.get(code, 0) + 1
                document = replace(document, refusals={**document.refusals, code: seen})
                document, state = self._append(document, current.state, self._refusal_facts(verb, code, seen))
                try:
                    await self._save(document, state)
                except VersionConflict:
                    continue
                return

    async def hear(self, stored: StoredFact) -> bool:
        """Folds a fact of another service; False if it was known.

        Raises ``Retry`` for a gap (an earlier one is still to come), ``Unhandleable`` for a fact that does not
        fit its contract.
        """
        journey_id, source = stored.subject, stored.source.rpartition("/")[2]
        async with self._lock(journey_id):
            for _ in range(TRIES):
                current = await self._current(journey_id)
                state = current.state
                heard = state.heard.get(source, 0)
                if stored.sequence <= heard:
                    return False
                if stored.sequence > heard + 1:
                    raise Retry(f"waiting for {source} {heard + 1}")
                try:
                    fact = read_fact(stored.type, stored.data)
                    state = await self._keep(journey_id, state, stored)
                except ValueError as error:
                    raise Unhandleable(f"{stored.type} does not fit its contract") from error
                evolved = self._evolve(state, fact)
                evolved = evolved.model_copy(update={"heard": {**state.heard, source: stored.sequence}})
                try:
                    await self._save(self._with(current.document, evolved), evolved)
                except VersionConflict:
                    continue
                return True
        raise Retry("somebody else keeps saving")

    async def _keep(self, journey_id: str, state: S, stored: StoredFact) -> S:  # noqa: ARG002
        """For who keeps the heard bytes themselves, before they are folded. Raises ValueError for what cannot be."""
        return state

    # -- saving --------------------------------------------------------------------------------------------

    def _append(self, document: Document, state: S, facts: Sequence[Fact]) -> tuple[Document, S]:
        stored = list(document.facts)
        for fact in facts:
            state = self._evolve(state, fact)
            stored.append(self._store(document.id, fact, len(stored) + 1))
        state = state.model_copy(update={"heard": {**state.heard, self.service: len(stored)}})
        return replace(self._with(document, state), facts=tuple(stored)), state

    def _with(self, document: Document, state: S) -> Document:
        return replace(
            document,
            state=state.model_dump(mode="json"),
            due=self._due(state),
            fields={**document.fields, **self._fields(state)},
        )

    def _store(self, journey_id: str, fact: Fact, sequence: int) -> StoredFact:
        return StoredFact(
            id=self._new_id(),
            source=f"/services/{self.service}",
            type=fact.type(),
            subject=journey_id,
            time=fact.at.astimezone(UTC).isoformat(timespec="microseconds"),
            sequence=sequence,
            dataschema=f"urn:toubao:contracts:{fact.service}.{fact.name}.v{fact.version}",
            data=fact.model_dump_json(),
            traceparent=traces.inject(),
        )

    def _refusal_facts(self, verb: str, code: str, seen: int) -> tuple[Fact, ...]:
        if self._refused is None or seen > REFUSALS_KEPT:
            return ()
        return (self._refused(verb, code, seen, self._now()),)

    async def _save(self, document: Document, state: S) -> S:
        """Saves the document with the state it holds, and sets off what a save sets off. Returns the state saved."""
        try:
            with self._metrics.store("save"):
                saved = await self.collection.save(document)
        except BaseException:
            # Of a save without an answer nobody knows whether it happened.
            self._recent.forget(document.id)
            raise
        self._recent.put(saved, state)
        if saved.pending:
            self._spawn(self.relay(saved.id))
        if (grown := self._growing.pop(saved.id, None)) is not None:
            grown.set()
        self.on_saved(saved.id, state)
        return state

    # -- publishing ----------------------------------------------------------------------------------------

    async def relay(self, journey_id: str) -> None:
        """Publishes what is saved and not yet on the bus, in order, and stops at the first failure.

        The sweeper comes back for what is left.
        """
        lock = self._relaying.setdefault(journey_id, asyncio.Lock())
        async with lock:
            document = (await self._current(journey_id)).document
            if not document.pending:
                return
            done = document.published
            try:
                for stored in document.facts[document.published :]:
                    await self._bus.publish(self._subject_of(journey_id, stored), stored)
                    done = stored.sequence
            except BusUnavailable:
                log.warning("facts wait for the bus", extra={"journey_id": journey_id})
            finally:
                if done > document.published:
                    await self.collection.mark_published(journey_id, done)
                    self._recent.published(journey_id, done)

    def _subject_of(self, journey_id: str, stored: StoredFact) -> str:
        return self._subject(journey_id, read_fact(stored.type, stored.data), stored.id)

    async def settle(self) -> None:
        """Waits for relays under way; call at the end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=0.3)

    # -- small things --------------------------------------------------------------------------------------

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("relay failed", extra={"error": type(error).__name__})

    @asynccontextmanager
    async def _lock(self, journey_id: str) -> AsyncGenerator[None]:
        lock = self._locks.setdefault(journey_id, asyncio.Lock())
        async with lock:
            yield

    def _problem(self, problem: Problem, sequence: int) -> Answer[Contract]:
        return AnyAnswer(problem=problem, service=self.service, sequence=sequence)


def journey_subject(journey_id: str, fact: Fact, _fact_id: str) -> str:
    return subjects.journey_fact(journey_id, fact.service, fact.name)


def aftercare_subject(_journey_id: str, fact: Fact, fact_id: str) -> str:
    return subjects.aftercare_fact(fact.service, fact.name, fact_id)
