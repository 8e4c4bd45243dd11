"""Evidence on the bus: hears every fact, attests, exports."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import aiohttp
from pydantic import Field

from contracts import subjects
from contracts.commands.evidence import (
    Attest,
    BuildPack,
    ChainView,
    FindJourneys,
    JourneyFile,
    ListJourneys,
    Live,
    Pack,
    RegisteredJourneys,
    Timeline,
    ViewChain,
    ViewFile,
    ViewLive,
    ViewTimeline,
)
from contracts.facts.base import Fact, read_fact
from contracts.facts.evidence import PackExported
from contracts.facts.issuance import JourneyIssued, PolicyIssued
from contracts.facts.proposal import JourneyOpened
from contracts.problems import Refuse
from contracts.values import Attestation, sha256_hex
from products import Release, ReleaseError, load_release
from servicekit.bus import Delivery, Retry
from servicekit.documents.fonts import FontsNotPrepared
from servicekit.documents.render import MissingGlyph, RenderFailed
from servicekit.documents.timestamp import TimestampUnavailable
from servicekit.journeys import journey_subject
from servicekit.service import Decided, Ground, Service, answers
from servicekit.settings import Settings
from services.evidence import journey_file, rules
from services.evidence.audits import FIELDS, Audits, broken
from services.evidence.chain import SALT_BYTES, Damaged, Entry
from services.evidence.chains import Chains
from services.evidence.gaps import Gaps
from services.evidence.measures import OTHER, Measures
from services.evidence.pack import Packer, Scope, exhibits
from services.evidence.register import Register, Row
from services.evidence.report import Reporter
from services.evidence.rules import OWN, EvidenceState
from services.evidence.signature import EvidenceKey
from services.evidence.timestamps import Authorities, roots_in
from services.evidence.words import Names

log = logging.getLogger(__name__)


class EvidenceSettings(Settings):
    service: ClassVar[str] = OWN

    evidence_key_file: Path = Path("var/sandbox/keys/evidence.key.pem")
    evidence_certificate_file: Path = Path("var/sandbox/certs/evidence.chain.pem")
    """PEM: the certificate of the key first, then those above it."""
    evidence_tsa_urls: tuple[str, ...] = Field(default=(), min_length=1, validate_default=True)
    """RFC 3161 authorities, asked in this order."""
    evidence_tsa_roots_file: Path = Path("var/sandbox/trust/tsa-root.pem")
    evidence_tsa_seconds: int = Field(default=2, gt=0)
    """For one answer of one authority."""
    evidence_channels: tuple[str, ...] = ()
    """Channels that are counted by name; any other is counted as ``other``."""


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
        self.register = Register(ground.store, self.chains, ground.vault, ground.now, self.moved)
        self.measures = Measures(self.metrics.registry, self.set.evidence_channels)
        self.audits = Audits(ground.store.collection("audits", FIELDS), self.metrics, ground.now, self.look)
        self.gaps = Gaps(self.metrics.registry, ground.now)
        self._releases: dict[str, Release] = {}
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
            self.metrics.outside("authority"),
        )

        self._packer = Packer(self.vault, self.blobs, self.key)
        self._reporter = Reporter(self.set.fonts_dir, self.metrics.pool_queue.set)
        self._warming: asyncio.Task[None] | None = None
        self.register.start()

    async def close(self) -> None:
        await self.register.stop()
        if self._warming is not None:
            self._warming.cancel()
            with suppress(asyncio.CancelledError):
                await self._warming
        await self._reporter.stop()
        await self._session.close()

    async def _hear(self, delivery: Delivery) -> None:
        fact = delivery.fact
        try:
            await super()._hear(delivery)
        except Retry:
            service = fact.source.rpartition("/")[2]
            if fact.sequence > (await self.chains.state(fact.subject)).heard.get(service, 0) + 1:
                self.gaps.met(fact.subject, service, fact.sequence)
            raise
        if fact.type != JourneyIssued.type():
            return
        await self.audits.expect(fact.subject, JourneyIssued.model_validate_json(fact.data, extra="ignore"))
        if self._warming is None:
            # From now on somebody may ask for a pack, and the first report is slow to draw.
            self._warming = asyncio.create_task(self._warm(), name="warm-reports")

    def _saved(self, journey_id: str, state: EvidenceState) -> None:
        super()._saved(journey_id, state)
        self.register.grown(journey_id)

    async def swept(self) -> None:
        await self.register.swept()
        for journey_id in self.gaps.journeys():
            self.gaps.closed(journey_id, await self.chains.state(journey_id))
        self.gaps.measure()
        await self.audits.swept()

    async def _warm(self) -> None:
        try:
            await self._reporter.warm()
        except (RenderFailed, FontsNotPrepared) as error:
            log.warning("reports cannot be drawn yet", extra={"error": type(error).__name__})
            self._warming = None

    @answers(Attest)
    async def attest_head(self, request: Attest) -> Attestation:
        """Signs and timestamps the head once every fact asked for is held, or refuses naming the gap."""
        try:
            await self.chains.state_after(request.journey_id, request.heads, frozenset(self.hears))
        except Refuse:
            # Another instance may have heard the rest; if none did, this names the gap.
            rules.check_held(await self.chains.state(request.journey_id), request.heads)
        return await self.anchor(request.journey_id, request.heads)

    @answers(ViewChain)
    async def view(self, request: ViewChain) -> ChainView:
        return _chain(await self.chains.state(request.journey_id))

    # -- the register and a journey's file -----------------------------------------------------------------

    @answers(ListJourneys)
    async def list_journeys(self, request: ListJourneys) -> RegisteredJourneys:
        return await self.register.listed(request)

    @answers(FindJourneys)
    async def find_journeys(self, request: FindJourneys) -> RegisteredJourneys:
        return await self.register.found(request)

    @answers(ViewLive)
    async def live(self, _: ViewLive) -> Live:
        return await self.register.live()

    @answers(ViewFile)
    async def view_file(self, request: ViewFile) -> JourneyFile:
        """From the chain itself, every hash computed again: what the register says may lag, this does not."""
        state, entries = await self._whole(request.journey_id)
        names = Names(await self.release_of(entries))
        return journey_file.journey_file(request.journey_id, entries, _chain(state), names)

    @answers(ViewTimeline)
    async def view_timeline(self, request: ViewTimeline) -> Timeline:
        _, entries = await self._whole(request.journey_id)
        names = Names(await self.release_of(entries))
        return journey_file.timeline(entries, names, after=request.after, limit=request.limit)

    async def _whole(self, journey_id: str) -> tuple[EvidenceState, list[Entry]]:
        """Raises ``Refuse``: ``journey_unknown``, ``evidence_incomplete``."""
        state = await self.chains.state(journey_id)
        rules.check_held(state, {})
        return state, await self.intact(journey_id, state)

    async def look(self, journey_id: str) -> tuple[bool, frozenset[str]]:
        """Whether a pack of the journey would be complete, and which rules its facts break. Anchors the chain to its
        end. Raises ``Refuse``: ``evidence_incomplete``, ``timestamp_unavailable``.
        """
        anchor = await self.anchor(journey_id, {})
        state = await self.chains.state(journey_id)
        entries = await self.intact(journey_id, state)
        scope = Scope(journey_id, masked=False)
        made = await self._packer.contents(
            scope, anchor, exhibits(entries[: anchor.count], None), await self.release_of(entries)
        )
        if made.reasons:
            log.error("a pack would be incomplete", extra={"journey_id": journey_id, "reasons": sorted(made.reasons)})
        return not made.reasons, broken([read_fact(entry.type, entry.data) for entry in entries])

    # -- packs ---------------------------------------------------------------------------------------------

    @answers(BuildPack)
    async def build_pack(self, command: BuildPack, state: EvidenceState) -> Decided:
        """Puts the pack together, seals it among the blobs, and puts on record what left the house and why.

        Without a timestamp now, the pack reaches to the last head that has one and says so. Raises ``Refuse``.
        """
        journey_id = command.journey_id
        rules.check_held(state, {})
        facts: list[Fact] = []
        reasons: set[str] = set()
        anchor = state.anchor
        if anchor is None or not state.anchored:
            try:
                anchor = await self.stamped(journey_id, state)
                facts.append(rules.anchored(anchor))
            except Refuse:
                if anchor is None:
                    raise
                reasons.add("facts_after_the_last_timestamp")
        entries = (await self.intact(journey_id, state))[: anchor.count]
        scope = self.scope_of(command, entries)
        shown = exhibits(entries, scope.product)
        release = await self.release_of(entries)
        made = await self._packer.contents(scope, anchor, shown, release)
        made.reasons |= reasons
        try:
            made.members["report.pdf"] = await self._reporter.report(scope, anchor, shown, made, release)
        except MissingGlyph:
            # A name no font can set must not keep the evidence from whoever is entitled to it.
            made.reasons.add("report_not_drawn")
        except RenderFailed:
            raise Refuse("unavailable", retry_after=10) from None
        pack, manifest = await asyncio.to_thread(self._packer.seal, scope, made)
        sealed = await self.vault.seal_file(journey_id, pack, "application/zip")
        facts.append(
            PackExported(
                at=self.now(),
                scope=scope.kind,
                policy_no=scope.policy_no,
                masked=scope.masked,
                reason=command.reason,
                manifest_sha256=sha256_hex(manifest),
            )
        )
        reply = Pack(
            commitment=sealed.commitment,
            blob=sealed.blob,
            size=sealed.size,
            file_name=scope.file_name,
            complete=not made.reasons,
        )
        return Decided(facts=facts, reply=reply)

    def scope_of(self, command: BuildPack, entries: Sequence[Entry]) -> Scope:
        """Raises ``Refuse("policy_unknown")`` for a policy this journey did not issue."""
        if command.scope == "journey":
            return Scope(command.journey_id, command.masked)
        for entry in entries:
            fact = read_fact(entry.type, entry.data)
            if isinstance(fact, PolicyIssued) and fact.policy_no == command.policy_no:
                return Scope(command.journey_id, command.masked, fact.product, fact.policy_no)
        raise Refuse("policy_unknown")

    async def release_of(self, entries: Sequence[Entry]) -> Release | None:
        """The release the journey was opened on; none where it cannot be read (the pack then says so)."""
        for entry in entries:
            fact = read_fact(entry.type, entry.data)
            if isinstance(fact, JourneyOpened):
                return await self.release(fact.release)
        return None

    async def release(self, named: str) -> Release | None:
        if named not in self._releases:
            try:
                self._releases[named] = await asyncio.to_thread(load_release, named, self.set.releases_dir)
            except ReleaseError:
                return None
        return self._releases[named]

    async def moved(self, before: Row, after: Row, facts: Sequence[Fact]) -> None:
        """Counted by the line of what must be bought: a journey is one, whatever goes with it."""
        if after.release is None:
            return
        release = await self.release(after.release)
        products = [] if release is None else [release.products[code] for code in after.products]
        lines = {p.line for p in products if not p.optional} or {p.line for p in products}
        self.measures.moved(before, after, facts, "+".join(sorted(lines)) or OTHER)

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
            given = await self.stamped(journey_id, state)

            async def decision(_: EvidenceState) -> Sequence[Fact]:
                return [rules.anchored(given)]

            await self.chains.append(journey_id, decision)
            return given

    async def stamped(self, journey_id: str, state: EvidenceState) -> Attestation:
        """The head of ``state``, signed and timestamped. A crash before it is on record leaves an unused token,
        nothing else. Raises ``Refuse("timestamp_unavailable")``.
        """
        if state.head is None:
            raise Refuse("journey_unknown")
        try:
            token = await self._authorities.token_over(bytes.fromhex(state.head))
        except TimestampUnavailable:
            raise Refuse("timestamp_unavailable", retry_after=5) from None
        unsigned = Attestation(
            head=state.head,
            count=state.count,
            heads=state.heard,
            at=self.now(),
            signature="",
            token=await self.blobs.put(token),
        )
        signature = self.key.sign(rules.statement(journey_id, unsigned.model_dump(mode="json")))
        return unsigned.model_copy(update={"signature": signature})

    async def intact(self, journey_id: str, state: EvidenceState) -> list[Entry]:
        """Every entry of the chain, each hash computed again. Raises ``Refuse("evidence_incomplete")``."""
        try:
            return await self.chains.entries(journey_id, state.head, state.count)
        except Damaged as damage:
            raise Refuse("evidence_incomplete", damaged=damage.index) from None


def _chain(state: EvidenceState) -> ChainView:
    return ChainView(
        count=state.count,
        head=state.head,
        heads=state.heard,
        anchored=state.anchor.count if state.anchor else 0,
    )


__all__ = ["Evidence", "EvidenceSettings"]
