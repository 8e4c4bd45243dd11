"""Proof of possession of the device key: DPoP proofs (RFC 9449) over method, URL and body.

Pure but for the random boot secret of :class:`Nonces`: times come in as arguments. Freshness is judged by the
server's nonce alone; the phone's ``iat`` is kept as what the phone claimed and decides nothing.

Beyond RFC 9449 every proof carries ``bh``: the base64url SHA-256 of the body's bytes (of no bytes where there
is no body), so that whoever holds body and proof later can check that this device sent exactly this.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NoReturn, cast
from urllib.parse import urlsplit

from joserfc import jws as jose
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

MAX_PROOF_LENGTH: Final = 4096
"""Characters. A proof of ours is about 700; more is somebody's experiment."""

MAX_URL_LENGTH: Final = 512

EMPTY_BODY_SHA256: Final = hashlib.sha256(b"").hexdigest()

ProofCode = Literal[
    "proof_malformed",
    "proof_algorithm",
    "proof_type",
    "proof_private_key",
    "proof_signature",
    "proof_method",
    "proof_url",
    "proof_body",
    "proof_nonce_missing",
    "proof_nonce_stale",
    "proof_key_changed",
    "proof_replayed",
]


class ProofRefused(Exception):
    """A proof that does not prove. ``code`` is stable; nothing of the proof is in the message."""

    def __init__(self, code: ProofCode) -> None:
        super().__init__(code)
        self.code: ProofCode = code


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified proof says.

    ``thumbprint`` is the RFC 7638 SHA-256 of the key, ``jwk`` its four public members, ``iat`` the phone's
    own clock in Unix seconds, ``ath`` the hash of the session token if the proof names one (compare it with
    :func:`session_hash`), ``body_sha256`` lower-case hex.
    """

    thumbprint: str
    jwk: dict[str, str]
    jti: str
    nonce: str
    iat: int
    ath: str | None
    body_sha256: str


_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TEXT_CLAIM = re.compile(r"[\x21-\x7e]{1,256}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_DEFAULT_PORTS = {"http": 80, "https": 443}

# strict_check_header would refuse what the JWS registry does not know; RFC 9449 headers are ours to check.
_REGISTRY = jose.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
# The library's own limits are below ours and would answer with an error of its own.
_REGISTRY.max_header_length = MAX_PROOF_LENGTH
_REGISTRY.max_payload_length = MAX_PROOF_LENGTH


def verify_proof(jws: str, *, method: str, url: str, body_sha256: str, expect_thumbprint: str | None = None) -> Claims:
    """Check a DPoP proof against the request it came with.

    ``url`` is the public URL of the request, query and fragment are ignored (RFC 9449 §4.3); ``body_sha256``
    the hex SHA-256 of the body's bytes; ``expect_thumbprint`` the key of this journey, if it has one already.

    The nonce is returned, not judged: give it to :meth:`Nonces.check`, then the claims to
    :meth:`SeenProofs.check`. Compare ``ath`` with :func:`session_hash` of the token that came along.
    The key is compared last, so ``proof_key_changed`` always speaks of a proof that is otherwise sound.

    Raises ProofRefused with one of the codes of ``ProofCode``.
    """
    if len(jws) > MAX_PROOF_LENGTH or _COMPACT.fullmatch(jws) is None:
        _refuse("proof_malformed")
    header_part, payload_part, signature_part = jws.split(".")
    _decode(signature_part)
    header = _json_object(header_part)
    key = _device_key(header)
    try:
        jose.deserialize_compact(jws, key, registry=_REGISTRY)
    except (JoseError, ValueError):
        _refuse("proof_signature")

    claims = _json_object(payload_part)
    jti, htm, htu, iat = claims.get("jti"), claims.get("htm"), claims.get("htu"), claims.get("iat")
    ath, nonce, bh = claims.get("ath"), claims.get("nonce"), claims.get("bh")
    if not _is_text(jti) or not isinstance(htm, str) or not isinstance(htu, str):
        _refuse("proof_malformed")
    if not isinstance(iat, int) or isinstance(iat, bool) or not 0 <= iat < 2**53:
        _refuse("proof_malformed")
    if ath is not None and not _is_text(ath):
        _refuse("proof_malformed")
    if htm != method:
        _refuse("proof_method")
    wanted = _target(url)
    if wanted is None or _target(htu) != wanted:
        _refuse("proof_url")
    if not isinstance(bh, str) or not hmac.compare_digest(bh.encode(), base64url(bytes.fromhex(body_sha256)).encode()):
        _refuse("proof_body")
    if not _is_text(nonce):
        _refuse("proof_nonce_missing")
    thumbprint = key.thumbprint()
    if expect_thumbprint is not None and not hmac.compare_digest(thumbprint.encode(), expect_thumbprint.encode()):
        _refuse("proof_key_changed")
    return Claims(
        thumbprint=thumbprint,
        jwk=_public_members(header),
        jti=cast(str, jti),
        nonce=cast(str, nonce),
        iat=iat,
        ath=cast("str | None", ath),
        body_sha256=body_sha256.lower(),
    )


def session_hash(token: str) -> str:
    """The ``ath`` claim of a session token: base64url SHA-256 of its ASCII bytes (RFC 9449 §4.2)."""
    return base64url(hashlib.sha256(token.encode("ascii")).digest())


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class Nonces:
    """Server nonces that need no memory: issue time and randomness under a MAC with the boot secret.

    The secret is random at start, so a nonce from before a restart is refused: the memory of seen proofs
    (:class:`SeenProofs`) went with the old process.
    """

    def __init__(
        self,
        lifetime: timedelta = timedelta(minutes=5),
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.lifetime = lifetime
        self._random = random
        self._secret = random(32)

    def issue(self, now: datetime) -> str:
        """A fresh nonce, 54 characters. ``now`` is the server's time."""
        stated = _microseconds(now).to_bytes(8, "big") + self._random(16)
        return base64url(stated + self._mac(stated))

    def check(self, nonce: str, now: datetime) -> Literal["ok", "proof_nonce_stale"]:
        """Whether this process issued ``nonce`` within the lifetime before ``now``."""
        try:
            raw = _strict_b64(nonce)
        except ValueError:
            return "proof_nonce_stale"
        stated, mac = raw[:24], raw[24:]
        if len(raw) != 40 or not hmac.compare_digest(mac, self._mac(stated)):
            return "proof_nonce_stale"
        age = _microseconds(now) - int.from_bytes(stated[:8], "big")
        # A negative age is a server clock set back: asking for a new nonce costs one round trip.
        if not 0 <= age < self.lifetime // timedelta(microseconds=1):
            return "proof_nonce_stale"
        return "ok"

    def _mac(self, stated: bytes) -> bytes:
        return hmac.digest(self._secret, stated, "sha256")[:16]


class SeenProofs:
    """Which proofs were used, for as long as their nonce could still pass.

    A nonce is issued before its proof is seen, so an entry may go one nonce lifetime after it was seen: what
    is kept is bounded by rate of requests x lifetime, 32 bytes each however long the ``jti``.
    """

    def __init__(self, lifetime: timedelta = timedelta(minutes=5)) -> None:
        self._lifetime = lifetime
        self._seen: OrderedDict[bytes, datetime] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def check(self, claims: Claims, now: datetime) -> Literal["ok", "proof_replayed"]:
        """Remember this proof; tell whether the same key used the same ``jti`` before."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] > now:
                break
            del self._seen[oldest]
        mark = hashlib.sha256(f"{claims.thumbprint}.{claims.jti}".encode()).digest()
        if mark in self._seen:
            return "proof_replayed"
        self._seen[mark] = now + self._lifetime
        return "ok"


def _refuse(code: ProofCode) -> NoReturn:
    # "from None": the cause may quote the proof.
    raise ProofRefused(code) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and _TEXT_CLAIM.fullmatch(value) is not None


def _strict_b64(part: str) -> bytes:
    """Base64url in its one canonical spelling, so that a proof has exactly one text.

    Raises ValueError for anything else.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+", part) is None:
        raise ValueError("not base64url")
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64url(data) != part:
        raise ValueError("not canonical base64url")
    return data


def _decode(part: str) -> bytes:
    try:
        return _strict_b64(part)
    except ValueError:
        _refuse("proof_malformed")


def _json_object(part: str) -> dict[str, Any]:
    """The JSON object of one part; a name given twice is refused: two readers may take different ones."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name is given twice")
        return found

    def no_constant(_: str) -> NoReturn:
        raise ValueError("not JSON")

    try:
        value: object = json.loads(_decode(part).decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError):
        _refuse("proof_malformed")
    if not isinstance(value, dict):
        _refuse("proof_malformed")
    return cast("dict[str, Any]", value)


def _device_key(header: dict[str, Any]) -> ECKey:
    if header.get("alg") != "ES256":
        _refuse("proof_algorithm")
    if header.get("typ") != "dpop+jwt":
        _refuse("proof_type")
    # "crit" asks us to understand extensions and "b64" changes what is signed; a proof needs neither.
    if "crit" in header or "b64" in header or not isinstance(header.get("jwk"), dict):
        _refuse("proof_malformed")
    jwk = cast("dict[str, Any]", header["jwk"])
    if _PRIVATE_MEMBERS & jwk.keys():
        _refuse("proof_private_key")
    if jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        _refuse("proof_algorithm")
    for coordinate in (jwk.get("x"), jwk.get("y")):
        if not isinstance(coordinate, str) or len(coordinate) > 64 or len(_decode(coordinate)) != 32:
            _refuse("proof_malformed")
    try:
        # Only the four members of the key: "use", "key_ops" or "kid" must not steer the library.
        return ECKey.import_key(cast("dict[str, Any]", _public_members(header)))
    except (JoseError, ValueError):
        _refuse("proof_malformed")


def _public_members(header: dict[str, Any]) -> dict[str, str]:
    jwk = cast("dict[str, str]", header["jwk"])
    return {member: jwk[member] for member in ("crv", "kty", "x", "y")}


def _target(url: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path, normalised by RFC 3986 §6.2.2 and §6.2.3; None if it is no http URL."""
    if len(url) > MAX_URL_LENGTH or re.fullmatch(r"[\x21-\x5b\x5d-\x7e]+", url) is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, default if port is None else port, _path(parts.path)


def _path(path: str) -> str:
    def octet(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if character in _UNRESERVED else escape[0].upper()

    return re.sub(r"%([0-9A-Fa-f]{2})", octet, path) or "/"


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
