"""What was confirmed, changed afterwards."""

from __future__ import annotations

from deploy.simulator.api import Json
from deploy.simulator.misdeeds.ahead import ZEROS, order, signature
from deploy.simulator.misdeeds.scene import AFTER, Scene, misdeed


def _optional(view: Json) -> Json:
    return next(p for p in view["card"]["products"] if p["optional"])


@misdeed(at="terms")
async def confirm_other_terms(scene: Scene) -> None:
    """Confirms terms that are not those shown, leaves a product out, and confirms what was not offered."""
    locks = order(scene.view)["locks"]
    product = next(iter(locks))
    scene.refused(
        "another lock", await scene.act("confirm-terms", {"locks": {**locks, product: ZEROS}}), "409 terms_changed"
    )
    fewer = {name: lock for name, lock in locks.items() if name != product}
    scene.refused("a product less", await scene.act("confirm-terms", {"locks": fewer}), "409 terms_not_confirmed")
    more = {**locks, "wang_xiaoming_13800138000": ZEROS}
    scene.refused(
        "a product more", await scene.act("confirm-terms", {"locks": more}), "422 product_not_offered", sent=more
    )
    strange = {**locks, "王小明13800138000": ZEROS}
    scene.refused(
        "no product's name",
        await scene.act("confirm-terms", {"locks": strange}),
        "422 invalid_fields",
        sent=strange,
        recorded=False,
    )


@misdeed(at="products")
async def choose_on_other_terms(scene: Scene) -> None:
    """Ticks an optional product on other terms than shown, and takes out one that is not optional."""
    product = _optional(scene.view)["product"]
    scene.refused(
        "another lock", await scene.act("choose-product", {"product": product, "lock": ZEROS}), "409 terms_changed"
    )
    scene.refused(
        "not optional", await scene.act("drop-product", {"product": "motor_compulsory"}), "409 product_not_optional"
    )
    scene.refused(
        "not offered",
        await scene.act("drop-product", {"product": "no_such_product"}),
        "422 product_not_offered",
        sent=["no_such_product"],
    )
    scene.refused(
        "not ticked", await scene.act("drop-product", {"product": product}), "409 already_done", recorded=False
    )


@misdeed(at="questions")
async def answer_what_was_not_asked(scene: Scene) -> None:
    """Answers questions that do not exist, with answers that are none, and goes against advice nobody gave."""
    product = scene.view["disclosure"]["questions_open"][0]
    wrong = {"product": product, "answers": {"zhang_san_19900101": "li_si_13800138000"}}
    scene.refused(
        "no such question",
        await scene.act("answer-questions", wrong),
        "422 question_unknown",
        sent=["li_si_13800138000"],
    )
    scene.refused("needs", await scene.act("answer-needs", wrong), "422 question_unknown", sent=["li_si_13800138000"])
    advice = {"product": product, "advice": ["duplicate_cover"]}
    scene.refused("no advice", await scene.act("continue-of-own-will", advice), "409 already_done", recorded=False)


@misdeed(at="signature")
async def change_before_signing(scene: Scene) -> None:
    """Takes a product out with the forms drawn and signs the list of before; answers anew, and signs that form."""
    product = _optional(scene.view)
    before = signature(scene)
    await scene.phone.act("drop_product", {"product": product["product"]})
    scene.refused(
        "the list of before", await scene.act("sign-forms", before), "409 items_incomplete", "409 declaration_changed"
    )
    view = await scene.customer.look()
    ordered = {"total_fen": scene.view["card"]["total_fen"], "locks": order(scene.view)["locks"]}
    scene.refused(
        "order the sum of before", await scene.act("place-order", ordered), "409 not_signed", "409 terms_changed"
    )
    questioned = next(p for p in view["card"]["products"] if p["questions"] and p["product"] in order(view)["locks"])
    answers = {question["code"]: question["answers"][0]["code"] for question in questioned["questions"]}
    await scene.phone.act("answer_questions", {"product": questioned["product"], "answers": answers})
    stale = signature(scene, view)
    scene.refused(
        "a form drawn on earlier answers",
        await scene.act("sign-forms", stale),
        "409 forms_not_prepared",
        "409 items_incomplete",
    )
    # And takes it back: what was read of it must be read no second time, but everything is drawn anew.
    await scene.phone.act("choose_product", {"product": product["product"], "lock": product["lock"]})


@misdeed(at="payment")
async def change_after_signing(scene: Scene) -> None:
    """Confirms, ticks, answers and signs anew after the signature; orders another sum, on other terms, for less."""
    locks = order(scene.view)["locks"]
    product = _optional(scene.view)
    scene.refused("confirm-terms", await scene.act("confirm-terms", {"locks": locks}), "409 already_signed")
    chosen = {"product": product["product"], "lock": product["lock"]}
    scene.refused("choose-product", await scene.act("choose-product", chosen), "409 already_signed")
    scene.refused("sign-forms", await scene.act("sign-forms", signature(scene)), "409 already_signed")
    scene.refused("prepare-forms", await scene.act("prepare-forms"), "409 already_signed")
    answers = {"product": "motor_commercial", "answers": {"any": "yes"}}
    for verb in ("answer-questions", "answer-needs"):
        scene.refused(verb, await scene.act(verb, answers), "409 already_signed")
    document = scene.view["disclosure"]["documents"][0]["document"]
    for verb in ("open-document", "confirm-document"):
        scene.refused(verb, await scene.act(verb, document), "409 already_signed", "409 already_done", recorded=False)
    scene.refused("without its consent", await scene.act("place-order", order(scene.view)), "409 consent_missing")
    await scene.customer.consent("payment_authorisation")
    scene.refused("a fen less", await scene.act("place-order", order(scene.view, less=1)), "409 amount_mismatch")
    changed = {**order(scene.view), "locks": {**locks, "motor_compulsory": ZEROS}}
    scene.refused("another lock", await scene.act("place-order", changed), "409 terms_changed")
    fewer = {**order(scene.view), "locks": {name: lock for name, lock in locks.items() if name != product["product"]}}
    scene.refused("a product less", await scene.act("place-order", fewer), "409 terms_changed")


@misdeed(at="payment")
async def change_with_the_order_open(scene: Scene) -> None:
    """Takes a product out while the payment is under way, and cancels an order that is another's."""
    await scene.customer.order(await scene.customer.look())
    product = _optional(scene.view)["product"]
    scene.refused("drop-product", await scene.act("drop-product", {"product": product}), "409 order_open")
    scene.refused(
        "cancel another's",
        await scene.act("cancel-order", {"order_no": "T" + "0" * 20}),
        "404 order_unknown",
        sent=["T" + "0" * 20],
    )


@misdeed(at=AFTER)
async def change_what_was_issued(scene: Scene) -> None:
    """Confirms, drops, reads, signs, orders and consents anew with the policies issued."""
    locks = order(scene.view)["locks"]
    product = _optional(scene.view)["product"]
    document = scene.view["disclosure"]["documents"][0]["document"]
    over = ("409 journey_issued", "409 already_signed", "409 order_paid", "409 already_done")
    for verb, body in (
        ("confirm-terms", {"locks": locks}),
        ("drop-product", {"product": product}),
        ("confirm-document", document),
        ("sign-forms", signature(scene)),
        ("place-order", order(scene.view)),
    ):
        scene.refused(verb, await scene.act(verb, body), *over, recorded=False)
    withdrawn = await scene.send(
        "POST",
        f"/v1/proposals/{scene.journey_id}/withdraw",
        b"{}",
        {"Authorization": f"Bearer {scene.doors.channel_key}", "Idempotency-Key": "withdraw-after-issue"},
    )
    scene.refused("the channel withdraws it", withdrawn, *over, recorded=False)
