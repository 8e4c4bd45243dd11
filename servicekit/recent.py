"""The documents a process had in hand last, with their states, so that neither is parsed and validated again.

Never taken for the record: whoever reads asks the store whether the version still stands, and whoever writes names it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from servicekit.store import Document

S = TypeVar("S")

KEPT: Final = 128
"""Documents of a busy journey reach some hundred kilobytes; more journeys at once are read anew."""


@dataclass(frozen=True)
class Known(Generic[S]):
    document: Document
    state: S


class Recent(Generic[S]):
    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: OrderedDict[str, Known[S]] = OrderedDict()

    def get(self, id: str) -> Known[S] | None:
        known = self._known.get(id)
        if known is not None:
            self._known.move_to_end(id)
        return known

    def put(self, document: Document, state: S) -> Known[S]:
        """What is known from now on: this, unless a later version already is."""
        known = self._known.get(document.id)
        if known is None or known.document.version <= document.version:
            known = self._known[document.id] = Known(document, state)
        self._known.move_to_end(document.id)
        while len(self._known) > self._kept:
            self._known.popitem(last=False)
        return known

    def published(self, id: str, count: int) -> None:
        """That many of its facts are on the bus, which raises no version."""
        known = self._known.get(id)
        if known is not None and known.document.published < count:
            self._known[id] = Known(replace(known.document, published=count), known.state)

    def forget(self, id: str) -> None:
        """Nobody knows any more what is on record."""
        self._known.pop(id, None)


__all__ = ["KEPT", "Known", "Recent"]
