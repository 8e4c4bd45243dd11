"""Passwords of people: readable when made here, kept as argon2id (RFC 9106), verified beside the event loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Annotated, Final

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY
from pydantic import Field

from contracts.problems import Refuse

PasswordHash = Annotated[
    str,
    Field(
        max_length=256,
        pattern=r"^\$argon2id\$v=19\$m=[1-9][0-9]{0,6},t=[1-9][0-9]{0,2},p=[1-9][0-9]?"
        r"\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}$",
    ),
]

AT_ONCE: Final = 2
"""Verifications at the same time: each takes 64 MiB and a good part of a second of the processor."""
WAITING: Final = 16
"""How many more may wait; whoever comes then is told to come again, whatever was typed."""

_READABLE: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Nothing that is taken for something else."""
_HASHER: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


def new_password() -> str:
    """79 random bits in four groups that can be read out and typed."""
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(4)) for _ in range(4))


def password_hash(password: str) -> str:
    return _HASHER.hash(password.encode("utf-8", "surrogatepass"))


def stand_in(known: Sequence[str]) -> str:
    """A hash no password belongs to, as costly as those known: an unknown name takes as long as a wrong password."""
    hasher = PasswordHasher.from_parameters(extract_parameters(known[0])) if known else _HASHER
    return hasher.hash(secrets.token_bytes(32))


class Verifier:
    """Bounds what guessing can cost the machine, however many ask and whenever the process began."""

    def __init__(self, *, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="argon2")
        self._room = BoundedSemaphore(at_once + waiting)

    async def holds(self, known: str, password: str) -> bool:
        """Raises ``Refuse("unavailable")`` when too many wait already."""
        if not self._room.acquire(blocking=False):
            raise Refuse("unavailable", retry_after=2)
        work = self._threads.submit(_holds, known, password)
        # Work takes its room until it is done or will never begin, also when nobody waits for the answer any more.
        work.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(work)


def _holds(known: str, password: str) -> bool:
    try:
        return _HASHER.verify(known, password.encode("utf-8", "surrogatepass"))
    except VerificationError:
        return False
