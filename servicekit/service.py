"""What every service is made of: ground under it, requests it answers, facts it listens to, work that falls due.

A service subclasses ``Service`` in its ``service.py`` and marks its handlers::

    @answers(ConfirmDocument)
    async def confirm_document(self, act: Admitted[DocumentRef], state: DisclosureState) -> Decided: ...

An act by the customer reaches its handler only after identity judged the device's proof and the arguments were
read from the very bytes that proof covers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final, Generic, TypeVar, cast
from urllib.parse import urlsplit

from contracts import subjects
from contracts.commands.base import Act, Answer, AnyAnswer, Beat, Command, Done, Query, Request
from contracts.commands.evidence import Attest
from contracts.commands.identity import Judgement, JudgeProof
from contracts.facts.base import Fact, Refusal, fact_types
from contracts.problems import KINDS, Problem, Refuse
from contracts.values import ActProof, Attestation, Contract, canonical_json, sha256_hex
from servicekit import crash_points
from servicekit.blobs import Blobs
from servicekit.bodies import read_body
from servicekit.bus import Bus, BusUnavailable, Delivery, Unhandleable
from servicekit.journeys import Decided, Journeys, JourneyState, aftercare_subject, journey_subject
from servicekit.proof import ProofRefused, verify_proof
from servicekit.settings import Settings
from servicekit.store import Store, StoreUnavailable
from servicekit.telemetry import traces
from servicekit.telemetry.metrics import Metrics
from servicekit.vault import Unopenable, Vault

log = logging.getLogger(__name__)

S = TypeVar("S", bound=JourneyState)
A = TypeVar("A", bound=Contract)
SettingsT = TypeVar("SettingsT", bound=Settings)

LEFT_BEHIND: Final = timedelta(seconds=2)
"""A fact unpublished for longer was left by a relay that failed or died."""
LONGEST_PAUSE_SECONDS: Final = 60.0
FORGERIES: Final = tuple(code for code in KINDS if code.startswith("proof_"))
"""What a device's proof is refused for. Phones that are well make none of them."""


@dataclass(frozen=True)
class Ground(Generic[SettingsT]):
    """Everything a service stands on; built once by the runner, or by a test with its own clock and ids."""

    settings: SettingsT
    bus: Bus
    store: Store
    blobs: Blobs
    vault: Vault
    metrics: Metrics
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    ticks: Callable[[], float] = time.monotonic
    """Seconds by a clock that only counts: how long something took, whoever sets the one on the wall meanwhile."""


@dataclass(frozen=True)
class Admitted(Generic[A]):
    """An act whose proof held: who sent it, from which device session, and exactly what they sent."""

    journey_id: str
    command_id: str
    arguments: A
    proof: ActProof
    judgement: Judgement
    at: datetime
    ticks: float
    """The same moment by the clock that only counts (``Ground.ticks``)."""


Handler = Callable[..., Awaitable[Any]]


def answers(kind: type[Request]) -> Callable[[Handler], Handler]:
    """Marks the method that answers one kind of request.

    A ``Query`` or bare ``Request`` gets ``(request)`` and returns its reply; a ``Command`` gets
    ``(command, state)``, an ``Act`` ``(admitted, state)``, and both return ``Decided``; a ``Beat`` gets what an act
    gets and returns its reply.
    """

    def mark(method: Handler) -> Handler:
        method.answers = kind  # pyright: ignore[reportFunctionMemberAccess]
        return method

    return mark


class Service(Generic[S, SettingsT]):
    """One service. Subclasses name themselves, their state and what they listen to."""

    name: ClassVar[str]
    version: ClassVar[str] = "1.0.0"
    state: ClassVar[type[JourneyState]]
    hears: ClassVar[tuple[str, ...]] = ()
    """Services whose facts of a journey this one folds."""
    settings: ClassVar[type[Settings]] = Settings
    fields: ClassVar[tuple[str, ...]] = ()
    """Names of what journeys can be searched by, see ``fields_of``."""
    aftercare: ClassVar[bool] = False
    """Facts go to AFTERCARE instead of the journey's stream."""

    def __init__(self, ground: Ground[SettingsT]) -> None:
        self.ground = ground
        self.set = ground.settings
        self.bus = ground.bus
        self.store = ground.store
        self.blobs = ground.blobs
        self.vault = ground.vault
        self.metrics = ground.metrics
        self.now = ground.now
        self.new_id = ground.new_id
        refused = fact_types().get(f"toubao.{self.name}.refused.v1")
        self.journeys = Journeys[S](
            service=self.name,
            collection=ground.store.collection("journeys", self.fields),
            bus=ground.bus,
            metrics=ground.metrics,
            state=cast("type[S]", self.state),
            evolve=self.evolve,
            new_id=ground.new_id,
            now=ground.now,
            refused=partial(_refusal, refused) if refused else None,
            due=self.due,
            fields=self.fields_of,
            subject=aftercare_subject if self.aftercare else journey_subject,
        )
        self.journeys.on_saved = self._saved
        self._working: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._pauses: dict[str, tuple[int, float]] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._stopping = False

    # -- what a service says of itself ---------------------------------------------------------------------

    def evolve(self, state: S, fact: Fact) -> S:  # noqa: ARG002
        """Folds one fact, its own or a heard one. Pure; delegates to the service's ``rules``."""
        raise TypeError(f"{self.name} does not say how its state evolves")

    def due(self, state: S) -> datetime | None:  # noqa: ARG002
        """When something remains to be done by itself; None when nothing does."""
        return None

    def fields_of(self, state: S) -> dict[str, str | int]:  # noqa: ARG002
        """What the journey can be searched by."""
        return {}

    async def work(self, journey_id: str, state: S) -> None:
        """Does the next thing that is due. Idempotent: it may have been done before a crash. May raise; it is
        tried again after a growing pause.
        """

    async def open(self) -> None:
        """Adapters, pools, sessions: before anything is answered."""

    async def close(self) -> None:
        """The other way round."""

    async def listen(self) -> None:
        """Listeners beyond the journeys' facts."""

    async def check(self) -> str | None:
        """For ``/readyz``: why this service cannot work now, or None."""
        return None

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        await self.open()
        handlers: dict[type[Request], Callable[[Any], Awaitable[Answer[Any]]]] = {}
        for attribute in dir(type(self)):
            kind = getattr(getattr(type(self), attribute), "answers", None)
            if kind is not None:
                handlers[kind] = partial(self._answer, getattr(self, attribute))
                proven = issubclass(kind, Act | JudgeProof)
                self.metrics.bind_request(f"{kind.service}.{kind.verb}", FORGERIES if proven else ())
        self.metrics.bind_sweep()
        for source in self.hears:
            await self.bus.listen(
                subjects.JOURNEY, f"{self.name}-{source}", subjects.journey_facts_of(source), self._hear
            )
        await self.listen()
        await self.bus.serve(self.name, self.version, handlers)
        self._sweeping = asyncio.create_task(self._sweep(), name=f"sweep-{self.name}")

    async def stop(self) -> None:
        self._stopping = True
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        await self.bus.quiesce()
        working = [*self._working.values()]
        if working:
            await asyncio.wait(working, timeout=0.3)
        for task in working:
            task.cancel()
        await self.journeys.settle()
        await self.close()

    # -- requests ------------------------------------------------------------------------------------------

    async def _answer(self, handler: Handler, request: Request) -> Answer[Any]:
        try:
            if isinstance(request, Act):
                return await self._answer_act(handler, request)
            if isinstance(request, Command):
                return await self._answer_command(handler, request)
            reply: Contract = await handler(request)
            sequence = 0
            if isinstance(request, Query):
                sequence = await self.journeys.reached(request.journey_id)
            return AnyAnswer(reply=reply, service=self.name, sequence=sequence)
        except Refuse as refusal:
            return self._problem(refusal.problem)
        except (BusUnavailable, StoreUnavailable):
            log.warning("unavailable", extra={"verb": request.verb})
            return self._problem(Problem(code="unavailable", retry_after=1))

    def _problem(self, problem: Problem) -> Answer[Any]:
        return AnyAnswer(problem=problem, service=self.name, sequence=0)

    async def _answer_command(self, handler: Handler, command: Command) -> Answer[Any]:
        listened = frozenset(self.hears)
        await self.journeys.state_after(command.journey_id, command.after, listened)
        digest = await self.digest_of(command)
        return await self.journeys.decide(
            command.journey_id, command.command_id, command.verb, digest, partial(handler, command)
        )

    async def digest_of(self, command: Command) -> str:
        """What the command asks, apart from its id and what the sender had seen."""
        asked = command.model_dump(mode="json", exclude={"command_id", "after", "journey_id"})
        return sha256_hex(canonical_json({"verb": command.verb, **asked}))

    async def _answer_act(self, handler: Handler, act: Act) -> Answer[Any]:
        await self.journeys.state_after(act.journey_id, act.after, frozenset(self.hears))
        try:
            body = await self.vault.open(act.journey_id, act.body)
        except Unopenable as error:
            log.warning("an act's body cannot be opened", extra={"verb": act.verb, "reason": error.reason})
            return self._problem(Problem(code="malformed"))
        if len(body) > act.largest_body:
            return self._problem(Problem(code="body_too_large"))
        body_sha256 = sha256_hex(body)
        digest = sha256_hex(canonical_json({"verb": act.verb, "body": body_sha256}))
        if not _made_for(act):
            await self.journeys.record_refusal(act.journey_id, act.verb, "proof_url")
            raise Refuse("proof_url")
        arguments = read_body(act.arguments, body)
        # A repeat brings the same key and a fresh proof, so it is judged like the first.
        judgement = await self.judge(act, arguments, body_sha256)
        admitted = Admitted(
            journey_id=act.journey_id,
            command_id=act.command_id,
            arguments=arguments,
            proof=ActProof(proof=act.proof, body=act.body, attempt=judgement.attempt),
            judgement=judgement,
            at=self.now(),
            ticks=self.ground.ticks(),
        )
        if isinstance(act, Beat):
            state = await self.journeys.state(act.journey_id)
            reply: Contract = await handler(admitted, state)
            return AnyAnswer(reply=reply, service=self.name, sequence=state.heard.get(self.name, 0))
        answer = await self.journeys.decide(
            act.journey_id, act.command_id, act.verb, digest, partial(handler, admitted)
        )
        return await self.recorded(act, answer)

    async def recorded(self, act: Act, answer: Answer[Any]) -> Answer[Any]:  # noqa: ARG002
        """The last word on an act whose decision is on record; again for every repeat of it.

        For what must not begin before, such as telling a party outside. May raise ``Refuse``.
        """
        return answer

    async def judge(self, act: Act, arguments: Contract, body_sha256: str) -> Judgement:
        """Asks identity whether the act comes from the journey's own device, and looks for itself at what can be
        seen without asking: signature, method, address and body. Raises ``Refuse``.
        """
        judgement, _ = await self.bus.request(
            JudgeProof(
                journey_id=act.journey_id,
                proof=act.proof,
                body_sha256=body_sha256,
                session=act.session,
                purpose=act.purpose,
                moving=self.moving(arguments),
            ),
            Judgement,
        )
        try:
            verify_proof(
                act.proof.jws,
                method=act.proof.method,
                url=act.proof.url,
                body_sha256=body_sha256,
                expect_thumbprint=judgement.thumbprint,
            )
        except ProofRefused as refused:
            raise Refuse(refused.code) from None
        return judgement

    async def attest(self, journey_id: str, state: S) -> Attestation:
        """Evidence's signed word that it holds every fact this decision rests on (DESIGN §3).

        Raises ``Refuse``: ``evidence_incomplete``, ``timestamp_unavailable``, or ``evidence_unavailable`` when
        nobody answers. Fails closed (I33).
        """
        heads = {source: at for source, at in state.heard.items() if at and source in subjects.JOURNEY_SERVICES}
        try:
            attestation, _ = await self.bus.request(Attest(journey_id=journey_id, heads=heads), Attestation)
        except BusUnavailable:
            raise Refuse("evidence_unavailable", retry_after=5) from None
        return attestation

    def moving(self, arguments: Contract) -> bool:  # noqa: ARG002
        """Whether a beat shows a person at work, so that the idle clock starts anew."""
        return True

    # -- facts and work ------------------------------------------------------------------------------------

    async def _hear(self, delivery: Delivery) -> None:
        if not _in_its_own_name(delivery):
            # The bus lets each service publish under its own subjects alone: that is what its word rests on.
            raise Unhandleable("a fact under a subject that is not its own")
        await self.journeys.hear(delivery.fact)

    def _saved(self, journey_id: str, state: S) -> None:
        due = self.due(state)
        if due is not None and due <= self.now():
            # New facts are a reason to try at once, whatever pause an earlier failure had begun.
            self._pauses.pop(journey_id, None)
            self._begin(journey_id)

    def _begin(self, journey_id: str) -> None:
        if self._stopping:
            return
        if journey_id in self._working:
            self._again.add(journey_id)
            return
        task = asyncio.create_task(self._work(journey_id), name=f"work-{self.name}")
        self._working[journey_id] = task

    async def _work(self, journey_id: str) -> None:
        try:
            while True:
                self._again.discard(journey_id)
                state = await self.journeys.state(journey_id)
                due = self.due(state)
                if due is None or due > self.now():
                    return
                with traces.span(f"work {self.name}"), crash_points.within("work"):
                    await self.work(journey_id, state)
                self._pauses.pop(journey_id, None)
                if await self.journeys.state(journey_id) == state and journey_id not in self._again:
                    # Nothing moved: wait for the sweeper rather than spin.
                    self._pause(journey_id)
                    return
        except Exception as error:
            level = logging.WARNING if isinstance(error, Refuse | BusUnavailable | StoreUnavailable) else logging.ERROR
            log.log(
                level,
                "work failed, will be tried again",
                extra={
                    "journey_id": journey_id,
                    "error": type(error).__name__,
                    "code": getattr(error, "code", None),
                },
                exc_info=level == logging.ERROR,
            )
            self._pause(journey_id)
        finally:
            self._working.pop(journey_id, None)
            if journey_id in self._again:
                self._begin(journey_id)

    def _pause(self, journey_id: str) -> None:
        failures = self._pauses.get(journey_id, (0, 0.0))[0] + 1
        pause = min(LONGEST_PAUSE_SECONDS, self.set.sweep_seconds * 2.0 ** (failures - 1))
        self._pauses[journey_id] = (failures, asyncio.get_running_loop().time() + pause)

    async def _sweep(self) -> None:
        """Looks for what was left: facts not published, work that fell due."""
        # Not by cancellation alone: on Python 3.11 a wait_for that ends in the same moment swallows it.
        while not self._stopping:
            try:
                with crash_points.within("sweep"):
                    await self.sweep_once()
                self.metrics.sweep("ok")
            except Exception as error:  # noqa: BLE001 - it looks again in a moment, whatever it was
                self.metrics.sweep("failed")
                log.warning("sweep failed", extra={"error": type(error).__name__})
            await asyncio.sleep(self.set.sweep_seconds)

    async def sweep_once(self) -> None:
        now = self.now()
        waiting = await self.journeys.collection.find(above=("pending", 0), limit=200)
        oldest = 0.0
        for document in waiting:
            first = document.facts[document.published]
            age = now - datetime.fromisoformat(first.time)
            oldest = max(oldest, age.total_seconds())
            # From the future: written while the clock was wrong, and nobody knows how long ago.
            if age > LEFT_BEHIND or age < timedelta(0):
                await self.journeys.relay(document.id)
        self.metrics.outbox(entries=sum(d.pending for d in waiting), oldest_seconds=oldest)
        clock = asyncio.get_running_loop().time()
        due = await self.journeys.collection.find(up_to=("due", now), order="due", limit=200)
        self.metrics.due(
            entries=len(due), oldest_seconds=(now - due[0].due).total_seconds() if due and due[0].due else 0.0
        )
        for document in due:
            if clock >= self._pauses.get(document.id, (0, 0.0))[1]:
                self._begin(document.id)
        await self.swept()

    async def swept(self) -> None:
        """A service's own periodic look, with the sweeper."""


def _made_for(act: Act) -> bool:
    """Whether the proof was made for this very act of this journey: whoever stands between phone and service must not
    turn a refusal of consent into a consent, or the opening of a document into its confirmation.
    """
    try:
        path = urlsplit(act.proof.url).path
    except ValueError:
        return False
    wanted = f"/v1/journeys/{act.journey_id}/{act.verb.replace('_', '-')}"
    return act.proof.method == "POST" and path.endswith(wanted)


def _in_its_own_name(delivery: Delivery) -> bool:
    """Subject, source and type of a fact name the same journey and the same service."""
    fact = delivery.fact
    parts = fact.type.split(".")
    if len(parts) != 4:
        return False
    _, service, name, _ = parts
    return (delivery.subject, fact.source) == (
        subjects.journey_fact(fact.subject, service, name),
        f"/services/{service}",
    )


def _refusal(kind: type[Fact], command: str, code: str, occurrence: int, at: datetime) -> Refusal:
    made = kind.model_validate({"at": at.astimezone(UTC), "command": command, "code": code, "occurrence": occurrence})
    assert isinstance(made, Refusal)
    return made


__all__ = ["Admitted", "Decided", "Done", "Ground", "JourneyState", "Service", "answers"]
