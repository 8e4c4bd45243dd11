"""What is stored, how it is asked for, and what may go wrong. No I/O.

Everything that makes two backends agree lives here: times as fixed-width text (MongoDB would cut them to
milliseconds), nested state as JSON text (no limit on keys, no integer overflow, booleans stay booleans),
names that need no quoting anywhere.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, Protocol, cast

Scalar = str | int | datetime
"""What can be searched for. Strings order by their UTF-8 bytes, on every backend."""

BUILT_IN = ("id", "version", "published", "pending", "due")
"""Top-level fields every document has; the rest comes from ``Document.fields``."""

_RESERVED = frozenset((*BUILT_IN, "_id", "state", "facts", "recorded", "replies", "refusals", "fields"))
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_INT64 = 2**63
_BASIC = str.maketrans("", "", "-:")

MAX_BYTES = 15_000_000
"""Largest document: MongoDB refuses 16 MiB, and both backends shall refuse alike."""


class StoreError(Exception):
    """The store did not do as asked. ``transient``: the same call may succeed later."""

    transient: ClassVar[bool] = False


class VersionConflict(StoreError):
    """Somebody else saved first, or the document exists already: load again and decide again."""


class StoreUnavailable(StoreError):
    """No answer from the store. A write may have happened all the same."""

    transient = True


class FactsLost(StoreError):
    """The save would take back facts that are on record. A mistake in the program, never repeated."""


@dataclass(frozen=True, slots=True)
class StoredFact:
    """One serialised fact.

    ``data`` is its JSON text: these very bytes (UTF-8) are published, hashed, exported.
    """

    id: str
    source: str
    type: str
    subject: str
    time: str
    sequence: int
    dataschema: str
    data: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: continue with ``find(..., after=cursor)`` in the same order."""

    id: str
    value: str | int | None = None


@dataclass
class Document:
    """One aggregate as kept.

    ``version`` is 0 until first saved. ``published`` of ``facts`` are on the bus. ``due`` says when something
    remains to be done. ``fields`` are what the document can be searched by; one name always holds one type.
    ``state`` and ``replies`` hold what JSON can: string keys, no NaN.
    """

    id: str
    version: int = 0
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    facts: tuple[StoredFact, ...] = ()
    published: int = 0
    replies: tuple[dict[str, Any], ...] = ()
    refusals: dict[str, int] = field(default_factory=dict[str, int])
    due: datetime | None = None
    fields: dict[str, str | int] = field(default_factory=dict[str, str | int])

    @property
    def pending(self) -> int:
        """How many facts still have to reach the bus."""
        return len(self.facts) - self.published

    def cursor(self, order: str | None = None) -> Cursor:
        """The place right after this document in a ``find`` ordered by ``order``."""
        if order is None or order == "id":
            return Cursor(self.id)
        value = getattr(self, order) if order in BUILT_IN else self.fields[order]
        if value is None:
            raise ValueError(f"the document has no {order}")
        return Cursor(self.id, searchable(value))


class Collection(Protocol):
    """Documents of one kind. Every method may raise StoreUnavailable."""

    async def get(self, id: str, known: Document | None = None) -> Document | None:
        """The document; ``known`` itself when its version is still the one on record, and nothing more is read.

        ``published`` of a known document may lie behind: it moves without the version.
        """
        ...

    async def save(self, document: Document) -> Document:
        """Insert (version 0) or replace where the version matches; returns the document with its new version.

        Raises VersionConflict when the document exists already, is gone, or was saved by another since;
        FactsLost when it has fewer facts than the record; ValueError for what cannot be stored.
        """
        ...

    async def put_many(self, documents: Iterable[Document]) -> None:
        """Insert or overwrite without looking at versions.

        For append-only documents whose id names their content. Doing it again changes nothing. SQLite takes
        all or none; MongoDB may take some before it fails.
        """
        ...

    async def mark_published(self, id: str, published: int) -> None:
        """Advance ``published``; never takes it back, never touches ``version``.

        Nor does a save that was loaded before: it keeps the larger number.
        """
        ...

    async def find(
        self,
        *,
        equal: Mapping[str, Scalar] | None = None,
        above: tuple[str, Scalar] | None = None,
        below: tuple[str, Scalar] | None = None,
        up_to: tuple[str, Scalar] | None = None,
        order: str | None = None,
        descending: bool = False,
        limit: int = 100,
        after: Cursor | None = None,
    ) -> list[Document]:
        """Documents by equality and a range on one field: ``above`` (>), ``below`` (<), ``up_to`` (<=).

        Ordered by ``order``, then id (by id alone when ``order`` is None). A document without a field that
        the range or the order names is not found. Raises ValueError for a field that wasn't declared.
        """
        ...

    async def count(self, equal: Mapping[str, Scalar] | None = None) -> int: ...

    async def delete(self, id: str) -> None:
        """Remove the document; removing what isn't there is no error."""
        ...


class Store(Protocol):
    """The one store of a service."""

    def collection(self, name: str, fields: Iterable[str] = ()) -> Collection:
        """The collection ``name`` with an index on each of ``fields``, made when missing.

        ``name``: lower-case letters, digits, ``_``, not a word of SQL (``orders``, not ``order``). ``due``
        and ``pending`` are always indexed.
        """
        ...

    async def ping(self) -> None:
        """Return when the store answers; raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Finish the writes under way and let go of the backend."""
        ...


# --- below: shared by the backends ---


@dataclass(frozen=True, slots=True)
class Record:
    """A document made ready for writing, checked and with its nested parts as JSON text."""

    id: str
    version: int
    recorded: int
    published: int
    due: str | None
    fields: Mapping[str, str | int]
    state: str
    replies: str
    refusals: str


def record_of(document: Document) -> Record:
    """Check and flatten.

    Raises ValueError (of which UnicodeEncodeError is one) for what one of the backends could not keep
    faithfully; TypeError for a state that isn't JSON.
    """
    if not document.id or "\0" in document.id:
        raise ValueError("a document id is text without NUL")
    document.id.encode()
    for fact in document.facts:
        searchable(fact.sequence)
        for text in (fact.id, fact.source, fact.type, fact.subject, fact.time, fact.dataschema, fact.data):
            if not text.isascii():
                text.encode()
    if document.version < 0 or not 0 <= document.published <= len(document.facts):
        raise ValueError("version or published out of range")
    for name, value in cast(dict[str, Any], document.fields).items():
        check_name(name)
        if name in _RESERVED:
            raise ValueError(f"the field name {name} is taken")
        if isinstance(value, datetime):
            raise ValueError(f"the field {name} is a time: give it as text")  # noqa: TRY004 - a value to refuse, like the others
        searchable(value)
    record = Record(
        id=document.id,
        version=document.version + 1,
        recorded=len(document.facts),
        published=document.published,
        due=None if document.due is None else instant(document.due),
        fields=document.fields,
        state=to_json(document.state),
        replies=to_json(document.replies),
        refusals=to_json(document.refusals),
    )
    size = len(record.state) + len(record.replies) + sum(len(fact.data) + 300 for fact in document.facts)
    if size > MAX_BYTES // 4:
        size = sum(len(text.encode()) for text in (record.state, record.replies))
        size += sum(len(fact.data.encode()) + 300 for fact in document.facts)
        if size > MAX_BYTES:
            raise ValueError(f"a document of {size} bytes is too large")
    return record


def to_json(value: Any) -> str:
    """Compact JSON; raises ValueError for NaN and lone surrogates, TypeError for what isn't JSON."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if not text.isascii():
        text.encode()
    return text


def instant(value: datetime) -> str:
    """A time as searchable text: ISO 8601 basic in UTC, fixed width to the microsecond, ordered as time is.

    Raises ValueError for a time without a zone. ``datetime.fromisoformat`` reads it back.
    """
    if value.utcoffset() is None:
        raise ValueError("a time needs a zone")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds").translate(_BASIC) + "Z"


def searchable(value: Any) -> str | int:
    """A value as it is compared in the store."""
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{type(value).__name__} cannot be searched: use text or int")  # noqa: TRY004 - likewise
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise ValueError("the integer does not fit 64 bits")
    elif "\0" in value:
        raise ValueError("a searched text has no NUL")
    else:
        value.encode()
    return value


@cache
def check_name(name: str) -> str:
    """A name every backend takes unquoted; SQLite itself is asked whether it is a word of SQL."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name for a collection or field: {name!r}")
    with closing(sqlite3.connect(":memory:")) as judge:
        try:
            judge.execute(f"CREATE TABLE {name} ({name})")
        except sqlite3.OperationalError:
            raise ValueError(f"{name} is a word of SQL: take another name") from None
    return name


def indexed(fields: Iterable[str]) -> tuple[str, ...]:
    """The fields to index: those asked for and those every sweeper needs.

    Raises ValueError for a name that is taken.
    """
    names = [name for name in dict.fromkeys(fields) if name not in BUILT_IN]
    for name in names:
        if check_name(name) in _RESERVED:
            raise ValueError(f"the field name {name} is taken")
    return ("due", "pending", *names)


@dataclass(frozen=True, slots=True)
class Query:
    """A ``find`` with its values checked: what the backends translate."""

    conditions: tuple[tuple[str, str, str | int], ...]
    """(field, one of ``= > < <=``, value)"""
    order: str | None
    descending: bool
    limit: int
    after: Cursor | None


def query(
    known: Iterable[str],
    equal: Mapping[str, Scalar] | None,
    above: tuple[str, Scalar] | None = None,
    below: tuple[str, Scalar] | None = None,
    up_to: tuple[str, Scalar] | None = None,
    order: str | None = None,
    descending: bool = False,
    limit: int = 100,
    after: Cursor | None = None,
) -> Query:
    ranges = [(op, bound) for op, bound in ((">", above), ("<", below), ("<=", up_to)) if bound is not None]
    if len({bound[0] for _, bound in ranges}) > 1:
        raise ValueError("a range is on one field")
    if limit < 1:
        raise ValueError("limit starts at 1")
    order = None if order == "id" else order
    conditions = [(name, "=", searchable(value)) for name, value in (equal or {}).items()]
    conditions += [(name, op, searchable(value)) for op, (name, value) in ranges]
    asked = [name for name, _, _ in conditions] + ([order] if order else [])
    for name in asked:
        if name not in BUILT_IN and name not in known:
            raise ValueError(f"the collection was not opened with the field {name}")
    if after is not None and (after.value is None) != (order is None):
        raise ValueError("the cursor belongs to another order")
    return Query(tuple(conditions), order, descending, limit, after)
