"""A desk to try one service at: the real service on real NATS, store, blobs and vault, with the rest played here.

The desk plays identity (unless identity is what is tried): it judges proofs by signature and by a device key it
made, so that acts arrive as they would from a phone. Facts of other services are told with ``tell``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from contracts import subjects
from contracts.commands import evidence as evidence_commands
from contracts.commands.base import Act, Answer, Command, Request
from contracts.commands.identity import IssueNonce, Judgement, JudgeProof, Nonce
from contracts.facts.base import Fact
from contracts.facts.identity import DeviceKey
from contracts.problems import Problem, Refuse
from contracts.values import ActProof, Attestation, Contract, Proof
from deploy.nats.provision import provision
from deploy.simulator.device import Device
from servicekit.bus import Bus
from servicekit.runner import ground, new_ulid
from servicekit.service import Ground, Service
from servicekit.settings import Settings
from servicekit.store import StoredFact
from servicekit.vault import Vault
from tests.nats_server import NatsServer

R = TypeVar("R", bound=Contract)


class Clock:
    """Time that moves when told."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
        self.was_set = timedelta(0)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)

    def set(self, **span: float) -> None:
        """Somebody sets the clock: no time passes."""
        self.was_set += timedelta(**span)
        self.now += timedelta(**span)

    def ticks(self) -> float:
        """What a clock that only counts says."""
        return (self.now - self.was_set).timestamp()


@dataclass
class Desk:
    """What a test of one service holds in its hands."""

    service: Any
    """The real service; a test may reach into its own rooms."""
    bus: Bus
    vault: Vault
    clock: Clock
    device: Device
    folder: Path
    base: str = "https://toubao.test"
    told: dict[tuple[str, str], int] = field(default_factory=dict)
    facts: list[tuple[str, StoredFact]] = field(default_factory=list)
    attest: Callable[[evidence_commands.Attest], Awaitable[Attestation]] | None = None
    attempt: int = 1

    async def act(
        self, kind: type[Act], journey_id: str, body: Contract | dict[str, Any] | None = None, **kw: Any
    ) -> Any:
        """An act as it comes from the phone: sealed body, proof over it. Returns the reply, raises ``Refuse``.

        ``command_id``, ``after``, ``device``, ``path``, ``method`` may be given.
        """
        return await self.ask(await self.make_act(kind, journey_id, body, **kw))

    async def make_act(
        self,
        kind: type[Act],
        journey_id: str,
        body: Contract | dict[str, Any] | None = None,
        *,
        command_id: str | None = None,
        after: dict[str, int] | None = None,
        device: Device | None = None,
        method: str = "POST",
        path: str | None = None,
        nonce: str = "nonce",
        token: str | None = None,
        session: str | None = None,
    ) -> Act:
        raw = (
            b"{}"
            if body is None
            else (body.model_dump_json().encode() if isinstance(body, Contract) else json.dumps(body).encode())
        )
        url = self.base + (path or f"/v1/journeys/{journey_id}/{kind.verb.replace('_', '-')}")
        jws = (device or self.device).proof(method, url, raw, nonce=nonce, token=token)
        return kind(
            command_id=command_id or new_ulid(),
            journey_id=journey_id,
            after=after or {},
            proof=Proof(jws=jws, method=method, url=url),
            session=session,
            body=await self.vault.seal(journey_id, raw),
        )

    async def ask(self, request: Request) -> Any:
        # Longer than in production: a machine that runs the whole suite draws a report more slowly.
        reply, _ = await self.bus.request(request, request.reply, timeout=30)
        return reply

    async def refused(self, coming: Awaitable[Any]) -> str:
        """The code something is refused with; fails the test when it is not refused."""
        try:
            await coming
        except Refuse as refusal:
            return refusal.code
        raise AssertionError("not refused")

    async def tell(self, journey_id: str, *facts: Fact) -> None:
        """Facts of other services, on their stream and in order; returns once the service has heard them."""
        for fact in facts:
            sequence = self.told.get((journey_id, fact.service), 0) + 1
            self.told[(journey_id, fact.service)] = sequence
            await self.bus.publish(
                subjects.journey_fact(journey_id, fact.service, fact.name), stored(journey_id, fact, sequence)
            )
        wanted = {
            source: at
            for (journey, source), at in self.told.items()
            if journey == journey_id and source in self.service.hears
        }
        await self.service.journeys.state_after(journey_id, wanted, frozenset(wanted))

    async def made(self, journey_id: str) -> list[Fact]:
        """The facts the service has on record for the journey."""
        from contracts.facts.base import read_fact

        document = await self.service.journeys.collection.get(journey_id)
        return [] if document is None else [read_fact(s.type, s.data) for s in document.facts]

    async def eventually(self, holds: Callable[[], Awaitable[Any]], seconds: float = 10) -> Any:
        """What ``holds`` returns once it is true; looks again each time the service saves something."""
        async with asyncio.timeout(seconds):
            while True:
                result = await holds()
                if result:
                    return result
                await asyncio.sleep(0.01)

    async def proof(self, journey_id: str, body: bytes = b"{}") -> ActProof:
        """The proof a told fact of an act carries."""
        url = f"{self.base}/v1/journeys/{journey_id}/told"
        return ActProof(
            proof=Proof(jws=self.device.proof("POST", url, body, nonce="nonce"), method="POST", url=url),
            body=await self.vault.seal(journey_id, body),
            attempt=self.attempt,
        )


def stored(journey_id: str, fact: Fact, sequence: int) -> StoredFact:
    return StoredFact(
        id=new_ulid(),
        source=f"/services/{fact.service}",
        type=fact.type(),
        subject=journey_id,
        time=fact.at.isoformat(timespec="microseconds"),
        sequence=sequence,
        dataschema=f"urn:toubao:contracts:{fact.service}.{fact.name}.v{fact.version}",
        data=fact.model_dump_json(),
    )


def settings_for(kind: type[Service[Any, Any]], folder: Path, server: NatsServer, **more: Any) -> Settings:
    """A service's settings with everything under ``folder``."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    key = folder / "master.key"
    if not key.exists():
        key.write_text("11" * 32 + "\n")
        key.chmod(0o600)
    return kind.settings(
        nats_url=server.url,
        data_dir=folder / "data",
        blobs_dir=folder / "blobs",
        vault_keys_dir=folder / "vault",
        master_key_file=key,
        releases_dir=folder / "releases",
        sandboxed=True,
        sweep_seconds=0.05,
        **more,
    )


@asynccontextmanager
async def desk(
    kind: type[Service[Any, Any]],
    folder: Path,
    server: NatsServer,
    *,
    clock: Clock | None = None,
    play_identity: bool = True,
    play_evidence: bool = True,
    play: Mapping[type[Request], Callable[[Any], Awaitable[Answer[Any]]]] | None = None,
    **more: Any,
) -> AsyncIterator[Desk]:
    """The service, started on an empty bus. ``play`` answers further requests in place of other services; ``more``
    are settings of the service.
    """
    clock = clock or Clock()
    device = Device()
    await server.wipe()
    async with AsyncExitStack() as stack:
        played: Ground[Any] = await stack.enter_async_context(
            ground("desk", settings_for(kind, folder / "desk", server, **more), now=clock)
        )
        await provision(server.url, None, ())
        under: Ground[Any] = await stack.enter_async_context(
            ground(kind.name, settings_for(kind, folder, server, **more), now=clock, ticks=clock.ticks)
        )
        service = kind(under)
        at = Desk(service, played.bus, under.vault, clock, device, folder)
        answers: dict[type[Request], Any] = dict(play or {})
        if play_identity:
            answers |= {JudgeProof: _judge(at), IssueNonce: _nonce}
        if play_evidence:
            answers[evidence_commands.Attest] = _attest(at)
        if answers:
            await played.bus.serve("played", "1.0.0", answers)
        await service.start()
        try:
            yield at
        finally:
            await service.stop()


def _judge(at: Desk) -> Callable[[JudgeProof], Awaitable[Answer[Any]]]:
    from servicekit.proof import ProofRefused, verify_proof

    async def judge(request: JudgeProof) -> Answer[Any]:
        try:
            claims = verify_proof(
                request.proof.jws,
                method=request.proof.method,
                url=request.proof.url,
                body_sha256=request.body_sha256,
                expect_thumbprint=at.device.thumbprint,
            )
        except ProofRefused as refused:
            return Answer[Any](problem=Problem(code=refused.code), service="identity", sequence=0)
        judgement = Judgement(
            attempt=at.attempt,
            thumbprint=claims.thumbprint,
            device_key=DeviceKey.model_validate(claims.jwk),
            jti=claims.jti,
            verified=True,
            nonce="nonce",
        )
        return Answer[Any](reply=judgement, service="identity", sequence=0)

    return judge


async def _nonce(_: IssueNonce) -> Answer[Any]:
    return Answer[Any](reply=Nonce(nonce="nonce"), service="identity", sequence=0)


def _attest(at: Desk) -> Callable[[evidence_commands.Attest], Awaitable[Answer[Any]]]:
    async def attest(request: evidence_commands.Attest) -> Answer[Any]:
        try:
            if at.attest is not None:
                given = await at.attest(request)
            else:
                given = Attestation(
                    head="a" * 64,
                    count=max(1, sum(request.heads.values())),
                    heads=request.heads,
                    at=at.clock(),
                    signature="played..played",
                    token="b" * 64,
                )
        except Refuse as refusal:
            return Answer[Any](problem=refusal.problem, service="evidence", sequence=0)
        return Answer[Any](reply=given, service="evidence", sequence=0)

    return attest


__all__ = ["Clock", "Command", "Desk", "desk", "settings_for", "stored"]
