from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID

from servicekit.store import Store
from servicekit.store.mongodb import MongoStore
from servicekit.store.sqlite import SqliteStore
from tests.wire_server import wire_server

OpenStore = Callable[[], Store]


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with wire_server(tmp_path_factory.mktemp("wire")) as uri:
        yield uri


@pytest.fixture(params=["sqlite", "mongodb"])
async def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens the same store anew each time, as another process would."""
    opened: list[Store] = []
    clean: Callable[[], Awaitable[Any]] | None = None

    if request.param == "sqlite":

        def open_one() -> Store:
            opened.append(SqliteStore(tmp_path / "service.sqlite"))
            return opened[-1]
    else:
        uri: str = request.getfixturevalue("mongo_uri")
        database = f"toubao_test_{ULID()}".lower()

        def open_one() -> Store:
            opened.append(MongoStore(uri, database))
            return opened[-1]

        last = MongoStore(uri, database)
        clean = lambda: last._client.drop_database(database)  # noqa: E731
        opened.append(last)
    yield open_one
    if clean:
        await clean()
    for store in opened:
        await store.close()


@pytest.fixture
def store(open_again: OpenStore) -> Store:
    return open_again()
