"""The bus: requests and facts over NATS with JetStream. The one module that imports the driver.

JetStream is transport, the services' stores are the record (DESIGN §3): a publish that timed out may still have
arrived and a message acknowledged may come again, so every reader orders by sequence and tolerates repeats.
Written for nats-server 2.9, which silently drops what it does not know; consumers are read back and compared.
"""

# The driver's signatures are partly untyped; what comes from it gets its type here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, unquote

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
)
from nats.micro import add_service
from nats.micro.request import Request as MicroRequest
from nats.micro.service import Service as MicroService

from contracts import subjects
from contracts.commands.base import Answer, AnyAnswer, Request, answer_to
from contracts.problems import KINDS, Problem, Refuse
from contracts.subjects import Stream
from contracts.values import Contract
from servicekit import crash_points
from servicekit.settings import Settings
from servicekit.store import StoredFact
from servicekit.telemetry import traces
from servicekit.telemetry.metrics import Metrics, Outcome

log = logging.getLogger(__name__)

REQUEST_SECONDS: Final = 10.0
ACK_WAIT_SECONDS: Final = 10.0
"""What a process took and did not settle before it died comes again after so long; a slow handler says it lives."""
MAX_DELIVER: Final = 100
"""Tries until a message is put aside with its reason."""
MAX_DELIVER_OF_SERVER: Final = 2 * MAX_DELIVER
"""More than ours: where putting aside itself fails, or a process dies at it, the message must still come again."""
MAX_ACK_PENDING: Final = 256
BATCH: Final = 100
"""How many messages of one consumer are asked for or being handled, at most."""
EXPIRES_SECONDS: Final = 30.0
"""How long the server keeps what we asked for open."""
HEARTBEAT_SECONDS: Final = 1.0
"""How often it must tell us that it does; silence for ``SILENCE_SECONDS`` means that nobody there knows of us."""
SILENCE_SECONDS: Final = 3.0
LONGEST_DELAY_SECONDS: Final = 60.0
REPLAY_FOR: Final = "Toubao-Replay-For"
"""The one consumer a message that lay dead is driven again for."""
LONGEST_WAIT_SECONDS: Final = 2.0
"""For what waits on an earlier message: that one is on its way, and a customer may be waiting with it."""
FINISH_SECONDS: Final = 0.6
"""At the end, for what was begun. What does not finish comes again or is asked again: a stop may not take 2 s."""
DRAIN_SECONDS: Final = 0.5
MEASURE_SECONDS: Final = 5.0
"""Between two looks at the consumers; at once where one seems lost."""
PAUSE_SECONDS: Final = 0.5
"""Before asking again for what was refused."""
CONNECT_SECONDS: Final = 5.0
"""For the first connection; then it is the supervisor's turn to start us again."""
_ONE_PER_SUBJECT: Final = 10077  # "maximum messages per subject exceeded": it is already there


class BusUnavailable(Exception):
    """No answer from the bus or from the service asked. Transient."""


class Retry(Exception):
    """A listener cannot take this message yet; it comes again after a growing delay. Transient."""


class Unhandleable(Exception):
    """A listener can never take this message; it goes to the dead letters. ``reason`` holds nothing personal."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


ReplyT = TypeVar("ReplyT", bound=Contract)


@dataclass(frozen=True)
class Delivery:
    """One message of a stream as a listener gets it."""

    fact: StoredFact
    subject: str
    delivered: int
    """1 for the first time."""


Listener = Callable[[Delivery], Awaitable[None]]
"""Returns when the message is done with. Raises ``Retry``, ``Unhandleable`` or anything (taken as transient)."""

Answerer = Callable[[Any], Awaitable[Answer[Any]]]


class Bus:
    """One connection of one process."""

    def __init__(self, client: Client, name: str, metrics: Metrics, pulls: list[_Pull]) -> None:
        self._client = client
        self._pulls = pulls
        self._look = asyncio.Event()
        """Set to look at the consumers at once, not when it is time again."""
        self._js = client.jetstream(timeout=5.0)
        self._name = name
        self._metrics = metrics
        self._micro: MicroService | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._consumers: dict[str, tuple[Stream, str]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        metrics.bus_connected.set_function(lambda: float(client.is_connected))

    @classmethod
    async def connect(cls, settings: Settings, name: str, metrics: Metrics) -> Bus:
        """Raises ``BusUnavailable`` when there is no server at the address."""

        async def on_error(error: Exception) -> None:
            log.warning("bus error", extra={"error": type(error).__name__})

        async def on_disconnected() -> None:
            log.info("bus connection changed")

        async def on_reconnected() -> None:
            log.info("bus connection changed")
            for pull in pulls:
                pull.reconnected()

        pulls: list[_Pull] = []

        options: dict[str, Any] = {}
        if settings.nats_seed_file is not None:
            options["nkeys_seed"] = str(settings.nats_seed_file)
        try:
            # Given no end of attempts, the driver would not come back from here either.
            async with asyncio.timeout(CONNECT_SECONDS):
                client = await nats.connect(
                    settings.nats_url,
                    name=name,
                    connect_timeout=2,
                    ping_interval=15,
                    drain_timeout=DRAIN_SECONDS,
                    # Its own: who hears nobody else's answers cannot be told what others were (deploy/nats/rights.py).
                    inbox_prefix=f"_INBOX.{name}",
                    # Never gives up: a process that outlives its server must find it again (liveness tells of it).
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    allow_reconnect=True,
                    error_cb=on_error,
                    disconnected_cb=on_disconnected,
                    reconnected_cb=on_reconnected,
                    **options,
                )
        except (OSError, nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable("no connection to the bus") from error
        return cls(client, name, metrics, pulls)

    async def check(self) -> str | None:
        """For ``/readyz``: why the bus cannot be used now, or None."""
        if not self._client.is_connected:
            return "not connected"
        await self._client.flush(timeout=1)
        return None

    # -- facts ---------------------------------------------------------------------------------------------

    async def publish(self, subject: str, fact: StoredFact) -> bool:
        """Puts a fact on its stream; False if it was there already.

        Raises ``BusUnavailable``: then it may or may not have arrived, and is to be published again.
        """
        name = subjects.pattern(subject)
        with traces.span(f"publish {name}", "producer", fact.traceparent):
            try:
                ack = await self._js.publish(subject, fact.data.encode(), headers=_headers(fact))
            except nats.js.errors.APIError as error:
                if error.err_code == _ONE_PER_SUBJECT:
                    self._metrics.message("out", name, "duplicate")
                    return False
                self._metrics.message("out", name, "failed")
                raise BusUnavailable("the stream refused the fact") from error
            except (nats.errors.Error, TimeoutError) as error:
                self._metrics.message("out", name, "failed")
                raise BusUnavailable("the bus did not take the fact") from error
        crash_points.passed("after_publish", name)
        self._metrics.message("out", name, "duplicate" if ack.duplicate else "ok")
        return not ack.duplicate

    async def listen(self, stream: Stream, durable: str, filter_subject: str, listener: Listener) -> None:
        """Feeds ``listener`` every message of a durable pull consumer until ``close``; at most one a journey at a
        time is the listener's own business. Dead letters after ``MAX_DELIVER`` tries.
        """
        await self._consumer(stream, durable, filter_subject)
        self._consumers[durable] = (stream, filter_subject)
        self._metrics.bind_consumer(stream.name, durable)
        if not self._loops:
            self._loops.append(asyncio.create_task(self._look_after(), name="look-after-consumers"))
        self._loops.append(asyncio.create_task(self._pull(stream, durable, listener), name=f"listen-{durable}"))

    async def _look_after(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(MEASURE_SECONDS):
                    await self._look.wait()
                    # The server may still be removing what is gone, and trips over what is made in that moment.
                    await asyncio.sleep(PAUSE_SECONDS)
            self._look.clear()
            await self.measure()

    async def _consumer(self, stream: Stream, durable: str, filter_subject: str) -> None:
        wish = consumer_config(durable, filter_subject)
        try:
            info = await self._js.consumer_info(stream.name, durable)
        except nats.js.errors.NotFoundError:
            info = None
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable(f"consumer {durable} cannot be looked at") from error
        if info is None or _differs(info.config, wish):
            # Where processes have users of their own this is the operators' right alone.
            try:
                info = await self._js.add_consumer(stream.name, wish)
            except (nats.errors.Error, TimeoutError) as error:
                raise BusUnavailable(f"consumer {durable} cannot be made") from error
        if field := _differs(info.config, wish):
            raise BusUnavailable(f"consumer {durable}: the server kept {field} otherwise than asked")

    async def _pull(self, stream: Stream, durable: str, listener: Listener) -> None:
        pull = _Pull(
            self._client,
            stream.name,
            durable,
            lambda message: self._deliver(stream, durable, message, listener),
            self._look.set,
        )
        self._pulls.append(pull)
        try:
            await pull.run()
        finally:
            self._pulls.remove(pull)
            await pull.end()

    async def _deliver(self, stream: Stream, durable: str, message: Msg, listener: Listener) -> None:
        name = subjects.pattern(message.subject)
        headers = message.headers or {}
        if headers.get(REPLAY_FOR, durable) != durable:
            # Another's dead letter. Ours of the same message, if there is one, waits for a redrive of its own.
            await message.ack()
            return
        outcome = "ok"
        try:
            with (
                self._metrics.handling(name),
                traces.span(f"handle {name}", "consumer", headers.get("traceparent")),
                crash_points.within(name),
            ):
                await listener(Delivery(_fact(headers, message.data), message.subject, _delivered(message)))
                crash_points.passed("before_ack")
            await message.ack()
        except Unhandleable as error:
            outcome = "dead"
            await self._bury(stream, durable, message, error.reason)
        except Exception as error:
            if not isinstance(error, Retry):
                log.exception("listener failed", extra={"consumer": durable, "subject": name})
            if (delivered := _delivered(message)) >= MAX_DELIVER:
                outcome = "dead"
                await self._bury(stream, durable, message, f"{type(error).__name__} after {delivered} deliveries")
            else:
                outcome = "retry"
                longest = LONGEST_WAIT_SECONDS if isinstance(error, Retry) else LONGEST_DELAY_SECONDS
                with suppress(nats.errors.Error):
                    await message.nak(delay=min(_delay(delivered), longest))
        self._metrics.message("in", name, outcome)

    async def _bury(self, stream: Stream, durable: str, message: Msg, reason: str) -> None:
        headers = {
            **(message.headers or {}),
            "Nats-Msg-Id": f"{durable}.{message.metadata.sequence.stream}",
            "Toubao-Dead-Reason": quote(reason, safe=" :_.-"),
            "Toubao-Dead-Subject": message.subject,
            "Toubao-Dead-Consumer": durable,
        }
        log.error("dead letter", extra={"consumer": durable, "reason": reason})
        self._metrics.dead_letter(stream.name, durable)
        try:
            await self._js.publish(subjects.dead_letter(stream.name, durable), message.data, headers=headers)
            crash_points.passed("before_ack", f"dead {durable}")
            await message.term()
        except (nats.errors.Error, TimeoutError):
            # Not put aside: let it come again rather than lose it.
            with suppress(nats.errors.Error):
                await message.nak(delay=LONGEST_DELAY_SECONDS)

    async def history(
        self, stream: Stream, filter_subject: str, after: int, limit: int
    ) -> list[tuple[int, StoredFact]]:
        """Up to ``limit`` messages of a stream behind sequence ``after``, oldest first, with their sequence."""
        found: list[tuple[int, StoredFact]] = []
        at = after + 1
        while len(found) < limit:
            try:
                raw = await self._js.get_msg(stream.name, seq=at, subject=filter_subject, next=True)
            except nats.js.errors.NotFoundError:
                break
            except (nats.errors.Error, TimeoutError) as error:
                raise BusUnavailable("the stream cannot be read") from error
            sequence = raw.seq or at
            found.append((sequence, _fact(raw.headers or {}, raw.data or b"")))
            at = sequence + 1
        return found

    @asynccontextmanager
    async def watch(self, subject: str) -> AsyncGenerator[AsyncGenerator[StoredFact]]:
        """Facts as they pass, without durability: for a page that wants to know when to look again.

        Whoever is inside misses nothing that is published from then on. Raises ``BusUnavailable``.
        """
        try:
            subscription = await self._client.subscribe(subject, pending_msgs_limit=1000)
        except nats.errors.Error as error:
            raise BusUnavailable("nothing can be watched now") from error

        async def facts() -> AsyncGenerator[StoredFact]:
            async for message in subscription.messages:
                if message.headers:
                    yield _fact(message.headers, message.data)

        try:
            try:
                # Subscribing only writes; the answer to a ping says that the server has read it.
                await self._client.flush(timeout=2)
            except (nats.errors.Error, TimeoutError) as error:
                raise BusUnavailable("nothing can be watched now") from error
            yield facts()
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def redrive(self, stream: str, durable: str, *, discard: bool = False) -> int:
        """Publishes the dead letters of one consumer again, oldest first, and removes them; with ``discard`` only
        removes them. Returns how many.

        Our other listeners of the subject leave them alone; partners get them again, with the ids they know. Raises
        ``BusUnavailable``; what was not driven by then still waits, and it is simply run again.
        """
        try:
            return await self._redrive(stream, durable, discard=discard)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable("the dead letters cannot be driven now") from error

    async def _redrive(self, stream: str, durable: str, *, discard: bool) -> int:
        subject = subjects.dead_letter(stream, durable)
        # What comes back while we are at it was driven already: not again in this round.
        last = (await self._js.stream_info(subjects.DEAD.name)).state.last_seq
        done, at = 0, 1
        while True:
            try:
                raw = await self._js.get_msg(subjects.DEAD.name, seq=at, subject=subject, next=True)
            except nats.js.errors.NotFoundError:
                return done
            sequence = raw.seq or at
            if sequence > last:
                return done
            if not discard:
                await self._publish_again(sequence, dict(raw.headers or {}), raw.data or b"")
            await self._js.delete_msg(subjects.DEAD.name, sequence)
            done, at = done + 1, sequence + 1

    async def _publish_again(self, sequence: int, headers: dict[str, Any], data: bytes) -> None:
        origin = headers.pop("Toubao-Dead-Subject")
        headers[REPLAY_FOR] = headers.pop("Toubao-Dead-Consumer")
        headers.pop("Toubao-Dead-Reason", None)
        # What is no fact of ours has no id; it is driven all the same, or it would bar the way for ever.
        known = headers.get("ce-id", "none")
        headers["Nats-Replay-Of"] = known
        headers["Nats-Msg-Id"] = f"replay.{sequence}.{known}"
        await self._js.publish(origin, data, headers=headers)

    async def measure(self) -> None:
        """Sets the gauges of this process's consumers from what the server says, and makes a consumer anew that went
        with its stream (a server that lost its disk): asking it for messages is answered by silence.
        """
        for durable, (stream, filter_subject) in self._consumers.items():
            with suppress(nats.errors.Error, TimeoutError, BusUnavailable):
                try:
                    info = await self._js.consumer_info(stream.name, durable)
                except nats.js.errors.NotFoundError:
                    log.warning("a consumer is gone and made anew", extra={"consumer": durable})
                    self._metrics.consumer_remade(durable)
                    await self._consumer(stream, durable, filter_subject)
                    for pull in self._pulls:
                        pull.ask_anew()
                    continue
                waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                self._metrics.consumer(
                    durable,
                    pending=info.num_pending or 0,
                    ack_pending=info.num_ack_pending or 0,
                    redelivered=info.num_redelivered or 0,
                    oldest_age_seconds=await self._oldest(stream.name, info.ack_floor, info.config.filter_subject)
                    if waiting
                    else 0.0,
                )
        with suppress(nats.errors.Error, TimeoutError):
            state = (await self._js.stream_info(subjects.DEAD.name)).state
            self._metrics.dead_letters_waiting.set(state.messages)

    async def _oldest(self, stream: str, floor: Any, filter_subject: str | None) -> float:
        try:
            raw = await self._js.get_msg(
                stream, seq=(floor.stream_seq if floor else 0) + 1, subject=filter_subject or ">", next=True
            )
        except (nats.errors.Error, TimeoutError):
            return 0.0
        time = (raw.headers or {}).get("ce-time")
        if time is None:
            return 0.0
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(unquote(time))).total_seconds())

    # -- requests ------------------------------------------------------------------------------------------

    async def request(
        self, request: Request, reply: type[ReplyT], *, timeout: float = REQUEST_SECONDS
    ) -> tuple[ReplyT, int]:
        """The reply and the sequence the service's facts of that journey have reached.

        Raises ``Refuse`` with the service's problem, ``BusUnavailable`` when nobody answers in time.
        ``reply`` must be the request's own ``reply`` class; it is passed so that the type is known.
        """
        subject = request.subject()
        with traces.span(f"request {subject}", "client"):
            headers: dict[str, Any] = {}
            if traceparent := traces.inject():
                headers["traceparent"] = traceparent
            try:
                message = await self._client.request(
                    subject, request.model_dump_json().encode(), timeout=timeout, headers=headers or None
                )
            except (nats.errors.Error, TimeoutError) as error:
                raise BusUnavailable(f"{subject} does not answer") from error
        answer = cast("type[Answer[ReplyT]]", answer_to(reply)).model_validate_json(message.data)
        if answer.problem is not None:
            raise Refuse(
                answer.problem.code,
                errors=answer.problem.errors,
                retry_after=answer.problem.retry_after,
                **answer.problem.extra,
            )
        if answer.reply is None:
            raise BusUnavailable(f"{subject} answered nothing")
        return answer.reply, answer.sequence

    async def serve(self, service: str, version: str, answers: Mapping[type[Request], Answerer]) -> None:
        """Answers requests as a NATS micro service (ADR-32), so that ``$SRV.PING/INFO/STATS`` work."""
        self._micro = await add_service(self._client, name=service, version=version, description=f"Toubao {service}")
        for kind, answer in answers.items():
            await self._micro.add_endpoint(name=kind.verb, subject=kind.subject(), handler=self._answerer(kind, answer))
        # Ready means that a request made from now on finds us: the server must know first.
        with suppress(nats.errors.Error, TimeoutError):
            await self._client.flush(timeout=2)

    def _answerer(self, kind: type[Request], answer: Answerer) -> Callable[[MicroRequest], Awaitable[None]]:
        async def respond(request: MicroRequest) -> None:
            verb = f"{kind.service}.{kind.verb}"
            with (
                self._metrics.handling(kind.subject()),
                traces.span(f"answer {kind.subject()}", "server", (request.headers or {}).get("traceparent")),
                crash_points.within(kind.verb),
            ):
                try:
                    result = await answer(kind.model_validate_json(request.data))
                except Exception as error:
                    # The driver would send the exception's text to the asker.
                    malformed = isinstance(error, ValueError)
                    if not malformed:
                        log.exception("request failed", extra={"verb": verb})
                    problem = Problem(code="malformed" if malformed else "internal")
                    result = AnyAnswer(problem=problem, service=kind.service, sequence=0)
            problem = result.problem
            self._metrics.command(verb, _outcome(problem))
            if problem is not None:
                self._metrics.refusal(verb, problem.code)
            with suppress(nats.errors.Error):
                await request.respond(result.model_dump_json().encode())

        async def begin(request: MicroRequest) -> None:
            # A subscription hands over one message at a time; a slow answer must not hold up the next.
            task = asyncio.create_task(respond(request))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        return begin

    # -- the end -------------------------------------------------------------------------------

    async def quiesce(self) -> None:
        """Takes nothing new and finishes what was begun. Call before the service's own things close."""
        self._stopping.set()
        if self._micro is not None:
            # Without a connection there is nothing to unsubscribe from, and the driver raises.
            with suppress(nats.errors.Error, TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._micro.stop()
            self._micro = None
        for task in self._loops:
            task.cancel()
        ending = {*self._loops, *self._answering}
        if ending:
            await asyncio.wait(ending, timeout=FINISH_SECONDS + 0.1)
        for task in self._answering:
            task.cancel()
        self._loops.clear()

    async def close(self) -> None:
        await self.quiesce()
        if self._client.is_connected:
            with suppress(nats.errors.Error, TimeoutError):
                await self._client.drain()
        else:
            # Draining a connection that is reconnecting raises, and closing may: the driver still writes what it held
            # back. That is lost to this connection only, the store has it.
            with suppress(nats.errors.Error, OSError, RuntimeError):
                await self._client.close()


def consumer_config(durable: str, filter_subject: str) -> ConsumerConfig:
    """How every consumer of ours is made."""
    return ConsumerConfig(
        durable_name=durable,
        filter_subject=filter_subject,
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=MAX_DELIVER_OF_SERVER,
        max_ack_pending=MAX_ACK_PENDING,
    )


def _differs(got: ConsumerConfig, wish: ConsumerConfig) -> str | None:
    """The first field the server has otherwise than asked."""
    for field in ("filter_subject", "ack_policy", "ack_wait", "max_deliver", "max_ack_pending"):
        if getattr(got, field) != getattr(wish, field):
            return field
    return None


def _outcome(problem: Problem | None) -> Outcome:
    """Whose fault it was that a request was not granted."""
    if problem is None:
        return "accepted"
    status = KINDS[problem.code].status
    return "refused" if status < 500 else "unavailable" if status == 503 else "failed"


def _delay(delivered: int) -> float:
    """Seconds until the next try: grows from 50 ms to a minute, with jitter so that listeners don't march in step."""
    return min(LONGEST_DELAY_SECONDS, 0.05 * 2.0 ** min(delivered - 1, 12)) * random.uniform(0.8, 1.2)  # noqa: S311


class _Pull:
    """Asks one durable consumer for messages, and hands each to a task of its own the moment it comes.

    The driver's ``fetch(n)`` keeps messages back until there are n or its time is over, and a customer waits for what
    is kept back. So this speaks the protocol itself (documented with JetStream's API): what is published to
    ``$JS.API.CONSUMER.MSG.NEXT.<stream>.<durable>`` asks for so many messages within so long; they come to the inbox
    named as reply, and so does word of what cannot be had: status 100 says that the server still knows of us, 408
    that the time is over (and how many of those asked for did not come), 404 and 409 that there is nothing to wait
    for. More is asked for before the last of what was asked has come. At most ``BATCH`` are asked for or being handled.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        durable: str,
        deliver: Callable[[Msg], Coroutine[Any, Any, None]],
        on_lost: Callable[[], None],
    ) -> None:
        """``on_lost`` is told when there seems to be no such consumer any more."""
        self._client = client
        self._durable = durable
        self._deliver = deliver
        self._on_lost = on_lost
        self._where = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._asked = 0
        """How many of those asked for may still come."""
        self._handling: dict[asyncio.Task[None], tuple[Msg, float]] = {}
        self._heard_at = 0.0
        self._wake = asyncio.Event()
        self._refused = False
        self._ending = False

    async def run(self) -> None:
        """Until cancelled; then ``end``."""
        loop = asyncio.get_running_loop()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._came)
        beat_at = loop.time()
        while True:
            self._wake.clear()
            if self._refused:
                self._refused = False
                await asyncio.sleep(PAUSE_SECONDS)
            if self._asked and loop.time() > self._heard_at + SILENCE_SECONDS:
                self._asked = 0
                self._on_lost()
            if self._wants() and self._client.is_connected:
                await self._ask()
            if loop.time() >= beat_at:
                beat_at = loop.time() + ACK_WAIT_SECONDS / 4
                await self._stay_alive(older_than=loop.time() - ACK_WAIT_SECONDS / 4)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._wake.wait()

    def ask_anew(self) -> None:
        """Whatever was asked for before does not count."""
        self._asked = 0
        self._wake.set()

    def reconnected(self) -> None:
        """A server that was started again knows nothing of what it was asked, and may know nothing of the consumer."""
        self.ask_anew()
        self._on_lost()

    async def end(self) -> None:
        """Takes nothing more and finishes what was begun; what does not finish is given back."""
        self._ending = True
        with suppress(TimeoutError, nats.errors.Error):
            async with asyncio.timeout(FINISH_SECONDS):
                if self._subscription is not None and self._client.is_connected:
                    # What the server has sent already comes in, and goes back to it.
                    await self._subscription.drain()
                while self._handling:
                    await asyncio.wait(self._handling)
        for task, (message, _) in [*self._handling.items()]:
            task.cancel()
            await self._give_back(message)

    # -- what comes ------------------------------------------------------------------------------------------

    async def _came(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if message.subject == self._inbox:
            self._told(message.headers or {})
        elif self._ending:
            await self._give_back(message)
        else:
            self._asked = max(0, self._asked - 1)
            task = asyncio.create_task(self._deliver(message))
            self._handling[task] = (message, self._heard_at)
            task.add_done_callback(self._done)
        if self._wants():
            self._wake.set()

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._handling[task]
        if self._wants():
            self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery failed", extra={"consumer": self._durable, "error": type(error).__name__})

    def _told(self, headers: Mapping[str, str]) -> None:
        status = headers.get("Status")
        if status == "100":
            return
        missing = headers.get("Nats-Pending-Messages", "")
        if status == "408" and missing.isdigit():
            self._asked = max(0, self._asked - int(missing))
            return
        # "Consumer Deleted", "Leadership Change", "Server Shutdown", too many asking, ...: in a moment anew.
        log.info("pull ended", extra={"consumer": self._durable, "status": status})
        self._asked = 0
        self._refused = True
        self._wake.set()
        if status != "408":
            self._on_lost()

    # -- what is said ----------------------------------------------------------------------------------------

    def _wants(self) -> bool:
        """Not for every single message: when half of what may be under way is free."""
        return not self._ending and self._asked + len(self._handling) <= BATCH // 2

    async def _ask(self) -> None:
        batch = BATCH - self._asked - len(self._handling)
        asked = {
            "batch": batch,
            "expires": int(EXPIRES_SECONDS * 1e9),
            "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9),
        }
        try:
            await self._client.publish(self._where, json.dumps(asked).encode(), reply=self._inbox)
        except nats.errors.Error as error:
            log.warning("cannot ask for messages", extra={"consumer": self._durable, "error": type(error).__name__})
            self._refused = True
            self._wake.set()
            return
        self._asked += batch
        self._heard_at = asyncio.get_running_loop().time()

    async def _stay_alive(self, older_than: float) -> None:
        """For what takes long: the server would send it again."""
        for message, began in [*self._handling.values()]:
            if began <= older_than:
                with suppress(nats.errors.Error):
                    await message.in_progress()

    async def _give_back(self, message: Msg) -> None:
        with suppress(nats.errors.Error):
            await message.nak()


def _delivered(message: Msg) -> int:
    """1 for the first time. It stands in the subject to acknowledge on, the fifth before last: ``$JS.ACK.…`` has a
    domain and an account more in newer servers, and a token at random at its end in the newest.
    """
    tokens = message.reply.split(".")
    return int(tokens[4] if len(tokens) < 11 else tokens[6])


def _headers(fact: StoredFact) -> dict[str, Any]:
    """CloudEvents 1.0 attributes in NATS headers (NATS binding, binary mode: percent-encoded)."""
    headers = {
        "Nats-Msg-Id": fact.id,
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": fact.id,
        "ce-source": fact.source,
        "ce-type": fact.type,
        "ce-subject": fact.subject,
        "ce-time": fact.time,
        "ce-sequence": str(fact.sequence),
        "ce-dataschema": fact.dataschema,
    }
    if fact.traceparent:
        headers["traceparent"] = fact.traceparent
    return {name: quote(value, safe=" !#$&'()*+,/:;<=>?@[]^_`{|}~-.") for name, value in headers.items()}


def _fact(headers: Mapping[str, str], data: bytes) -> StoredFact:
    """Raises ``Unhandleable`` for a message that is no CloudEvent of ours."""
    if "ce-id" not in headers:  # as somebody else may write it
        headers = {name.lower(): value for name, value in headers.items()}
    try:
        return StoredFact(
            id=_plain(headers["ce-id"]),
            source=_plain(headers["ce-source"]),
            type=_plain(headers["ce-type"]),
            subject=_plain(headers["ce-subject"]),
            time=_plain(headers["ce-time"]),
            sequence=int(headers["ce-sequence"]),
            dataschema=_plain(headers["ce-dataschema"]),
            data=data.decode(),
            traceparent=headers.get("traceparent"),
        )
    except (KeyError, ValueError) as error:
        raise Unhandleable("not one of our facts") from error


def _plain(value: str) -> str:
    return unquote(value) if "%" in value else value
