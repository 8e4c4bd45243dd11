"""Those who have no business in a journey: who sells, who administers, another customer (I12, I13)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from deploy.simulator.api import Json, Reply
from deploy.simulator.misdeeds.ahead import order, signature
from deploy.simulator.misdeeds.scene import AFTER, Scene, code_of, misdeed


async def _everywhere(scene: Scene, who: str, headers: Mapping[str, str]) -> None:
    """Everything that only the customer may do, with these credentials."""
    tried: list[tuple[str, str, object]] = [
        ("GET", "", None),
        ("GET", "/policies", None),
        ("GET", "/stream", None),
        ("POST", "/confirm-terms", {"locks": order(scene.view)["locks"]}),
        ("POST", "/give-consent", {"notice": "privacy", "version": "2026.1", "sha256": "0" * 64}),
        ("POST", "/confirm-document", {"product": "p", "document": "d", "version": "1", "sha256": "0" * 64}),
        ("POST", "/answer-questions", {"product": "motor_commercial", "answers": {}}),
        ("POST", "/sign-forms", signature(scene)),
        ("POST", "/place-order", order(scene.view)),
    ]
    for method, path, body in tried:
        raw = None if body is None else json.dumps(body).encode()
        answer = await scene.send(
            method, scene.phone.journey + path, raw, {"Idempotency-Key": secrets.token_urlsafe(12), **headers}
        )
        scene.refused(
            f"{who}: {method} {path or 'the journey'}", answer, "403 not_the_customer", sent=list(headers.values())
        )


@misdeed(at="terms")
async def act_with_a_channels_key(scene: Scene) -> None:
    """A channel's program reads, confirms, answers, signs and orders in its customer's journey (I13)."""
    await _everywhere(scene, "its own channel", {"Authorization": f"Bearer {scene.doors.channel_key}"})
    for scheme in ("DPoP", "Basic"):
        dressed = {"Authorization": f"{scheme} {scene.doors.other_channel_key}"}
        answer = await scene.send("GET", scene.phone.journey, headers=dressed)
        scene.refused(
            f"another channel's key as {scheme}", answer, "403 not_the_customer", sent=[scene.doors.other_channel_key]
        )


@misdeed(at="terms")
async def act_with_a_staff_key(scene: Scene) -> None:
    """A member of staff's key in a customer's journey (I13)."""
    await _everywhere(scene, "staff", {"Authorization": f"Bearer {scene.doors.staff_key}"})


async def signed_in(scene: Scene, door: str, who: tuple[str, str]) -> str:
    """The cookie of somebody who signs in by name and password."""
    body = json.dumps({"door": door, "name": who[0], "password": who[1]}).encode()
    answer = await scene.send("POST", "/v1/sign-in", body, {"Origin": scene.doors.gateway})
    assert answer.status == 200, code_of(answer)
    cookie = {name.lower(): value for name, value in answer.headers.items()}["set-cookie"]
    return cookie.partition(";")[0]


async def _at_the_customers_side(scene: Scene, who: str, cookie: str) -> None:
    """The same cookie beside everything the customer's own phone would send."""
    answer = await scene.act("confirm-terms", {"locks": order(scene.view)["locks"]}, headers={"Cookie": cookie})
    scene.refused(f"{who}, at the customer's own phone", answer, "403 not_the_customer", sent=[cookie])
    answer = await scene.proven(
        "GET", scene.phone.journey, headers={"Cookie": f"a=b; {cookie}; {cookie.partition('=')[0]}=x"}
    )
    scene.refused(f"{who}, behind another cookie", answer, "403 not_the_customer", sent=[cookie])


@misdeed(at="terms")
async def act_signed_in_as_a_salesperson(scene: Scene) -> None:
    """A salesperson's browser in the customer's journey, also with the customer's own session in it (I13)."""
    cookie = await signed_in(scene, "sales", scene.doors.salesperson)
    await _everywhere(scene, "a salesperson", {"Cookie": cookie})
    await _at_the_customers_side(scene, "a salesperson", cookie)


@misdeed(at="terms")
async def act_signed_in_as_staff(scene: Scene) -> None:
    """A member of staff's browser in the customer's journey, also with the customer's own session in it (I13)."""
    cookie = await signed_in(scene, "staff", scene.doors.staff)
    await _everywhere(scene, "staff", {"Cookie": cookie})
    await _at_the_customers_side(scene, "staff", cookie)


@misdeed(at="recording")
async def meddle_with_anothers_proposal(scene: Scene) -> None:
    """Another channel looks at the link, sends it, and withdraws the proposal: as unknown to it as none at all."""
    headers = {"Authorization": f"Bearer {scene.doors.other_channel_key}"}
    answers: dict[str, list[Reply]] = {}
    for journey in (scene.journey_id, "0" * 26, "../../x", "%2e%2e%2f", "a" * 300):
        for method, path in (("GET", "link"), ("POST", "withdraw"), ("POST", "resend-link")):
            told = {**headers, "Idempotency-Key": secrets.token_urlsafe(12)}
            answer = await scene.send(
                method, f"/v1/proposals/{journey}/{path}", None if method == "GET" else b"{}", told
            )
            answers.setdefault(path, []).append(answer)
            wanted = (
                ("404 not_yours",)
                if "/" not in journey and "%2f" not in journey
                else ("404 not_found", "404 not_yours")
            )
            scene.refused(f"{path} of {journey[:6]}…", answer, *wanted, sent=list(headers.values()), recorded=False)
    for path, said in answers.items():
        same = _said(said[0]) == _said(said[1])
        scene.held(f"{path}: another's is as unknown as none", same, "the answers differ")
    listed = await scene.send("GET", "/v1/proposals?order=newest", headers=headers)
    scene.held("not among its own", scene.journey_id not in listed.content.decode(), "it is listed")


def _said(reply: Reply) -> Json:
    return {name: value for name, value in reply.json.items() if name != "trace_id"}


@misdeed(at=AFTER)
async def fetch_anothers_papers(scene: Scene) -> None:
    """Another customer asks for these policies and forms, with their own session, and for a download used before."""
    other = await scene.doors.customer()
    await other.phone.open()
    mine = next(iter(scene.customer.passage.policies))
    for path in (
        "",
        "/policies",
        "/forms/motor_compulsory?revision=sealed",
        "/pad",
        "/documents/" + "0" * 64,
        "/survey",
        "/app",
    ):
        answer = await scene.proven("GET", scene.phone.journey + path.partition("?")[0], phone=other.phone)
        scene.refused(
            f"another's session: {path or 'the journey'}",
            answer,
            "401 proof_key_changed",
            sent=[other.phone.session.token],
        )
    offer = await scene.act(f"policies/{mine}/download", phone=other.phone)
    scene.refused(
        "this policy in another's journey",
        offer,
        "409 identity_missing",
        "409 policies_not_ready",
        "404 policy_unknown",
        recorded=False,
    )
    offer = await scene.proven(
        "POST",
        f"{scene.phone.journey}/policies/{mine}/download",
        b"{}",
        phone=other.phone,
        headers={"Idempotency-Key": "anothers-policy"},
    )
    scene.refused("offered by another's session", offer, "401 proof_key_changed")
    offer = await scene.act("policies/XXXX00000000000000/download")
    scene.refused("a policy there is not", offer, "404 policy_unknown", sent=["XXXX00000000000000"], recorded=False)
    once = (await scene.act(f"policies/{mine}/download")).json["url"].removeprefix(scene.phone.base)
    first = await scene.send("GET", once, headers={"Range": "bytes=0-9"})
    scene.held(
        "the address gives the file once", first.status == 200 and first.content[:5] == b"%PDF-", str(first.status)
    )
    for _ in range(2):
        again = await scene.send("GET", once)
        scene.refused(
            "the address again", again, "410 download_expired", sent=[once.rpartition("/")[2]], recorded=False
        )
