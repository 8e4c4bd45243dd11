"""The WeChat Pay adapter against the stand-in, and against the independent `wechatpayv3` library's functions."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from wechatpayv3.utils import aes_decrypt, rsa_sign, rsa_verify

from deploy.sandbox.credentials import Credentials
from deploy.sandbox.process import running
from deploy.sandbox.settings import Party, SandboxSettings
from deploy.sandbox.wechat_pay import ChannelKeys
from servicekit.sealed import Sealed
from services.payment.channels import (
    ChannelRefused,
    ChannelUnavailable,
    NotificationRefused,
    OrderToPlace,
    PaymentStatement,
    RefundToMake,
)
from services.payment.channels.wechat import Merchant, WeChatPay
from tests.desk import Clock


class Bench:
    """The adapter, the stand-in it speaks to, and the keys of both."""

    def __init__(self, adapter: WeChatPay, url: str, credentials: Credentials, http: aiohttp.ClientSession) -> None:
        self.adapter, self.url, self.credentials, self.http = adapter, url, credentials, http
        self.keys = ChannelKeys.load(credentials)
        self.clock: Clock

    def order(self, number: str = "TB0001", fen: int = 100) -> OrderToPlace:
        expires = self.clock() + timedelta(minutes=30)
        return OrderToPlace(number, "保险费", fen, expires, Sealed("张小测"), "id_card", Sealed("11010519491231002X"))

    async def post(self, path: str, **body: object) -> None:
        async with self.http.post(self.url + path, json=body) as answer:
            assert answer.status in {200, 409}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = Clock()
    ports: dict[str, Any] = {f"{party}_port": 0 for party in Party}
    settings = SandboxSettings(data_dir=tmp_path, **ports, wechat_refund_seconds=0)
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(running(settings, lambda: clock().timestamp()))
        credentials = Credentials(tmp_path)
        merchant = Merchant.load(
            credentials.merchant_details.read_bytes(),
            credentials.merchant_key.read_bytes(),
            credentials.api_v3_key.read_bytes(),
        )
        url = sandbox.urls[Party.WECHAT]
        adapter = WeChatPay(url, "http://127.0.0.1:9/notify", merchant, "127.0.0.1", clock)
        await adapter.open()
        stack.push_async_callback(adapter.shut)
        made = Bench(adapter, url, credentials, await stack.enter_async_context(aiohttp.ClientSession()))
        made.clock = clock
        yield made


async def test_order_payment_and_refund(bench: Bench) -> None:
    channel = bench.adapter
    assert await channel.query("TB0001") is None
    link = await channel.place(bench.order())
    assert await channel.place(bench.order()) == link
    heard = await channel.query("TB0001")
    assert heard is not None
    assert heard.said.state == "unpaid"
    prepay = link.partition("prepay_id=")[2]
    await bench.post(f"/sandbox/pay/{prepay}", name="李小测", id_number="440308199001010012")
    heard = await channel.query("TB0001")
    assert heard is not None
    assert heard.said.state == "payer_refused"
    await bench.post(f"/sandbox/pay/{prepay}", name="张小测", id_number="11010519491231002X")
    heard = await channel.query("TB0001")
    assert heard is not None
    assert (heard.said.state, heard.said.paid_fen) == ("paid", 100)
    assert await channel.close("TB0001") == "paid"
    assert heard.said.transaction_id is not None
    back = RefundToMake("R1", heard.said.transaction_id, 100)
    assert await channel.query_refund("R1") is None
    await channel.refund(back)
    again = await channel.refund(back)
    assert (again.state, again.fen) == ("refunded", 100)
    assert await channel.query_refund("R1") == again
    with pytest.raises(ChannelRefused):
        await channel.refund(RefundToMake("R2", heard.said.transaction_id, 100))


async def test_the_same_number_with_other_content_is_refused(bench: Bench) -> None:
    await bench.adapter.place(bench.order())
    with pytest.raises(ChannelRefused) as refused:
        await bench.adapter.place(bench.order(fen=101))
    assert refused.value.code == "INVALID_REQUEST"


async def test_closing_is_for_good_and_may_be_repeated(bench: Bench) -> None:
    assert await bench.adapter.close("TB0009") == "closed"
    await bench.adapter.place(bench.order())
    assert await bench.adapter.close("TB0001") == "closed"
    assert await bench.adapter.close("TB0001") == "closed"
    with pytest.raises(ChannelRefused):
        await bench.adapter.place(bench.order())


async def test_an_outage_is_met_by_a_second_try_and_then_said(bench: Bench) -> None:
    await bench.adapter.place(bench.order())
    await bench.post("/sandbox/outage", status=502, remaining=1)
    assert await bench.adapter.query("TB0001")
    await bench.post("/sandbox/outage", status=502)
    with pytest.raises(ChannelUnavailable):
        await bench.adapter.query("TB0001")


async def test_an_answer_nobody_signed_is_no_answer(bench: Bench) -> None:
    await bench.adapter.place(bench.order())
    await bench.post("/sandbox/outage", status=404)
    with pytest.raises(ChannelUnavailable):
        await bench.adapter.query("TB0001")


async def test_our_signature_holds_for_the_library(bench: Bench) -> None:
    header = bench.adapter.authorization("POST", "/v3/x?a=1", b'{"a":1}')
    given = dict(re.findall(r'(\w+)="([^"]*)"', header))
    # The library verifies "time\nnonce\nbody\n"; put before it, method and path make the request's own text.
    text = f"POST\n/v3/x?a=1\n{given['timestamp']}\n{given['nonce_str']}\n" + '{"a":1}'
    first, nonce, rest = text.split("\n", 2)
    assert rsa_verify(first, nonce, rest, given["signature"], bench.keys.merchant_key)


async def test_a_notification_the_library_signed_is_read(bench: Bench) -> None:
    said = {
        "mchid": "1900000001",
        "appid": "wx8888888888888888",
        "out_trade_no": "TB0001",
        "trade_state": "SUCCESS",
        "transaction_id": "42000001",
        "success_time": "2026-11-23T10:00:00+08:00",
        "amount": {"total": 100, "currency": "CNY"},
    }
    resource = bench.keys.encrypted(json.dumps(said).encode(), "transaction")
    # The library opens what we are about to open.
    opened = aes_decrypt(
        resource["nonce"], resource["ciphertext"], resource["associated_data"], bench.keys.api_v3_key.decode()
    )
    assert opened is not None
    assert json.loads(opened) == said
    body = json.dumps({"id": "1", "event_type": "TRANSACTION.SUCCESS", "resource": resource})
    stamp = str(int(bench.clock().timestamp()))
    headers = {
        "wechatpay-timestamp": stamp,
        "wechatpay-nonce": "abcdefgh",
        "wechatpay-signature": rsa_sign(bench.keys.platform_key, f"{stamp}\nabcdefgh\n{body}\n"),
        "wechatpay-serial": bench.keys.serial,
    }
    read = await bench.adapter.read_notification(headers, body.encode())
    assert isinstance(read.said, PaymentStatement)
    assert (read.order_no, read.said.paid_fen, read.nonce) == ("TB0001", 100, "abcdefgh")
    with pytest.raises(NotificationRefused):
        await bench.adapter.read_notification(headers, body.encode() + b"\n")


async def test_the_payer_never_shows_in_an_order(bench: Bench) -> None:
    assert "张小测" not in repr(bench.order())
    assert "11010519491231002X" not in repr(bench.order())


def test_a_merchant_without_its_keys_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        Merchant.load(b'{"mchid":"1","appid":"2","serial_no":"3"}', b"no key", b"x" * 32)
