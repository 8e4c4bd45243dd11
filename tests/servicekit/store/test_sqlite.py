"""What only the embedded store has: a file that others may hold, and threads to wait for it in."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from servicekit.store import Document, StoreUnavailable
from servicekit.store.sqlite import BUSY_MS, SqliteStore


class Busy(sqlite3.OperationalError):
    sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
    sqlite_errorname = "SQLITE_BUSY_RECOVERY"


async def test_a_file_somebody_keeps_to_himself_is_waited_for_by_a_thread(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "kept.sqlite")
    here = threading.get_ident()

    def read(connection: sqlite3.Connection) -> int:
        if threading.get_ident() == here:
            raise Busy
        return connection.execute("PRAGMA busy_timeout").fetchone()[0]

    assert await store.look(read) == BUSY_MS
    # Whoever looks from the loop never waits there.
    assert await store.look(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone()) == (0,)
    await store.close()


async def test_a_document_by_its_id_takes_no_thread(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "own.sqlite")
    journeys = store.collection("journeys")
    saved = await journeys.save(Document("one"))

    def unused(*_: object) -> None:
        raise AssertionError("handed to a thread")

    store._readers.submit = unused  # pyright: ignore[reportAttributeAccessIssue]
    assert await journeys.get("one") == saved
    assert await journeys.get("one", saved) is saved
    del store._readers.submit
    await store.close()


async def test_trouble_with_the_file_is_told_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "own.sqlite")
    journeys = store.collection("journeys")
    with contextlib.closing(sqlite3.connect(tmp_path / "own.sqlite", isolation_level=None)) as other:
        other.execute("DROP TABLE journeys")
    with pytest.raises(StoreUnavailable, match="SQLITE"):
        await journeys.get("one")
    await store.close()
