"""Where a misdeed is committed, and how its refusals are looked at."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Final

import aiohttp
from yarl import URL

from deploy.simulator.api import Json, Phone, Reply
from deploy.simulator.channel import Channel
from deploy.simulator.customer import Customer, Habits, Tell, silent
from deploy.simulator.parties import Parties
from deploy.simulator.proposals import Person, person, proposal

SHORTEST: Final = 6
"""Characters from which a value found in an answer is taken for one that was sent."""
BEFORE: Final = "link"
"""The step of a misdeed before the customer has opened the link."""
AFTER: Final = "done"
"""And after the policies have come."""
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Attempt:
    """One thing tried and what the server said."""

    tried: str
    status: int
    code: str
    wanted: tuple[str, ...]
    """``<status> <code>``, any of them."""
    journey_id: str | None
    """The journey it was tried in, where there is one that keeps it on record."""
    faults: tuple[str, ...] = ()
    """Why it was not refused as it must be; none when it was."""
    sent: frozenset[str] = frozenset()
    """Values that must be found nowhere: not in the answer (looked at here), not in a log."""

    @property
    def right(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        said = self.tried + (f": {self.status} {self.code}".rstrip() if self.status else "")
        return said + "".join(f"; {fault}" for fault in self.faults)


@dataclass(frozen=True)
class Doors:
    """The platform as somebody outside finds it, and the keys they came by."""

    http: aiohttp.ClientSession
    gateway: str
    parties: Parties
    channel_key: str
    other_channel_key: str
    """Of a channel that sold nothing of this."""
    staff_key: str
    salesperson: tuple[str, str]
    """Name and password."""
    staff: tuple[str, str]
    chance: random.Random
    restart: Callable[[str], Awaitable[None]]
    """Restarts a service by name."""

    def channel(self, key: str | None = None) -> Channel:
        return Channel(self.http, self.gateway, key or self.channel_key)

    async def customer(
        self, who: Person | None = None, habits: Habits | None = None, *, extra: bool = False, tell: Tell = silent
    ) -> Customer:
        """Somebody else with a link of their own."""
        who = who or person(self.chance)
        asked = proposal(who, datetime.now(UTC), self.chance, extra=extra)
        accepted = await self.channel().submit(asked)
        return Customer(Phone(self.http, accepted["link"]), who, self.parties, self.chance, habits, tell)


class Scene:
    """One customer at one step. What is tried adds up in ``attempts``."""

    def __init__(self, doors: Doors, customer: Customer, view: Json) -> None:
        self.doors = doors
        self.customer = customer
        self.phone = customer.phone
        self.view = view
        self.attempts: list[Attempt] = []
        # What everybody may read of a journey is no secret of the request's.
        self._known = json.dumps(view, ensure_ascii=False)

    @property
    def journey_id(self) -> str:
        return self.phone.session.journey_id

    # -- sending -------------------------------------------------------------------------------------------

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | AsyncGenerator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request exactly as given, whatever the answer."""
        url = URL(self.doors.gateway + path, encoded=True)
        told = {**({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
        data = BytesIO(body) if isinstance(body, bytes) else body
        async with self.doors.http.request(method, url, data=data, headers=told, allow_redirects=False) as answer:
            return Reply(answer.status, dict(answer.headers.items()), await answer.read())

    async def act(
        self,
        verb: str,
        body: object = None,
        *,
        phone: Phone | None = None,
        raw: bytes | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        hurried: bool = False,
    ) -> Reply:
        """An act as the phone sends it: with a sound proof, and again where the server only asks to wait or for a
        nonce. ``raw`` is sent in place of ``body``; ``headers`` go over the phone's own; who is ``hurried`` takes "too
        often" for an answer.
        """
        phone = phone or self.phone
        sent = raw if raw is not None else json.dumps({} if body is None else body, ensure_ascii=False).encode()
        more = {"Idempotency-Key": key or secrets.token_urlsafe(16), **(headers or {})}
        return await self.proven("POST", f"{phone.journey}/{verb}", sent, phone=phone, headers=more, hurried=hurried)

    async def proven(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        phone: Phone | None = None,
        headers: Mapping[str, str] | None = None,
        hurried: bool = False,
    ) -> Reply:
        phone = phone or self.phone
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                made = {**phone.headers(method, path, body or b""), **(headers or {})}
                reply = await self.send(method, path, body, made)
                phone.heard(reply)
                code = code_of(reply)
                if code == "too_many_requests" and not hurried:
                    await asyncio.sleep(float(reply.json["retry_after"]))
                elif code != "premise_pending" and (code != "use_dpop_nonce" or "DPoP" in (headers or {})):
                    return reply

    # -- judging -------------------------------------------------------------------------------------------

    def refused(
        self,
        tried: str,
        reply: Reply,
        *wanted: str,
        sent: object = None,
        recorded: bool = True,
        journey_id: str | None = None,
    ) -> Reply:
        """Notes how ``reply`` refused: ``wanted`` are ``<status> <code>``, ``sent`` whatever holds values that must
        not come back. ``recorded``: whether there is a journey to keep it on record, ours or ``journey_id``.
        """
        values = frozenset(value for value in strings(sent) if len(value) >= SHORTEST and value not in self._known)
        code = code_of(reply)
        faults: list[str] = []
        if f"{reply.status} {code}" not in wanted:
            faults.append(f"not {' or '.join(wanted)}")
        media = {name.lower(): value for name, value in reply.headers.items()}.get("content-type", "")
        if media.partition(";")[0] != "application/problem+json":
            faults.append(f"its answer is {media or 'nothing'}, no problem document")
        heard = reply.content.decode("utf-8", "replace") + json.dumps(dict(reply.headers), ensure_ascii=False)
        if any(value in heard or json.dumps(value)[1:-1] in heard for value in values):
            faults.append("says again what was sent")
        where = (journey_id or self.journey_id) if recorded else None
        self.attempts.append(Attempt(tried, reply.status, code, wanted, where, tuple(faults), values))
        return reply

    def held(self, tried: str, holds: bool, otherwise: str) -> None:
        """Notes something that is answered as if nothing were wrong, and must have had no effect."""
        self.attempts.append(Attempt(tried, 0, "", (), None, () if holds else (otherwise,)))


def code_of(reply: Reply) -> str:
    try:
        said = json.loads(reply.content)
    except ValueError:
        return ""
    return str(said.get("code", "")) if isinstance(said, dict) else ""


def strings(value: object) -> Iterator[str]:
    """Every text in a JSON value, names included; and bytes as text."""
    match value:
        case str():
            yield value
        case bytes():
            yield value.decode("utf-8", "replace")
        case Mapping():
            for key, each in value.items():
                yield str(key)
                yield from strings(each)
        case Iterable():
            for each in value:
                yield from strings(each)
        case _:
            return


# -- the registry ------------------------------------------------------------------------------------------

Commit = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Misdeed:
    name: str
    sentence: str
    step: str
    """Of the journey, where it is committed."""
    tries: Commit
    restarts: str | None = None
    """The service it needs restarted."""


MISDEEDS: Final[dict[str, Misdeed]] = {}


def misdeed(*, at: str, restarts: str | None = None) -> Callable[[Commit], Commit]:
    """Registers a misdeed, committed ``at`` a step of the journey."""

    def register(tries: Commit) -> Commit:
        name = tries.__name__.replace("_", "-")
        sentence = " ".join((tries.__doc__ or "").split())
        MISDEEDS[name] = Misdeed(name, sentence, at, tries, restarts)
        return tries

    return register


async def commit(doors: Doors, customer: Customer, misdeeds: Iterable[Misdeed]) -> dict[str, list[Attempt]]:
    """Passes the customer through the whole journey, committing each misdeed at its step. Attempts by name.

    Raises ``Stuck`` or ``ProblemAnswer`` when the customer does not come through for all that.
    """
    waiting = {each.name: each for each in misdeeds}
    done: dict[str, list[Attempt]] = {}

    async def at(step: str, view: Json) -> None:
        for each in [one for one in waiting.values() if one.step == step]:
            del waiting[each.name]
            scene = Scene(doors, customer, view)
            await each.tries(scene)
            done[each.name] = scene.attempts

    async def meanwhile(view: Json) -> None:
        await at(view["place"]["step"], view)

    await at(BEFORE, {})
    customer.meanwhile = meanwhile
    passage = await customer.pass_through()
    await at(AFTER, passage.view)
    for name in waiting:
        done[name] = [Attempt("its step never came", 0, "", (), None, ("not tried",))]
    return done
