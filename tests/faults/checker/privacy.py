"""Personal values: sealed wherever they lie, openable where they must be, plain nowhere."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.faults.checker.stores import Json
from tests.faults.checker.verdict import Complaint, of_all, of_each
from tests.faults.checker.world import Journey, World

KEPT = ("data", "mongodb", "blobs", "vault", "nats", "logs", "traces.jsonl")
"""Everything of a run's folder that is the platform's; the stand-ins' own memory is not."""
OTHERS = ("sandbox.log",)
PARTY = ("name", "id_number", "phone", "address")
SUBJECT = ("plate_no", "vin", "engine_no")
SHORTEST_BEGINNING = 3
DIGITS = re.compile(rb"[0-9]{11,19}X?")
CHINESE = re.compile(rb"(?:[\xe4-\xe9][\x80-\xbf]{2}){2,}")
ESCAPED = re.compile(rb"(?:\\u[0-9a-fA-F]{4}){2,}")


@of_all("I24", "no personal value in plain in any store, blob, stream, log or trace")
def nothing_plain(world: World, checked: set[str]) -> Iterator[Complaint]:
    people = {journey.id: values for journey in world.journeys if (values := _values(journey))}
    checked.update(people)
    search = Search(people)
    for part in KEPT:
        root = world.folder / part
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.is_file() and path.name not in OTHERS:
                for journey_id, kind in search.within(path.read_bytes()):
                    yield journey_id, f"{kind} in plain in {path.relative_to(world.folder).as_posix()}"


def _values(journey: Journey) -> dict[str, str]:
    """What is personal of a journey, by kind: as it was sealed, and as the storm knows its customer."""
    holder, subject = journey.opened.get("policyholder", {}), journey.opened.get("subject", {})
    sealed = {
        kind: part[kind] for part, kinds in ((holder, PARTY), (subject, SUBJECT)) for kind in kinds if kind in part
    }
    opened = {kind: value.decode() for kind, at in sealed.items() if (value := journey.open(at)) is not None}
    return opened | (journey.customer or {}).get("values", {})


class Search:
    """Looks for very many values in very many bytes: first for what such a value looks like, then whose it is."""

    def __init__(self, people: dict[str, dict[str, str]]) -> None:
        self._digits: dict[bytes, tuple[str, str]] = {}
        self._names: dict[str, tuple[str, str]] = {}
        marks: dict[str, dict[bytes, tuple[str, str]]] = {}
        for journey_id, values in people.items():
            for kind, value in values.items():
                whose = (journey_id, kind)
                if DIGITS.fullmatch(value.encode()):
                    self._digits[value.encode()] = whose
                elif kind == "name":
                    self._names[value] = whose
                elif kind == "address":
                    # It begins like a thousand others; nothing of that beginning may stand there.
                    self._names[value[: next((i for i, c in enumerate(value) if c.isascii()), len(value))]] = whose
                else:
                    for written in (value.encode(), json.dumps(value)[1:-1].encode()):
                        marks.setdefault(kind, {})[written] = whose
        self._lengths = {len(value) for value in self._digits}
        self._marks = {written: whose for each in marks.values() for written, whose in each.items()}
        self._mark_lengths = {len(written) for written in self._marks}
        self._mark = re.compile(b"|".join(_beginnings(marks)) or rb"(?!)")

    def within(self, content: bytes) -> Iterator[tuple[str, str]]:
        found: dict[tuple[str, str], None] = {}
        for run in {match[0] for match in DIGITS.finditer(content)}:
            for length in self._lengths:
                for start in range(len(run) - length + 1):
                    if (whose := self._digits.get(run[start : start + length])) is not None:
                        found[whose] = None
        for run in self._words(content):
            for text, whose in self._names.items():
                if text in run:
                    found[whose] = None
        for match in self._mark.finditer(content):
            for length in self._mark_lengths:
                if (whose := self._marks.get(content[match.start() : match.start() + length])) is not None:
                    found[whose] = None
        yield from found

    @staticmethod
    def _words(content: bytes) -> set[str]:
        words = {match[0].decode("utf-8", "ignore") for match in CHINESE.finditer(content)}
        escaped = {match[0].decode().lower() for match in ESCAPED.finditer(content)}
        return words | {_unescaped(run) for run in escaped}


def _beginnings(marks: dict[str, dict[bytes, tuple[str, str]]]) -> Iterator[bytes]:
    """What values of each kind begin with, so that few places need a closer look."""
    for of_kind in marks.values():
        first, last = min(of_kind), max(of_kind)
        alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        for written in {first[:alike]} if alike >= SHORTEST_BEGINNING else {each[:7] for each in of_kind}:
            yield re.escape(written)


def _unescaped(run: str) -> str:
    return "".join(chr(int(code, 16)) for code in run.split("\\u")[1:])


@of_each(
    "sealed", "every value a fact commits to lies sealed and opens to what was committed to", when=lambda j: j.opened
)
def openable(journey: Journey) -> Iterator[str]:
    for fact in journey.all:
        for where, committed in _committed(fact.data):
            if journey.open(committed) is None:
                yield f"{where} of {fact.name} {fact.sequence} cannot be opened"


def _committed(value: Any, where: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        if {"commitment", "blob"} <= value.keys():
            yield where, value
            return
        for key, member in value.items():
            yield from _committed(member, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for member in value:
            yield from _committed(member, where)


@of_all("blobs", "every blob is what its name says")
def blobs_whole(world: World, checked: set[str]) -> Iterator[Complaint]:
    checked.update(journey.id for journey in world.journeys)
    root = world.folder / "blobs"
    for path in root.glob("??/??/*"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield "", f"blob {path.name} was altered"


RULES = (nothing_plain, openable, blobs_whole)
