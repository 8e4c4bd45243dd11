"""How much of what, in one table: rates by token bucket, bodies by size.

A key counts by what comes with a request; a session of salespeople or staff in ``gateway.accounts``, once it is known
to be one. The table is for one process; several gateways behind a balancer each grant their share
(``gateway_limits_scale``).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address, IPv6Network
from typing import Final, Literal

from contracts.commands.base import Act, request_types

KeyKind = Literal["address", "journey", "credential", "name", "name_from"]


@dataclass(frozen=True, slots=True)
class Limit:
    """``burst`` at once, ``burst`` again in ``seconds``, for each key, on requests the pattern matches."""

    name: str
    key: KeyKind
    burst: int
    seconds: float
    method: str = ".*"
    path: str = ".*"

    def covers(self, method: str, path: str) -> bool:
        return re.fullmatch(self.method, method) is not None and re.fullmatch(self.path, path) is not None


_JOURNEY = "/v1/journeys/[^/]+"
_TO_AND_FRO = "(choose-mode|give-consent|decline-consent|choose-product|drop-product)"

LIMITS: Final = (
    # Guessing a policy's code, a download's token or a link's secret.
    Limit("verify", "address", 20, 60, "POST", "/v1/verify"),
    Limit("downloads", "address", 60, 60, "GET", "/v1/downloads/[^/]+"),
    Limit("open", "journey", 10, 60, "POST", f"{_JOURNEY}/open-session"),
    # Guessing a password. By name in gateway.accounts, where it is known: few tries from one address, more from all
    # together, so that who knows a colleague's name needs many addresses to keep them out, and then for as long as
    # they keep trying and no longer.
    Limit("sign_in", "address", 30, 300, "POST", "/v1/sign-in"),
    Limit("sign_in_name_from", "name_from", 10, 600, "POST", "/v1/sign-in"),
    Limit("sign_in_name", "name", 100, 600, "POST", "/v1/sign-in"),
    # What costs money or could pester somebody's phone.
    Limit("otp", "journey", 5, 300, "POST", f"{_JOURNEY}/send-otp"),
    Limit("otp_guess", "journey", 10, 300, "POST", f"{_JOURNEY}/verify-otp"),
    Limit("face", "journey", 6, 300, "POST", f"{_JOURNEY}/start-face"),
    Limit("platform", "journey", 10, 300, "POST", f"{_JOURNEY}/(check-real-name|check-bank-card|finish-face)"),
    Limit("resend", "credential", 30, 300, "POST", "/v1/proposals/[^/]+/resend-link"),
    # What costs us work.
    Limit("order", "journey", 10, 60, "POST", f"{_JOURNEY}/place-order"),
    Limit("sign", "journey", 20, 60, "POST", f"{_JOURNEY}/(sign-forms|prepare-forms)"),
    Limit("packs", "credential", 20, 60, "POST", "/v1/staff/packs"),
    Limit("staff", "credential", 300, 60, ".*", "/v1/staff/.*"),
    Limit("channel", "credential", 600, 60, ".*", "/v1/(proposals|events|products).*"),
    Limit("pictures", "journey", 120, 60, "GET", f"{_JOURNEY}/forms/[^/]+/pages/[^/]+"),
    # What may be said one way and the other, each time a fact on record for good.
    Limit("to_and_fro", "journey", 60, 300, "POST", f"{_JOURNEY}/{_TO_AND_FRO}"),
    # A whole journey from one page: heartbeats, polling, acts.
    Limit("journey", "journey", 300, 30, ".*", f"{_JOURNEY}(/.*)?"),
    Limit("nonce", "address", 600, 60, "POST", "/v1/nonce"),
    # Many phones share one address of a mobile operator.
    Limit("address", "address", 3000, 60),
)

MAX_BODY: Final = Act.largest_body
BODIES: Final = (
    *(
        (re.compile(rf"{_JOURNEY}/{kind.verb.replace('_', '-')}"), kind.largest_body)
        for kind in request_types().values()
        if issubclass(kind, Act) and kind.largest_body > MAX_BODY
    ),
    (re.compile(r"/v1/proposals"), 256 * 1024),
    (re.compile(r"/v1/callbacks/[^/]+"), 128 * 1024),
)
"""Bytes of a request's body, where it may be more than ``MAX_BODY``."""

STREAMS_PER_JOURNEY: Final = 4
KEPT: Final = 100_000
"""Buckets remembered; the ones longest unused are forgotten first."""


def body_limit(path: str) -> int:
    return next((size for pattern, size in BODIES if pattern.fullmatch(path)), MAX_BODY)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one request may be told: the tightest limit that covers it."""

    limit: Limit
    burst: int
    remaining: int
    wait: float
    """Seconds until one more is granted; 0 when this one is."""

    @property
    def granted(self) -> bool:
        return self.wait == 0

    def headers(self) -> dict[str, str]:
        """``RateLimit`` and ``RateLimit-Policy`` of the IETF draft (draft-ietf-httpapi-ratelimit-headers)."""
        found = {
            "RateLimit-Policy": f'"{self.limit.name}";q={self.burst};w={math.ceil(self.limit.seconds)}',
            "RateLimit": f'"{self.limit.name}";r={self.remaining};t={math.ceil(self.wait)}',
        }
        if not self.granted:
            found["Retry-After"] = str(max(1, math.ceil(self.wait)))
        return found


class Buckets:
    """Token buckets in memory. ``now`` gives seconds of a clock that never goes back."""

    def __init__(self, now: Callable[[], float], *, scale: float = 1.0, table: tuple[Limit, ...] = LIMITS) -> None:
        self._now = now
        self._scale = scale
        self._table = table
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, method: str, path: str, keys: Mapping[KeyKind, str]) -> Verdict | None:
        """Takes one token from every bucket that covers the request, or none if one of them is empty."""
        now = self._now()
        covering = [limit for limit in self._table if limit.key in keys and limit.covers(method, path)]
        held: list[tuple[Limit, tuple[str, str], int, float]] = []
        for limit in covering:
            place = (limit.name, keys[limit.key])
            burst = max(1, round(limit.burst * self._scale))
            tokens, since = self._buckets.get(place, (float(burst), now))
            held.append((limit, place, burst, min(burst, tokens + (now - since) * burst / limit.seconds)))
        if not held:
            return None
        empty = [(limit, burst, tokens) for limit, _, burst, tokens in held if tokens < 1]
        if empty:
            verdicts = [Verdict(lim, burst, 0, (1 - tokens) * lim.seconds / burst) for lim, burst, tokens in empty]
            return max(verdicts, key=lambda verdict: verdict.wait)
        for _, place, _, tokens in held:
            self._buckets[place] = (tokens - 1, now)
            self._buckets.move_to_end(place)
        while len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
        limit, _, burst, tokens = min(held, key=lambda one: one[3] / one[2])
        return Verdict(limit, burst, int(tokens - 1), 0)


def source_of(client: tuple[str, int] | None) -> str:
    """Where a request comes from, as limits count: of an IPv6 address its /64, which one household or host holds
    whole and may choose from.
    """
    if client is None:
        return "unknown"
    try:
        address = IPv6Address(client[0].partition("%")[0])
    except AddressValueError:
        return client[0]
    return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))


_OF_JOURNEY = re.compile(r"/v1/journeys/([^/]+)(?:/.*)?")


def keys_of(path: str, address: str, authorization: str | None) -> dict[KeyKind, str]:
    """Whose buckets a request draws on. A credential counts by its hash."""
    keys: dict[KeyKind, str] = {"address": address}
    if found := _OF_JOURNEY.fullmatch(path):
        # Per address too: who merely knows a journey's id can't use up its customer's share.
        keys["journey"] = f"{found[1][:64]} {address}"
    if authorization:
        keys["credential"] = hashlib.sha256(authorization.encode("latin-1", "replace")).hexdigest()
    return keys
