"""Which store a service gets: the one place that picks a backend."""

from pathlib import Path
from typing import Literal, Protocol

from servicekit.store.document import Store


class StoreSettings(Protocol):
    """What opening a store needs to know; a service's settings have these fields."""

    @property
    def store(self) -> Literal["sqlite", "mongodb"]: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def mongodb_uri(self) -> str: ...


def open_store(settings: StoreSettings, service: str) -> Store:
    """The service's own store: ``<data_dir>/<service>.sqlite`` or the database ``toubao_<service>``.

    A MongoDB store connects when first used. Drivers are imported only where their backend is chosen.
    """
    if settings.store == "mongodb":
        from servicekit.store.mongodb import MongoStore

        return MongoStore(settings.mongodb_uri, f"toubao_{service}")
    from servicekit.store.sqlite import SqliteStore

    return SqliteStore(settings.data_dir / f"{service}.sqlite")
