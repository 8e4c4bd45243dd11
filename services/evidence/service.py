"""Evidence on the bus: hears every fact, attests, exports."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import aiohttp
from pydantic import Field

from contracts import subjects
from contracts.commands.evidence import Attest, ChainView, ViewChain
from contracts.facts.base import Fact
from contracts.facts.evidence import HeadAnchored
from contracts.problems import Refuse
from contracts.values import Attestation
from servicekit.documents.timestamp import TimestampUnavailable
from servicekit.journeys import journey_subject
from servicekit.service import Ground, Service, answers
from servicekit.settings import Settings
from services.evidence import rules
from services.evidence.chain import SALT_BYTES, Damaged, Entry
from services.evidence.chains import Chains
from services.evidence.rules import OWN, EvidenceState
from services.evidence.signature import EvidenceKey
from services.evidence.timestamps import Authorities, roots_in


class EvidenceSettings(Settings):
    service: ClassVar[str] = OWN

    evidence_key_file: Path = Path("var/sandbox/keys/evidence.key.pem")
    evidence_certificate_file: Path = Path("var/sandbox/certs/evidence.chain.pem")
    """PEM: the certificate of the key first, then those above it."""
    evidence_tsa_urls: tuple[str, ...] = Field(default=(), min_length=1, validate_default=True)
    """RFC 3161 authorities, asked in this order."""
    evidence_tsa_roots_file: Path = Path("var/sandbox/trust/tsa-root.pem")
    evidence_tsa_seconds: float = Field(default=2.0, gt=0)
    """For one answer of one authority."""


class Evidence(Service[EvidenceState, EvidenceSettings]):
    name = OWN
    state = EvidenceState
    hears: ClassVar[tuple[str, ...]] = tuple(s for s in subjects.JOURNEY_SERVICES if s != OWN)
    settings = EvidenceSettings

    def __init__(self, ground: Ground[EvidenceSettings]) -> None:
        super().__init__(ground)
        self.chains = Chains(
            entries=ground.store.collection("entries", ("journey", "place")),
            salt=lambda: secrets.token_bytes(SALT_BYTES),
            service=self.name,
            collection=self.journeys.collection,
            bus=ground.bus,
            metrics=ground.metrics,
            state=EvidenceState,
            evolve=self.evolve,
            new_id=ground.new_id,
            now=ground.now,
            refused=None,
            due=self.due,
            fields=self.fields_of,
            subject=journey_subject,
        )
        self.chains.on_saved = self.journeys.on_saved
        self.journeys = self.chains
        self._anchoring: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def evolve(self, state: EvidenceState, fact: Fact) -> EvidenceState:
        return rules.evolve(state, fact)

    async def open(self) -> None:
        self.key = EvidenceKey.load(self.set.evidence_key_file, self.set.evidence_certificate_file)
        # Under its hash, which every signature names: a pack finds the chain also when the key has changed since.
        await self.blobs.put(self.key.chain)
        self._session = aiohttp.ClientSession()
        self._authorities = Authorities(
            self.set.evidence_tsa_urls,
            roots_in(self.set.evidence_tsa_roots_file),
            self._session,
            self.set.evidence_tsa_seconds,
        )

    async def close(self) -> None:
        await self._session.close()

    @answers(Attest)
    async def attest(self, request: Attest) -> Attestation:
        """Signs and timestamps the head once every fact asked for is held, or refuses naming the gap."""
        try:
            await self.chains.state_after(request.journey_id, request.heads, frozenset(self.hears))
        except Refuse:
            # Another instance may have heard the rest; if none did, this names the gap.
            rules.check_held(await self.chains.state(request.journey_id), request.heads)
        return await self.anchor(request.journey_id, request.heads)

    @answers(ViewChain)
    async def view(self, request: ViewChain) -> ChainView:
        state = await self.chains.state(request.journey_id)
        return ChainView(
            count=state.count,
            head=state.head,
            heads=state.heard,
            anchored=state.anchor.count if state.anchor else 0,
        )

    async def anchor(self, journey_id: str, asked: dict[str, int]) -> Attestation:
        """The signed and timestamped head that covers every fact now held; the last one if nothing came since.

        Raises ``Refuse``: ``evidence_incomplete`` (also for a record that was altered), ``timestamp_unavailable``.
        """
        lock = self._anchoring.setdefault(journey_id, asyncio.Lock())
        async with lock:
            state = await self.chains.state(journey_id)
            rules.check_held(state, asked)
            await self.intact(journey_id, state)
            if state.anchor is not None and state.anchored:
                return state.anchor
            assert state.head is not None
            try:
                token = await self._authorities.token_over(bytes.fromhex(state.head))
            except TimestampUnavailable:
                raise Refuse("timestamp_unavailable", retry_after=5) from None
            # Seen by nobody but evidence until the fact is saved: a crash before that leaves only an unused token.
            stored = await self.blobs.put(token)
            at = self.now()
            draft = Attestation(
                head=state.head, count=state.count, heads=state.heard, at=at, signature="", token=stored
            )
            signature = self.key.sign(rules.statement(journey_id, draft.model_dump(mode="json")))
            anchored = HeadAnchored(
                at=at,
                head=state.head,
                count=state.count,
                heads=state.heard,
                token=stored,
                signature=signature,
            )

            async def decision(_: EvidenceState) -> Sequence[Fact]:
                return [anchored]

            await self.chains.append(journey_id, decision)
            return draft.model_copy(update={"signature": signature})

    async def intact(self, journey_id: str, state: EvidenceState) -> list[Entry]:
        """Every entry of the chain, each hash computed again. Raises ``Refuse("evidence_incomplete")``."""
        try:
            return await self.chains.entries(journey_id, state.head, state.count)
        except Damaged as damage:
            raise Refuse("evidence_incomplete", damaged=damage.index) from None


__all__ = ["Evidence", "EvidenceSettings"]
