"""A customer's phone speaking to the real identity service, with real nonces, tokens and proofs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer

from contracts.commands import identity as commands
from contracts.commands.base import Act, Answer
from contracts.commands.notify import MessageTaken, SendMessage
from contracts.facts.identity import NoticeRef
from contracts.values import Contract, Proof, sha256_hex
from deploy.simulator.device import Device
from servicekit.runner import new_ulid
from tests.desk import Desk
from tests.purchase import STEPS, Purchase


@dataclass
class Provider:
    """Plays notify: what it was asked to send, opened."""

    sent: list[dict[str, str]] = field(default_factory=list)
    phones: list[str] = field(default_factory=list)

    async def serve(self, at: Desk) -> None:
        async def take(request: SendMessage) -> Answer[Any]:
            values = await at.vault.open_text(request.journey_id, request.values)
            self.phones.append(await at.vault.open_text(request.journey_id, request.phone))
            self.sent.append(json.loads(values))
            return Answer[Any](reply=MessageTaken(message_id=request.command_id), service="notify", sequence=1)

        await at.bus.serve("notify", "1.0.0", {SendMessage: take})

    @property
    def code(self) -> str:
        return self.sent[-1]["code"]


@dataclass
class Customer:
    at: Desk
    purchase: Purchase
    provider: Provider
    platform: TestServer
    device: Device = field(default_factory=Device)
    token: str | None = None

    @property
    def journey_id(self) -> str:
        return self.purchase.journey_id

    async def nonce(self) -> str:
        return (await self.at.ask(commands.IssueNonce())).nonce

    async def act(self, kind: type[Act], body: Contract | dict[str, Any] | None = None, **changed: Any) -> Any:
        return await self.at.ask(await self.make(kind, body, **changed))

    async def make(self, kind: type[Act], body: Contract | dict[str, Any] | None = None, **changed: Any) -> Act:
        token = changed.pop("token", self.token)
        told: dict[str, Any] = {
            "device": self.device,
            "nonce": changed.pop("nonce", None) or await self.nonce(),
            "token": token,
            "session": None if token is None else hashlib.sha256(token.encode()).hexdigest(),
        }
        return await self.at.make_act(kind, self.journey_id, body, **(told | changed))

    async def open(self, **changed: Any) -> commands.SessionToken:
        body = {"link_secret": changed.pop("link_secret", self.purchase.link_secret)}
        reply = await self.act(commands.OpenSession, body, token=None, **changed)
        self.token = reply.session_token
        return reply

    async def judge(self, purpose: str = "read", **changed: Any) -> commands.Judgement:
        """As another service asks for a request of the customer."""
        return await self.at.ask(await self.question(purpose, **changed))

    async def question(self, purpose: str = "read", **changed: Any) -> commands.JudgeProof:
        url = f"{self.at.base}/v1/journeys/{self.journey_id}"
        token = changed.get("token", self.token)
        device: Device = changed.get("device", self.device)
        nonce = changed["nonce"] if "nonce" in changed else await self.nonce()
        jws = device.proof("GET", url, b"", nonce=nonce, token=changed.get("ath", token))
        return commands.JudgeProof(
            journey_id=self.journey_id,
            proof=Proof(jws=jws, method=changed.get("method", "GET"), url=changed.get("url", url)),
            body_sha256=sha256_hex(changed.get("body", b"")),
            session=None if token is None else hashlib.sha256(token.encode()).hexdigest(),
            purpose=purpose,  # pyright: ignore[reportArgumentType]
            moving=changed.get("moving", True),
        )

    def notice(self, code: str) -> NoticeRef:
        document = self.purchase.release.notices[code].document
        return NoticeRef(notice=code, version=document.version, sha256=document.sha256)

    async def consent(self, *codes: str) -> None:
        for code in codes:
            await self.act(commands.GiveConsent, self.notice(code))

    async def begin(self) -> None:
        """Session, recording notice, privacy consent."""
        await self.open()
        await self.act(commands.AcknowledgeRecording, self.notice("recording"))
        await self.consent("privacy")

    async def real_name(self, **changed: str) -> None:
        who = self.purchase.who
        await self.act(
            commands.CheckRealName,
            {"name": changed.get("name", who.name), "id_number": changed.get("id_number", who.id_number)},
        )

    async def face(self, outcome: str = "passed") -> commands.IdentityResult:
        await self.look(outcome)
        return await self.act(commands.FinishFace)

    async def look(self, outcome: str) -> None:
        """Goes to the platform's page and comes back."""
        redirect = await self.act(commands.StartFace)
        session = redirect.redirect_url.rpartition("/")[2]
        async with (
            aiohttp.ClientSession() as http,
            http.post(self.platform.make_url(f"/sandbox/face-sessions/{session}"), json={"outcome": outcome}) as done,
        ):
            assert done.status == 200

    async def code(self, purpose: str = "alternative_path") -> None:
        await self.act(commands.SendOtp, {"purpose": purpose})
        await self.act(commands.VerifyOtp, {"purpose": purpose, "code": self.provider.code})

    async def card(self, number: str | None = None) -> commands.IdentityResult:
        number = number or self.purchase.who.card_number
        return await self.act(commands.CheckBankCard, {"card_number": number})

    async def pass_by_face(self) -> commands.IdentityResult:
        await self.begin()
        await self.consent("face_consent")
        await self.real_name()
        return await self.face()

    async def pass_by_card(self) -> commands.IdentityResult:
        await self.begin()
        await self.consent("account_check")
        await self.real_name()
        await self.code()
        return await self.card()

    async def hear_until(self, step: str) -> None:
        """What the other services tell of the same journey, after identity, up to this step."""
        first = STEPS.index("confirmed")
        await self.purchase.tell(*await self.purchase._session(), *await self.purchase._verified())
        for name in STEPS[first : STEPS.index(step) + 1]:
            await self.purchase.tell(*await getattr(self.purchase, f"_{name}")())

    async def view(self) -> commands.IdentityView:
        return await self.at.ask(commands.ViewIdentity(journey_id=self.journey_id))

    async def intrude(self, attempted: str, actor: str = "channel") -> None:
        await self.at.ask(
            commands.RecordIntrusion(
                command_id=new_ulid(),
                journey_id=self.journey_id,
                actor=actor,  # pyright: ignore[reportArgumentType]
                attempted=attempted,
            )
        )
