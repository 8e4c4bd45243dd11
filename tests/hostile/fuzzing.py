"""Requests of every shape that ``/openapi.json`` allows and forbids, sent at the very moment the operation is open.

Whatever the simulator's customer, channel and staff send is watched. Before an operation is called for the first time
(after it, where tries are counted) it is fuzzed: same place in the journey, same credentials, a fresh proof each time.
So a refusal is a refusal of the request, not of somebody who had no business there.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from contracts.problems import KINDS, pointer
from deploy.simulator.api import Caller, KeyHolder, Phone, Reply

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ONCE: Final = frozenset({
    "check_real_name", "send_otp", "verify_otp", "check_bank_card", "finish_face", "sign_in", "sign_out",
    "download", "withdraw_proposal", "answer_survey", "skip_survey", "cancel_order",
})  # fmt: skip
"""A lucky or a wrong try of these shuts the door, so they are fuzzed once they have been done."""
STREAMS: Final = frozenset({"stream_journey", "stream_facts"})
"""Each lasts as long as the gateway is told; once is enough."""
BY_WHOM: Final = frozenset({401, 403})
BY_SHAPE: Final = frozenset({400, 405, 408, 413, 415, 422})
MARKED: Final = 8
"""Characters from which a text found in an answer is taken for one that was sent."""


@dataclass
class Told:
    """How one operation answered."""

    true: Counter[int] = field(default_factory=Counter[int])
    """By status, to those who meant it."""
    fuzzed: Counter[int] = field(default_factory=Counter[int])
    faults: list[str] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return self.true.total() + self.fuzzed.total()

    def share(self, statuses: frozenset[int] | range) -> str:
        count = sum((self.true + self.fuzzed)[status] for status in statuses)
        return f"{100 * count // max(1, self.sent):3d} %"

    @property
    def opened(self) -> bool:
        return any(200 <= status < 300 for status in self.true + self.fuzzed)


class Fuzz:
    def __init__(self, description: dict[str, Any], gateway: str, examples: int) -> None:
        self.gateway = gateway
        self.examples = examples
        schema = schemathesis.openapi.from_dict(description)
        self.operations = {
            operation.definition.raw["operationId"]: operation
            for result in schema.get_all_operations()
            if isinstance(result, Ok)
            for operation in [result.ok()]
        }
        self._places = [
            (each.method.upper(), re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", each.path)), name)
            for name, each in self.operations.items()
        ]
        self.told = {name: Told() for name in self.operations}
        self._session = requests.Session()
        self._done: set[str] = set()

    def close(self) -> None:
        self._session.close()

    def operation_at(self, method: str, path: str) -> tuple[str, dict[str, str]]:
        """Its name and what stands in its path. Raises ``LookupError`` for what is not described."""
        for verb, place, name in self._places:
            if verb == method and (found := place.fullmatch(path.partition("?")[0])):
                return name, found.groupdict()
        raise LookupError(f"{method} {path} is not described")

    async def around(
        self, caller: Watched, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> None:
        name, places = self.operation_at(method, path)
        if name not in self._done:
            self._done.add(name)
            await asyncio.to_thread(self._fuzz, name, caller, places, body, headers)

    def _fuzz(
        self, name: str, caller: Watched, places: dict[str, str], body: bytes | None, headers: Mapping[str, str]
    ) -> None:
        operation, told = self.operations[name], self.told[name]
        examples = 1 if name in STREAMS else self.examples
        live = json.loads(body) if body else None
        chance = random.Random(name)
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])

        @seed(20261126)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(case=cases)
        def one(case: Any) -> None:
            drawn = json.dumps(
                [case.path_parameters, case.query, case.body if _plain(case.body) else None], default=str
            )
            if chance.random() < 0.8:
                # An id that nobody has opens no door; now and then it is tried all the same.
                case.path_parameters = dict(places)
            if isinstance(live, dict) and isinstance(case.body, dict) and chance.random() < 0.5:
                case.body = _grafted(live, case.body, chance)
            self._send(case, told, caller, headers, drawn)

        one()

    def _send(self, case: Any, told: Told, caller: Watched, headers: Mapping[str, str], drawn: str) -> None:
        for name in ("Authorization", "DPoP", "Cookie", "Journey-Heads", "traceparent"):
            for given_name in [key for key in case.headers if key.lower() == name.lower()]:
                del case.headers[given_name]
        case.cookies.clear()
        wanted = case.as_transport_kwargs(base_url=self.gateway)
        keep = {
            key: wanted[key]
            for key in ("method", "url", "params", "headers", "json", "data")
            if wanted.get(key) is not None
        }
        prepared = self._session.prepare_request(requests.Request(**keep))
        body = prepared.body or b""
        assert isinstance(body, str | bytes)
        raw = body.encode() if isinstance(body, str) else body
        for _ in range(2):
            prepared.headers.update(
                caller.credentials(str(prepared.method), urlsplit(str(prepared.url)).path, raw, headers)
            )
            answer = self._session.send(prepared, timeout=60, allow_redirects=False)
            caller.heard(Reply(answer.status_code, dict(answer.headers), answer.content))
            if answer.status_code != 401 or b'"use_dpop_nonce"' not in answer.content:
                break
        told.fuzzed[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            told.faults.append(f"{prepared.method} {prepared.url} {raw[:300]!r}: {answer.status_code} {_said(failure)}")
        told.faults += [f"{prepared.method} {prepared.url} {raw[:300]!r}: {fault}" for fault in _faults(answer, drawn)]


def _faults(answer: requests.Response, drawn: str) -> list[str]:
    """What our own rules say of an answer."""
    found: list[str] = []
    if answer.status_code >= 400:
        if answer.headers.get("content-type") != "application/problem+json":
            return [f"{answer.status_code} without a problem document"]
        code = answer.json()["code"]
        if code not in KINDS or KINDS[code].status != answer.status_code:
            found.append(f"{answer.status_code} is not the status of {code}")
        heard = answer.text + str(answer.headers)
        sent = {text for text in _texts(json.loads(drawn)) if len(text) >= MARKED}
        if any(text in heard or json.dumps(text)[1:-1] in heard for text in sent):
            found.append(f"{code} says again what was sent")
    return found


def _said(failure: Any) -> str:
    each = getattr(failure, "exceptions", (failure,))
    return "; ".join(f"{type(one).__name__}: {' '.join(str(one).split())[:300]}" for one in each)


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | dict | list)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        # Names that look like a program's may stand in a pointer.
        names = [str(key) for key in value if pointer(str(key)) == "/?"]
        return names + [text for each in value.values() for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if isinstance(value, list) else []


def _grafted(live: dict[str, Any], drawn: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """What was meant, but for one thing: so that what is drawn gets past the first check."""
    if not drawn or not live:
        return drawn
    name = chance.choice(sorted(drawn))
    return {**live, name: drawn[name]}


# -- those who mean it, watched -------------------------------------------------------------------------------


class Watched(Caller):
    """A caller whose every request is told to the fuzzing, and counted."""

    fuzz: Fuzz

    def credentials(self, method: str, path: str, body: bytes, meant: Mapping[str, str]) -> dict[str, str]:
        """What goes with one more request by the same caller."""
        del method, path, body
        return {name: meant[name] for name in ("Authorization", "Cookie", "Origin") if name in meant}

    async def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        name, _ = self.fuzz.operation_at(method, path)
        if name not in ONCE:
            await self.fuzz.around(self, method, path, body, headers or {})
            headers = {**(headers or {}), **self.credentials(method, path, body or b"", headers or {})}
        try:
            reply = await super().send(method, path, body, headers)
        except Exception as refused:
            status = getattr(refused, "status", None)
            if isinstance(status, int):
                self.fuzz.told[name].true[status] += 1
            raise
        self.fuzz.told[name].true[reply.status] += 1
        if name in ONCE:
            await self.fuzz.around(self, method, path, body, headers or {})
        return reply


class WatchedPhone(Watched, Phone):
    def credentials(self, method: str, path: str, body: bytes, meant: Mapping[str, str]) -> dict[str, str]:
        del meant
        return self.headers(method, path, body)


class WatchedKeyHolder(Watched, KeyHolder):
    """With an API key."""


class WatchedPublic(Watched):
    """Without any."""

    async def tell(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        raw = None if body is None else json.dumps(body).encode()
        return await self.send(method, path, raw, {"Idempotency-Key": secrets.token_urlsafe(12), **headers})


def report(told: Mapping[str, Told]) -> str:
    """A line an operation: how many were sent, and how they ended."""
    lines = [f"{'operation':<26}{'sent':>6}{'2xx':>7}{'by rule':>9}{'by shape':>10}{'by whom':>9}"]
    rule = frozenset({404, 409, 410, 429, *(kind.status for kind in KINDS.values())}) - BY_SHAPE - BY_WHOM
    for name, each in sorted(told.items()):
        shares = (each.share(range(200, 300)), each.share(rule), each.share(BY_SHAPE), each.share(BY_WHOM))
        lines.append(f"{name:<26}{each.sent:>6}{shares[0]:>7}{shares[1]:>9}{shares[2]:>10}{shares[3]:>9}")
    return "\n".join(lines)


__all__ = ["Fuzz", "WatchedKeyHolder", "WatchedPhone", "WatchedPublic", "report"]
