"""The embedded store: one SQLite file a service, WAL, ``synchronous=FULL``.

One thread writes. While it waits for the disk, further saves queue up; the next commit takes them all, so the
cost of an fsync is shared by whoever came meanwhile. A save is answered only after its commit. Reads have
connections of their own and never wait for a writer: a search on a thread of its own, a document by its id at once.

Names of tables and fields stand in the statements only after ``check_name``; values are always bound.
"""
# ruff: noqa: S608 - see above

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from pydantic_core import from_json
from pydantic_core import to_json as facts_to_json

from servicekit.store.document import (
    Collection,
    Cursor,
    Document,
    FactsLost,
    Query,
    Record,
    Scalar,
    StoredFact,
    StoreError,
    StoreUnavailable,
    VersionConflict,
    check_name,
    indexed,
    query,
    record_of,
    to_json,
)

T = TypeVar("T")

READERS = 2
GROUP = 256
"""Most writes in one commit: bounds how long the first of them waits."""
BUSY_MS = 5000
"""How long to wait for another process that writes the same file."""

_COLUMNS = "id, version, published, due, fields, state, facts, replies, refusals"
_fact_values = attrgetter(*(each.name for each in dataclass_fields(StoredFact)))


def connect(path: Path, busy_ms: int = BUSY_MS) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout={busy_ms}")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


Write = Callable[[sqlite3.Connection], Any]


class _Asked:
    """One write and the caller who waits for it."""

    __slots__ = ("error", "future", "loop", "result", "write")

    def __init__(self, write: Write) -> None:
        self.write = write
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():  # the caller gave up; the write stands
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Writer:
    """The thread that owns the writing connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"write {path.name}", daemon=True)
        self._thread.start()

    async def do(self, write: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        asked = _Asked(write)
        self._queue.put(asked)
        return await asked.future

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        connection = connect(self._path)
        try:
            going = True
            while going:
                group: list[_Asked] = []
                asked = self._queue.get()
                while asked is not None:
                    group.append(asked)
                    if len(group) == GROUP or self._queue.empty():
                        break
                    asked = self._queue.get()
                going = asked is not None
                if group:
                    self._commit(connection, group)
                    _answer(group)
        finally:
            connection.close()

    def _commit(self, connection: sqlite3.Connection, group: list[_Asked]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for asked in group:
                try:
                    asked.result = asked.write(connection)
                except Exception as error:
                    # A failed statement takes only itself back. When SQLite gave the whole transaction up
                    # (disk full, I/O error), nobody in the group was saved.
                    if not connection.in_transaction:
                        raise
                    asked.error = unavailable(error) if isinstance(error, sqlite3.Error) else error
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the thread must live on, and each caller hears of it
            for asked in group:
                asked.error = unavailable(error)
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")


def _answer(group: list[_Asked]) -> None:
    for loop in {asked.loop for asked in group}:
        settled = [asked for asked in group if asked.loop is loop]
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it whoever waited
            loop.call_soon_threadsafe(_settle, settled)


def _settle(group: list[_Asked]) -> None:
    for asked in group:
        asked.settle()


def unavailable(error: BaseException) -> StoreUnavailable:
    """Only SQLite's own word for the trouble: its messages carry no values."""
    refused = StoreUnavailable(getattr(error, "sqlite_errorname", type(error).__name__))
    refused.__cause__ = error
    return refused


def _busy(error: BaseException | None) -> bool:
    # The code's last byte is its family (extended result codes).
    return isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


class SqliteStore:
    """The file at ``path`` (folders are made). Several processes may use it; each has its own writer."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with contextlib.closing(connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        self._writer = _Writer(path)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"read {path.name}")
        self._reading = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    def collection(self, name: str, fields: Iterable[str] = ()) -> Collection:
        table = f'"{check_name(name)}"'
        names = indexed(fields)
        with contextlib.closing(connect(self._path)) as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL,"
                " recorded INTEGER NOT NULL, published INTEGER NOT NULL, pending INTEGER NOT NULL, due TEXT,"
                " fields TEXT NOT NULL, state TEXT NOT NULL, facts TEXT NOT NULL, replies TEXT NOT NULL,"
                " refusals TEXT NOT NULL)"
            )
            for field in names:
                column = _column(field)
                # SQLite leaves a partial index aside on a column that is never null.
                rows = "" if field == "pending" else f" WHERE {column} IS NOT NULL"
                connection.execute(f'CREATE INDEX IF NOT EXISTS "{name}.{field}" ON {table} ({column}, id){rows}')
        return SqliteCollection(self, table, names)

    async def ping(self) -> None:
        await self.read(lambda connection: connection.execute("SELECT 1").fetchone())

    async def close(self) -> None:
        self._closed = True
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        while self._connections:
            self._connections.pop().close()

    async def write(self, write: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``write`` within the next commit; returns once it is on disk."""
        return await self._writer.do(write)

    async def read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, read)

    async def look(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Like ``read``, for a row by its key: that costs less than handing it to a thread and back."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        try:
            return self._read(read, busy_ms=0)
        except StoreUnavailable as error:
            if not _busy(error.__cause__):
                raise
        # Who writes never keeps a reader out, but another process that mends or empties the log may: wait elsewhere.
        return await self.read(read)

    def _read(self, read: Callable[[sqlite3.Connection], T], busy_ms: int = BUSY_MS) -> T:
        try:
            connection: sqlite3.Connection | None = getattr(self._reading, "connection", None)
            if connection is None:
                connection = self._reading.connection = connect(self._path, busy_ms)
                self._connections.append(connection)
                connection.execute("PRAGMA query_only=ON")
            return read(connection)
        except sqlite3.Error as error:
            raise unavailable(error) from error


class SqliteCollection:
    def __init__(self, store: SqliteStore, table: str, names: tuple[str, ...]) -> None:
        self._store = store
        self._names = names
        self._table = table
        self._get = f"SELECT {_COLUMNS} FROM {table} WHERE id = ?"
        self._version = f"SELECT version FROM {table} WHERE id = ?"
        self._insert = (
            f"INSERT INTO {table} (id, version, recorded, published, pending, due, fields, state, facts,"
            " replies, refusals) VALUES (:id, :version, :recorded, :published,"
            " :recorded - :published, :due, :fields, :state, :facts, :replies, :refusals)"
        )
        # ``published`` only ever advances, also past a save that was loaded before a mark_published.
        self._replace = (
            f"UPDATE {table} SET version = :version, recorded = :recorded,"
            " published = max(published, :published), pending = :recorded - max(published, :published),"
            " due = :due, fields = :fields, state = :state, facts = :facts, replies = :replies,"
            " refusals = :refusals WHERE id = :id AND version = :version - 1 AND recorded <= :recorded"
            " RETURNING published"
        )
        self._put = self._insert + (
            " ON CONFLICT (id) DO UPDATE SET version = excluded.version, recorded = excluded.recorded,"
            " published = excluded.published, pending = excluded.pending, due = excluded.due,"
            " fields = excluded.fields, state = excluded.state, facts = excluded.facts,"
            " replies = excluded.replies, refusals = excluded.refusals"
        )
        self._mark = (
            f"UPDATE {table} SET published = min(:published, recorded),"
            " pending = recorded - min(:published, recorded) WHERE id = :id AND published < :published"
        )

    async def get(self, id: str, known: Document | None = None) -> Document | None:
        def read(connection: sqlite3.Connection) -> Document | None:
            if known is not None and connection.execute(self._version, (id,)).fetchone() == (known.version,):
                return known
            row = connection.execute(self._get, (id,)).fetchone()
            return None if row is None else _document(row)

        return await self._store.look(read)

    async def save(self, document: Document) -> Document:
        row = _row(record_of(document), document)

        def insert(connection: sqlite3.Connection) -> int:
            try:
                connection.execute(self._insert, row)
            except sqlite3.IntegrityError:
                raise VersionConflict("the document exists") from None
            return document.published

        def overwrite(connection: sqlite3.Connection) -> int:
            kept = connection.execute(self._replace, row).fetchall()
            if kept:
                return kept[0][0]
            raise self._why_not(connection, document)

        published = await self._store.write(insert if document.version == 0 else overwrite)
        return replace(document, version=document.version + 1, published=published)

    def _why_not(self, connection: sqlite3.Connection, document: Document) -> StoreError:
        found = connection.execute(self._version, (document.id,)).fetchone()
        if found and found[0] == document.version:
            return FactsLost("the save has fewer facts than the record")
        return VersionConflict("another save came first")

    async def put_many(self, documents: Iterable[Document]) -> None:
        rows = [_row(record_of(document), document) for document in documents]
        if not rows:
            return

        def put(connection: sqlite3.Connection) -> None:
            connection.execute("SAVEPOINT put_many")
            try:
                connection.executemany(self._put, rows)
            except Exception:
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO put_many")
                raise
            connection.execute("RELEASE put_many")

        await self._store.write(put)

    async def mark_published(self, id: str, published: int) -> None:
        await self._store.write(
            lambda connection: connection.execute(self._mark, {"id": id, "published": published}).close()
        )

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
        asked = query(self._names, equal, above, below, up_to, order, descending, limit, after)
        where, values = _where(asked)
        direction = " DESC" if descending else ""
        # ``+id``: take the index of the range (few are pending or due), not that of the ids, then sort.
        ranged = any(operator != "=" for _, operator, _ in asked.conditions)
        by_id = f"{'+' if ranged and not asked.order else ''}id{direction}"
        ordering = f"{_column(asked.order)}{direction}, {by_id}" if asked.order else by_id
        sql = f"SELECT {_COLUMNS} FROM {self._table} WHERE {where} ORDER BY {ordering} LIMIT ?"
        return await self._store.read(
            lambda connection: [_document(row) for row in connection.execute(sql, (*values, limit))]
        )

    async def count(self, equal: Mapping[str, Scalar] | None = None) -> int:
        where, values = _where(query(self._names, equal))
        sql = f"SELECT count(*) FROM {self._table} WHERE {where}"
        return await self._store.read(lambda connection: connection.execute(sql, values).fetchone()[0])

    async def delete(self, id: str) -> None:
        await self._store.write(
            lambda connection: connection.execute(f"DELETE FROM {self._table} WHERE id = ?", (id,)).close()
        )


def _column(field: str) -> str:
    """The same expression in index and query, so that SQLite uses the one for the other."""
    return field if field in ("id", "version", "published", "pending", "due") else f"fields ->> '$.{field}'"


def _where(asked: Query) -> tuple[str, list[str | int]]:
    parts: list[str] = []
    values: list[str | int] = []
    for field, operator, value in asked.conditions:
        parts.append(f"{_column(field)} {operator} ?")
        values.append(value)
    if asked.order:
        parts.append(f"{_column(asked.order)} IS NOT NULL")
    if asked.after is not None:
        beyond = "<" if asked.descending else ">"
        if asked.order and asked.after.value is not None:
            parts.append(f"({_column(asked.order)}, id) {beyond} (?, ?)")
            values += [asked.after.value, asked.after.id]
        else:
            parts.append(f"id {beyond} ?")
            values.append(asked.after.id)
    return " AND ".join(parts) or "1", values


def _row(record: Record, document: Document) -> dict[str, Any]:
    return {
        "id": record.id,
        "version": record.version,
        "recorded": record.recorded,
        "published": record.published,
        "due": record.due,
        "fields": to_json(record.fields),
        "state": record.state,
        # All of them text and numbers, looked through by ``record_of``: nothing to be strict about, and they are many.
        "facts": facts_to_json([_fact_values(fact) for fact in document.facts]).decode(),
        "replies": record.replies,
        "refusals": record.refusals,
    }


def _document(row: tuple[Any, ...]) -> Document:
    name, version, published, due, fields, state, facts, replies, refusals = row
    return Document(
        id=name,
        version=version,
        state=from_json(state),
        facts=tuple(StoredFact(*each) for each in from_json(facts)),
        published=published,
        replies=tuple(from_json(replies)),
        refusals=from_json(refusals),
        due=None if due is None else datetime.fromisoformat(due),
        fields=from_json(fields),
    )
