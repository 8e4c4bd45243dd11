"""WeChat Pay, API v3, direct merchant (https://pay.weixin.qq.com/doc/v3/merchant/4012791897).

Requests are signed with the merchant's RSA key, answers and notifications are checked against the platform's
certificates, which are fetched, kept and renewed here. The payer's name and number travel encrypted to the platform
(sensitive fields), notifications come encrypted with the API v3 key.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote

import aiohttp
import stamina
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from contracts.values import Token
from servicekit.telemetry.metrics import Watched, unwatched
from services.payment.channels import (
    ChannelRefused,
    ChannelUnavailable,
    Heard,
    Notification,
    NotificationRefused,
    OrderToPlace,
    PaymentStatement,
    RefundStatement,
    RefundToMake,
)

log = logging.getLogger(__name__)

SCHEME: Final = "WECHATPAY2-SHA256-RSA2048"
LARGEST_AGE: Final = timedelta(minutes=5)
"""Of anything the platform signed, in either direction of time."""
DEADLINE_SECONDS: Final = 2.5
"""For one try; all tries together stay inside the patience of whoever waits for us on the bus."""
TRIES: Final = 2
CERTIFICATES_FRESH: Final = timedelta(hours=12)
"""As the platform asks: look for new certificates at least so often."""
CERTIFICATES_PAUSE: Final = timedelta(seconds=30)
"""A stranger's made-up serial number must not make us ask without end."""
PAPER: Final = timezone(timedelta(hours=8))
ID_TYPES: Final = {"id_card": "IDCARD"}
"""Our kinds of identity documents in the channel's words."""
_MISCONFIGURED: Final = frozenset({401, 403, 429})
"""Says more about us, or the moment, than about the order: it stays as it is."""


@dataclass(frozen=True)
class Merchant:
    """What the channel knows us by, and what we share with it."""

    mchid: str
    appid: str
    serial_no: str
    key: RSAPrivateKey
    api_v3_key: bytes

    @classmethod
    def load(cls, details: bytes, key: bytes, api_v3_key: bytes) -> Merchant:
        """``details``: JSON with mchid, appid and serial_no of the merchant's certificate. Raises ValueError."""
        known = _Details.model_validate_json(details)
        loaded = load_pem_private_key(key, password=None)
        secret = api_v3_key.strip()
        if not isinstance(loaded, RSAPrivateKey) or len(secret) != 32:
            raise ValueError("the merchant has an RSA key and an API v3 key of 32 characters")
        return cls(known.mchid, known.appid, known.serial_no, loaded, secret)


class _Read(BaseModel):
    # The channel may add fields at any time; what we read is not quoted in an error.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Details(_Read):
    mchid: str
    appid: str
    serial_no: str


class _Amount(_Read):
    total: int | None = None
    refund: int | None = None
    currency: str = "CNY"


class _Transaction(_Read):
    appid: str
    mchid: str
    out_trade_no: Token
    trade_state: str
    transaction_id: Token | None = None
    success_time: AwareDatetime | None = None
    amount: _Amount = _Amount()


class _Refund(_Read):
    mchid: str | None = None
    out_trade_no: Token
    out_refund_no: Token
    status: str
    success_time: AwareDatetime | None = None
    amount: _Amount


class _RefundNotice(_Read):
    mchid: str
    out_trade_no: Token
    out_refund_no: Token
    refund_status: str
    success_time: AwareDatetime | None = None
    amount: _Amount


class _Link(_Read):
    h5_url: str


class _Encrypted(_Read):
    algorithm: Literal["AEAD_AES_256_GCM"]
    nonce: Annotated[str, Field(min_length=12, max_length=12)]
    associated_data: str = ""
    ciphertext: str


class _Envelope(_Read):
    id: str
    event_type: str
    resource: _Encrypted


class _Certificate(_Read):
    serial_no: str
    encrypt_certificate: _Encrypted


class _Certificates(_Read):
    data: tuple[_Certificate, ...]


class _Fault(_Read):
    code: str = "UNKNOWN"


class _Signature(_Read):
    timestamp: Annotated[int, Field(ge=0, le=10**11)]
    nonce: Annotated[str, Field(min_length=8, max_length=128, pattern=r"^[\x21-\x7e]+$")]
    signature: str
    serial: Annotated[str, Field(max_length=64)]


class _ComeAgain(Exception):
    """The platform is busy or out of order."""


class _Unverified(Exception):
    """Nobody we trust signed this."""


ReadT = TypeVar("ReadT", bound=_Read)

_STATES: Final[dict[str, Literal["unpaid", "payer_refused", "paid", "refunded", "closed"]]] = {
    "SUCCESS": "paid",
    "REFUND": "refunded",
    "NOTPAY": "unpaid",
    "USERPAYING": "unpaid",
    "ACCEPT": "unpaid",
    "CLOSED": "closed",
    "REVOKED": "closed",
    "PAYERROR": "payer_refused",
}
_REFUND_STATES: Final[dict[str, Literal["processing", "refunded", "stuck"]]] = {
    "SUCCESS": "refunded",
    "PROCESSING": "processing",
    "CLOSED": "stuck",
    "ABNORMAL": "stuck",
}


class WeChatPay:
    """The channel (see ``Channel``). ``now`` gives the time that signatures carry and are judged by."""

    def __init__(
        self,
        url: str,
        notify_url: str,
        merchant: Merchant,
        client_ip: str,
        now: Callable[[], datetime],
        watched: Watched = unwatched,
    ) -> None:
        self._watched = watched
        self._base = url.rstrip("/")
        self._notify_url = notify_url
        self._merchant = merchant
        self._client_ip = client_ip
        self._now = now
        self._http: aiohttp.ClientSession | None = None
        self._certificates: dict[str, x509.Certificate] = {}
        self._fetched_at: datetime | None = None
        self._asked_at: datetime | None = None

    async def open(self) -> None:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS))

    async def shut(self) -> None:
        if self._http is not None:
            await self._http.close()

    # -- orders --------------------------------------------------------------------------------------------

    async def place(self, order: OrderToPlace) -> str:
        id_type = ID_TYPES.get(order.payer_id_type)
        if id_type is None:
            raise ChannelRefused("ID_TYPE_UNKNOWN")
        serial, key = await self._platform_key()
        asked = {
            "appid": self._merchant.appid,
            "mchid": self._merchant.mchid,
            "description": order.description,
            "out_trade_no": order.order_no,
            "time_expire": order.expires_at.astimezone(PAPER).isoformat(timespec="seconds"),
            "notify_url": self._notify_url,
            "amount": {"total": order.total_fen, "currency": "CNY"},
            "payer": {
                "identity": {
                    "type": id_type,
                    "number": _encrypted(key, order.payer_id_number.reveal()),
                    "name": _encrypted(key, order.payer_name.reveal()),
                }
            },
            "scene_info": {"payer_client_ip": self._client_ip, "h5_info": {"type": "Wap"}},
        }
        answer = await self._ask("order", "POST", "/v3/pay/transactions/h5", asked, {"Wechatpay-Serial": serial})
        return _parsed(_Link, answer).h5_url

    async def query(self, order_no: str) -> Heard | None:
        path = f"/v3/pay/transactions/out-trade-no/{quote(order_no, safe='')}?mchid={quote(self._merchant.mchid)}"
        try:
            words = await self._ask("query", "GET", path)
        except ChannelRefused as refused:
            if refused.code in {"ORDER_NOT_EXIST", "ORDERNOTEXIST"}:
                return None
            raise
        said = self._statement(_parsed(_Transaction, words))
        if said is None or said.order_no != order_no:
            raise ChannelUnavailable("another order")
        return Heard(said, words)

    async def close(self, order_no: str) -> Literal["closed", "paid"]:
        path = f"/v3/pay/transactions/out-trade-no/{quote(order_no, safe='')}/close"
        try:
            await self._ask("close", "POST", path, {"mchid": self._merchant.mchid})
        except ChannelRefused as refused:
            if refused.code == "ORDERPAID":
                return "paid"
            if refused.code not in {"ORDER_CLOSED", "ORDERCLOSED", "ORDER_NOT_EXIST", "ORDERNOTEXIST"}:
                raise
        return "closed"

    async def refund(self, refund: RefundToMake) -> RefundStatement:
        asked = {
            "transaction_id": refund.transaction_id,
            "out_refund_no": refund.refund_no,
            "notify_url": self._notify_url,
            "amount": {"refund": refund.fen, "total": refund.fen, "currency": "CNY"},
        }
        answer = await self._ask("refund", "POST", "/v3/refund/domestic/refunds", asked)
        return _refund_statement(_parsed(_Refund, answer))

    async def query_refund(self, refund_no: str) -> RefundStatement | None:
        try:
            words = await self._ask("query refund", "GET", f"/v3/refund/domestic/refunds/{quote(refund_no, safe='')}")
        except ChannelRefused as refused:
            if refused.code in {"RESOURCE_NOT_EXISTS", "RESOURCE_NOT_EXIST"}:
                return None
            raise
        return _refund_statement(_parsed(_Refund, words))

    def _statement(self, said: _Transaction) -> PaymentStatement | None:
        """None for an order of another merchant or another of its applications."""
        if (said.mchid, said.appid) != (self._merchant.mchid, self._merchant.appid):
            return None
        state = _STATES.get(said.trade_state, "unpaid")
        paid = state in {"paid", "refunded"}
        if paid and (said.transaction_id is None or said.success_time is None or said.amount.total is None):
            return None
        return PaymentStatement(
            order_no=said.out_trade_no,
            state=state,
            transaction_id=said.transaction_id if paid else None,
            paid_fen=said.amount.total if paid else None,
            currency=said.amount.currency,
            paid_at=_utc(said.success_time) if paid else None,
        )

    # -- notifications -------------------------------------------------------------------------------------

    async def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        try:
            signature = await self._verified(headers, body)
        except _Unverified:
            raise NotificationRefused("notification_invalid") from None
        if abs(self._now().timestamp() - signature.timestamp) > LARGEST_AGE.total_seconds():
            raise NotificationRefused("notification_stale")
        try:
            envelope = _Envelope.model_validate_json(body)
            words = self._decrypted(envelope.resource)
            said: PaymentStatement | RefundStatement | None
            order_no: str | None
            if envelope.event_type.startswith("TRANSACTION."):
                transaction = _Transaction.model_validate_json(words)
                said, order_no = self._statement(transaction), transaction.out_trade_no
                if said is None:
                    raise NotificationRefused("notification_invalid")
            elif envelope.event_type.startswith("REFUND."):
                notice = _RefundNotice.model_validate_json(words)
                if notice.mchid != self._merchant.mchid:
                    raise NotificationRefused("notification_invalid")
                said = _refund_statement(
                    _Refund(
                        out_trade_no=notice.out_trade_no,
                        out_refund_no=notice.out_refund_no,
                        status=notice.refund_status,
                        success_time=notice.success_time,
                        amount=notice.amount,
                    )
                )
                order_no = notice.out_trade_no
            else:
                said = order_no = None
        except (ValidationError, InvalidTag, ValueError):
            raise NotificationRefused("notification_invalid") from None
        return Notification(signature.nonce, said, order_no, words)

    def _decrypted(self, sealed: _Encrypted) -> bytes:
        """Raises InvalidTag or ValueError."""
        return AESGCM(self._merchant.api_v3_key).decrypt(
            sealed.nonce.encode(), base64.b64decode(sealed.ciphertext, validate=True), sealed.associated_data.encode()
        )

    # -- asking --------------------------------------------------------------------------------------------

    async def _ask(
        self,
        call: str,
        method: str,
        path: str,
        asked: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a good answer, its signature verified. ``call``: what is asked for, in a word or two."""
        with self._watched(ChannelRefused, call=call):
            return await self._asked(method, path, asked, headers or {})

    async def _asked(self, method: str, path: str, asked: dict[str, Any] | None, headers: Mapping[str, str]) -> bytes:
        status, given, body = await self._send(method, path, asked, headers)
        try:
            signature = await self._verified(given, body)
        except _Unverified:
            log.warning("answer of the payment channel without a valid signature", extra={"status": status})
            raise ChannelUnavailable("unverified") from None
        if abs(self._now().timestamp() - signature.timestamp) > LARGEST_AGE.total_seconds():
            raise ChannelUnavailable("stale")
        if 200 <= status < 300:
            return body
        code = _fault(body)
        if status in _MISCONFIGURED:
            log.error("the payment channel refuses us", extra={"status": status, "code": code})
            raise ChannelUnavailable(code)
        raise ChannelRefused(code)

    async def _send(
        self, method: str, path: str, asked: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """One request, tried again when nobody answered: each of them may arrive twice without harm."""
        body = b"" if asked is None else json.dumps(asked, ensure_ascii=False).encode()
        url = URL(self._base + path, encoded=True)
        try:
            async for attempt in stamina.retry_context(
                on=(_ComeAgain, aiohttp.ClientConnectionError, TimeoutError),
                attempts=TRIES,
                wait_initial=0.1,
                wait_max=0.3,
                wait_jitter=0.1,
            ):
                with attempt:
                    return await self._once(method, url, body, headers)
        except (_ComeAgain, aiohttp.ClientError, TimeoutError) as error:
            # "from None": the cause may quote what was asked.
            raise ChannelUnavailable(type(error).__name__) from None
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        if self._http is None:
            raise RuntimeError("the channel's client is not open")
        signed = {
            "Authorization": self.authorization(method, url.raw_path_qs, body),
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "toubao",
            **headers,
        }
        async with self._http.request(
            method, url, data=body or None, headers=signed, allow_redirects=False
        ) as response:
            if response.status >= 500:
                raise _ComeAgain(response.status)
            return response.status, dict(response.headers), await response.read()

    def authorization(self, method: str, path_qs: str, body: bytes) -> str:
        """The header that signs one request: method, path with query, time, nonce and body, a line feed after each."""
        timestamp, nonce = str(int(self._now().timestamp())), secrets.token_hex(16)
        text = f"{method}\n{path_qs}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = base64.b64encode(self._merchant.key.sign(text, PKCS1v15(), SHA256())).decode()
        return (
            f'{SCHEME} mchid="{self._merchant.mchid}",nonce_str="{nonce}",signature="{signature}",'
            f'timestamp="{timestamp}",serial_no="{self._merchant.serial_no}"'
        )

    # -- the platform's certificates -----------------------------------------------------------------------

    async def _verified(self, headers: Mapping[str, str], body: bytes) -> _Signature:
        """Who signed, proven. Raises ``_Unverified``; ``ChannelUnavailable`` when certificates are not to be had."""
        signature = _signature(headers)
        certificate = await self._certificate(signature.serial)
        _check(certificate, signature, body)
        return signature

    async def _certificate(self, serial: str) -> x509.Certificate:
        known = self._certificates.get(serial.upper())
        if known is None or not self._valid(known):
            await self._renew()
            known = self._certificates.get(serial.upper())
        if known is None or not self._valid(known):
            raise _Unverified
        return known

    async def _platform_key(self) -> tuple[str, RSAPublicKey]:
        """Serial number and key of the newest certificate, for fields only the platform may read."""
        stale = self._fetched_at is None or self._now() - self._fetched_at > CERTIFICATES_FRESH
        if stale or not any(self._valid(c) for c in self._certificates.values()):
            await self._renew()
        valid = {serial: c for serial, c in self._certificates.items() if self._valid(c)}
        if not valid:
            raise ChannelUnavailable("no certificate")
        serial = max(valid, key=lambda s: valid[s].not_valid_before_utc)
        return serial, _rsa(valid[serial])

    def _valid(self, certificate: x509.Certificate) -> bool:
        return certificate.not_valid_before_utc <= self._now() <= certificate.not_valid_after_utc

    async def _renew(self) -> None:
        """Fetches the platform's certificates. They come encrypted under the API v3 key, which only the platform and
        we hold, and the answer must be signed by one of them.
        """
        now = self._now()
        if self._asked_at is not None and now - self._asked_at < CERTIFICATES_PAUSE and self._fetched_at is not None:
            return
        self._asked_at = now
        status, headers, body = await self._send("GET", "/v3/certificates", None, {})
        if status != 200:
            log.error("the payment channel refuses us", extra={"status": status, "code": _fault(body)})
            raise ChannelUnavailable("certificates")
        try:
            fetched = {
                item.serial_no.upper(): x509.load_pem_x509_certificate(self._decrypted(item.encrypt_certificate))
                for item in _Certificates.model_validate_json(body).data
            }
            signature = _signature(headers)
            signer = fetched.get(signature.serial.upper())
            if signer is None:
                raise _Unverified
            _check(signer, signature, body)
            for certificate in fetched.values():
                _rsa(certificate)
        except (_Unverified, ValidationError, InvalidTag, ValueError):
            raise ChannelUnavailable("certificates") from None
        self._certificates = fetched
        self._fetched_at = now


def _signature(headers: Mapping[str, str]) -> _Signature:
    given = {name.lower(): value for name, value in headers.items()}
    if given.get("wechatpay-signature-type", SCHEME) != SCHEME:
        raise _Unverified
    try:
        return _Signature.model_validate(
            {part: given.get(f"wechatpay-{part}") for part in ("timestamp", "nonce", "signature", "serial")}
        )
    except ValidationError:
        raise _Unverified from None


def _check(certificate: x509.Certificate, signature: _Signature, body: bytes) -> None:
    """Over the very bytes that came. Raises ``_Unverified``."""
    text = f"{signature.timestamp}\n{signature.nonce}\n".encode() + body + b"\n"
    try:
        _rsa(certificate).verify(base64.b64decode(signature.signature, validate=True), text, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        raise _Unverified from None


def _rsa(certificate: x509.Certificate) -> RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey):
        raise _Unverified
    return key


def _encrypted(key: RSAPublicKey, value: str) -> str:
    # The channel's published choice; OAEP does not rest on SHA-1's resistance to collisions.
    padding = OAEP(mgf=MGF1(algorithm=SHA1()), algorithm=SHA1(), label=None)  # noqa: S303
    return base64.b64encode(key.encrypt(value.encode(), padding)).decode()


def _refund_statement(said: _Refund) -> RefundStatement:
    """Raises ``ChannelUnavailable`` for a state we don't know."""
    state = _REFUND_STATES.get(said.status)
    if state is None or said.amount.refund is None or (state == "refunded" and said.success_time is None):
        raise ChannelUnavailable("refund state")
    return RefundStatement(
        refund_no=said.out_refund_no,
        state=state,
        fen=said.amount.refund,
        refunded_at=None if said.success_time is None else _utc(said.success_time),
    )


def _parsed(kind: type[ReadT], words: bytes) -> ReadT:
    try:
        return kind.model_validate_json(words)
    except ValidationError:
        raise ChannelUnavailable("malformed") from None


def _fault(body: bytes) -> str:
    try:
        return _Fault.model_validate_json(body).code[:64]
    except ValidationError:
        return "UNKNOWN"


def _utc(moment: datetime | None) -> datetime:
    assert moment is not None
    return datetime.fromtimestamp(moment.timestamp(), tz=UTC)
