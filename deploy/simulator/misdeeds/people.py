"""Proposals and persons that are not what they should be."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime

from deploy.simulator.api import Json, Reply
from deploy.simulator.misdeeds.scene import BEFORE, Scene, misdeed
from deploy.simulator.proposals import person, proposal

SALESPERSON_PHONE = "13900001111"
"""Of every proposal the simulator makes."""


async def _submitted(scene: Scene, body: Json | bytes) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {scene.doors.channel_key}", "Idempotency-Key": secrets.token_urlsafe(16)}
    return await scene.send("POST", "/v1/proposals", raw, headers)


def _proposal(scene: Scene) -> Json:
    return proposal(person(scene.doors.chance), datetime.now(UTC), scene.doors.chance)


@misdeed(at=BEFORE)
async def submit_what_cannot_be_read(scene: Scene) -> None:
    """Proposals whose names turn the writing round, hide characters, ring bells or end lines."""
    for name, hidden in (
        ("turned round", "王\u202e小明"),
        ("isolated", "王\u2066小明\u2069"),
        ("of no width", "王\u200b小明"),
        ("with a bell", "王\u0007小明"),
        ("with a zero", "王\u0000小明"),
        ("over two lines", "王\r\n小明"),
        ("half a character", "王\ud840小明"),
        ("of nobody's alphabet", "王\ue000小明"),
        ("markup", "<script>王小明</script>"),
        ("spaces", "　　　"),
        ("far too long", "王" * 2000),
    ):
        for field in ("name", "address"):
            if field == "address" and name in {"markup", "spaces"}:
                continue  # An address may hold these.
            body = _proposal(scene)
            body["policyholder"] = {
                **body["policyholder"],
                field: hidden if field == "name" else f"北京市朝阳区{hidden}路1号",
            }
            answer = await _submitted(scene, body)
            scene.refused(
                f"{field} {name}", answer, "422 invalid_fields", "400 malformed", sent=[hidden], recorded=False
            )


@misdeed(at=BEFORE)
async def submit_what_may_not_be(scene: Scene) -> None:
    """Proposals with something ticked beforehand, on the salesperson's own phone, with sums that do not add up, with
    unknown products, twice under one number, and changed under one Idempotency-Key.
    """
    body = _proposal(scene)
    for key in ("selected", "chosen", "checked", "auto_renewal"):
        ticked = {**body, "products": [*body["products"][:2], {**body["products"][2], key: True}]}
        scene.refused(f"{key} beforehand", await _submitted(scene, ticked), "422 preselected", recorded=False)
    own = {**body, "policyholder": {**body["policyholder"], "phone": SALESPERSON_PHONE}}
    scene.refused(
        "the salesperson's phone",
        await _submitted(scene, own),
        "422 invalid_fields",
        "422 phone_of_salesperson",
        sent=[SALESPERSON_PHONE],
        recorded=False,
    )
    first = body["products"][0]
    for name, changed in (
        ("a premium of less", {"premium_fen": first["premium_fen"] - 1}),
        ("a premium below nothing", {"premium_fen": -1}),
        ("half a fen", {"premium_fen": 66500.5}),
        ("more than there is", {"premium_fen": 10**30}),
        ("an unknown product", {"product": "zhang_san_19900101"}),
        ("a period of the past", {"period": {"from": "2001-01-01T00:00:00+08:00", "to": "2002-01-01T00:00:00+08:00"}}),
        ("something nobody asked for", {"王小明13800138000": 1}),
    ):
        wrong = {**body, "products": [{**first, **changed}]}
        scene.refused(
            name,
            await _submitted(scene, wrong),
            "422 invalid_fields",
            sent=["zhang_san_19900101", "王小明13800138000"],
            recorded=False,
        )
    again = {**body, "channel_reference": f"TWICE-{secrets.token_hex(8)}"}
    scene.held("the first time", (await _submitted(scene, again)).status == 201, "refused")
    other = {**_proposal(scene), "channel_reference": again["channel_reference"]}
    scene.refused(
        "a number twice",
        await _submitted(scene, other),
        "409 channel_reference_used",
        sent=[again["channel_reference"]],
        recorded=False,
    )
    headers = {"Authorization": f"Bearer {scene.doors.channel_key}", "Idempotency-Key": secrets.token_urlsafe(16)}
    scene.held(
        "under one key",
        (await scene.send("POST", "/v1/proposals", json.dumps(_proposal(scene)).encode(), headers)).status == 201,
        "refused",
    )
    reused = await scene.send("POST", "/v1/proposals", json.dumps(_proposal(scene)).encode(), headers)
    scene.refused("another under the same key", reused, "422 idempotency_key_reused", recorded=False)


@misdeed(at=BEFORE)
async def share_a_phone(scene: Scene) -> None:
    """Four persons with one phone: the fourth is refused, and goes on with a phone of their own."""
    phone = person(scene.doors.chance).phone
    for number in range(1, 5):
        who = replace(person(scene.doors.chance), phone=phone)
        customer = await scene.doors.customer(who)
        view = await customer.until("identity")
        if number < 4:
            await customer.turn(view)
            continue
        typed = {"name": who.name, "id_number": who.id_number}
        answer = await scene.act("check-real-name", typed, phone=customer.phone)
        scene.refused(
            "the fourth",
            answer,
            "409 phone_shared",
            sent=[*typed.values(), phone],
            journey_id=customer.passage.journey_id,
        )
        code = await scene.act("send-otp", {"purpose": "alternative_path"}, phone=customer.phone)
        scene.refused(
            "by the other way", code, "409 phone_shared", sent=[phone], journey_id=customer.passage.journey_id
        )
        own = await scene.doors.customer(replace(who, phone=person(scene.doors.chance).phone))
        await own.until("terms")
