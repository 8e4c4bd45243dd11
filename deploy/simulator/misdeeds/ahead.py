"""Running ahead of the pages: what comes later, before what must come first."""

from __future__ import annotations

import json

from deploy.simulator.api import Json
from deploy.simulator.hand import another, writes
from deploy.simulator.misdeeds.scene import Scene, misdeed

ZEROS = "0" * 64


def order(view: Json, less: int = 0) -> Json:
    """What the page shows, as an order."""
    bought = [p for p in view["card"]["products"] if not p["optional"] or p["chosen"]]
    return {"total_fen": view["card"]["total_fen"] - less, "locks": {p["product"]: p["lock"] for p in bought}}


def signature(scene: Scene, view: Json | None = None) -> Json:
    """A whole signature over what the view lists, or over made-up items where it lists none yet."""
    signing = (view or scene.view)["signing"]
    made_up = {"product": "motor_compulsory", "kind": "form", "document": "form", "version": "1", "hash": ZEROS}
    return {
        "items": signing["items"] or [made_up],
        "declaration_sha256": signing["declaration_sha256"] or ZEROS,
        "handwriting": writes(scene.customer.person.name, scene.doors.chance),
    }


@misdeed(at="recording")
async def skip_the_notice(scene: Scene) -> None:
    """Consents and proves identity without having read that the process is recorded."""
    person = scene.customer.person
    text = (await scene.phone.get("/notices/privacy"))["text"]
    consent = {"notice": "privacy", "version": text["version"], "sha256": text["sha256"]}
    typed = {"name": person.name, "id_number": person.id_number}
    for verb, body in (
        ("give-consent", consent),
        ("check-real-name", typed),
        ("send-otp", {"purpose": "alternative_path"}),
    ):
        scene.refused(verb, await scene.act(verb, body), "409 recording_not_acknowledged", sent=typed)


@misdeed(at="consents")
async def skip_the_consents(scene: Scene) -> None:
    """Proves identity without the privacy consent, and gives a consent to a text that nobody published."""
    person = scene.customer.person
    typed = {"name": person.name, "id_number": person.id_number}
    scene.refused("check-real-name", await scene.act("check-real-name", typed), "409 consent_missing", sent=typed)
    text = (await scene.phone.get("/notices/privacy"))["text"]
    for changed in ({"sha256": ZEROS}, {"version": "1999.1"}, {"notice": "no_such_notice"}):
        consent = {"notice": "privacy", "version": text["version"], "sha256": text["sha256"], **changed}
        scene.refused(
            f"give-consent with another {next(iter(changed))}",
            await scene.act("give-consent", consent),
            "409 notice_changed",
        )


@misdeed(at="identity")
async def skip_identity(scene: Scene) -> None:
    """Confirms, reads, signs and pays before having proven who they are; asks for a face without its own consent."""
    scene.refused(
        "confirm-terms", await scene.act("confirm-terms", {"locks": order(scene.view)["locks"]}), "409 identity_missing"
    )
    document = scene.view["disclosure"]["documents"][0]["document"]
    scene.refused("open-document", await scene.act("open-document", document), "409 identity_missing")
    scene.refused("prepare-forms", await scene.act("prepare-forms"), "409 identity_missing")
    scene.refused("place-order", await scene.act("place-order", order(scene.view)), "409 identity_missing")
    scene.refused("start-face", await scene.act("start-face"), "409 consent_missing")
    scene.refused("finish-face", await scene.act("finish-face"), "409 consent_missing")
    scene.refused(
        "check-bank-card",
        await scene.act("check-bank-card", {"card_number": scene.customer.person.card_number}),
        "409 consent_missing",
    )
    scene.refused(
        "read the pad", await scene.proven("GET", f"{scene.phone.journey}/pad"), "409 identity_missing", recorded=False
    )
    form = await scene.proven("GET", f"{scene.phone.journey}/forms/motor_compulsory")
    scene.refused("read a form", form, "409 identity_missing", recorded=False)


@misdeed(at="identity")
async def be_somebody_else(scene: Scene) -> None:
    """Proves identity with another person's name and number."""
    other = (await scene.doors.customer()).person
    typed = {"name": other.name + "某", "id_number": other.id_number}
    scene.refused("check-real-name", await scene.act("check-real-name", typed), "403 person_mismatch", sent=typed)


@misdeed(at="documents")
async def sign_before_reading(scene: Scene) -> None:
    """Has the forms drawn, drafts and signs the name, and orders, with the documents unread."""
    signed = signature(scene)
    scene.refused("prepare-forms", await scene.act("prepare-forms"), "409 reading_incomplete")
    scene.refused(
        "save-draft", await scene.act("save-draft", signed["handwriting"]), "409 reading_incomplete", recorded=False
    )
    scene.refused("sign-forms", await scene.act("sign-forms", signed), "409 reading_incomplete")
    scene.refused(
        "place-order", await scene.act("place-order", order(scene.view)), "409 reading_incomplete", "409 not_signed"
    )


def _unread(scene: Scene) -> list[Json]:
    return [each["document"] for each in scene.view["disclosure"]["documents"] if each["confirmed_at"] is None]


@misdeed(at="documents")
async def confirm_unread(scene: Scene) -> None:
    """Confirms a document not opened, not read to its end, and with paragraphs never shown."""
    document = _unread(scene)[0]
    scene.refused("not opened", await scene.act("confirm-document", document), "409 document_not_opened")
    beat = {"document": document, "paragraphs": [], "at_end": True, "visible": True}
    scene.refused(
        "a heartbeat of one not opened",
        await scene.act("report-reading", beat),
        "409 document_not_opened",
        recorded=False,
    )
    await scene.phone.act("open_document", document)
    scene.refused("not at its end", await scene.act("confirm-document", document), "409 reading_not_at_end")
    await scene.phone.act("report_reading", beat)
    scene.refused("paragraphs never shown", await scene.act("confirm-document", document), "409 paragraphs_unread")


@misdeed(at="documents")
async def confirm_too_early(scene: Scene) -> None:
    """Shows every paragraph at once and confirms at once, with the phone's clock an hour ahead and a claim to have
    read for long.
    """
    for document in reversed(_unread(scene)):
        text = await scene.phone.get(f"/documents/{document['sha256']}")
        await scene.phone.act("open_document", document)
        # The page goes to the background at once, so that no time passes for the server, however slow the network.
        beat = {"document": document, "paragraphs": [b["id"] for b in text["blocks"]], "at_end": True, "visible": False}
        progress = await scene.phone.act("report_reading", beat)
        if progress["remaining_ms"] == 0:
            continue  # The network was that slow: it has been in front for long enough.
        scene.refused("at once", await scene.act("confirm-document", document), "409 reading_too_short")
        path, raw = f"{scene.phone.journey}/confirm-document", _json(document)
        ahead = scene.phone.device.proof(
            "POST",
            scene.phone.base + path,
            raw,
            nonce=scene.phone.session.nonce,
            token=scene.phone.session.token,
            iat=4_000_000_000,
        )
        late = await scene.act("confirm-document", document, raw=raw, headers={"DPoP": ahead})
        scene.refused("by a clock of the phone's own", late, "409 reading_too_short")
        claimed = {**beat, "dwell_ms": 999_999, "opened_at": "2001-01-01T00:00:00Z"}
        scene.refused(
            "a duration claimed", await scene.act("report-reading", claimed), "422 invalid_fields", sent=["999999"]
        )
        return
    scene.held("at once", False, "every document had been in front for long enough")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@misdeed(at="documents")
async def confirm_another_version(scene: Scene) -> None:
    """Confirms another version of a document, another text under its name, and one that is not there."""
    document = _unread(scene)[0]
    for name, changed, code in (
        ("another version", {"version": "1999.1"}, "409 document_changed"),
        ("another text", {"sha256": ZEROS}, "409 document_changed"),
        ("no such document", {"document": "no_such_document"}, "404 document_unknown"),
        ("of a product not bought", {"product": "no_such_product"}, "404 document_unknown"),
    ):
        for verb in ("open-document", "confirm-document"):
            scene.refused(
                f"{verb}: {name}", await scene.act(verb, {**document, **changed}), code, sent=list(changed.values())
            )
    read = await scene.proven("GET", f"{scene.phone.journey}/documents/{ZEROS}")
    scene.refused("read a text of no product", read, "404 document_unknown", recorded=False)


@misdeed(at="documents")
async def confirm_two_at_once(scene: Scene) -> None:
    """Confirms two documents in one act: as a list, side by side, and under one name given twice."""
    first, second = _unread(scene)[:2]
    scene.refused("a list", await scene.act("confirm-document", [first, second]), "422 invalid_fields", recorded=False)
    both = {**first, "documents": [first, second]}
    scene.refused("side by side", await scene.act("confirm-document", both), "422 invalid_fields", recorded=False)
    twice = _json(first)[:-1] + b"," + _json(second)[1:]
    scene.refused("each name twice", await scene.act("confirm-document", raw=twice), "400 malformed", recorded=False)
    scene.refused(
        "one after the other",
        await scene.act("confirm-document", raw=_json(first) + _json(second)),
        "400 malformed",
        recorded=False,
    )


@misdeed(at="points")
async def skip_pop_ups(scene: Scene) -> None:
    """Goes on without the pop-ups, acknowledges one never shown, one with other words, one that is not there."""
    point = scene.view["disclosure"]["points_open"][0]
    scene.refused("acknowledged unseen", await scene.act("acknowledge-point", point), "409 point_not_ready")
    scene.refused(
        "other words", await scene.act("acknowledge-point", {**point, "sha256": ZEROS}), "409 document_changed"
    )
    scene.refused(
        "no such point",
        await scene.act("show-point", {**point, "point": "no_such_point"}),
        "404 point_unknown",
        recorded=False,
    )
    scene.refused("prepare-forms", await scene.act("prepare-forms"), "409 points_unacknowledged")
    scene.refused("sign-forms", await scene.act("sign-forms", signature(scene)), "409 points_unacknowledged")


@misdeed(at="forms")
async def sign_unseen_forms(scene: Scene) -> None:
    """Signs before the forms are drawn, and drawn but not looked at; says to have seen another form."""
    scene.refused("not drawn", await scene.act("sign-forms", signature(scene)), "409 forms_not_prepared")
    offered = (await scene.phone.act("prepare_forms"))["forms"]
    view = await scene.customer.look()
    scene.refused("not looked at", await scene.act("sign-forms", signature(scene, view)), "409 forms_unreviewed")
    seen = {"product": offered[0]["product"], "form_commitment": ZEROS}
    scene.refused("another form", await scene.act("review-form", seen), "409 form_changed")
    seen = {"product": "no_such_product", "form_commitment": ZEROS}
    scene.refused("of a product not bought", await scene.act("review-form", seen), "422 product_not_offered", sent=seen)
    page = await scene.proven("GET", f"{scene.phone.journey}/forms/{offered[0]['product']}/pages/99")
    scene.refused("a page it does not have", page, "404 not_found", recorded=False)


@misdeed(at="signature")
async def sign_for_another(scene: Scene) -> None:
    """Writes somebody else's name, carefully and in the right number of boxes."""
    written = writes(another(scene.customer.person.name), scene.doors.chance)
    whole = {**signature(scene), "handwriting": written}
    scene.refused("another name", await scene.act("sign-forms", whole), "422 handwriting_another_name")
    scene.refused("the same again", await scene.act("sign-forms", whole), "422 ink_seen_before")


@misdeed(at="signature")
async def sign_less(scene: Scene) -> None:
    """Signs with a form left out, with another declaration, with no ink, a dot, a line, a scribble or too few boxes."""
    whole = signature(scene)
    scene.refused(
        "one item left out",
        await scene.act("sign-forms", {**whole, "items": whole["items"][1:]}),
        "409 items_incomplete",
    )
    twice = [whole["items"][0], *whole["items"][:-1]]
    scene.refused("one item twice", await scene.act("sign-forms", {**whole, "items": twice}), "409 items_incomplete")
    other = {**whole, "declaration_sha256": ZEROS}
    scene.refused("another declaration", await scene.act("sign-forms", other), "409 declaration_changed")
    boxes = whole["handwriting"]["boxes"]
    dot = [{"x": 150.0, "y": 150.0, "t": 0}, {"x": 151.0, "y": 150.0, "t": 900}]
    line = [{"x": float(x), "y": 150.0, "t": x * 10} for x in range(20, 280, 10)]
    for name, drawn, code in (
        ("no ink", [{**box, "strokes": []} for box in boxes], "422 ink_empty"),
        ("a box less", boxes[1:] or [*boxes, *boxes], "422 ink_wrong_boxes"),
        ("dots", [{**box, "strokes": [dot]} for box in boxes], "422 ink_dot"),
        ("lines", [{**box, "strokes": [line]} for box in boxes], "422 ink_line"),
    ):
        scene.refused(name, await scene.act("sign-forms", {**whole, "handwriting": {"boxes": drawn}}), code)


@misdeed(at="signature")
async def pay_before_signing(scene: Scene) -> None:
    """Orders the payment with everything read and nothing signed."""
    scene.refused("place-order", await scene.act("place-order", order(scene.view)), "409 not_signed")
    scene.refused(
        "cancel an order there is not",
        await scene.act("cancel-order", {"order_no": "no_such_order"}),
        "404 order_unknown",
        sent=["no_such_order"],
    )
