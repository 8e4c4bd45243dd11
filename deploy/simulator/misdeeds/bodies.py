"""Bodies that are no JSON, too much of it, or JSON that two readers would read differently."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncGenerator

from deploy.simulator.misdeeds.scene import Scene, misdeed

MARK = "王小明13800138000"
"""Stands in every body, and must come back in no answer and no log."""
MALFORMED = {
    "nothing but a brace": b"{",
    "not JSON": f"{MARK}=1".encode(),
    "not UTF-8": b'{"step":"\xff\xfe\x80"}',
    "UTF-16": '{"step":"needs"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"step":"needs"}',
    "half a character": b'{"step":"\\ud840"}',
    "half a character, the other half": b'{"step":"\\udc00"}',
    "a bare control character": b'{"step":"needs\x00\x07"}',
    "two values": b'{"step":"needs"}{"step":"terms"}',
    "a name twice": b'{"step":"needs","step":"terms"}',
    "a name twice, escaped": b'{"step":"needs","\\u0073tep":"terms"}',
    "a comment": b'{"step":"needs"/* */}',
    "very deep": b'{"step":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep in names": b'{"step":' * 5_000 + b"1" + b"}" * 5_000,
}
WRONG = {
    "another type": b'{"step":["needs"]}',
    "a number without end": b'{"step":' + b"9" * 5_000 + b"}",
    "no number": b'{"step":NaN}',
    "no end": b'{"step":-Infinity}',
    "an exponent": b'{"step":1e400}',
    "nothing": b'{"step":null}',
    "a list": b"[]",
    "a text": json.dumps(MARK, ensure_ascii=False).encode(),
    "another choice": json.dumps({"step": MARK}, ensure_ascii=False).encode(),
    "one more name": json.dumps({"step": "needs", MARK: MARK}, ensure_ascii=False).encode(),
    "turned round": json.dumps({"step": "needs\u202e"}).encode(),
    "many names": json.dumps({f"n{i}": i for i in range(3_000)}).encode(),
    "prototype": b'{"step":"needs","__proto__":{"step":"terms"}}',
}


@misdeed(at="needs")
async def send_what_is_no_json(scene: Scene) -> None:
    """An act with a body that is no JSON, not UTF-8, too deep, or that says one thing twice."""
    for name, raw in MALFORMED.items():
        answer = await scene.act("request-help", raw=raw)
        scene.refused(name, answer, "400 malformed", sent=[MARK], recorded=False)


@misdeed(at="needs")
async def send_what_fits_no_field(scene: Scene) -> None:
    """An act with values of other types, beyond all numbers, turned round, or that nobody asked for."""
    for name, raw in WRONG.items():
        answer = await scene.act("request-help", raw=raw)
        scene.refused(name, answer, "422 invalid_fields", "400 malformed", sent=[MARK], recorded=False)


@misdeed(at="needs")
async def send_too_much(scene: Scene) -> None:
    """Bodies above what their path allows: announced, and in pieces without a word of how much."""
    big = b'{"step":"' + b"x" * 70_000 + b'"}'
    scene.refused("an act", await scene.act("request-help", raw=big), "413 body_too_large", recorded=False)
    strokes = b'{"boxes":[' + b" " * (2 * 1024 * 1024) + b"]}"
    scene.refused("a signature", await scene.act("save-draft", raw=strokes), "413 body_too_large", recorded=False)
    keyed = {"Authorization": f"Bearer {scene.doors.channel_key}", "Idempotency-Key": "far-too-large-a-proposal"}
    scene.refused(
        "a proposal",
        await scene.send("POST", "/v1/proposals", b" " * 300_000, keyed),
        "413 body_too_large",
        recorded=False,
    )
    notified = await scene.send("POST", "/v1/callbacks/wechat", b" " * 200_000)
    scene.refused("a notification", notified, "413 body_too_large", recorded=False)

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(40):
            yield b" " * 4096

    unsaid = await scene.send("POST", "/v1/sign-in", pieces(), {"Origin": scene.doors.gateway})
    scene.refused("in pieces", unsaid, "413 body_too_large", recorded=False)


@misdeed(at="needs")
async def send_another_kind(scene: Scene) -> None:
    """An act as a form, as text, as XML, packed, and without saying what it is."""
    for media in (
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/xml",
        "multipart/form-data; boundary=x",
        "application/json5",
        "",
    ):
        answer = await scene.act("request-help", raw=b'{"step":"needs"}', headers={"Content-Type": media})
        scene.refused(media or "nothing", answer, "415 unsupported_media_type", recorded=False)
    packed = await scene.act(
        "request-help", raw=gzip.compress(b'{"step":"needs"}'), headers={"Content-Encoding": "gzip"}
    )
    scene.refused("packed", packed, "400 malformed", "415 unsupported_media_type", recorded=False)


@misdeed(at="needs")
async def use_a_key_twice(scene: Scene) -> None:
    """One Idempotency-Key for two different acts, none at all, and keys that are none."""
    key = "one-key-for-two-acts"
    scene.held("the first act", (await scene.act("request-help", {"step": "needs"}, key=key)).status == 200, "refused")
    scene.held("the same again", (await scene.act("request-help", {"step": "needs"}, key=key)).status == 200, "refused")
    other = await scene.act("request-help", {"step": "terms"}, key=key)
    scene.refused("another body", other, "422 idempotency_key_reused", recorded=False)
    other = await scene.act("choose-mode", {"mode": "standard"}, key=key)
    scene.refused("another act", other, "422 idempotency_key_reused", recorded=False)
    for name, bad in (
        ("too short", "x"),
        ("too long", "x" * 65),
        ("not its letters", "王小明13800138000".encode().decode("latin-1")),
        ("a path", "../../../etc/passwd"),
    ):
        answer = await scene.act("request-help", {"step": "needs"}, key=bad)
        scene.refused(name, answer, "422 invalid_fields", "400 malformed", sent=[bad], recorded=False)
    told = {**scene.phone.headers("POST", f"{scene.phone.journey}/request-help", b"{}")}
    answer = await scene.send("POST", f"{scene.phone.journey}/request-help", b"{}", told)
    scene.refused("none", answer, "400 idempotency_key_missing", recorded=False)


@misdeed(at="needs")
async def forge_what_was_seen(scene: Scene) -> None:
    """Says to have seen facts that never were, of services that do not exist, and in no form at all."""
    path, raw = f"{scene.phone.journey}/request-help", b'{"step":"needs"}'
    for name, heads in (
        ("no such service", "wang=1"),
        ("no number", "identity=x"),
        ("below nothing", "identity=-1"),
        ("beyond all numbers", "identity=99999999999999999999"),
        ("far too many", ",".join(["identity=1"] * 200)),
        ("nothing at all", ",,,"),
    ):
        answer = await scene.act("request-help", raw=raw, headers={"Journey-Heads": heads})
        scene.refused(name, answer, "400 malformed", sent=[heads], recorded=False)
    made = {
        **scene.phone.headers("POST", path, raw),
        "Idempotency-Key": "seen-the-future",
        "Journey-Heads": "identity=999999999",
    }
    # It can only make itself wait, and is told that it may ask again.
    scene.refused(
        "the future",
        await scene.send("POST", path, raw, made),
        "503 premise_pending",
        "401 use_dpop_nonce",
        recorded=False,
    )
