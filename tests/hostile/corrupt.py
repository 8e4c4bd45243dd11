"""A gateway that turned against its customer: it speaks ``cmd.*`` itself, about a journey it serves.

It has more than it would have: the right of every service to the bus. It may seal bodies, knows the session's token and
everything the customer's phone once signed. It has not the customer's key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from cryptography.hazmat.primitives.asymmetric import ec
from nats.aio.client import Client

from contracts.commands.base import Act, Request
from contracts.commands.identity import IssueNonce
from contracts.problems import KINDS
from contracts.values import Committed, Proof, sha256_hex
from deploy.local.environment import shared
from deploy.simulator.api import Phone
from deploy.simulator.device import Device
from servicekit.blobs import FileBlobs
from servicekit.runner import new_ulid
from servicekit.vault import Vault
from tests.journey.whole import Whole

ANSWER_SECONDS = 30.0
MARKER = "不可回显-Zx7Qw9"
"""Stands in everything that is not what it should be; nobody may say it again."""


@dataclass(frozen=True)
class Answered:
    """What a service said."""

    raw: bytes

    @property
    def said(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @property
    def code(self) -> str | None:
        """Of the refusal; none where it was taken."""
        problem = self.said["problem"]
        return None if problem is None else problem["code"]

    @property
    def reply(self) -> dict[str, Any]:
        assert self.code is None, self.code
        return self.said["reply"]


@dataclass
class CorruptGateway:
    client: Client
    vault: Vault
    answers: list[Answered] = field(default_factory=list)

    async def ask(self, request: Request) -> Answered:
        return await self.send(request.subject(), request.model_dump_json().encode())

    async def send(self, subject: str, data: bytes) -> Answered:
        """Whatever bytes; every service answers whatever it is sent."""
        message = await self.client.request(subject, data, timeout=ANSWER_SECONDS)
        answered = Answered(message.data)
        assert MARKER not in message.data.decode(), subject
        assert answered.code is None or (answered.code in KINDS and answered.code != "internal"), subject
        self.answers.append(answered)
        return answered

    async def nonce(self) -> str:
        return (await self.ask(IssueNonce())).reply["nonce"]

    async def act(
        self,
        kind: type[Act],
        phone: Phone,
        body: bytes | dict[str, Any] | None = None,
        **changed: Any,
    ) -> Answered:
        """One act as the customer's phone would have it sent, but for ``changed``: ``jws``, ``sealed`` (another body
        than the proof is over), ``session``, ``url``, ``method``, ``command_id``, ``after``.
        """
        raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        journey, url = phone.session.journey_id, changed.get("url", url_of(phone, kind))
        token = None if kind.purpose == "open" else phone.session.token
        jws = changed.get("jws")
        if jws is None:
            jws = phone.device.proof("POST", url, raw, nonce=await self.nonce(), token=token)
        return await self.ask(
            kind(
                command_id=changed.get("command_id", new_ulid()),
                journey_id=changed.get("journey_id", journey),
                after=changed.get("after", {}),
                proof=Proof(jws=jws, method=changed.get("method", "POST"), url=url),
                session=changed.get("session", None if token is None else sha256_hex(token.encode())),
                body=await self.sealed(journey, changed.get("sealed", raw)),
            )
        )

    async def sealed(self, journey_id: str, body: bytes | Committed) -> Committed:
        return body if isinstance(body, Committed) else await self.vault.seal(journey_id, body)


@asynccontextmanager
async def corrupt_gateway(whole: Whole) -> AsyncIterator[CorruptGateway]:
    told = shared(whole.run.place)
    vault = Vault(
        FileBlobs(Path(told["TOUBAO_BLOBS_DIR"])),
        Path(told["TOUBAO_VAULT_KEYS_DIR"]),
        Path(told["TOUBAO_MASTER_KEY_FILE"]),
    )
    client = await nats.connect(whole.run.nats_url, nkeys_seed=str(whole.run.nats_seed))
    try:
        yield CorruptGateway(client, vault)
    finally:
        await client.close()


def url_of(phone: Phone, kind: type[Act]) -> str:
    return f"{phone.base}/v1/journeys/{phone.session.journey_id}/{kind.verb.replace('_', '-')}"


# -- proofs that prove nothing ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shot:
    """One act about to be forged: what the phone would send, and what the forger has."""

    kind: type[Act]
    phone: Phone
    body: bytes
    nonce: str
    thief: Device
    """The forger's own key."""
    key_hash: str
    """Of an API key of a channel or of staff, sent in place of the session's token."""

    @property
    def url(self) -> str:
        return url_of(self.phone, self.kind)

    @property
    def jwk(self) -> dict[str, str]:
        return self.phone.device.jwk

    @property
    def token(self) -> str | None:
        return None if self.kind.purpose == "open" else self.phone.session.token

    def proof(self, device: Device | None = None, **claims: Any) -> str:
        given = {"method": "POST", "url": self.url, "body": self.body, "nonce": self.nonce, "token": self.token}
        given |= {name: claims.pop(name) for name in tuple(claims) if name in given}
        return (device or self.phone.device).proof(**given, **claims)

    def header(self, device: Device | None = None, **changed: Any) -> str:
        """A proof by the phone itself, but for its header."""
        whole = json.loads(unb64(self.proof().split(".")[1]))
        jwk = (device or self.phone.device).jwk
        return (device or self.phone.device).sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk, **changed}, whole)

    def without(self, claim: str) -> str:
        whole = json.loads(unb64(self.proof().split(".")[1]))
        del whole[claim]
        return self.phone.device.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk}, whole)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _unsigned(shot: Shot) -> str:
    _, payload, _ = shot.proof().split(".")
    return f"{_head(shot, alg='none')}.{payload}.{b64(b'x')}"


def _by_secret(shot: Shot) -> str:
    """HS256 under the public key, as libraries once took it."""
    _, payload, _ = shot.proof().split(".")
    head = _head(shot, alg="HS256")
    key = json.dumps(shot.jwk).encode()
    return f"{head}.{payload}.{b64(hmac.digest(key, f'{head}.{payload}'.encode(), hashlib.sha256))}"


def _head(shot: Shot, **changed: Any) -> str:
    return b64(json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": shot.jwk, **changed}).encode())


def _other_curve(shot: Shot) -> str:
    numbers = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-384",
        "x": b64(numbers.x.to_bytes(48, "big")),
        "y": b64(numbers.y.to_bytes(48, "big")),
    }
    return shot.header(jwk=jwk)


def _altered(shot: Shot) -> str:
    head, payload, signature = shot.proof().split(".")
    claims = json.loads(unb64(payload))
    return f"{head}.{b64(json.dumps({**claims, 'jti': 'another'}).encode())}.{signature}"


def _zero(shot: Shot) -> str:
    """r = s = 0, which some verifiers once took for any message."""
    head, payload, _ = shot.proof().split(".")
    return f"{head}.{payload}.{b64(bytes(64))}"


def _named_twice(shot: Shot) -> str:
    """Two readers may take different ones."""
    _, payload, signature = shot.proof().split(".")
    jwk = json.dumps(shot.jwk)
    head = f'{{"typ":"dpop+jwt","alg":"ES256","alg":"none","jwk":{jwk}}}'
    return f"{b64(head.encode())}.{payload}.{signature}"


Forge = Callable[[Shot], str]

SOUND_NO_MORE: dict[str, tuple[str, Forge]] = {
    "of another request": ("proof_body", lambda s: s.proof(body=s.body + b" ")),
    "of another address": ("proof_url", lambda s: s.proof(url=s.url.replace("/v1/journeys/", "/v1/journey/"))),
    "of another verb of HTTP": ("proof_method", lambda s: s.proof(method="PUT")),
    "without a body's hash": ("proof_body", lambda s: s.without("bh")),
    "without a nonce": ("use_dpop_nonce", lambda s: s.without("nonce")),
    "with a nonce nobody gave": ("use_dpop_nonce", lambda s: s.proof(nonce="none")),
    "with a nonce made up in our form": ("use_dpop_nonce", lambda s: s.proof(nonce=b64(bytes(40)))),
    "with a nonce a bit off": ("use_dpop_nonce", lambda s: s.proof(nonce=s.nonce[:-2] + "AA")),
    "with a private part in its key": ("proof_private_key", lambda s: s.header(jwk={**s.jwk, "d": "AQAB"})),
    "alg none": ("proof_algorithm", _unsigned),
    "alg HS256": ("proof_algorithm", _by_secret),
    "alg ES384": ("proof_algorithm", lambda s: s.header(alg="ES384")),
    "another curve": ("proof_algorithm", _other_curve),
    "not a proof of possession": ("proof_type", lambda s: s.header(typ="JWT")),
    "with an extension to be understood": ("proof_malformed", lambda s: s.header(crit=["exp"], exp=1)),
    "with a name twice in its header": ("proof_malformed", _named_twice),
    "altered after signing": ("proof_signature", _altered),
    "with a signature of zeros": ("proof_signature", _zero),
    "under the phone's key, signed by another": ("proof_signature", lambda s: s.header(s.thief, jwk=s.jwk)),
    "not a JWS": ("proof_malformed", lambda s: "a.b"),
    "with text where its time stands": ("proof_malformed", lambda s: s.proof(iat=MARKER)),
    "from before time began": ("proof_malformed", lambda s: s.proof(iat=-1)),
    "from beyond time": ("proof_malformed", lambda s: s.proof(iat=10**30)),
    "of true time": ("proof_malformed", lambda s: s.proof(iat=True)),
    "without an id": ("proof_malformed", lambda s: s.without("jti")),
    "with a huge id": ("proof_malformed", lambda s: s.proof(jti="x" * 2000)),
}  # fmt: skip
"""What is wrong with the proof → its code, and how it is made. Tried with every act."""

NOT_THIS_PHONE: dict[str, tuple[str, Callable[[Shot], dict[str, Any]]]] = {
    "another device with the stolen token": ("proof_key_changed", lambda s: {"jws": s.proof(s.thief)}),
    "a channel's or staff's key for the token": (
        "proof_key_changed",
        lambda s: {"jws": s.proof(s.thief), "session": s.key_hash},
    ),
    "a channel's or staff's key beside the phone's proof": (
        "proof_token",
        lambda s: {"jws": s.proof(), "session": s.key_hash},
    ),
    "no token": ("session_not_open", lambda s: {"jws": s.proof(), "session": None}),
    "a proof that names no token": ("proof_token", lambda s: {"jws": s.proof(token=None)}),
    "a proof that names another token": ("proof_token", lambda s: {"jws": s.proof(token="another")}),
}  # fmt: skip
"""A proof that is sound, but not of the session. Tried with every act but the one that opens it."""

MISLED: dict[str, tuple[str, Callable[[Shot], dict[str, Any]]]] = {
    "made for another act": ("proof_url", lambda s: _at(s, s.url.rpartition("/")[0] + "/request-something")),
    "made for another journey": ("proof_url", lambda s: _at(s, s.url.replace(s.phone.session.journey_id, new_ulid()))),
    "made for another act, said to be of this": (
        "proof_url",
        lambda s: {"jws": s.proof(url=s.url.rpartition("/")[0] + "/request-something")},
    ),
    "made for a look, not an act": (
        "proof_url",
        lambda s: {"jws": s.proof(method="GET"), "method": "GET"},
    ),
    "at an address that is none": ("proof_url", lambda s: {"jws": s.proof(), "url": "http://[::1"}),
    "over another body than it came with": ("proof_body", lambda s: {"jws": s.proof(), "sealed": s.body + b"\n"}),
}  # fmt: skip
"""A proof the phone did make, for something else."""


def _at(shot: Shot, url: str) -> dict[str, Any]:
    return {"jws": shot.proof(url=url), "url": url}
