"""Guessing what is secret: few tries, and no answer that tells a near miss from a far one."""

from __future__ import annotations

import asyncio
import json
import secrets

from deploy.simulator.api import Json, Phone, Reply
from deploy.simulator.misdeeds.scene import AFTER, BEFORE, PATIENCE_SECONDS, Scene, misdeed


def _said(reply: Reply) -> Json:
    return {name: value for name, value in reply.json.items() if name != "trace_id"}


@misdeed(at=BEFORE)
async def guess_the_link(scene: Scene) -> None:
    """Opens the journey with made-up secrets from another device, and journeys that do not exist."""
    said: list[Json] = []
    right = scene.phone.session.link_secret
    for wrong in (
        secrets.token_urlsafe(24),
        "0" * 32,
        right[:-1] + ("0" if right[-1] != "0" else "1"),
        right.swapcase() + "x",
    ):
        thief = Phone(scene.doors.http, f"{scene.phone.base}/j#{scene.journey_id}.{wrong}")
        answer = await scene.act("open-session", {"link_secret": wrong}, phone=thief)
        scene.refused("a made-up secret", answer, "404 link_invalid", sent=[wrong])
        said.append(_said(answer))
    scene.held("near and far sound alike", all(one == said[0] for one in said), "the answers differ")
    for journey in ("0" * 26, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "a" * 26, "x"):
        nobody = Phone(scene.doors.http, f"{scene.phone.base}/j#{journey}.{'0' * 32}")
        answer = await scene.act("open-session", {"link_secret": "0" * 32}, phone=nobody)
        scene.refused("no such journey", answer, "404 journey_unknown", recorded=False)
    told: set[str] = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "429 too_many_requests" not in told:
            thief = Phone(scene.doors.http, f"{scene.phone.base}/j#{'1' * 26}.none")
            answer = await scene.act("open-session", {"link_secret": "1" * 32}, phone=thief, hurried=True)
            told.add(f"{answer.status} {answer.json['code']}")
    scene.held("on and on", told == {"404 journey_unknown", "429 too_many_requests"}, f"answered {told}")


@misdeed(at="identity")
async def guess_the_code(scene: Scene) -> None:
    """Guesses the code of the SMS until even the right one counts no more, and has it sent again at once."""
    purpose = "alternative_path"
    scene.refused(
        "before it was sent",
        await scene.act("verify-otp", {"purpose": purpose, "code": "123456"}),
        "409 otp_not_sent",
        sent=["123456"],
    )
    await scene.phone.act("send_otp", {"purpose": purpose})
    right = await scene.customer.parties.await_message(scene.customer.person.phone, r"验证码是(\d{6})")
    scene.refused(
        "sent again at once", await scene.act("send-otp", {"purpose": purpose}), "429 otp_too_soon", recorded=False
    )
    for tries in range(1, 6):
        wrong = f"{(int(right) + tries) % 10**6:06d}"
        scene.refused(
            "a guess", await scene.act("verify-otp", {"purpose": purpose, "code": wrong}), "403 otp_wrong", sent=[wrong]
        )
    answer = await scene.act("verify-otp", {"purpose": purpose, "code": right})
    scene.refused("the right one, too late", answer, "429 otp_attempts", sent=[right])
    for shape in ("12345", "1234567", "12345a", "１２３４５６", ""):
        answer = await scene.act("verify-otp", {"purpose": purpose, "code": shape}, hurried=True)
        scene.refused(
            "no code at all", answer, "422 invalid_fields", "429 too_many_requests", sent=[shape], recorded=False
        )


@misdeed(at=AFTER)
async def guess_a_verification_code(scene: Scene) -> None:
    """Asks whether a policy is real by its number and made-up codes, and by numbers that do not exist."""
    number = next(iter(scene.customer.passage.policies))
    said: list[Json] = []
    for asked in (
        {"policy_no": number, "code": "AAAA-AAAA"},
        {"policy_no": number, "code": "0"},
        {"policy_no": "XXXX00000000000000", "code": "AAAA-AAAA"},
        {"file_sha256": "0" * 64},
    ):
        answer = await scene.send("POST", "/v1/verify", json.dumps(asked).encode())
        said.append({**answer.json, "status": answer.status})
    unknown = all(one["status"] == 200 and one["outcome"] == "unknown" for one in said)
    quiet = all(
        not value for one in said for name, value in one.items() if name not in {"status", "outcome", "policy_no"}
    )
    scene.held("a code guessed is a policy unknown", unknown and quiet, f"answered {[one['outcome'] for one in said]}")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer = await scene.send(
                "POST", "/v1/verify", json.dumps({"policy_no": number, "code": "BBBB-BBBB"}).encode()
            )
            if answer.status != 200:
                break
    scene.refused("on and on", answer, "429 too_many_requests", sent=["BBBB-BBBB"], recorded=False)


@misdeed(at=AFTER)
async def guess_a_download(scene: Scene) -> None:
    """Asks for downloads at made-up addresses."""
    for token in (secrets.token_urlsafe(32), "A" * 43, "../../etc/passwd", "%2e%2e%2f%2e%2e%2fmaster.key", "x" * 200):
        answer = await scene.send("GET", f"/v1/downloads/{token}")
        scene.refused("a made-up address", answer, "404 not_found", sent=[token], recorded=False)


@misdeed(at=BEFORE)
async def guess_a_password(scene: Scene) -> None:
    """Signs in as staff with made-up passwords, and as somebody who does not exist: the same answer, and soon none."""
    said: list[Json] = []
    for name, password in ((scene.doors.staff[0], "not-the-password"), ("no_such_person", "not-the-password")):
        body = json.dumps({"door": "staff", "name": name, "password": password}).encode()
        answer = await scene.send("POST", "/v1/sign-in", body, {"Origin": scene.doors.gateway})
        scene.refused(
            "a made-up password", answer, "401 sign_in_failed", sent=["no_such_person", password], recorded=False
        )
        said.append(_said(answer))
    scene.held("known and unknown names sound alike", said[0] == said[1], "the answers differ")
    body = json.dumps({"door": "staff", "name": "no_such_person_either", "password": "x" * 12}).encode()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            answer = await scene.send("POST", "/v1/sign-in", body, {"Origin": scene.doors.gateway})
            if answer.status != 401:
                break
    scene.refused(
        "on and on",
        answer,
        "429 sign_in_attempts",
        "429 too_many_requests",
        sent=["no_such_person_either"],
        recorded=False,
    )
    foreign = await scene.send("POST", "/v1/sign-in", body, {"Origin": "https://phishing.example"})
    scene.refused(
        "from another site",
        foreign,
        "403 cross_site",
        "429 too_many_requests",
        sent=["phishing.example"],
        recorded=False,
    )
