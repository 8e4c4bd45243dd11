"""What the stand-ins remember, in one SQLite file, so that a restart loses nothing.

Calls are synchronous on purpose: they take microseconds (WAL, no fsync), and because nothing awaits
between a read and its write, each request handler is a transaction by itself. A killed process loses
nothing; a machine that loses power may lose the last moments, which a stand-in can bear.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, id TEXT NOT NULL, tag TEXT NOT NULL, document TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS by_tag ON records (kind, tag, seq);
"""


class Records:
    """JSON documents by (kind, id), with one `tag` to look them up by, in order of first arrival."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def put(self, kind: str, id: str, document: Document, tag: str = "") -> None:
        self._db.execute(
            "INSERT INTO records (kind, id, tag, document) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET tag = excluded.tag, document = excluded.document",
            (kind, id, tag, json.dumps(document, ensure_ascii=False)),
        )

    def get(self, kind: str, id: str) -> Document | None:
        row = self._db.execute("SELECT document FROM records WHERE kind = ? AND id = ?", (kind, id)).fetchone()
        return None if row is None else json.loads(row[0])

    def find(self, kind: str, tag: str | None = None, newest: int | None = None) -> list[Document]:
        """Documents of a kind, oldest first; with `newest`, only that many, newest first."""
        where, arguments = "kind = ?", [kind]
        if tag is not None:
            where, arguments = "kind = ? AND tag = ?", [kind, tag]
        order = "seq" if newest is None else f"seq DESC LIMIT {int(newest)}"
        query = f"SELECT document FROM records WHERE {where} ORDER BY {order}"  # noqa: S608 - fixed words only
        rows = self._db.execute(query, arguments)
        return [json.loads(row[0]) for row in rows]

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing. No await inside: the connection is shared."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def answers(self) -> bool:
        return self._db.execute("SELECT 1").fetchone() == (1,)

    def close(self) -> None:
        self._db.close()
