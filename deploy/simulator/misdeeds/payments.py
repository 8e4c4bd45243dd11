"""Payment notifications that the channel never sent, and those it sends too often."""

from __future__ import annotations

import base64
import json
import secrets
import time

from deploy.simulator.misdeeds.scene import Scene, misdeed

PATH = "/v1/callbacks/wechat"


@misdeed(at="payment")
async def forge_a_notification(scene: Scene) -> None:
    """Tells of a payment nobody made: unsigned, signed by nobody, of another order, sum or merchant, long ago."""
    told = {
        "id": secrets.token_hex(16),
        "create_time": "2026-01-01T00:00:00+08:00",
        "event_type": "TRANSACTION.SUCCESS",
        "resource_type": "encrypt-resource",
        "summary": "支付成功",
        "resource": {
            "algorithm": "AEAD_AES_256_GCM",
            "original_type": "transaction",
            "associated_data": "transaction",
            "nonce": secrets.token_hex(6),
            "ciphertext": base64.b64encode(secrets.token_bytes(300)).decode(),
        },
    }
    plain = {
        "mchid": "1900000000",
        "appid": "wx0000000000000000",
        "out_trade_no": scene.journey_id,
        "trade_state": "SUCCESS",
        "amount": {"total": 1, "payer_total": 1, "currency": "CNY"},
    }
    signed = {
        "Wechatpay-Serial": secrets.token_hex(20).upper(),
        "Wechatpay-Timestamp": str(int(time.time())),
        "Wechatpay-Nonce": secrets.token_hex(16),
        "Wechatpay-Signature": base64.b64encode(secrets.token_bytes(256)).decode(),
    }
    for name, body, headers in (
        ("unsigned", told, {}),
        ("signed by nobody", told, signed),
        ("in clear, of another sum and merchant", {**told, "resource": plain}, signed),
        ("long ago", told, {**signed, "Wechatpay-Timestamp": "1000000000"}),
        ("with a signature that is none", told, {**signed, "Wechatpay-Signature": "王小明".encode().decode("latin-1")}),
        ("of nothing", [], signed),
    ):
        answer = await scene.send("POST", PATH, json.dumps(body).encode(), headers)
        # The channel knows its own answers only: a status, and FAIL.
        refused = answer.status in {400, 401} and b"SUCCESS" not in answer.content
        scene.held(name, refused, f"answered {answer.status}")
        echoed = any(value.encode() in answer.content for value in (*signed.values(), scene.journey_id))
        scene.held(f"{name}, and none of it comes back", not echoed, "says again what was sent")
    payment = (await scene.customer.look())["payment"]
    scene.held("nothing is paid by it", payment["state"] != "paid", "it is paid")


@misdeed(at="payment")
async def repeat_notifications(scene: Scene) -> None:
    """The channel tells of the one payment again and again, signed anew and byte for byte."""
    faults = f"{scene.doors.parties.wechat}/sandbox/faults"
    async with scene.doors.http.post(faults, json={"duplicate": 2, "replay": 2}) as answer:
        answer.raise_for_status()
    view = await scene.customer.look()
    ordered = view["payment"]["pay_url"] or (await scene.customer.order(view))["pay_url"]
    try:
        paid = await scene.customer.pay(ordered)
        await scene.customer.issued()
    finally:
        await scene.doors.http.delete(faults)
    scene.held("it is paid", paid["result"] == "paid", str(paid))
    order_no = (await scene.customer.look())["payment"]["order_no"]
    async with scene.doors.http.get(f"{scene.doors.parties.wechat}/sandbox/ledger") as answer:
        entries = [one for one in (await answer.json())["entries"] if one["out_trade_no"] == order_no]
    scene.held("one charge", [one["kind"] for one in entries] == ["taken"], f"{len(entries)} entries")
    numbers = [policy["policy_no"] for policy in (await scene.phone.get("/policies"))["policies"]]
    scene.held(
        "one policy a product",
        len(numbers) == len(set(numbers)) == sum(product["chosen"] for product in view["card"]["products"]),
        str(len(numbers)),
    )
