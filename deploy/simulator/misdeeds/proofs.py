"""Proofs of the device key that prove something else, or nothing (RFC 9449)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from multidict import CIMultiDict

from deploy.simulator.api import Phone, Reply
from deploy.simulator.device import Device
from deploy.simulator.misdeeds.scene import Scene, misdeed

BODY = b'{"mode":"standard"}'
"""Of an act that changes nothing: the mode chosen is the one there is."""


async def _nonce(scene: Scene) -> str:
    return (await scene.send("POST", "/v1/nonce", b"{}")).json["nonce"]


def _path(scene: Scene) -> str:
    return f"{scene.phone.journey}/choose-mode"


async def _tried(
    scene: Scene, jws: str | None, *, token: str | None = None, path: str | None = None, body: bytes = BODY
) -> Any:
    headers = {
        "Authorization": f"DPoP {token or scene.phone.session.token}",
        "Idempotency-Key": secrets.token_urlsafe(16),
    }
    if jws is not None:
        headers["DPoP"] = jws
    reply = await scene.send("POST", path or _path(scene), body, headers)
    scene.phone.heard(reply)
    return reply


async def _sound(scene: Scene, device: Device | None = None, *, token: str | None = None, **claims: Any) -> str:
    """A proof for ``BODY`` with nothing wrong but what ``claims`` say."""
    stated = {"nonce": await _nonce(scene), **claims}
    url = scene.phone.base + _path(scene)
    return (device or scene.phone.device).proof("POST", url, BODY, token=token or scene.phone.session.token, **stated)


@misdeed(at="needs")
async def use_a_stolen_token(scene: Scene) -> None:
    """Another device with the customer's session token; the token without a proof; the proof without the token; the
    token of another journey.
    """
    other = Device()
    sent = [scene.phone.session.token]
    stolen = await _tried(scene, await _sound(scene, other))
    scene.refused("another device's proof", stolen, "401 proof_key_changed", sent=sent)
    thief = Phone(scene.doors.http, f"{scene.phone.base}/j#{scene.journey_id}.none", device=other)
    thief.session.token = scene.phone.session.token
    for path in ("", "/pad", "/policies", "/stream", "/forms/motor_compulsory"):
        read = await scene.proven("GET", thief.journey + path, phone=thief)
        scene.refused(f"another device reads {path or 'the journey'}", read, "401 proof_key_changed", sent=sent)
    without = {"Authorization": f"DPoP {scene.phone.session.token}", "Idempotency-Key": "without-any-proof"}
    scene.refused(
        "no proof",
        await scene.send("POST", _path(scene), BODY, without),
        "401 proof_missing",
        sent=sent,
        recorded=False,
    )
    bare = await scene.send(
        "POST", _path(scene), BODY, {"DPoP": await _sound(scene), "Idempotency-Key": "without-a-token"}
    )
    scene.refused("no token", bare, "401 credentials_missing", recorded=False)
    other_customer = await scene.doors.customer()
    await other_customer.phone.open()
    token = other_customer.phone.session.token
    swapped = await _tried(scene, await _sound(scene, token=token), token=token)
    scene.refused("the token of another journey", swapped, "401 proof_token", sent=[token])
    unnamed = await _tried(scene, await _sound(scene, token=token))
    scene.refused("a proof that names another token", unnamed, "401 proof_token", sent=sent)


@misdeed(at="needs")
async def use_a_proof_twice(scene: Scene) -> None:
    """Sends one proof a second time: with the same act, under another Idempotency-Key, and beside a fresh one."""
    jws = await _sound(scene)
    first = await _tried(scene, jws)
    scene.held("the first time", first.status == 200, f"refused: {first.status}")
    for _ in range(2):
        scene.refused("again", await _tried(scene, jws), "401 proof_replayed", sent=[jws])
    fresh = await _sound(scene)
    token = f"DPoP {scene.phone.session.token}"
    both = CIMultiDict(
        [("Authorization", token), ("DPoP", fresh), ("DPoP", jws), ("Idempotency-Key", "two-proofs-at-once")]
    )
    both["Content-Type"] = "application/json"
    async with scene.doors.http.post(scene.doors.gateway + _path(scene), data=BODY, headers=both) as answer:
        two = Reply(answer.status, dict(answer.headers.items()), await answer.read())
    scene.refused("two at once", two, "400 malformed", sent=[jws, fresh], recorded=False)


@misdeed(at="needs")
async def use_a_proof_of_another_request(scene: Scene) -> None:
    """A proof made for another method, another address, another body, another journey, or without its body."""
    url = scene.phone.base + _path(scene)
    elder = b'{"mode":"elder"}'
    cases: tuple[tuple[str, dict[str, str], str], ...] = (
        ("another method", {"htm": "GET"}, "401 proof_method"),
        ("another act", {"htu": url.replace("choose-mode", "request-help")}, "401 proof_url"),
        ("another host", {"htu": url.replace(scene.phone.base, "https://phishing.example")}, "401 proof_url"),
        ("another journey", {"htu": url.replace(scene.journey_id, "0" * 26)}, "401 proof_url"),
        ("a path that climbs", {"htu": url.replace("choose-mode", "x/../choose-mode")}, "401 proof_url"),
    )
    for name, claims, code in cases:
        jws = await _sound(scene, None, token=None, **claims)
        scene.refused(name, await _tried(scene, jws), code, sent=list(claims.values()))
    scene.refused("another body", await _tried(scene, await _sound(scene), body=elder), "401 proof_body")
    scene.refused("no body hash", await _tried(scene, await _sound(scene, bh=None)), "401 proof_body")


@misdeed(at="needs")
async def make_up_a_nonce(scene: Scene) -> None:
    """A proof without a nonce, with one of its own making, and with one changed in its last letter."""
    for name, nonce in (
        ("none", None),
        ("made up", secrets.token_urlsafe(40)),
        ("changed", _changed(await _nonce(scene))),
    ):
        answer = await _tried(scene, await _sound(scene, nonce=nonce))
        scene.refused(name, answer, "401 use_dpop_nonce", sent=[nonce] if nonce else (), recorded=False)


def _changed(nonce: str) -> str:
    """The same but for one letter."""
    return nonce[:12] + ("A" if nonce[12] != "A" else "B") + nonce[13:]


@misdeed(at="needs", restarts="identity")
async def use_an_old_nonce(scene: Scene) -> None:
    """A proof with a nonce from before identity restarted, and one used before it restarted."""
    nonce = await _nonce(scene)
    used = await _sound(scene)
    await _tried(scene, used)
    await scene.doors.restart("identity")
    answer = await _tried(scene, await _sound(scene, nonce=nonce))
    scene.refused("from before the restart", answer, "401 use_dpop_nonce", sent=[nonce], recorded=False)
    scene.refused(
        "used before the restart", await _tried(scene, used), "401 use_dpop_nonce", sent=[used], recorded=False
    )


@misdeed(at="needs")
async def show_a_private_key(scene: Scene) -> None:
    """A proof whose key has its private part in it, or a secret of another kind."""
    url = scene.phone.base + _path(scene)
    payload = {
        "jti": secrets.token_urlsafe(16),
        "htm": "POST",
        "htu": url,
        "iat": int(time.time()),
        "nonce": await _nonce(scene),
        "bh": _b64(hashlib.sha256(BODY).digest()),
    }
    for member in ("d", "k"):
        secret = secrets.token_urlsafe(32)
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": {**scene.phone.device.jwk, member: secret}}
        answer = await _tried(scene, scene.phone.device.sign(header, payload))
        scene.refused(f"with its {member}", answer, "401 proof_private_key", sent=[secret])


@misdeed(at="needs")
async def prove_by_other_means(scene: Scene) -> None:
    """A proof by no algorithm, by a shared secret, of another type, with extensions, with a broken signature, off the
    curve, far too long, or no proof at all.
    """
    device, url = scene.phone.device, scene.phone.base + _path(scene)
    header: dict[str, Any] = {"typ": "dpop+jwt", "alg": "ES256", "jwk": device.jwk}
    payload: dict[str, Any] = {
        "jti": secrets.token_urlsafe(16),
        "htm": "POST",
        "htu": url,
        "iat": int(time.time()),
        "nonce": await _nonce(scene),
        "bh": _b64(hashlib.sha256(BODY).digest()),
    }
    sound = device.sign(header, payload)
    none = ".".join((_part({**header, "alg": "none"}), _part(payload), ""))
    shared = f"{_part({**header, 'alg': 'HS256'})}.{_part(payload)}"
    mac = _b64(hmac.digest(json.dumps(device.jwk).encode(), shared.encode(), "sha256"))
    off_curve = {**device.jwk, "y": device.jwk["x"]}
    for name, jws, codes in (
        ("no algorithm", none, ("401 proof_malformed", "401 proof_algorithm")),
        ("a shared secret", f"{shared}.{mac}", ("401 proof_algorithm",)),
        ("another type", device.sign({**header, "typ": "JWT"}, payload), ("401 proof_type",)),
        ("extensions", device.sign({**header, "crit": ["b64"], "b64": False}, payload), ("401 proof_malformed",)),
        (
            "off the curve",
            device.sign({**header, "jwk": off_curve}, payload),
            ("401 proof_malformed", "401 proof_signature"),
        ),
        ("no key", device.sign({**header, "jwk": None}, payload), ("401 proof_malformed",)),
        ("a broken signature", sound[:-8] + "AAAAAAAA", ("401 proof_signature", "401 proof_malformed")),
        (
            "another's signature",
            f"{sound.rpartition('.')[0]}.{Device().sign(header, payload).rpartition('.')[2]}",
            ("401 proof_signature",),
        ),
        ("far too long", sound + "A" * 5000, ("401 proof_malformed",)),
        ("no proof at all", "zhang-san-13800138000", ("401 proof_malformed",)),
    ):
        scene.refused(name, await _tried(scene, jws), *codes, sent=[jws])


def _part(value: object) -> str:
    return _b64(json.dumps(value, separators=(",", ":")).encode())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
