"""A payment channel speaking WeChat Pay API v3 for direct merchants, with its own page to pay.

Signatures, encryption, paths, fields, error bodies and notifications follow the public documents at
pay.weixin.qq.com; what they leave open is listed in README.md. Money is integer fen.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from pydantic import AnyHttpUrl, AwareDatetime, BaseModel, ConfigDict, Field, StrictInt, ValidationError

from deploy.sandbox.credentials import Credentials, serial_of
from deploy.sandbox.deliveries import Deliveries, Outgoing
from deploy.sandbox.pages import page, page_not_found, style_sheet
from deploy.sandbox.records import Document, Records
from deploy.sandbox.settings import SandboxSettings

SCHEME = "WECHATPAY2-SHA256-RSA2048"
MAX_AGE_SECONDS = 300
_CHINA = timezone(timedelta(hours=8))
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

TradeType = Literal["MWEB", "NATIVE", "JSAPI"]

_STATE_WORDS = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
    "PAYERROR": "支付账户的实名信息与订单不一致",
}


class ChannelError(Exception):
    """An answer in the channel's error form."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class _Body(BaseModel):
    # Like the real channel, fields we do not know are passed over.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Identity(_Body):
    type: Literal[
        "IDCARD", "HONGKONG_MACAO", "HONGKONG_MACAO_RESIDENT", "TAIWAN_RESIDENT", "FOREIGN_RESIDENT",
        "OVERSEA_PASSPORT",
    ]  # fmt: skip
    number: str = Field(min_length=1, max_length=512)
    name: str = Field(min_length=1, max_length=512)


class Payer(_Body):
    openid: str | None = Field(default=None, max_length=128)
    identity: Identity | None = None


class OrderAmount(_Body):
    total: Annotated[StrictInt, Field(ge=1, le=10_000_000_000)]
    currency: Literal["CNY"] = "CNY"


class H5Info(_Body):
    type: str = Field(min_length=1, max_length=32)


class SceneInfo(_Body):
    payer_client_ip: str = Field(min_length=1, max_length=45)
    h5_info: H5Info | None = None


class OrderRequest(_Body):
    appid: str = Field(min_length=1, max_length=32)
    mchid: str = Field(min_length=1, max_length=32)
    description: str = Field(min_length=1, max_length=127)
    out_trade_no: str = Field(pattern=r"^[0-9A-Za-z_\-|*]{6,32}$")
    time_expire: AwareDatetime | None = None
    attach: str | None = Field(default=None, max_length=128)
    notify_url: AnyHttpUrl
    amount: OrderAmount
    payer: Payer | None = None
    scene_info: SceneInfo | None = None


class RefundAmount(_Body):
    refund: Annotated[StrictInt, Field(ge=1)]
    total: Annotated[StrictInt, Field(ge=1)]
    currency: Literal["CNY"]


class RefundRequest(_Body):
    transaction_id: str | None = None
    out_trade_no: str | None = None
    out_refund_no: str = Field(pattern=r"^[0-9A-Za-z_\-|*@]{1,64}$")
    reason: str | None = Field(default=None, max_length=80)
    notify_url: AnyHttpUrl | None = None
    amount: RefundAmount


class Faults(BaseModel):
    """What goes wrong on purpose; everything off by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delay_seconds: Annotated[float, Field(ge=0)] = 0
    """Notifications leave this much later."""
    duplicate: Annotated[int, Field(ge=0, le=20)] = 0
    """So many further copies at each attempt, same id, signed anew."""
    replay: Annotated[int, Field(ge=0, le=20)] = 0
    """So many further copies at each attempt, same bytes, nonce and signature."""
    drop: Annotated[int, Field(ge=-1)] = 0
    """The first so many attempts of each notification are lost; -1: all of them."""
    late: bool = False
    """Money is taken for orders that have expired or were closed."""
    taken_amount_fen: int = 0
    """Added to the amount really taken, and so to the query, ledger and notification."""
    notification_amount_fen: int = 0
    """Added to the amount in the notification only."""
    stale_seconds: int = 0
    """Notifications carry a signature timestamp so far in the past (negative: future)."""
    bad_signature: bool = False
    """Notifications carry a signature over other bytes."""


@dataclass(frozen=True)
class ChannelKeys:
    """What the channel holds: its own private key, the merchant's public key, the shared API v3 key."""

    platform_key: RSAPrivateKey
    platform_certificate: x509.Certificate
    merchant_key: RSAPublicKey
    merchant_serial: str
    api_v3_key: bytes

    @classmethod
    def load(cls, credentials: Credentials) -> ChannelKeys:
        platform_key = load_pem_private_key(credentials.platform_key.read_bytes(), password=None)
        merchant = x509.load_pem_x509_certificate(credentials.merchant_certificate.read_bytes())
        merchant_key = merchant.public_key()
        assert isinstance(platform_key, RSAPrivateKey)
        assert isinstance(merchant_key, RSAPublicKey)
        return cls(
            platform_key,
            x509.load_pem_x509_certificate(credentials.platform_certificate.read_bytes()),
            merchant_key,
            serial_of(merchant),
            credentials.api_v3_key.read_bytes(),
        )

    @property
    def serial(self) -> str:
        return serial_of(self.platform_certificate)

    def signature_headers(self, body: bytes, timestamp: int) -> dict[str, str]:
        nonce = secrets.token_hex(16)
        signed = self.platform_key.sign(f"{timestamp}\n{nonce}\n".encode() + body + b"\n", PKCS1v15(), SHA256())
        return {
            "Wechatpay-Timestamp": str(timestamp),
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": base64.b64encode(signed).decode(),
            "Wechatpay-Serial": self.serial,
            "Wechatpay-Signature-Type": SCHEME,
        }

    def encrypted(self, plain: bytes, associated_data: str) -> dict[str, str]:
        nonce = secrets.token_hex(6)
        sealed = AESGCM(self.api_v3_key).encrypt(nonce.encode(), plain, associated_data.encode())
        return {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": nonce,
            "associated_data": associated_data,
            "ciphertext": base64.b64encode(sealed).decode(),
        }

    def decrypted_field(self, value: str) -> str:
        # The channel's published choice; OAEP does not rest on SHA-1's collision resistance.
        padding = OAEP(mgf=MGF1(algorithm=SHA1()), algorithm=SHA1(), label=None)  # noqa: S303
        try:
            return self.platform_key.decrypt(base64.b64decode(value, validate=True), padding).decode()
        except (ValueError, Base64Error) as error:
            raise ChannelError(400, "PARAM_ERROR", "敏感字段解密失败，请用平台证书的公钥加密") from error


def _china(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, _CHINA)


def china_time(seconds: float) -> str:
    """RFC 3339 in China time, to the second, as the channel writes it."""
    return datetime.fromtimestamp(int(seconds), _CHINA).isoformat()


def openid_of(name: str, id_number: str) -> str:
    """The same account holder always has the same openid."""
    digest = hashlib.sha256(f"{name}\n{id_number.upper()}".encode()).digest()
    return "o" + base64.urlsafe_b64encode(digest).decode()[:27]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WeChatPay:
    """The channel. `clock` gives Unix seconds."""

    def __init__(
        self,
        settings: SandboxSettings,
        records: Records,
        keys: ChannelKeys,
        public_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._records, self._keys = settings, records, keys
        self._public_url, self._clock = public_url, clock
        self._prefix = urlsplit(public_url).path
        self.faults = Faults()
        self.notifications = Deliveries(
            "wechat_notification",
            records,
            settings.wechat_notify_schedule,
            self._notification,
            clock,
            taken_by=(200, 204),
        )

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 20)
        merchant: list[tuple[str, str, Handler]] = [
            ("POST", "/v3/pay/transactions/h5", self._order_h5),
            ("POST", "/v3/pay/transactions/native", self._order_native),
            ("POST", "/v3/pay/transactions/jsapi", self._order_jsapi),
            ("GET", "/v3/pay/transactions/out-trade-no/{out_trade_no}", self._query_order),
            ("GET", "/v3/pay/transactions/id/{transaction_id}", self._query_order),
            ("POST", "/v3/pay/transactions/out-trade-no/{out_trade_no}/close", self._close),
            ("POST", "/v3/refund/domestic/refunds", self._refund),
            ("GET", "/v3/refund/domestic/refunds/{out_refund_no}", self._query_refund),
            ("GET", "/v3/certificates", self._certificates),
        ]
        for method, path, handler in merchant:
            app.router.add_route(method, path, self._for_merchant(handler))
        app.add_routes(
            [
                web.get("/pay", self._pay_page),
                web.post("/pay", self._pay_form),
                web.post("/sandbox/pay/{prepay_id}", self._pay_json),
                web.get("/sandbox/ledger", self._ledger),
                web.get("/sandbox/orders/{out_trade_no}", self._order_page),
                web.get("/sandbox/notifications", self._notifications_sent),
                web.get("/sandbox/faults", self._show_faults),
                web.post("/sandbox/faults", self._set_faults),
                web.delete("/sandbox/faults", self._clear_faults),
                web.get("/sandbox.css", style_sheet),
            ]
        )
        return app

    # --- the merchant's side: signed both ways ---

    def _for_merchant(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                self._check_signature(request, await request.read())
                response = await handler(request)
            except ChannelError as error:
                body = {"code": error.code, "message": error.message}
                response = web.json_response(body, status=error.status)
            assert isinstance(response, web.Response)
            body_sent = response.body if isinstance(response.body, bytes) else b""
            response.headers.update(self._keys.signature_headers(body_sent, int(self._clock())))
            response.headers["Request-ID"] = secrets.token_hex(16).upper()
            return response

        return guarded

    def _check_signature(self, request: web.Request, body: bytes) -> None:
        """Raises SIGN_ERROR unless the merchant signed method, path?query, timestamp, nonce and body,
        each followed by a line feed.
        """

        def refused(message: str) -> ChannelError:
            return ChannelError(401, "SIGN_ERROR", message)

        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        given = dict(_PARAMETER.findall(rest))
        if scheme != SCHEME or not {"mchid", "nonce_str", "signature", "timestamp", "serial_no"} <= given.keys():
            raise refused("Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》")
        if given["mchid"] != self._settings.mchid or given["serial_no"].upper() != self._keys.merchant_serial:
            raise refused("商户证书序列号有误")
        timestamp = given["timestamp"]
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            raise refused("Http头Authorization中的timestamp有误")
        if abs(self._clock() - int(timestamp)) > MAX_AGE_SECONDS:
            raise refused("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")
        signed = f"{request.method}\n{request.raw_path}\n{timestamp}\n{given['nonce_str']}\n".encode()
        try:
            signature = base64.b64decode(given["signature"], validate=True)
            self._keys.merchant_key.verify(signature, signed + body + b"\n", PKCS1v15(), SHA256())
        except (InvalidSignature, Base64Error) as error:
            raise refused("错误的签名，验签失败") from error

    async def _order_h5(self, request: web.Request) -> web.Response:
        return await self._order(request, "MWEB")

    async def _order_native(self, request: web.Request) -> web.Response:
        return await self._order(request, "NATIVE")

    async def _order_jsapi(self, request: web.Request) -> web.Response:
        return await self._order(request, "JSAPI")

    async def _order(self, request: web.Request, trade_type: TradeType) -> web.Response:
        wanted = await _parsed(request, OrderRequest)
        if "identity" in json.loads(await request.read()):
            # Passing it over in silence would sell an unchecked payment as a checked one.
            raise ChannelError(400, "PARAM_ERROR", "identity应放在payer中")
        if wanted.mchid != self._settings.mchid:
            raise ChannelError(400, "PARAM_ERROR", "商户号与签名的商户号不一致")
        if wanted.appid != self._settings.appid:
            raise ChannelError(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")
        if wanted.notify_url.query:
            raise ChannelError(400, "PARAM_ERROR", "通知地址不能携带参数")
        if trade_type == "MWEB" and (wanted.scene_info is None or wanted.scene_info.h5_info is None):
            raise ChannelError(400, "PARAM_ERROR", "H5支付必须填写scene_info.h5_info")
        if trade_type == "JSAPI" and (wanted.payer is None or not wanted.payer.openid):
            raise ChannelError(400, "PARAM_ERROR", "JSAPI支付必须填写payer.openid")
        identity = self._identity(request, wanted)
        terms = wanted.model_dump(mode="json") | {"trade_type": trade_type}
        # Two encryptions of one identity differ; what counts for a repeat is what they say.
        terms["payer"] = {"openid": wanted.payer and wanted.payer.openid, "identity": identity}
        now = self._clock()
        order = self._records.get("order", wanted.out_trade_no)
        if order is None:
            if wanted.time_expire and wanted.time_expire.timestamp() <= now:
                raise ChannelError(400, "PARAM_ERROR", "time_expire时间过短")
            stamp = _china(now).strftime("%d%H%M%S")
            order = {
                "prepay_id": f"wx{stamp}{secrets.token_hex(13)}",
                "terms": terms,
                "state": "NOTPAY",
                "created": now,
                "expires": wanted.time_expire.timestamp() if wanted.time_expire else now + 7200,
            }
            with self._records.together():
                self._save(order)
                self._records.put("prepay", order["prepay_id"], {"out_trade_no": wanted.out_trade_no})
        else:
            if order["terms"] != terms:
                raise ChannelError(400, "INVALID_REQUEST", "201 商户订单号重复")
            state = self._state(order)
            if state in ("SUCCESS", "REFUND"):
                raise ChannelError(400, "ORDERPAID", "该订单已支付")
            if state == "CLOSED":
                raise ChannelError(400, "ORDER_CLOSED", "订单已关闭")
        link = f"{self._public_url}/pay?prepay_id={order['prepay_id']}"
        answer = {
            "MWEB": {"h5_url": link},
            "NATIVE": {"code_url": link},
            "JSAPI": {"prepay_id": order["prepay_id"]},
        }
        return web.json_response(answer[trade_type])

    def _identity(self, request: web.Request, wanted: OrderRequest) -> dict[str, str] | None:
        """The identity in clear. With a Wechatpay-Serial header number and name are encrypted."""
        if wanted.payer is None or wanted.payer.identity is None:
            return None
        identity = wanted.payer.identity
        serial = request.headers.get("Wechatpay-Serial")
        if serial is None:
            number, name = identity.number, identity.name
        elif serial.upper() != self._keys.serial:
            raise ChannelError(400, "PARAM_ERROR", "Wechatpay-Serial不是有效的平台证书序列号")
        else:
            number, name = (
                self._keys.decrypted_field(identity.number),
                self._keys.decrypted_field(identity.name),
            )
        if len(number) > 32 or len(name) > 32:
            raise ChannelError(400, "PARAM_ERROR", "证件号或姓名过长，加密时须带Wechatpay-Serial")
        return {"type": identity.type, "number": number, "name": name}

    async def _query_order(self, request: web.Request) -> web.Response:
        if request.query.get("mchid") != self._settings.mchid:
            raise ChannelError(400, "PARAM_ERROR", "mchid有误")
        return web.json_response(self._transaction(self._found(request)))

    def _found(self, request: web.Request) -> Document:
        if transaction_id := request.match_info.get("transaction_id"):
            order = self._by_transaction(transaction_id)
        else:
            order = self._records.get("order", request.match_info["out_trade_no"])
        if order is None:
            raise ChannelError(404, "ORDER_NOT_EXIST", "订单不存在")
        return order

    async def _close(self, request: web.Request) -> web.Response:
        wanted = await _parsed(request, _CloseRequest)
        if wanted.mchid != self._settings.mchid:
            raise ChannelError(400, "PARAM_ERROR", "mchid有误")
        order = self._found(request)
        if self._state(order) in ("SUCCESS", "REFUND"):
            raise ChannelError(400, "ORDERPAID", "该订单已支付")
        self._save(order | {"state": "CLOSED"})
        return web.Response(status=204)

    async def _refund(self, request: web.Request) -> web.Response:
        wanted = await _parsed(request, RefundRequest)
        if bool(wanted.transaction_id) == bool(wanted.out_trade_no):
            raise ChannelError(400, "PARAM_ERROR", "transaction_id和out_trade_no必须二选一")
        if wanted.transaction_id:
            order = self._by_transaction(wanted.transaction_id)
        else:
            order = self._records.get("order", wanted.out_trade_no or "")
        if order is None:
            raise ChannelError(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        if "transaction_id" not in order:
            raise ChannelError(400, "INVALID_REQUEST", "订单未支付，不能退款")
        terms = wanted.model_dump(mode="json")
        refund = self._records.get("refund", wanted.out_refund_no)
        if refund is not None:
            if refund["terms"] != terms:
                raise ChannelError(400, "INVALID_REQUEST", "订单金额或退款金额与之前请求不一致，请核实后再试")
            return web.json_response(self._refund_answer(self._settled(refund)))
        paid: int = order["paid_total"]
        earlier = sum(r["terms"]["amount"]["refund"] for r in self._refunds_of(order))
        if wanted.amount.total != paid:
            raise ChannelError(400, "INVALID_REQUEST", "订单金额与实付金额不一致，请核实后再试")
        if earlier + wanted.amount.refund > paid:
            raise ChannelError(400, "INVALID_REQUEST", "累计退款金额大于订单金额")
        now = self._clock()
        refund = {
            "terms": terms,
            "refund_id": f"503{_china(now):%Y%m%d}{secrets.randbelow(10**17):017d}",
            "out_trade_no": order["terms"]["out_trade_no"],
            "transaction_id": order["transaction_id"],
            "created": now,
            "settles": now + self._settings.wechat_refund_seconds,
            "state": "PROCESSING",
        }
        with self._records.together():
            self._records.put("refund", wanted.out_refund_no, refund, tag=refund["out_trade_no"])
            if wanted.notify_url:
                self._owe("refund", wanted.out_refund_no, self._settings.wechat_refund_seconds)
        return web.json_response(self._refund_answer(refund))

    async def _query_refund(self, request: web.Request) -> web.Response:
        refund = self._records.get("refund", request.match_info["out_refund_no"])
        if refund is None:
            raise ChannelError(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
        return web.json_response(self._refund_answer(self._settled(refund)))

    async def _certificates(self, _request: web.Request) -> web.Response:
        certificate = self._keys.platform_certificate
        return web.json_response(
            {
                "data": [
                    {
                        "serial_no": self._keys.serial,
                        "effective_time": china_time(certificate.not_valid_before_utc.timestamp()),
                        "expire_time": china_time(certificate.not_valid_after_utc.timestamp()),
                        "encrypt_certificate": self._keys.encrypted(
                            certificate.public_bytes(Encoding.PEM), "certificate"
                        ),
                    }
                ]
            }
        )

    # --- what an order and a refund are ---

    def _save(self, order: Document) -> None:
        tag = order.get("transaction_id", "")
        self._records.put("order", order["terms"]["out_trade_no"], order, tag=tag)

    def _by_transaction(self, transaction_id: str) -> Document | None:
        found = self._records.find("order", tag=transaction_id) if transaction_id else []
        return found[0] if found else None

    def _by_prepay(self, prepay_id: str) -> Document | None:
        known = self._records.get("prepay", prepay_id)
        return self._records.get("order", known["out_trade_no"]) if known else None

    def _refunds_of(self, order: Document) -> list[Document]:
        return self._records.find("refund", tag=order["terms"]["out_trade_no"])

    def _state(self, order: Document) -> str:
        if order["state"] == "SUCCESS" and self._refunds_of(order):
            return "REFUND"
        if order["state"] in ("NOTPAY", "PAYERROR") and order["expires"] <= self._clock():
            return "CLOSED"
        return order["state"]

    def _transaction(self, order: Document) -> Document:
        terms, state = order["terms"], self._state(order)
        answer: Document = {
            "appid": terms["appid"],
            "mchid": terms["mchid"],
            "out_trade_no": terms["out_trade_no"],
            "trade_state": state,
            "trade_state_desc": _STATE_WORDS[state],
        }
        if terms["attach"] is not None:
            answer["attach"] = terms["attach"]
        if "transaction_id" not in order:
            return answer | {"amount": {"total": terms["amount"]["total"], "currency": "CNY"}}
        paid = order["paid_total"]
        return answer | {
            "transaction_id": order["transaction_id"],
            "trade_type": terms["trade_type"],
            "bank_type": "OTHERS",
            "success_time": china_time(order["paid_at"]),
            "payer": {"openid": order["openid"]},
            "amount": {"total": paid, "payer_total": paid, "currency": "CNY", "payer_currency": "CNY"},
        }

    def _settled(self, refund: Document) -> Document:
        """The refund as of now: the money is back once its time has come."""
        if refund["state"] == "PROCESSING" and refund["settles"] <= self._clock():
            refund |= {"state": "SUCCESS"}
            self._records.put("refund", refund["terms"]["out_refund_no"], refund, tag=refund["out_trade_no"])
        return refund

    def _refund_answer(self, refund: Document) -> Document:
        amount = refund["terms"]["amount"]
        answer: Document = {
            "refund_id": refund["refund_id"],
            "out_refund_no": refund["terms"]["out_refund_no"],
            "transaction_id": refund["transaction_id"],
            "out_trade_no": refund["out_trade_no"],
            "channel": "ORIGINAL",
            "user_received_account": "支付用户零钱",
            "create_time": china_time(refund["created"]),
            "status": refund["state"],
            "funds_account": "AVAILABLE",
            "amount": {
                "total": amount["total"],
                "refund": amount["refund"],
                "payer_total": amount["total"],
                "payer_refund": amount["refund"],
                "settlement_refund": amount["refund"],
                "settlement_total": amount["total"],
                "discount_refund": 0,
                "currency": "CNY",
            },
        }
        if refund["state"] == "SUCCESS":
            answer["success_time"] = china_time(refund["settles"])
        return answer

    # --- paying ---

    def _pay(self, order: Document, name: str, id_number: str) -> str:
        """Takes the money, or answers why not: `already_paid`, `order_closed`, `identity_mismatch`."""
        state = self._state(order)
        if state in ("SUCCESS", "REFUND"):
            return "already_paid"
        if state == "CLOSED" and not self.faults.late:
            return "order_closed"
        terms = order["terms"]
        identity = terms["payer"]["identity"]
        now = self._clock()
        if identity and (identity["name"], identity["number"].upper()) != (name, id_number.upper()):
            refusals = [*order.get("refusals", ()), {"reason": "identity_mismatch", "at": china_time(now)}]
            self._save(order | {"state": "PAYERROR", "refusals": refusals})
            return "identity_mismatch"
        order |= {
            "state": "SUCCESS",
            "transaction_id": f"4200{_china(now):%Y%m%d}{secrets.randbelow(10**16):016d}",
            "paid_at": now,
            "paid_total": max(terms["amount"]["total"] + self.faults.taken_amount_fen, 1),
            "openid": terms["payer"]["openid"] or openid_of(name, id_number),
        }
        with self._records.together():
            self._save(order)
            self._owe("transaction", terms["out_trade_no"], 0)
        return "paid"

    async def _pay_page(self, request: web.Request) -> web.Response:
        order = self._by_prepay(request.query.get("prepay_id", ""))
        if order is None:
            return page_not_found("没有这笔订单。", f"{self._prefix}/sandbox.css")
        return self._page(order, request.query, other=request.query.get("payer") == "other", refused=False)

    def _page(self, order: Document, query: Any, *, other: bool, refused: bool) -> web.Response:
        back = _return_address(query.get("redirect_url", ""))
        css = f"{self._prefix}/sandbox.css"
        state = self._state(order)
        if state in ("SUCCESS", "REFUND"):
            return page("message", title="付款成功", message="这笔订单已经付款。", css=css, back=back)
        if state == "CLOSED" and not self.faults.late:
            return page("message", title="订单已关闭", message="这笔订单不能再付款。", css=css, back=back)
        kept = [(key, query[key]) for key in ("prepay_id", "redirect_url") if key in query]
        action = f"{self._prefix}/pay?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in kept)
        terms = order["terms"]
        identity = terms["payer"]["identity"]
        return page(
            "pay",
            css=css,
            merchant=self._settings.merchant_name,
            description=terms["description"],
            total=terms["amount"]["total"],
            holder=identity["name"] if identity else None,
            action=action,
            back=action,
            query=kept,
            other=other,
            refused=refused,
        )

    async def _pay_form(self, request: web.Request) -> web.StreamResponse:
        order = self._by_prepay(request.query.get("prepay_id", ""))
        if order is None:
            return page_not_found("没有这笔订单。", f"{self._prefix}/sandbox.css")
        form = await request.post()
        back = _return_address(request.query.get("redirect_url", ""))
        if form.get("choice") == "same":
            identity = order["terms"]["payer"]["identity"] or {"name": "零钱用户", "number": "0"}
            result = self._pay(order, identity["name"], identity["number"])
        elif form.get("choice") == "other":
            name, number = str(form.get("name", "")).strip(), str(form.get("id_number", "")).strip()
            result = self._pay(order, name, number)
        else:
            result = "cancelled"
        if result == "identity_mismatch":
            return self._page(order, request.query, other=False, refused=True)
        if back:
            raise web.HTTPSeeOther(back)
        if result == "cancelled":
            css = f"{self._prefix}/sandbox.css"
            return page("message", title="已取消", message="没有扣款。", css=css, back=None)
        return self._page(self._by_prepay(order["prepay_id"]) or order, request.query, other=False, refused=False)

    async def _pay_json(self, request: web.Request) -> web.Response:
        order = self._by_prepay(request.match_info["prepay_id"])
        if order is None:
            return web.json_response({"result": "refused", "reason": "unknown_order"}, status=404)
        try:
            payer = _SandboxPayer.model_validate_json(await request.read())
        except ValidationError:
            return web.json_response({"result": "refused", "reason": "malformed"}, status=400)
        result = self._pay(order, payer.name, payer.id_number)
        if result != "paid":
            return web.json_response({"result": "refused", "reason": result}, status=409)
        paid = self._by_prepay(order["prepay_id"]) or order
        return web.json_response({"result": "paid", "transaction_id": paid["transaction_id"]})

    # --- notifications ---

    def _owe(self, what: Literal["transaction", "refund"], number: str, delay: float) -> None:
        event_id = f"EV-{_china(self._clock()):%Y%m%d%H%M%S}{secrets.token_hex(6)}"
        self.notifications.owe(
            event_id,
            {"what": what, "number": number, "created": china_time(self._clock())},
            delay + self.faults.delay_seconds,
        )

    def _notification(self, entry: Document) -> Sequence[Outgoing] | None:
        faults = self.faults
        if faults.drop < 0 or entry["attempts"] < faults.drop:
            return None
        if entry["what"] == "transaction":
            order = self._records.get("order", entry["number"])
            assert order is not None
            resource: Document = self._transaction(order) | {
                "trade_state": "SUCCESS",
                "trade_state_desc": "支付成功",
            }
            if faults.notification_amount_fen:
                told = resource["amount"]["total"] + faults.notification_amount_fen
                resource["amount"] |= {"total": told, "payer_total": told}
            url, event, summary = order["terms"]["notify_url"], "TRANSACTION.SUCCESS", "支付成功"
        else:
            refund = self._records.get("refund", entry["number"])
            assert refund is not None
            answer = self._refund_answer(self._settled(refund))
            amount = answer["amount"]
            resource = {
                "mchid": self._settings.mchid,
                **{key: answer[key] for key in ("out_trade_no", "transaction_id", "out_refund_no", "refund_id")},
                "refund_status": answer["status"],
                "success_time": answer.get("success_time", china_time(self._clock())),
                "user_received_account": answer["user_received_account"],
                "amount": {key: amount[key] for key in ("total", "refund", "payer_total", "payer_refund")},
            }
            url, event, summary = refund["terms"]["notify_url"], "REFUND.SUCCESS", "退款成功"
        sealed = self._keys.encrypted(json.dumps(resource, ensure_ascii=False).encode(), entry["what"])
        body = json.dumps(
            {
                "id": entry["id"],
                "create_time": entry["created"],
                "resource_type": "encrypt-resource",
                "event_type": event,
                "summary": summary,
                "resource": {"original_type": entry["what"]} | sealed,
            },
            ensure_ascii=False,
        ).encode()

        def signed() -> Outgoing:
            timestamp = int(self._clock()) - faults.stale_seconds
            over = body + b" " if faults.bad_signature else body
            headers = {"Content-Type": "application/json"} | self._keys.signature_headers(over, timestamp)
            return Outgoing(url, headers, body)

        first = signed()
        return [first, *([first] * faults.replay), *(signed() for _ in range(faults.duplicate))]

    # --- for tests and people ---

    async def _ledger(self, _request: web.Request) -> web.Response:
        """Every fen taken and given back, in order of time."""
        entries: list[Document] = []
        refused: list[Document] = []
        for order in self._records.find("order"):
            number = order["terms"]["out_trade_no"]
            refused += [{"out_trade_no": number} | refusal for refusal in order.get("refusals", ())]
            if "transaction_id" in order:
                entries.append(
                    {
                        "kind": "taken",
                        "out_trade_no": number,
                        "transaction_id": order["transaction_id"],
                        "amount_fen": order["paid_total"],
                        "at": china_time(order["paid_at"]),
                    }
                )
        entries += [
            {
                "kind": "refunded",
                "out_trade_no": refund["out_trade_no"],
                "out_refund_no": refund["terms"]["out_refund_no"],
                "refund_id": refund["refund_id"],
                "amount_fen": refund["terms"]["amount"]["refund"],
                "at": china_time(refund["settles"]),
            }
            for refund in map(self._settled, self._records.find("refund"))
            if refund["state"] == "SUCCESS"
        ]
        entries.sort(key=lambda entry: entry["at"])
        return web.json_response(
            {
                "taken_fen": sum(e["amount_fen"] for e in entries if e["kind"] == "taken"),
                "refunded_fen": sum(e["amount_fen"] for e in entries if e["kind"] == "refunded"),
                "entries": entries,
                "refused": refused,
            }
        )

    async def _order_page(self, request: web.Request) -> web.Response:
        """Where an order is paid, for who knows its number and not yet the merchant's link."""
        order = self._records.get("order", request.match_info["out_trade_no"])
        if order is None:
            return web.json_response({"result": "refused", "reason": "unknown_order"}, status=404)
        return web.json_response({"pay_url": f"{self._public_url}/pay?prepay_id={order['prepay_id']}"})

    async def _notifications_sent(self, _request: web.Request) -> web.Response:
        """Every notification, oldest first: how often it was sent, and what the merchant answered last."""
        told = ({"answer": None, **entry} for entry in self.notifications.all())
        return web.json_response(
            {"notifications": [{key: each[key] for key in ("what", "number", "attempts", "answer")} for each in told]}
        )

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self.faults.model_dump())

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults = Faults.model_validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"errors": json.loads(error.json(include_url=False))}, status=400)
        return await self._show_faults(request)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self.faults = Faults()
        return await self._show_faults(request)


class _CloseRequest(_Body):
    mchid: str


class _SandboxPayer(_Body):
    name: str
    id_number: str


_Model = TypeVar("_Model", bound=_Body)


async def _parsed(request: web.Request, model: type[_Model]) -> _Model:
    """The body as `model`; raises PARAM_ERROR naming the first wrong field."""
    body = await request.read()
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = "/".join(str(part) for part in first["loc"])
        raise ChannelError(400, "PARAM_ERROR", f"输入源“/body/{field}”有误：{first['msg']}") from error


def _return_address(url: str) -> str | None:
    return url if urlsplit(url).scheme in ("http", "https") else None
