"""A process that saves and is killed: says on its output what was acknowledged.

``kill_writer.py <backend> <location> <name of the document> <crash point>``. A crash point is
``<before|after> <step>:<n>``: the process kills itself there, the n-th time it comes by. Steps are SQL verbs for
SQLite, commands for MongoDB, and ``SAVE``/``MARK`` of this program itself.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymongo.monitoring

from servicekit.store import Document, StoredFact
from servicekit.store import sqlite as sqlite_store
from servicekit.store.mongodb import MongoStore

backend, location, name, crash_point = sys.argv[1:5]
where, _, count = crash_point.partition(":")
left = int(count or 0)


def come_by(step: str) -> None:
    global left  # noqa: PLW0603
    if step == where:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Connection(sqlite3.Connection):
    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        verb = sql.split(maxsplit=1)[0]
        come_by(f"before {verb}")
        cursor = super().execute(sql, *rest)
        come_by(f"after {verb}")
        return cursor


class Commands(pymongo.monitoring.CommandListener):
    def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
        come_by(f"before {event.command_name}")

    def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None:
        come_by(f"after {event.command_name}")

    def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None:
        pass


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def main() -> None:
    if backend == "sqlite":
        connect = sqlite3.connect
        sqlite3.connect = lambda *rest, **named: connect(*rest, factory=Connection, **named)  # type: ignore[assignment]
        store: Any = sqlite_store.SqliteStore(Path(location))
    else:
        pymongo.monitoring.register(Commands())
        store = MongoStore(*location.rsplit(" ", 1))
    journeys = store.collection("journeys")
    document = await journeys.get(name) or Document(name, state={"n": 0})
    say(f"saved {document.version}")
    while True:
        n = document.version + 1
        fact = StoredFact(f"{name}{n}", "signing", "signed.v1", "s", "t", n, "d", f'{{"n":{n},"pad":"{"投" * 300}"}}')
        come_by("before SAVE")
        document = await journeys.save(replace(document, state={"n": n}, facts=(*document.facts, fact)))
        come_by("after SAVE")
        say(f"saved {document.version}")
        come_by("before MARK")
        await journeys.mark_published(name, len(document.facts))
        come_by("after MARK")
        say(f"marked {len(document.facts)}")


asyncio.run(main())
