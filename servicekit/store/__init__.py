"""Documents with optimistic versions: the record of every service (DESIGN §4).

One document an aggregate, saved whole where its version matches. That single write stores state and facts
together on every backend; the bus is only transport. ``sqlite`` is the embedded default, ``mongodb`` the
production store; one contract suite holds both to the same behaviour.
"""

from servicekit.store.document import (
    Collection,
    Cursor,
    Document,
    FactsLost,
    Store,
    StoredFact,
    StoreError,
    StoreUnavailable,
    VersionConflict,
    instant,
)
from servicekit.store.opening import StoreSettings, open_store

__all__ = [
    "Collection",
    "Cursor",
    "Document",
    "FactsLost",
    "Store",
    "StoreError",
    "StoreSettings",
    "StoreUnavailable",
    "StoredFact",
    "VersionConflict",
    "instant",
    "open_store",
]
