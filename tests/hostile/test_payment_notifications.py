"""What somebody says about money: only the channel is believed, only about our orders, once, and to the fen (I14, I16).

Everything is said twice: at the gateway's door for the channel, and to payment itself, past the gateway.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from contracts.commands.payment import TakeNotification
from contracts.facts import issuance
from contracts.facts import payment as facts
from contracts.facts.base import Refusal
from deploy.local.ports import SERVICES
from deploy.sandbox.credentials import Credentials
from deploy.sandbox.wechat_pay import ChannelKeys, china_time
from deploy.simulator.customer import Customer, Habits
from tests.hostile.corrupt import MARKER, CorruptGateway, corrupt_gateway
from tests.journey.bicycles import bicycle
from tests.journey.whole import Whole

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

BEFORE_TIME = "0001-01-01T00:00:00+14:00"

Deliver = Callable[[dict[str, str], bytes], Awaitable[int]]
"""Headers and body → the status the channel is answered with."""


@dataclass(frozen=True)
class Till:
    """A customer before the channel's page, and what the channel would have to say of it."""

    whole: Whole
    customer: Customer
    order_no: str
    pay_url: str
    total_fen: int
    keys: ChannelKeys
    merchant: dict[str, str]

    @property
    def journey(self) -> str:
        return self.customer.phone.session.journey_id

    def facts(self, name: str) -> list[Any]:
        return self.whole.facts(self.journey, f"payment.{name}")

    def refused(self) -> list[str]:
        return [fact.code for fact in self.facts("refused") if isinstance(fact, Refusal)]

    def paid(self, **changed: Any) -> dict[str, Any]:
        """The channel's word that the order is paid in full, but for ``changed``."""
        return {
            "appid": self.merchant["appid"],
            "mchid": self.merchant["mchid"],
            "out_trade_no": self.order_no,
            "transaction_id": f"42{secrets.randbelow(10**26):026}",
            "trade_state": "SUCCESS",
            "trade_state_desc": MARKER,
            "success_time": china_time(time.time()),
            "amount": {"total": self.total_fen, "payer_total": self.total_fen, "currency": "CNY"},
            **changed,
        }

    def refunded(self, **changed: Any) -> dict[str, Any]:
        return {
            "mchid": self.merchant["mchid"],
            "out_trade_no": self.order_no,
            "transaction_id": "4200000000000000000000000001",
            "out_refund_no": f"R{self.order_no}-0000000000000000",
            "refund_status": "SUCCESS",
            "success_time": china_time(time.time()),
            "amount": {"total": self.total_fen, "refund": self.total_fen},
            **changed,
        }

    def body(self, resource: Any, event: str = "TRANSACTION.SUCCESS", keys: ChannelKeys | None = None) -> bytes:
        plain = resource if isinstance(resource, bytes) else json.dumps(resource).encode()
        sealed = (keys or self.keys).encrypted(plain, "transaction")
        return json.dumps({
            "id": secrets.token_hex(8),
            "create_time": china_time(time.time()),
            "resource_type": "encrypt-resource",
            "event_type": event,
            "summary": MARKER,
            "resource": {"original_type": "transaction", **sealed},
        }).encode()  # fmt: skip

    def signed(self, body: bytes, *, keys: ChannelKeys | None = None, at: float | None = None) -> dict[str, str]:
        return (keys or self.keys).signature_headers(body, int(time.time() if at is None else at))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(whole: Whole) -> AsyncIterator[CorruptGateway]:
    async with corrupt_gateway(whole) as speaking:
        yield speaking


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def began(whole: Whole) -> dict[str, int]:
    """How long each log was when it began."""
    return {name: len(whole.run.log(name).read_text("utf-8")) for name in (*SERVICES, "gateway")}


async def _till(whole: Whole) -> Till:
    customer = await whole.customer(Habits(score=None, use_app=False), body=bicycle)
    view = await customer.until("payment")
    await customer.consent("payment_authorisation")
    order = await customer.order(view)
    credentials = Credentials(whole.run.layout.sandbox)
    return Till(
        whole=whole,
        customer=customer,
        order_no=order["order_no"],
        pay_url=order["pay_url"],
        total_fen=order["total_fen"],
        keys=ChannelKeys.load(credentials),
        merchant=json.loads(credentials.merchant_details.read_bytes()),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def till(whole: Whole) -> Till:
    return await _till(whole)


@pytest_asyncio.fixture(params=["gateway", "bus"], loop_scope="session")
async def deliver(request: pytest.FixtureRequest, whole: Whole, gateway: CorruptGateway) -> Deliver:
    """The way in."""

    async def by_gateway(headers: dict[str, str], body: bytes) -> int:
        url = f"{whole.run.gateway_url}/v1/callbacks/wechat"
        told = {"Content-Type": "application/json", **headers}
        async with whole.http.post(url, data=body, headers=told) as answer:
            assert MARKER not in await answer.text()
            return answer.status

    async def by_bus(headers: dict[str, str], body: bytes) -> int:
        said = TakeNotification(channel="wechat", headers=headers, body_base64=base64.b64encode(body).decode())
        return (await gateway.ask(said)).reply["status"]

    return by_gateway if request.param == "gateway" else by_bus


def stranger(keys: ChannelKeys, **changed: Any) -> ChannelKeys:
    """Somebody with a key and a certificate of their own, of the channel's very name and serial number."""
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com Root CA")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(changed.get("serial", keys.platform_certificate.serial_number))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(own, SHA256())
    )
    return replace(keys, platform_key=own, platform_certificate=certificate)


async def test_whoever_is_not_the_channel_is_not_heard(till: Till, deliver: Deliver) -> None:
    sound = till.body(till.paid())
    forger = stranger(till.keys)
    other_certificate = stranger(till.keys, serial=x509.random_serial_number())
    other_key = replace(till.keys, api_v3_key=secrets.token_bytes(32))
    # Five minutes are allowed either way; half a minute more for a slow machine.
    old, ahead = time.time() - 330, time.time() + 330
    elsewhere = till.paid(mchid="1900000999")
    sealed_otherwise = till.body(till.paid(), keys=other_key)
    told: dict[str, tuple[dict[str, str], bytes]] = {
        "unsigned": ({}, sound),
        "signed by another under the channel's serial": (till.signed(sound, keys=forger), sound),
        "signed by another certificate": (till.signed(sound, keys=other_certificate), sound),
        "signed over other bytes": (till.signed(sound + b" "), sound),
        "signed by another scheme": ({**till.signed(sound), "Wechatpay-Signature-Type": "HMAC"}, sound),
        "signature that is none": ({**till.signed(sound), "Wechatpay-Signature": MARKER.encode().hex()}, sound),
        "too old": (till.signed(sound, at=old), sound),
        "ahead of time": (till.signed(sound, at=ahead), sound),
        "time that is none": ({**till.signed(sound), "Wechatpay-Timestamp": "yesterday"}, sound),
        "sealed with another key": (till.signed(sealed_otherwise), sealed_otherwise),
        "to another merchant": (till.signed(body := till.body(elsewhere)), body),
        "of another application": (till.signed(body := till.body(till.paid(appid="wx0"))), body),
        "refund of another merchant": (
            till.signed(body := till.body(till.refunded(mchid="1900000999"), "REFUND.SUCCESS")),
            body,
        ),
        "no sum": (till.signed(body := till.body(till.paid(amount={}))), body),
        "a sum below nothing": (till.signed(body := till.body(till.paid(amount={"total": -1}))), body),
        "a sum beyond counting": (till.signed(body := till.body(till.paid(amount={"total": 10**40}))), body),
        "a time beyond time": (till.signed(body := till.body(till.paid(success_time=BEFORE_TIME))), body),
        "no object": (till.signed(body := till.body([MARKER])), body),
        "deep": (till.signed(body := till.body(b"[" * 20_000)), body),
        "deep envelope": (till.signed(body := b"[" * 40_000), body),
        "not UTF-8": (till.signed(body := b'{"id": "\xff"}'), body),
        "nothing": (till.signed(b""), b""),
    }  # fmt: skip
    answered = {name: await deliver(headers, body) for name, (headers, body) in told.items()}
    assert answered == dict.fromkeys(told, 401)
    assert not till.facts("payment_confirmed")
    assert not till.facts("refund_requested")


async def test_what_the_books_do_not_say_is_recorded_and_moves_nothing(till: Till, deliver: Deliver) -> None:
    """Even under the channel's own signature: a sum that is not the order's is asked about before anything is done."""
    before = len(till.refused())
    wrong = {
        "a fen less": till.paid(amount={"total": till.total_fen - 1, "currency": "CNY"}),
        "a fen more": till.paid(amount={"total": till.total_fen + 1, "currency": "CNY"}),
        "nothing": till.paid(amount={"total": 0, "currency": "CNY"}),
        "other money": till.paid(amount={"total": till.total_fen, "currency": "USD"}),
    }
    for said in wrong.values():
        assert await deliver(till.signed(body := till.body(said)), body) == 200
    assert await deliver(till.signed(body := till.body(till.refunded(), "REFUND.SUCCESS")), body) == 200
    expected = ["amount_mismatch"] * len(wrong) + ["nothing_to_refund"]
    # In any order and at least so often: the books may have to be asked again, and a sweep may come in between.
    await till.whole.until_told(lambda: not Counter(expected) - Counter(till.refused()[before:]))
    assert set(till.refused()) == set(expected)
    assert not till.facts("payment_confirmed")
    assert not till.facts("refund_requested")
    assert not till.facts("order_closed")


async def test_an_order_that_is_not_ours_is_taken_and_nobody_pays_by_it(till: Till, deliver: Deliver) -> None:
    for number in ("TB" + "0" * 26 + "01", till.order_no[:-2] + "02", "SOMEBODY-ELSES-1", "TB1"):
        for resource, event in (
            (till.paid(out_trade_no=number), "TRANSACTION.SUCCESS"),
            (till.refunded(out_trade_no=number), "REFUND.SUCCESS"),
        ):
            assert await deliver(till.signed(body := till.body(resource, event)), body) == 200
    assert await deliver(till.signed(body := till.body(till.paid(), "SOMETHING.ELSE")), body) == 200
    assert not till.facts("payment_confirmed")


async def test_too_much_is_refused_unread(till: Till, whole: Whole, gateway: CorruptGateway) -> None:
    body = till.body(till.paid(more="x" * 200_000))
    url = f"{whole.run.gateway_url}/v1/callbacks/wechat"
    async with whole.http.post(url, data=body, headers=till.signed(body)) as answer:
        assert (answer.status, (await answer.json())["code"]) == (413, "body_too_large")
    said = {"channel": "wechat", "headers": till.signed(body), "body_base64": base64.b64encode(body).decode()}
    assert (await gateway.send(TakeNotification.subject(), json.dumps(said).encode())).code == "malformed"
    assert not till.facts("payment_confirmed")


async def test_I16_then_the_customer_pays_and_whatever_is_said_again_makes_nothing_more(
    till: Till, deliver: Deliver, gateway: CorruptGateway
) -> None:
    """The second way in finds everything done already, and leaves it so."""
    if not till.facts("payment_confirmed"):
        assert (await till.customer.pay(till.pay_url))["result"] == "paid"
    await till.customer.turn(await till.customer.until("policies"))
    (paid,) = till.facts("payment_confirmed")
    assert isinstance(paid, facts.PaymentConfirmed)
    true = till.paid(transaction_id=paid.transaction_id)
    again = till.body(true)
    headers = till.signed(again)
    assert [await deliver(headers, again) for _ in range(3)] == [200, 401, 401]
    # The same word, sent and signed anew, late or of another state, is nothing new either.
    for said in (true, till.paid(transaction_id=paid.transaction_id, trade_state="PAYERROR"),
                 till.paid(transaction_id=paid.transaction_id, trade_state="CLOSED"),
                 till.paid(transaction_id=paid.transaction_id, trade_state="REFUND")):  # fmt: skip
        assert await deliver(till.signed(body := till.body(said)), body) == 200
    # Past the gateway, the bytes that came in by it are known too.
    copy = TakeNotification(channel="wechat", headers=headers, body_base64=base64.b64encode(again).decode())
    assert (await gateway.ask(copy)).reply["status"] == 401
    assert len(till.facts("payment_confirmed")) == 1
    assert not till.facts("refund_requested")
    whole, journey = till.whole, till.journey
    assert len(whole.facts(journey, "issuance.policies_numbered")) == 1
    (issued,) = [f for f in whole.facts(journey, "issuance") if isinstance(f, issuance.PolicyIssued)]
    assert set(till.customer.passage.policies) == {issued.policy_no}


async def test_a_notification_of_one_journey_is_worth_nothing_to_another(
    till: Till, deliver: Deliver, whole: Whole
) -> None:
    """Every byte of it is genuine and was heard before; an order number of another inside needs the channel's keys."""
    other = await _till(whole)
    genuine = till.body(till.paid(transaction_id=till.facts("payment_confirmed")[0].transaction_id))
    headers = till.signed(genuine)
    assert [await deliver(headers, genuine) for _ in range(2)] == [200, 401]
    assert not other.facts("payment_confirmed")
    (mine,) = till.facts("order_placed")
    assert mine.order_no == till.order_no != other.order_no
    # Nor may one payment pay for two orders.
    assert (await other.customer.pay(other.pay_url))["result"] == "paid"
    await other.customer.turn(await other.customer.until("policies"))
    assert len(other.facts("payment_confirmed")) == 1


async def test_nothing_broke_and_nothing_was_said_again(whole: Whole, began: dict[str, int]) -> None:
    for name in (*SERVICES, "gateway"):
        text = whole.run.log(name).read_text("utf-8")[began[name] :]
        assert MARKER not in text
        for line in text.splitlines():
            assert json.loads(line)["level"] != "ERROR", line
    assert [told.subject for told in whole.told if told.subject.startswith("dead.")] == []
