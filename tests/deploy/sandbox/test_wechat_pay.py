"""The payment channel, cross-checked by the `wechatpayv3` library, which shares no code with it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key
from wechatpayv3 import WeChatPay, WeChatPayType
from wechatpayv3.utils import aes_decrypt, build_authorization, load_private_key, rsa_encrypt, rsa_verify

from deploy.sandbox.credentials import Credentials, serial_of
from deploy.sandbox.process import Running
from deploy.sandbox.settings import Party
from tests.deploy.sandbox.callers import Clock, Heard, Listener, Start

ZHANG = {"name": "张小测", "id_number": "11010519491231002X"}
LI = {"name": "李小测", "id_number": "440308199001010012"}


@dataclass
class Merchant:
    """A merchant that signs with the library's functions and checks every answer's signature."""

    http: aiohttp.ClientSession
    base: str
    credentials: Credentials
    notify_url: str

    @property
    def platform(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.credentials.platform_certificate.read_bytes())

    @property
    def api_v3_key(self) -> str:
        return self.credentials.api_v3_key.read_text()

    def authorization(self, method: str, path: str, body: str, key: Any = None) -> str:
        details = json.loads(self.credentials.merchant_details.read_text())
        key = key or load_private_key(self.credentials.merchant_key.read_text())
        return build_authorization(path, method, details["mchid"], details["serial_no"], key, data=body)

    async def send(self, method: str, path: str, body: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        async with self.http.request(method, self.base + path, data=body.encode(), headers=headers) as answer:
            text = await answer.text()
            self.check(dict(answer.headers), text)
            return answer.status, json.loads(text) if text else {}

    def check(self, headers: dict[str, str], body: str) -> None:
        assert headers["Wechatpay-Serial"] == serial_of(self.platform)
        assert rsa_verify(
            headers["Wechatpay-Timestamp"],
            headers["Wechatpay-Nonce"],
            body,
            headers["Wechatpay-Signature"],
            self.platform.public_key(),
        )

    async def call(self, method: str, path: str, payload: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        body = "" if payload is None else json.dumps(payload, ensure_ascii=False)
        signed = {"Authorization": self.authorization(method, path, body)}
        return await self.send(method, path, body, signed | headers)

    def order(self, number: str = "T20260101000001", total: int = 123456, **more: Any) -> dict[str, Any]:
        return {
            "appid": "wx8888888888888888",
            "mchid": "1900000001",
            "description": "机动车保险",
            "out_trade_no": number,
            "notify_url": self.notify_url,
            "amount": {"total": total, "currency": "CNY"},
            "scene_info": {"payer_client_ip": "127.0.0.1", "h5_info": {"type": "Wap"}},
        } | more

    def encrypted_identity(self, person: dict[str, str]) -> dict[str, Any]:
        key = self.platform.public_key()
        return {
            "identity": {
                "type": "IDCARD",
                "number": rsa_encrypt(person["id_number"], key),
                "name": rsa_encrypt(person["name"], key),
            }
        }

    async def place(self, number: str = "T20260101000001", **more: Any) -> str:
        """Places an order for 张小测 and returns its prepay id."""
        order = self.order(number) | {"payer": self.encrypted_identity(ZHANG)} | more
        status, answer = await self.call(
            "POST", "/v3/pay/transactions/h5", order, **{"Wechatpay-Serial": serial_of(self.platform)}
        )
        assert status == 200, answer
        return answer["h5_url"].partition("prepay_id=")[2]

    async def pay(self, prepay_id: str, person: dict[str, str] = ZHANG) -> tuple[int, dict[str, Any]]:
        async with self.http.post(f"{self.base}/sandbox/pay/{prepay_id}", json=person) as answer:
            return answer.status, await answer.json()

    async def query(self, number: str = "T20260101000001") -> dict[str, Any]:
        status, answer = await self.call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid=1900000001")
        assert status == 200
        return answer

    async def refund(self, refund: int, total: int = 123456, number: str = "R1", **more: Any) -> Any:
        payload = {
            "out_trade_no": "T20260101000001",
            "out_refund_no": number,
            "notify_url": self.notify_url,
            "amount": {"refund": refund, "total": total, "currency": "CNY"},
        }
        return await self.call("POST", "/v3/refund/domestic/refunds", payload | more)

    async def ledger(self) -> dict[str, Any]:
        async with self.http.get(f"{self.base}/sandbox/ledger") as answer:
            return await answer.json()

    async def fault(self, **faults: Any) -> None:
        async with self.http.post(f"{self.base}/sandbox/faults", json=faults) as answer:
            assert answer.status == 200, await answer.text()

    def opened(self, heard: Heard) -> dict[str, Any]:
        """A notification's resource, its signature checked over the raw bytes."""
        self.check(heard.headers, heard.body.decode())
        resource = json.loads(heard.body)["resource"]
        plain = aes_decrypt(resource["nonce"], resource["ciphertext"], resource["associated_data"], self.api_v3_key)
        assert plain is not None
        return json.loads(plain)


@pytest.fixture
def merchant(sandbox: Running, http: aiohttp.ClientSession, data_dir: Path, listener: Listener) -> Merchant:
    return Merchant(http, sandbox.urls[Party.WECHAT], Credentials(data_dir), listener.url)


def library(merchant: Merchant, tmp_path: Path, pay_type: WeChatPayType = WeChatPayType.H5) -> WeChatPay:
    """The library itself, pointed at the stand-in; it fetches the platform certificate from there."""
    details = json.loads(merchant.credentials.merchant_details.read_text())
    certificates = tmp_path / "platform"
    certificates.mkdir()
    pem = merchant.credentials.platform_certificate.read_bytes()
    (certificates / "platform.pem").write_bytes(pem)
    pay = WeChatPay(
        wechatpay_type=pay_type,
        mchid=details["mchid"],
        private_key=merchant.credentials.merchant_key.read_text(),
        cert_serial_no=details["serial_no"],
        apiv3_key=merchant.api_v3_key,
        appid=details["appid"],
        notify_url=merchant.notify_url,
        cert_dir=str(certificates),
    )
    pay._core._gate_way = merchant.base
    return pay


async def test_the_public_library_orders_queries_closes_refunds_and_reads_notifications(
    merchant: Merchant, listener: Listener, tmp_path: Path
) -> None:
    pay = await asyncio.to_thread(library, merchant, tmp_path)
    scene = {"payer_client_ip": "127.0.0.1", "h5_info": {"type": "Wap"}}

    async def asked(call: Callable[[], Any]) -> tuple[int, Any]:
        status, text = await asyncio.to_thread(call)
        return status, json.loads(text) if text else None

    async def told() -> dict[str, Any]:
        heard = await listener.next()
        read: Any = await asyncio.to_thread(pay.callback, heard.headers, heard.body)
        return read

    status, placed = await asked(lambda: pay.pay("机动车保险", "LIB0001", amount={"total": 5000}, scene_info=scene))
    assert status == 200
    assert (await merchant.pay(placed["h5_url"].partition("prepay_id=")[2]))[0] == 200

    notification = await told()
    assert notification["event_type"] == "TRANSACTION.SUCCESS"
    assert notification["resource"]["amount"]["total"] == 5000
    assert notification["resource"]["trade_state"] == "SUCCESS"

    status, order = await asked(lambda: pay.query(out_trade_no="LIB0001"))
    assert (status, order["trade_state"]) == (200, "SUCCESS")

    amount = {"refund": 5000, "total": 5000, "currency": "CNY"}
    status, _ = await asked(lambda: pay.refund("LIBR1", amount, out_trade_no="LIB0001", notify_url=merchant.notify_url))
    assert status == 200
    notification = await told()
    assert notification["event_type"] == "REFUND.SUCCESS"
    assert notification["resource"]["refund_status"] == "SUCCESS"
    status, refund = await asked(lambda: pay.query_refund("LIBR1"))
    assert (status, refund["status"]) == (200, "SUCCESS")

    await asked(lambda: pay.pay("机动车保险", "LIB0002", amount={"total": 5000}, scene_info=scene))
    assert (await asked(lambda: pay.close("LIB0002")))[0] == 204
    _, order = await asked(lambda: pay.query(out_trade_no="LIB0002"))
    assert order["trade_state"] == "CLOSED"


async def test_platform_certificates_come_encrypted_under_the_api_v3_key(merchant: Merchant) -> None:
    status, answer = await merchant.call("GET", "/v3/certificates")
    assert status == 200
    [entry] = answer["data"]
    sealed = entry["encrypt_certificate"]
    pem = aes_decrypt(sealed["nonce"], sealed["ciphertext"], sealed["associated_data"], merchant.api_v3_key)
    assert pem is not None
    assert pem.encode() == merchant.credentials.platform_certificate.read_bytes()
    assert entry["serial_no"] == serial_of(merchant.platform)


@pytest.mark.parametrize("path", ["h5", "native", "jsapi"])
async def test_each_way_to_order_answers_with_its_own_parameter(merchant: Merchant, path: str) -> None:
    order = merchant.order(payer={"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"})
    status, answer = await merchant.call("POST", f"/v3/pay/transactions/{path}", order)
    assert status == 200
    assert list(answer) == [{"h5": "h5_url", "native": "code_url", "jsapi": "prepay_id"}[path]]


@pytest.mark.parametrize("tampering", ["body", "path", "method", "other_key", "old", "no_header", "serial"])
async def test_a_request_not_signed_by_the_merchant_is_refused(
    merchant: Merchant, clock: Clock, tampering: str
) -> None:
    path, body = "/v3/pay/transactions/h5", json.dumps(merchant.order())
    key = generate_private_key(65537, 2048) if tampering == "other_key" else None
    signed_path = "/v3/pay/transactions/native" if tampering == "path" else path
    signed_method = "PUT" if tampering == "method" else "POST"
    authorization = merchant.authorization(signed_method, signed_path, body, key)
    if tampering == "body":
        body = body.replace("123456", "1")
    if tampering == "serial":
        authorization = re.sub(r'serial_no="\w+"', 'serial_no="00"', authorization)
    if tampering == "old":
        clock.ahead = 301
    headers = {} if tampering == "no_header" else {"Authorization": authorization}
    status, answer = await merchant.send("POST", path, body, headers)
    assert (status, answer["code"]) == (401, "SIGN_ERROR")
    clock.ahead = 0
    status, answer = await merchant.call("GET", "/v3/pay/transactions/out-trade-no/T20260101000001?mchid=1900000001")
    assert (status, answer["code"]) == (404, "ORDER_NOT_EXIST")


async def test_paying_notifies_the_merchant_and_enters_the_ledger(merchant: Merchant, listener: Listener) -> None:
    prepay_id = await merchant.place()
    assert (await merchant.query())["trade_state"] == "NOTPAY"
    status, paid = await merchant.pay(prepay_id)
    assert (status, paid["result"]) == (200, "paid")
    transaction = merchant.opened(await listener.next())
    assert transaction["transaction_id"] == paid["transaction_id"]
    assert transaction["amount"] == {
        "total": 123456, "payer_total": 123456, "currency": "CNY", "payer_currency": "CNY",
    }  # fmt: skip
    assert transaction["payer"]["openid"].startswith("o")
    assert await merchant.query() == transaction
    ledger = await merchant.ledger()
    assert (ledger["taken_fen"], ledger["refunded_fen"]) == (123456, 0)


async def test_another_person_s_account_is_refused_and_no_money_moves(merchant: Merchant, listener: Listener) -> None:
    prepay_id = await merchant.place()
    for stranger in (LI, ZHANG | {"name": "张小侧"}, ZHANG | {"id_number": LI["id_number"]}):
        status, answer = await merchant.pay(prepay_id, stranger)
        assert (status, answer["reason"]) == (409, "identity_mismatch")
    assert (await merchant.query())["trade_state"] == "PAYERROR"
    ledger = await merchant.ledger()
    assert ledger["taken_fen"] == 0
    assert [refusal["reason"] for refusal in ledger["refused"]] == ["identity_mismatch"] * 3
    assert listener.heard.empty()
    status, _ = await merchant.pay(prepay_id, ZHANG | {"id_number": "11010519491231002x"})
    assert status == 200
    assert merchant.opened(await listener.next())["trade_state"] == "SUCCESS"


async def test_identity_in_clear_without_the_serial_header_is_checked_too(merchant: Merchant) -> None:
    payer = {"identity": {"type": "IDCARD", "number": ZHANG["id_number"], "name": ZHANG["name"]}}
    status, answer = await merchant.call("POST", "/v3/pay/transactions/h5", merchant.order(payer=payer))
    assert status == 200
    prepay_id = answer["h5_url"].partition("prepay_id=")[2]
    assert (await merchant.pay(prepay_id, LI))[0] == 409
    assert (await merchant.pay(prepay_id, ZHANG))[0] == 200


async def test_an_identity_that_cannot_be_read_is_never_passed_over(merchant: Merchant) -> None:
    serial = {"Wechatpay-Serial": serial_of(merchant.platform)}
    payer = merchant.encrypted_identity(ZHANG)
    in_clear: dict[str, Any] = {"identity": {"type": "IDCARD", "number": ZHANG["id_number"], "name": ZHANG["name"]}}
    path = "/v3/pay/transactions/h5"
    misplaced = merchant.order(**in_clear)
    for order, headers in (
        (misplaced, {}),
        (merchant.order(payer=payer), {}),
        (merchant.order(payer=payer), {"Wechatpay-Serial": "0" * 40}),
        (merchant.order(payer=in_clear), serial),
        (merchant.order(payer={"identity": in_clear["identity"] | {"type": "LIBRARY"}}), {}),
    ):
        status, answer = await merchant.call("POST", path, order, **headers)
        assert (status, answer["code"]) == (400, "PARAM_ERROR")


async def test_the_same_order_again_is_the_same_and_a_changed_one_is_refused(merchant: Merchant) -> None:
    first = await merchant.place()
    assert await merchant.place() == first
    path = "/v3/pay/transactions/h5"
    serial = {"Wechatpay-Serial": serial_of(merchant.platform)}
    for changed in (
        merchant.order(total=123455, payer=merchant.encrypted_identity(ZHANG)),
        merchant.order(payer=merchant.encrypted_identity(LI)),
        merchant.order(),
    ):
        status, answer = await merchant.call("POST", path, changed, **serial)
        assert (status, answer) == (400, {"code": "INVALID_REQUEST", "message": "201 商户订单号重复"})
    await merchant.pay(first)
    status, answer = await merchant.call(
        "POST", path, merchant.order(payer=merchant.encrypted_identity(ZHANG)), **serial
    )
    assert (status, answer["code"]) == (400, "ORDERPAID")


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"total": 0}},
        {"amount": {"total": "100"}},
        {"amount": {"total": 1.5}},
        {"amount": {"total": True}},
        {"out_trade_no": "短"},
        {"description": ""},
        {"notify_url": "ftp://example.invalid/"},
        {"scene_info": {"payer_client_ip": "127.0.0.1"}},
        {"mchid": "1900000002"},
        {"time_expire": "2020-01-01T00:00:00+08:00"},
    ],
)
async def test_a_malformed_order_is_refused_in_the_channel_s_error_form(
    merchant: Merchant, change: dict[str, Any]
) -> None:
    status, answer = await merchant.call("POST", "/v3/pay/transactions/h5", merchant.order(**change))
    assert (status, answer["code"]) == (400, "PARAM_ERROR")
    assert answer["message"]


async def test_paid_many_times_at_once_takes_the_money_once(merchant: Merchant, listener: Listener) -> None:
    prepay_id = await merchant.place()
    results = await asyncio.gather(*(merchant.pay(prepay_id) for _ in range(8)))
    assert sorted(status for status, _ in results) == [200] + [409] * 7
    assert (await merchant.ledger())["taken_fen"] == 123456
    await listener.next()
    assert listener.heard.empty()


async def test_a_closed_or_expired_order_takes_no_money_unless_late_is_switched_on(
    merchant: Merchant, clock: Clock
) -> None:
    expires = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    prepay_id = await merchant.place(time_expire=expires)
    clock.ahead = 280
    assert (await merchant.query())["trade_state"] == "NOTPAY"
    clock.ahead = 200
    status, _ = await merchant.call(
        "POST", "/v3/pay/transactions/out-trade-no/T20260101000001/close", {"mchid": "1900000001"}
    )
    assert status == 204
    assert (await merchant.query())["trade_state"] == "CLOSED"
    assert (await merchant.pay(prepay_id))[1]["reason"] == "order_closed"
    await merchant.fault(late=True)
    assert (await merchant.pay(prepay_id))[0] == 200
    assert (await merchant.query())["trade_state"] == "SUCCESS"


async def test_refunds_never_exceed_what_was_paid(merchant: Merchant, listener: Listener) -> None:
    assert (await merchant.refund(1))[0] == 404
    prepay_id = await merchant.place()
    status, answer = await merchant.refund(1)
    assert (status, answer["code"]) == (400, "INVALID_REQUEST")
    await merchant.pay(prepay_id)
    await listener.next()
    status, first = await merchant.refund(100_000)
    assert (status, first["status"]) == (200, "PROCESSING")
    told = merchant.opened(await listener.next())
    assert (told["refund_status"], told["amount"]["refund"]) == ("SUCCESS", 100_000)
    # The same again is the same refund; the number with another amount is not.
    assert (await merchant.refund(100_000))[1]["refund_id"] == first["refund_id"]
    for refused in (
        merchant.refund(99_999),
        merchant.refund(23_457, number="R2"),
        merchant.refund(1, total=100_000, number="R3"),
    ):
        status, answer = await refused
        assert (status, answer["code"]) == (400, "INVALID_REQUEST")
    assert (await merchant.refund(23_456, number="R4"))[0] == 200
    assert (await merchant.query())["trade_state"] == "REFUND"
    ledger = await merchant.ledger()
    assert (ledger["taken_fen"], ledger["refunded_fen"]) == (123456, 123456)


async def test_a_notification_is_repeated_until_it_is_taken(merchant: Merchant, listener: Listener) -> None:
    listener.statuses = [500, 404]
    await merchant.pay(await merchant.place())
    heard = [await listener.next() for _ in range(3)]
    assert len({json.loads(each.body)["id"] for each in heard}) == 1
    assert len({each.headers["Wechatpay-Nonce"] for each in heard}) == 3
    for each in heard:
        merchant.opened(each)


async def test_a_restart_loses_neither_order_nor_money_nor_notification(
    start: Start, http: aiohttp.ClientSession, data_dir: Path, listener: Listener, clock: Clock
) -> None:
    async with start() as before:
        merchant = Merchant(http, before.urls[Party.WECHAT], Credentials(data_dir), listener.url)
        await merchant.fault(delay_seconds=30)
        prepay_id = await merchant.place()
        await merchant.pay(prepay_id)
        ledger = await merchant.ledger()
    async with start() as after:
        merchant = Merchant(http, after.urls[Party.WECHAT], Credentials(data_dir), listener.url)
        assert await merchant.ledger() == ledger
        assert (await merchant.pay(prepay_id))[1]["reason"] == "already_paid"
        assert listener.heard.empty()
    clock.ahead = 31
    async with start() as later:
        merchant = Merchant(http, later.urls[Party.WECHAT], Credentials(data_dir), listener.url)
        assert merchant.opened(await listener.next())["trade_state"] == "SUCCESS"


async def test_what_is_owed_in_an_hour_is_sent_when_the_clock_is_set_an_hour_on(
    merchant: Merchant, listener: Listener, clock: Clock
) -> None:
    await merchant.fault(delay_seconds=3600)
    await merchant.pay(await merchant.place("L00001"))
    assert listener.heard.empty()
    sent = f"{merchant.base}/sandbox/notifications"
    async with merchant.http.get(sent) as answer:
        (owed,) = (await answer.json())["notifications"]
    assert owed == {"what": "transaction", "number": "L00001", "attempts": 0, "answer": None}
    clock.ahead = 3601
    assert merchant.opened(await listener.next())["trade_state"] == "SUCCESS"
    async with asyncio.timeout(5):
        while owed["attempts"] == 0:
            async with merchant.http.get(sent) as answer:
                (owed,) = (await answer.json())["notifications"]
    assert owed["answer"] in ("200", "204")


async def test_an_order_can_be_paid_by_who_knows_its_number_alone(merchant: Merchant) -> None:
    prepay_id = await merchant.place("N00001")
    async with merchant.http.get(f"{merchant.base}/sandbox/orders/N00001") as answer:
        assert (await answer.json())["pay_url"].endswith(f"/pay?prepay_id={prepay_id}")
    async with merchant.http.get(f"{merchant.base}/sandbox/orders/N00002") as answer:
        assert answer.status == 404


async def test_faults_of_notifications(merchant: Merchant, listener: Listener) -> None:
    async def paid(number: str, **faults: Any) -> None:
        await merchant.fault(**faults)
        await merchant.pay(await merchant.place(number))

    await paid("F00001", duplicate=1)
    first, second = await listener.next(), await listener.next()
    assert first.body == second.body
    assert first.headers["Wechatpay-Nonce"] != second.headers["Wechatpay-Nonce"]

    await paid("F00002", replay=1)
    first, second = await listener.next(), await listener.next()
    assert first.headers["Wechatpay-Signature"] == second.headers["Wechatpay-Signature"]

    await paid("F00003", drop=2)
    assert merchant.opened(await listener.next())["out_trade_no"] == "F00003"

    await paid("F00004", notification_amount_fen=-1)
    assert merchant.opened(await listener.next())["amount"]["total"] == 123455
    assert (await merchant.query("F00004"))["amount"]["total"] == 123456

    await paid("F00005", taken_amount_fen=-100)
    assert merchant.opened(await listener.next())["amount"]["total"] == 123356
    assert (await merchant.query("F00005"))["amount"]["total"] == 123356

    await paid("F00006", stale_seconds=400)
    heard = await listener.next()
    merchant.opened(heard)
    assert int(heard.headers["Wechatpay-Timestamp"]) < time.time() - 390

    await paid("F00007", bad_signature=True)
    heard = await listener.next()
    with pytest.raises(AssertionError):
        merchant.opened(heard)

    await paid("F00008", drop=-1)
    async with merchant.http.delete(f"{merchant.base}/sandbox/faults") as cleared:
        assert not any((await cleared.json()).values())
    async with merchant.http.post(f"{merchant.base}/sandbox/faults", json={"unknown": 1}) as refused:
        assert refused.status == 400


async def test_the_page_to_pay(merchant: Merchant, listener: Listener) -> None:
    await merchant.place(description="<b>车险</b>")
    _, answer = await merchant.call(
        "POST",
        "/v3/pay/transactions/h5",
        merchant.order(description="<b>车险</b>", payer=merchant.encrypted_identity(ZHANG)),
        **{"Wechatpay-Serial": serial_of(merchant.platform)},
    )
    back = "http://127.0.0.1:1/return?journey=1"
    params = {"redirect_url": back}
    async with merchant.http.get(answer["h5_url"], params=params) as page:
        text = await page.text()
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "1,234.56" in text
    assert "<b>车险" not in text
    assert "张**" in text
    assert "张小测" not in text
    assert "script" not in text

    async def choose(**form: str) -> tuple[int, str, str | None]:
        async with merchant.http.post(answer["h5_url"], params=params, data=form, allow_redirects=False) as done:
            return done.status, await done.text(), done.headers.get("Location")

    status, text, _ = await choose(choice="other", **LI)
    assert status == 200
    assert "没有扣款" in text
    assert (await merchant.ledger())["taken_fen"] == 0
    assert (await choose(choice="cancel"))[::2] == (303, back)
    assert (await merchant.ledger())["taken_fen"] == 0
    assert (await choose(choice="same"))[::2] == (303, back)
    assert merchant.opened(await listener.next())["trade_state"] == "SUCCESS"
    async with merchant.http.get(f"{answer['h5_url']}&redirect_url=javascript:alert(1)") as page:
        assert "javascript:" not in await page.text()


async def test_responses_are_signed_by_the_platform_and_by_nobody_else(merchant: Merchant) -> None:
    path = "/v3/certificates"
    headers = {"Authorization": merchant.authorization("GET", path, "")}
    async with merchant.http.get(merchant.base + path, headers=headers) as answer:
        text = await answer.text()
        signed = dict(answer.headers)
    merchant.check(signed, text)
    other = generate_private_key(65537, 2048).public_key()
    assert isinstance(other, RSAPublicKey)
    for body, key in ((text + " ", merchant.platform.public_key()), (text, other)):
        assert not rsa_verify(
            signed["Wechatpay-Timestamp"], signed["Wechatpay-Nonce"], body, signed["Wechatpay-Signature"], key
        )
