"""The real gateway over real HTTP and real NATS, with the services behind it played here."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from argon2 import PasswordHasher

from contracts.commands import appdownload, disclosure, evidence, identity, issuance, nps, payment, proposal, signing
from contracts.commands.base import Act, Answer, Done, Request, request_types
from contracts.facts.identity import DeviceKey
from contracts.facts.proposal import JourneyOpened
from contracts.problems import Problem, Refuse
from contracts.values import CommittedFile, Contract, DocumentRef
from deploy.nats.provision import provision
from deploy.simulator.device import Device
from deploy.simulator.proposals import Person, person
from deploy.simulator.proposals import proposal as proposed
from gateway.__main__ import serve
from gateway.credentials import key_hash, new_key
from gateway.settings import GatewaySettings
from products import Release
from servicekit.bus import Bus
from servicekit.proof import ProofRefused, verify_proof
from servicekit.runner import ground, new_ulid
from servicekit.service import Ground
from servicekit.settings import Settings
from tests.desk import Clock
from tests.nats_server import NatsServer, free_port
from tests.purchase import open_journey

Play = Callable[[Any], Awaitable[Contract] | Contract]

SHA = "a" * 64
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
PASSWORD = "kx7m-9wqe-3hzp-d4vt"
"""Everybody's, kept by hashes of the cheapest kind."""
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
SALESPEOPLE = {
    "anna": ("harbour_motors", "安娜", "13900002222"),
    "bela": ("harbour_motors", "贝拉", "13900003333"),
    "chen": ("north_agency", "陈辰", "13900004444"),
}
"""Who sells for which channel: name and phone."""


@dataclass
class Reply:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["code"]


@dataclass
class Doorway:
    """What a test of the gateway holds in its hands."""

    under: Ground[GatewaySettings]
    played: Ground[Settings]
    http: aiohttp.ClientSession
    base: str
    release: Release
    clock: Clock
    device: Device
    who: Person
    channel_keys: dict[str, str]
    staff_keys: dict[str, str]
    told: asyncio.Event
    serving: asyncio.Task[None]
    folder: Path
    plays: dict[type[Request], Play] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    token: str = "session-token-of-the-test"
    verified: bool = True
    opened: dict[str, JourneyOpened] = field(default_factory=dict)

    @property
    def bus(self) -> Bus:
        return self.played.bus

    def play(self, kind: type[Request], answer: Play) -> None:
        self.plays[kind] = answer

    def refuse(self, kind: type[Request], code: str, **extra: Any) -> None:
        def no(_: Any) -> Contract:
            raise Refuse(code, **extra)

        self.plays[kind] = no

    def heard(self, kind: type[Request]) -> list[Any]:
        return [request for request in self.asked if isinstance(request, kind)]

    # -- over HTTP -----------------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None, **kw: Any
    ) -> Reply:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})} if data is not None else (headers or {})
        if isinstance(data, bytes) and len(data) > 1_000_000:
            data = io.BytesIO(data)
        async with self.http.request(
            method, self.base + path, data=data, headers=sent, allow_redirects=False, **kw
        ) as got:
            return Reply(got.status, {k.lower(): v for k, v in got.headers.items()}, await got.read())

    def proven(
        self, method: str, path: str, body: bytes = b"", *, token: str | None = "", **claims: Any
    ) -> dict[str, str]:
        held = self.token if token == "" else token
        url = self.base + path.partition("?")[0]
        headers = {"DPoP": self.device.proof(method, url, body, nonce="nonce", token=held, **claims)}
        if held is not None:
            headers["Authorization"] = f"DPoP {held}"
        return headers

    async def get(self, path: str, *, headers: dict[str, str] | None = None, **kw: Any) -> Reply:
        """A customer's read."""
        return await self.call("GET", path, headers={**self.proven("GET", path), **(headers or {})}, **kw)

    async def act(
        self,
        journey_id: str,
        verb: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = "",
    ) -> Reply:
        """A customer's act."""
        path = f"/v1/journeys/{journey_id}/{verb}"
        raw = b"{}" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Idempotency-Key": key or new_ulid(), **self.proven("POST", path, raw, token=token), **(headers or {})}
        return await self.call("POST", path, body=raw, headers=sent)

    def bearer(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.channel_keys | self.staff_keys)[who]}"}

    async def signed_in(self, who: str, *, password: str = PASSWORD) -> dict[str, str]:
        """What the browser of somebody who signed in sends from a page of ours: one of ``SALESPEOPLE``, or of staff by
        role.
        """
        door, name = ("sales", who) if who in SALESPEOPLE else ("staff", f"one_of_{who}")
        body = {"door": door, "name": name, "password": password}
        got = await self.call("POST", "/v1/sign-in", body=body, headers=SAME_ORIGIN)
        assert got.status == 200, got.body
        return {**SAME_ORIGIN, "Cookie": got.headers["set-cookie"].partition(";")[0]}

    # -- behind it -----------------------------------------------------------------------------------------

    async def journey(self, *, extra: bool = True) -> str:
        """A journey with sealed values, as the proposal service would have opened it."""
        import random

        journey_id = new_ulid()
        body = proposed(self.who, self.clock(), random.Random(7), extra=extra)
        self.opened[journey_id] = await open_journey(
            self.under.vault, journey_id, self.release, body, self.clock(), "0123456789abcdef0123456789abcdef"
        )
        return journey_id

    async def sealed_pdf(self, journey_id: str, data: bytes = b"%PDF-1.7 a policy") -> CommittedFile:
        return await self.under.vault.seal_file(journey_id, data, "application/pdf")

    async def stop(self) -> None:
        self.told.set()
        await self.serving


def view_of(journey_id: str, opened: JourneyOpened, **more: Any) -> proposal.ProposalView:
    chosen = tuple(p.product for p in opened.products if not p.optional)
    told: dict[str, Any] = {
        "journey_id": journey_id,
        "proposal_no": opened.proposal_no,
        "release": opened.release,
        "channel_id": opened.channel_id,
        "intermediary": "滨海汽车销售有限公司",
        "state": "open",
        "policyholder": opened.policyholder,
        "insured": opened.insured,
        "subject": opened.subject,
        "products": opened.products,
        "chosen": chosen,
        "confirmed": (),
        "total_fen": 1,
        "expires_at": opened.expires_at,
    }
    return proposal.ProposalView(**{**told, **more})


NOTHING_YET: dict[type[Request], Contract] = {
    identity.ViewIdentity: identity.IdentityView(
        attempt=1, recording_acknowledged=False, consents={}, real_name_matched=False, otp_verified=(), face="none",
        verified=False, method=None, valid_until=None, reproof_required=False, absolute_limit=None,
    ),
    disclosure.ViewDisclosure: disclosure.DisclosureView(
        documents=(), needs_open=(), advice_open=(), questions_open=(), points=(), points_open=(), complete=False
    ),
    signing.ViewSigning: signing.SigningView(
        forms=(), items=(), declaration="", declaration_sha256=None, draft=None, signed_at=None, sealed=()
    ),
    payment.ViewPayment: payment.PaymentView(
        state="none", order_no=None, pay_url=None, lines=(), total_fen=0, expires_at=None, paid_at=None,
        payer_refused=False,
    ),
    issuance.ViewIssuance: issuance.IssuanceView(state="none", policies=()),
    nps.ViewSurvey: nps.SurveyView(state="none"),
    appdownload.ViewReferral: appdownload.ReferralView(state="none", url=None),
}  # fmt: skip


@asynccontextmanager
async def doorway(folder: Path, server: NatsServer, release: Release, **more: Any) -> AsyncIterator[Doorway]:
    """The gateway, started on an empty bus. ``more`` are settings of the gateway."""
    await server.wipe()
    for name in ("data", "played"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    master = folder / "master.key"
    if not master.exists():
        master.write_text("11" * 32 + "\n")
        master.chmod(0o600)
    channel_keys = {name: new_key("channel") for name in ("harbour_motors", "north_agency")}
    staff_keys = {role: new_key("staff") for role in ("service", "audit", "legal")}
    (folder / "channels.yaml").write_text(
        yaml.safe_dump(
            {
                "channels": [
                    {
                        "channel_id": name,
                        "name": name,
                        "intermediary": "滨海汽车",
                        "key_hashes": [key_hash(key)],
                        "salespeople": [
                            {
                                "salesperson_id": who,
                                "name": shown,
                                "licence_no": f"LICENCE-{who}",
                                "phone": phone,
                                "password_hash": PASSWORD_HASH,
                            }
                            for who, (channel, shown, phone) in SALESPEOPLE.items()
                            if channel == name
                        ],
                    }
                    for name, key in channel_keys.items()
                ]
            }
        )
    )
    (folder / "staff.yaml").write_text(
        yaml.safe_dump(
            {
                "staff": [
                    {
                        "staff_id": f"one_of_{role}",
                        "roles": [role],
                        "key_hashes": [key_hash(key)],
                        "password_hash": PASSWORD_HASH,
                    }
                    for role, key in staff_keys.items()
                ]
            }
        )
    )
    secret = folder / "app.whsec"
    secret.write_text("whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0" + "\n")
    port = free_port()
    told: dict[str, Any] = {
        "nats_url": server.url,
        "data_dir": folder / "data",
        "blobs_dir": folder / "blobs",
        "vault_keys_dir": folder / "vault",
        "master_key_file": master,
        "releases_dir": folder / "releases",
        "sandboxed": True,
    }
    settings = GatewaySettings(
        **{
            **told,
            "gateway_port": port,
            "gateway_public_url": f"http://127.0.0.1:{port}",
            "gateway_channels_file": folder / "channels.yaml",
            "gateway_staff_file": folder / "staff.yaml",
            "gateway_app_secret_file": secret,
            **more,
        }
    )
    clock = Clock()
    async with AsyncExitStack() as stack:
        played: Ground[Any] = await stack.enter_async_context(
            ground("played", Settings(**{**told, "data_dir": folder / "played"}), now=clock)
        )
        await provision(server.url, None, ())
        under: Ground[Any] = await stack.enter_async_context(ground("gateway", settings, now=clock))
        ends = asyncio.Event()
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)))
        at = Doorway(
            under=under,
            played=played,
            http=http,
            base=settings.gateway_public_url,
            release=release,
            clock=clock,
            device=Device(),
            who=_somebody(),
            channel_keys=channel_keys,
            staff_keys=staff_keys,
            told=ends,
            serving=asyncio.create_task(serve(under, ends)),
            folder=folder,
        )
        _play_all(at)
        await played.bus.serve("played", "1.0.0", {kind: _answerer(at) for kind in request_types().values()})
        try:
            await _listening(at, port)
            yield at
        finally:
            await at.stop()


def _somebody() -> Person:
    import random

    return person(random.Random(3), "王小明")


async def _listening(at: Doorway, port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            if at.serving.done():
                at.serving.result()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            await writer.wait_closed()
            return


def _play_all(at: Doorway) -> None:
    for kind, view in NOTHING_YET.items():
        at.play(kind, lambda _, view=view: view)

    def view_proposal(query: proposal.ViewProposal) -> Contract:
        if query.journey_id not in at.opened:
            raise Refuse("journey_unknown")
        return view_of(query.journey_id, at.opened[query.journey_id])

    def judge(query: identity.JudgeProof) -> Contract:
        try:
            claims = verify_proof(
                query.proof.jws, method=query.proof.method, url=query.proof.url, body_sha256=query.body_sha256,
                expect_thumbprint=at.device.thumbprint,
            )  # fmt: skip
        except ProofRefused as refused:
            raise Refuse(refused.code) from None
        if claims.nonce != "nonce":
            raise Refuse("use_dpop_nonce", nonce="nonce")
        return identity.Judgement(
            attempt=1,
            thumbprint=claims.thumbprint,
            device_key=DeviceKey.model_validate(claims.jwk),
            jti=claims.jti,
            verified=at.verified,
            nonce="nonce",
        )

    def intruded(_: identity.RecordIntrusion) -> Contract:
        raise Refuse("not_the_customer")

    at.play(proposal.ViewProposal, view_proposal)
    at.play(identity.JudgeProof, judge)
    at.play(identity.IssueNonce, lambda _: identity.Nonce(nonce="nonce"))
    at.play(identity.RecordIntrusion, intruded)
    at.play(
        proposal.SubmitProposal,
        lambda query: proposal.ProposalAccepted(
            journey_id=query.journey_id,
            proposal_no="T1",
            link=f"{at.base}/j#{query.journey_id}.{'0' * 32}",
            expires_at=at.clock() + timedelta(hours=72),
        ),
    )
    for kind in request_types().values():
        if issubclass(kind, Act) and kind.reply is Done:
            at.play(kind, lambda _: Done())
    at.play(evidence.ViewChain, lambda _: evidence.ChainView(count=0, head=None, heads={}, anchored=0))


def _answerer(at: Doorway) -> Callable[[Request], Awaitable[Answer[Any]]]:
    async def answer(request: Request) -> Answer[Any]:
        at.asked.append(request)
        played = at.plays.get(type(request))
        if played is None:
            return Answer[Any](problem=Problem(code="internal"), service=request.service, sequence=0)
        try:
            reply = played(request)
            if isinstance(reply, Awaitable):
                reply = await reply
        except Refuse as refusal:
            return Answer[Any](problem=refusal.problem, service=request.service, sequence=0)
        return Answer[Any](reply=reply, service=request.service, sequence=7)

    return answer


def document_of(release: Release, product: str) -> DocumentRef:
    document = release.products[product].documents[0]
    return DocumentRef(product=product, document=document.code, version=document.version, sha256=document.sha256)
