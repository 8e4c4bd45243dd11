"""One-time codes by SMS: six digits, hashed at rest, bound to what they are for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Final

from contracts.facts.identity import Purpose
from contracts.problems import Refuse
from contracts.values import Contract, Instant
from servicekit.store import Collection, Document, VersionConflict
from services.identity.rules import OTP_AN_HOUR, OTP_PAUSE, OTP_TRIES, OTP_VALID, check_pace

SALT_BYTES: Final = 16


class Code(Contract):
    """A code as it is kept."""

    salt: str
    hash: str
    attempt: int
    """The device session it was sent in."""
    expires_at: Instant
    sent_by: str
    """The command that sent it: its repeat sends nothing."""
    sent: bool = False
    tries: int = 0
    used_by: str | None = None
    """The command that used it: its repeat is not refused."""


class Codes:
    """The codes of all journeys, and how often each phone was written to.

    ``key`` peppers the hash: six digits under a salt alone are found in a moment by whoever copies the store.
    """

    def __init__(self, codes: Collection, pace: Collection, key: bytes) -> None:
        self._codes = codes
        self._pace = pace
        self._key = key

    async def make(
        self, journey_id: str, purpose: Purpose, *, phone_index: str, attempt: int, command_id: str, now: datetime
    ) -> tuple[str, Code] | Code:
        """A new code and how it is kept; only the latter if this command has sent one already.

        Raises ``Refuse``: ``otp_too_soon`` within a minute of the last to this phone, ``otp_attempts`` after the
        hour's number, each with when to come back.
        """
        document = await self._document(journey_id, purpose)
        known = Code.model_validate(document.state) if document.version else None
        if known is not None and known.sent and known.sent_by == command_id:
            return known
        sent = _times(await self._pace.get(phone_index))
        recent = check_pace(sent, now, most=OTP_AN_HOUR, code="otp_attempts")
        if recent and now - recent[-1] < OTP_PAUSE:
            wait = recent[-1] + OTP_PAUSE - now
            raise Refuse("otp_too_soon", retry_after=max(1, int(wait.total_seconds()) + 1))
        digits, salt = f"{secrets.randbelow(10**6):06d}", secrets.token_bytes(SALT_BYTES)
        code = Code(
            salt=salt.hex(),
            hash=self._hash(salt, journey_id, purpose, phone_index, attempt, digits),
            attempt=attempt,
            expires_at=now + OTP_VALID,
            sent_by=command_id,
        )
        document.state = code.model_dump(mode="json")
        await self._codes.save(document)
        return digits, code

    async def sent(self, journey_id: str, purpose: Purpose, *, phone_index: str, now: datetime) -> None:
        """Notes that the code is on its way."""
        document = await self._document(journey_id, purpose)
        document.state = {**document.state, "sent": True}
        await self._codes.save(document)
        while True:
            pace = await self._pace.get(phone_index) or Document(phone_index)
            times = (*_times(pace), now)[-OTP_AN_HOUR:]
            pace.state = {"sent": [at.isoformat() for at in times]}
            try:
                await self._pace.save(pace)
            except VersionConflict:
                continue
            return

    async def check(
        self,
        journey_id: str,
        purpose: Purpose,
        digits: str,
        *,
        phone_index: str,
        attempt: int,
        command_id: str,
        now: datetime,
    ) -> None:
        """The code holds, and is used up by this. A try is counted before it is compared.

        Raises ``Refuse``: ``otp_not_sent``, ``otp_expired``, ``otp_attempts``, ``otp_wrong``.
        """
        while True:
            document = await self._document(journey_id, purpose)
            code = Code.model_validate(document.state) if document.version else None
            if code is None or not code.sent or code.attempt != attempt:
                raise Refuse("otp_not_sent")
            repeat = code.used_by is not None and code.used_by == command_id
            if code.used_by is not None and not repeat:
                raise Refuse("otp_not_sent")
            if now > code.expires_at and not repeat:
                raise Refuse("otp_expired")
            if code.tries >= OTP_TRIES and not repeat:
                raise Refuse("otp_attempts")
            wanted = self._hash(bytes.fromhex(code.salt), journey_id, purpose, phone_index, attempt, digits)
            right = hmac.compare_digest(wanted, code.hash)
            if not repeat:
                used_by = command_id if right else None
                tried = code.model_copy(update={"tries": code.tries + 1, "used_by": used_by})
                document.state = tried.model_dump(mode="json")
                try:
                    await self._codes.save(document)
                except VersionConflict:
                    continue
            if not right:
                raise Refuse("otp_wrong")
            return

    async def _document(self, journey_id: str, purpose: Purpose) -> Document:
        name = f"{journey_id}.{purpose}"
        return await self._codes.get(name) or Document(name)

    def _hash(self, salt: bytes, journey_id: str, purpose: Purpose, phone_index: str, attempt: int, digits: str) -> str:
        bound = "\0".join((journey_id, purpose, phone_index, str(attempt), digits))
        return hmac.new(self._key, b"otp\0" + salt + bound.encode(), hashlib.sha256).hexdigest()


def _times(document: Document | None) -> tuple[datetime, ...]:
    sent: list[str] = [] if document is None else document.state.get("sent", [])
    return tuple(datetime.fromisoformat(at) for at in sent)
