"""Keeps the chains: every fact of a journey, as heard, in a collection of its own that only grows.

An entry is written before the aggregate moves to it. Its id names its content, so a writer that lost its race
leaves a stray that leads nowhere and never overwrites another's entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from servicekit.journeys import Journeys
from servicekit.store import Collection, Cursor, Document, StoredFact
from services.evidence import chain
from services.evidence.chain import Entry
from services.evidence.rules import OWN, EvidenceState

PAGE = 500


class Chains(Journeys[EvidenceState]):
    """The journeys of evidence, each with its chain."""

    def __init__(self, *, entries: Collection, salt: Callable[[], bytes], **journeys: Any) -> None:
        super().__init__(**journeys)
        self._entries = entries
        self._salt = salt

    async def _keep(self, journey_id: str, state: EvidenceState, stored: StoredFact) -> EvidenceState:
        """The fact's bytes and attributes become the next entry of the chain."""
        return await self._grow(journey_id, state, [stored])

    async def entries(self, journey_id: str, head: str | None, count: int) -> list[Entry]:
        """The chain's entries up to ``head``, every hash computed again. Raises ``chain.Damaged``."""
        kept: list[Entry] = []
        after = None
        while True:
            page = await self._entries.find(equal={"journey": journey_id}, limit=PAGE, after=after)
            for document in page:
                try:
                    kept.append(Entry.model_validate(document.state))
                except ValueError:
                    raise chain.Damaged(int(document.fields.get("place", 0))) from None
            if len(page) < PAGE:
                break
            after = page[-1].cursor()
        return chain.whole(journey_id, kept, head, count)

    async def since(self, journey_id: str, state: EvidenceState, place: int, head: str) -> list[Entry] | None:
        """The entries after ``place``, up to the head of ``state``; none where ``head`` does not lead on to them.

        Hashes are not computed again here: see ``entries``. Raises ``chain.Damaged`` for an entry that is missing.
        """
        kept: dict[tuple[int, str], Entry] = {}
        # Ids sort by place; "~" comes after every hash, so after all entries at ``place``.
        after = Cursor(f"{journey_id}.{place:06d}.~")
        while True:
            page = await self._entries.find(equal={"journey": journey_id}, limit=PAGE, after=after)
            for document in page:
                entry = Entry.model_validate(document.state)
                kept[entry.index, entry.link] = entry
            if len(page) < PAGE:
                break
            after = page[-1].cursor()
        path: list[Entry] = []
        link = state.head or head
        for index in range(state.count, place, -1):
            if (index, link) not in kept:
                raise chain.Damaged(index)
            path.append(kept[index, link])
            link = path[-1].previous
        path.reverse()
        return path if link == head else None

    async def _save(self, document: Document, state: EvidenceState) -> EvidenceState:
        """Evidence's own facts join the chain as they are saved."""
        fresh = document.facts[state.chained :]
        if fresh:
            state = await self._grow(document.id, state, fresh)
            state = state.model_copy(update={"chained": len(document.facts)})
            document = self._with(document, state)
        return await super()._save(document, state)

    async def _grow(self, journey_id: str, state: EvidenceState, facts: Sequence[StoredFact]) -> EvidenceState:
        entries = chain.extend(journey_id, state.head, state.count, facts, self._salt)
        await self._entries.put_many(
            Document(
                id=f"{journey_id}.{entry.index:06d}.{entry.link[:16]}",
                state=entry.model_dump(mode="json"),
                fields={"journey": journey_id, "place": entry.index},
            )
            for entry in entries
        )
        return state.model_copy(update={"head": entries[-1].link, "count": entries[-1].index})


__all__ = ["OWN", "Chains"]
