"""Payment at its desk, with the payment channel's stand-in beside it and notifications carried as a gateway does."""

from __future__ import annotations

import base64
import json
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from contracts.commands.base import Answer, Done
from contracts.commands.issuance import RenounceOrder
from contracts.commands.payment import NotificationTaken, OrderToPay, PlaceOrder, TakeNotification
from contracts.facts.base import Fact
from contracts.problems import Problem, Refuse
from deploy.sandbox.credentials import Credentials
from deploy.sandbox.process import running
from deploy.sandbox.settings import Party, SandboxSettings
from deploy.sandbox.wechat_pay import ChannelKeys
from services.payment.service import Payment
from tests.desk import Clock, Desk, desk
from tests.nats_server import NatsServer
from tests.prepared import sandbox_keys
from tests.purchase import Purchase, published, purchase


@dataclass
class Door:
    """The gateway's door for notifications: hands what comes to payment, bytes and headers as they are."""

    at: Desk | None = None
    open: bool = True
    url: str = ""
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.startswith("Wechatpay")}
        self.came.append((headers, body))
        if not self.open or self.at is None:
            return web.Response(status=503)
        taken = await self.give(headers, body)
        self.answered.append(taken.status)
        return web.Response(status=taken.status, text=taken.body)

    async def give(self, headers: dict[str, str], body: bytes) -> NotificationTaken:
        assert self.at is not None
        encoded = base64.b64encode(body).decode()
        return await self.at.ask(TakeNotification(channel="wechat", headers=headers, body_base64=encoded))


@dataclass
class Issuance:
    """Issuance's word on orders whose money shall go back."""

    numbered: bool = False
    renounced: list[str] = field(default_factory=list)

    async def answer(self, asked: RenounceOrder) -> Answer[Any]:
        if self.numbered:
            return Answer[Any](problem=Problem(code="journey_issued"), service="issuance", sequence=0)
        self.renounced.append(asked.order_no)
        return Answer[Any](reply=Done(), service="issuance", sequence=1)


@dataclass
class Till:
    """One purchase ready to be paid, its service, and the channel."""

    at: Desk
    buyer: Purchase
    channel: str
    http: aiohttp.ClientSession
    door: Door
    keys: ChannelKeys
    issuance: Issuance

    @property
    def journey(self) -> str:
        return self.buyer.journey_id

    def terms(self, **changes: Any) -> dict[str, Any]:
        progress = self.buyer.progress
        locks = {terms.product: terms.lock for terms in progress.chosen()}
        return {"total_fen": progress.total_fen(), "locks": locks, **changes}

    async def order(self, *, command_id: str | None = None, **changes: Any) -> OrderToPay:
        return await self.at.act(PlaceOrder, self.journey, self.terms(**changes), command_id=command_id)

    async def pay(self, order: OrderToPay, name: str | None = None, id_number: str | None = None) -> dict[str, Any]:
        who = self.buyer.who
        prepay = order.pay_url.partition("prepay_id=")[2]
        payer = {"name": name or who.name, "id_number": id_number or who.id_number}
        async with self.http.post(f"{self.channel}/sandbox/pay/{prepay}", json=payer) as answer:
            return await answer.json()

    async def faults(self, **faults: Any) -> None:
        async with self.http.post(f"{self.channel}/sandbox/faults", json=faults) as answer:
            assert answer.status == 200, await answer.text()

    async def outage(self, **outage: Any) -> None:
        async with self.http.post(f"{self.channel}/sandbox/outage", json=outage) as answer:
            assert answer.status == 200

    async def back(self) -> None:
        async with self.http.delete(f"{self.channel}/sandbox/outage") as answer:
            assert answer.status == 200

    async def ledger(self) -> dict[str, Any]:
        async with self.http.get(f"{self.channel}/sandbox/ledger") as answer:
            return await answer.json()

    async def made(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in await self.at.made(self.journey) if isinstance(fact, kind)]

    async def until(self, kind: type[Fact], count: int = 1) -> list[Any]:
        async def there() -> list[Any] | None:
            found = await self.made(kind)
            return found if len(found) >= count else None

        return await self.at.eventually(there)

    def notification(
        self,
        order: OrderToPay | None,
        *,
        stamped: int | None = None,
        resource: dict[str, Any] | None = None,
        **changes: Any,
    ) -> tuple[dict[str, str], bytes]:
        """As the channel itself would write one, with whatever is changed about it."""
        said = {
            "appid": "wx8888888888888888",
            "mchid": "1900000001",
            "out_trade_no": "TB" if order is None else order.order_no,
            "transaction_id": f"4200{secrets.randbelow(10**20):020d}",
            "trade_type": "MWEB",
            "trade_state": "SUCCESS",
            "success_time": self.at.clock().isoformat(timespec="seconds"),
            "payer": {"openid": "o1"},
            "amount": {"total": 0 if order is None else order.total_fen, "currency": "CNY"},
            **changes,
        }
        sealed = resource or self.keys.encrypted(json.dumps(said).encode(), "transaction")
        event = {
            "id": secrets.token_hex(16),
            "event_type": "TRANSACTION.SUCCESS",
            "resource_type": "encrypt-resource",
            "resource": sealed,
        }
        body = json.dumps(event).encode()
        moment = int(self.at.clock().timestamp()) if stamped is None else stamped
        return self.keys.signature_headers(body, moment), body


@pytest.fixture(scope="session")
def payment_ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-ins' keys and the product release, made once; each test gets a copy."""
    root = tmp_path_factory.mktemp("payment")
    sandbox_keys(root / "sandbox")
    published(root / "releases")
    return root


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def shop(tmp_path: Path, nats: NatsServer, clock: Clock, **more: Any) -> AsyncIterator[Till]:
    """Everything started; the customer has signed and may pay."""
    release = published(tmp_path / "releases")
    door, issuance = Door(), Issuance()
    app = web.Application()
    app.router.add_post("/notify", door.hear)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(app))
        keys = tmp_path / "sandbox"
        ports: dict[str, Any] = {f"{party}_port": 0 for party in Party}
        stand_ins = SandboxSettings(
            data_dir=keys,
            **ports,
            wechat_notify_schedule=(0.01,) * 6,
            wechat_refund_seconds=0,
        )
        sandbox = await stack.enter_async_context(running(stand_ins, lambda: clock().timestamp()))
        told = {
            "payment_wechat_url": sandbox.urls[Party.WECHAT],
            "payment_wechat_notify_url": str(server.make_url("/notify")),
            "payment_wechat_merchant_file": keys / "certs/wechat-merchant.json",
            "payment_wechat_key_file": keys / "keys/wechat-merchant.key.pem",
            "payment_wechat_api_v3_key_file": keys / "keys/wechat-api-v3.key",
        }
        at = await stack.enter_async_context(
            desk(Payment, tmp_path, nats, clock=clock, play={RenounceOrder: issuance.answer}, **(told | more))
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        door.at = at
        buyer = purchase(at, release)
        yield Till(at, buyer, sandbox.urls[Party.WECHAT], http, door, ChannelKeys.load(Credentials(keys)), issuance)


@pytest.fixture
async def till(tmp_path: Path, payment_ground: Path, nats: NatsServer, clock: Clock) -> AsyncIterator[Till]:
    shutil.copytree(payment_ground, tmp_path, dirs_exist_ok=True)
    async with shop(tmp_path, nats, clock) as opened:
        await opened.buyer.up_to("signed")
        yield opened


__all__ = ["Door", "Issuance", "Refuse", "Till", "shop"]
