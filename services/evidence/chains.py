"""Keeps the chains: every fact of a journey, as heard, in a collection of its own that only grows.

An entry is written before the aggregate moves to it. Its id names its content, so a writer that lost its race
leaves a stray that leads nowhere and never overwrites another's entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from contracts.facts.base import read_fact
from servicekit.bus import Retry, Unhandleable
from servicekit.journeys import TRIES, Journeys
from servicekit.store import Collection, Document, StoredFact, VersionConflict
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

    async def hear(self, stored: StoredFact) -> bool:
        """As for any service, and the fact's bytes and attributes become the next entry of the chain.

        Raises ``Retry``, ``Unhandleable``.
        """
        journey_id, source = stored.subject, stored.source.rpartition("/")[2]
        async with self._lock(journey_id):
            for _ in range(TRIES):
                document = await self.collection.get(journey_id) or Document(journey_id)
                state = self._load(document)
                heard = state.heard.get(source, 0)
                if stored.sequence <= heard:
                    return False
                if stored.sequence > heard + 1:
                    raise Retry(f"waiting for {source} {heard + 1}")
                try:
                    fact = read_fact(stored.type, stored.data)
                    grown = await self._grow(document.id, state, [stored])
                except ValueError as error:
                    raise Unhandleable(f"{stored.type} does not fit its contract") from error
                grown = self._evolve(grown, fact)
                grown = grown.model_copy(update={"heard": {**state.heard, source: stored.sequence}})
                try:
                    saved = await self._save(self._with(document, grown))
                except VersionConflict:
                    continue
                self._after_save(saved)
                return True
        raise Retry("somebody else keeps saving")

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

    async def _save(self, document: Document) -> Document:
        """Evidence's own facts join the chain as they are saved."""
        state = self._load(document)
        fresh = document.facts[state.chained :]
        if fresh:
            grown = await self._grow(document.id, state, fresh)
            grown = grown.model_copy(update={"chained": len(document.facts)})
            document = self._with(document, grown)
        return await super()._save(document)

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
