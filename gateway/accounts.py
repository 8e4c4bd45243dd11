"""People at the edge: salespeople and staff who sign in by name and password, and the sessions they then have.

A session's token is random (256 bits) and kept as its SHA-256. A session ends by signing out, by half an hour without
a request, after twelve hours whatever happens, and with the account or password it was begun by.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from contracts.problems import Refuse
from contracts.values import Contract, Instant, Sha256, Token, sha256_hex
from gateway.credentials import Channel, Credentials, Salesperson, StaffMember
from gateway.limits import Buckets
from gateway.passwords import Verifier, stand_in
from servicekit.store import Document, Store, VersionConflict

Door = Literal["sales", "staff"]

IDLE: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=12)
NOTED: Final = timedelta(minutes=1)
"""How exactly the last request is remembered: one save a minute, not one a request."""
SIGN_IN: Final = "/v1/sign-in"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class SignIn(Contract):
    """A session as kept."""

    door: Door
    account: Token
    password: Sha256
    """Of the password's hash: a new password ends what was begun by the old one."""
    began_at: Instant
    seen_at: Instant

    @property
    def ends_at(self) -> datetime:
        return self.began_at + LONGEST

    def over(self, now: datetime) -> bool:
        return now >= self.ends_at or now >= self.seen_at + IDLE


@dataclass(frozen=True, slots=True)
class SalesSession:
    channel: Channel
    salesperson: Salesperson
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class StaffSession:
    member: StaffMember
    ends_at: datetime


Session = SalesSession | StaffSession


class Accounts:
    def __init__(
        self,
        credentials: Credentials,
        store: Store,
        now: Callable[[], datetime],
        *,
        scale: float = 1.0,
        seconds: Callable[[], float] = time.monotonic,
        verifier: Verifier | None = None,
    ) -> None:
        """``scale`` multiplies the limits; ``seconds`` is the clock they go by, which never goes back."""
        self._credentials = credentials
        self._collection = store.collection("sign_ins")
        self._now = now
        self._buckets = Buckets(seconds, scale=scale)
        self._verifier = verifier or Verifier()
        self._passwords: dict[tuple[Door, str], str] = {
            **{("sales", who): seller.password_hash for who, (_, seller) in credentials.sellers.items()},
            **{("staff", who): m.password_hash for who, m in credentials.members.items() if m.password_hash},
        }
        self._nobodys = stand_in(list(self._passwords.values()))

    async def sign_in(self, door: Door, name: str, password: str, *, address: str) -> tuple[Session, str]:
        """A new session and its token. ``address`` is where the request comes from.

        Raises ``Refuse``: ``sign_in_failed``, the same and after the same work whether the name or the password is
        wrong; ``sign_in_attempts`` for a name, known or not, that was tried too often; ``unavailable``.
        """
        # By its hash: people type passwords where names belong.
        who = sha256_hex(f"{door} {name}".encode("utf-8", "replace"))
        verdict = self._buckets.take("POST", SIGN_IN, {"name": who, "name_from": f"{who} {address}"})
        if verdict is not None and not verdict.granted:
            raise Refuse("sign_in_attempts", retry_after=max(1, math.ceil(verdict.wait)))
        known = self._passwords.get((door, name))
        holds = await self._verifier.holds(known or self._nobodys, password)
        if known is None or not holds:
            raise Refuse("sign_in_failed")
        now = self._now()
        begun = SignIn(door=door, account=name, password=sha256_hex(known.encode()), began_at=now, seen_at=now)
        token = secrets.token_urlsafe(32)
        await self._collection.save(Document(_place(token), state=begun.model_dump(mode="json"), due=begun.ends_at))
        await self._forget(now)
        return self._session(begun), token

    async def session(self, token: str, *, attended: bool = True) -> Session | None:
        """Whose session it is, if it is live. Being asked for keeps it alive, unless nobody is at the asking page."""
        document = await self._collection.get(_place(token)) if _TOKEN.fullmatch(token) else None
        if document is None:
            return None
        begun, now = SignIn.model_validate(document.state), self._now()
        if begun.over(now) or self._passwords_hash(begun) != begun.password:
            await self._collection.delete(document.id)
            return None
        if attended and now - begun.seen_at >= NOTED:
            document.state = begun.model_copy(update={"seen_at": now}).model_dump(mode="json")
            try:
                await self._collection.save(document)
            except VersionConflict:
                # Another request of the same session noted it, or it was signed out just now.
                if await self._collection.get(document.id) is None:
                    return None
        return self._session(begun)

    def grant(self, method: str, path: str, session: Session) -> None:
        """An account draws on the same limits as a key does. Raises ``Refuse("too_many_requests")``."""
        account = session.member.staff_id if isinstance(session, StaffSession) else session.salesperson.salesperson_id
        verdict = self._buckets.take(method, path, {"credential": f"{type(session).__name__} {account}"})
        if verdict is not None and not verdict.granted:
            raise Refuse("too_many_requests", retry_after=max(1, math.ceil(verdict.wait)))

    async def sign_out(self, token: str) -> None:
        """The session is gone; signing out twice is no error."""
        if _TOKEN.fullmatch(token):
            await self._collection.delete(_place(token))

    def _passwords_hash(self, begun: SignIn) -> str | None:
        known = self._passwords.get((begun.door, begun.account))
        return None if known is None else sha256_hex(known.encode())

    def _session(self, begun: SignIn) -> Session:
        if begun.door == "sales":
            channel, salesperson = self._credentials.sellers[begun.account]
            return SalesSession(channel, salesperson, begun.ends_at)
        return StaffSession(self._credentials.members[begun.account], begun.ends_at)

    async def _forget(self, now: datetime) -> None:
        for document in await self._collection.find(up_to=("due", now), order="due", limit=20):
            await self._collection.delete(document.id)


def _place(token: str) -> str:
    return sha256_hex(token.encode())
