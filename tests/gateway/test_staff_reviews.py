"""Signatures two people look at: who may, what they see, what is on record before, what they can do (I11, I24)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from contracts.commands import proposal, signing
from contracts.commands.signing import Handwriting
from contracts.facts import signing as facts
from contracts.problems import Refuse
from contracts.values import ActProof, Committed, Proof
from deploy.simulator.hand import writes
from servicekit.runner import new_ulid
from tests.gateway.doorway import SHA, Doorway, view_of

REVIEWERS = ("service", "legal")
LEGIBLE = {"review_no": 1, "finding": "legible"}
PEN = facts.PenMeasure(code="pen_even_timing", value=0.01, limit=0.06, flagged=True)


def reading(outcome: Any = "retry") -> facts.Reading:
    characters = tuple(
        facts.CharacterRead(box=box, score=-40.0 if box == 1 else 12.5, limit=-15.0, ok=box != 1) for box in range(3)
    )
    return facts.Reading(
        outcome=outcome, reason="handwriting_unclear", strictness=4, characters=characters, read_by="PP-OCRv4/2"
    )


async def waiting(at: Doorway) -> str:
    """A journey whose signature waits for people; one of audit's program has found it legible before."""
    journey_id = await at.journey()
    opened, vault = at.opened[journey_id], at.under.vault
    raw = Handwriting.model_validate(writes("王小明", random.Random(1))).model_dump_json().encode()
    requested = facts.ReviewRequested(
        at=at.clock(),
        review_no=1,
        attempt_no=4,
        reason="handwriting_unclear",
        attempt=1,
        items=(facts.SignedItem(product="motor_compulsory", kind="form", document="form", version="1", hash=SHA),),
        declaration_sha256=SHA,
        strokes=await vault.seal_file(journey_id, raw, "application/json"),
        image=await vault.seal_file(journey_id, b"png", "image/png"),
        vector=await vault.seal_file(journey_id, b"<svg/>", "image/svg+xml"),
        strokes_rendered_by="services.signing.strokes/1",
        ink_checks=(facts.InkCheck(code="ink_empty", ok=True),),
        reading=reading(),
        pen=(PEN,),
        signed_at=at.clock(),
        proof=ActProof(
            proof=Proof(jws="x", method="POST", url="https://toubao.test/"),
            body=Committed(commitment=SHA, blob=SHA),
            attempt=1,
        ),
    )
    tries = (
        signing.Try(at=at.clock(), reason="ink_too_small", box=2, reading=None, pen=()),
        signing.Try(at=at.clock(), reason="handwriting_unclear", box=1, reading=reading(), pen=(PEN,)),
        signing.Try(at=at.clock(), reason="handwriting_unknown_character", box=None, reading=reading("manual"), pen=()),
    )
    decided = facts.ReviewDecided(at=at.clock(), review_no=1, reviewer="one_of_legal", finding="legible")
    listed = signing.ReviewListed(
        journey_id=journey_id, review_no=1, requested_at=at.clock(), reason="handwriting_unclear", tries=4,
        reviewers=("one_of_legal",),
    )  # fmt: skip
    at.play(proposal.ViewProposal, lambda query: view_of(query.journey_id, opened))
    at.play(signing.ListReviews, lambda _: signing.ReviewList(reviews=(listed,)))
    at.play(signing.ViewReview, lambda _: signing.Review(requested=requested, tries=tries, decisions=(decided,)))
    at.play(signing.DecideReview, lambda _: signing.ReviewDecision(open=False))
    return journey_id


def keyed(at: Doorway, who: str) -> dict[str, str]:
    return {**at.bearer(who), "Idempotency-Key": new_ulid()}


async def records(at: Doorway) -> list[dict[str, Any]]:
    return (await at.call("GET", "/v1/staff/unmaskings", headers=at.bearer("audit"))).json["unmaskings"]


async def test_the_queue_says_how_long_why_and_whose_turn_it_is(at: Doorway) -> None:
    journey_id = await waiting(at)
    for role in REVIEWERS:
        got = await at.call("GET", "/v1/staff/reviews", headers=at.bearer(role))
        (one,) = got.json["reviews"]
        assert (one["journey_id"], one["tries"], one["found_legible"]) == (journey_id, 4, 1)
        assert one["said"] == "有的字没有认出来。"
        assert one["mine"] == (role == "legal")


async def test_I24_who_looks_is_on_record_before_anything_is_shown(at: Doorway) -> None:
    journey_id = await waiting(at)
    got = await at.call("GET", f"/v1/staff/reviews/{journey_id}", headers=at.bearer("service"))
    assert got.status == 200, got.body
    shown = got.json
    assert "".join(shown["characters"]) == at.who.name.replace("·", "")
    assert shown["writing"]["boxes"][0]["strokes"][0][0]["t"] >= 0
    assert shown["svg"] == "<svg/>"
    assert [(each["said"], each["box"]) for each in shown["tries"]] == [
        ("字写得太小。", 3),
        ("有的字没有认出来。", 2),
        ("姓名中有系统不认识的字。", None),
    ]
    assert [each["ok"] for each in shown["tries"][1]["characters"]] == [True, False, True]
    assert shown["tries"][1]["pen"] == [PEN.model_dump()]
    assert [each["staff_id"] for each in shown["legible_by"]] == ["one_of_legal"]
    assert not shown["mine"]
    (record,) = await records(at)
    assert (record["staff_id"], record["journey_id"], record["scope"]) == ("one_of_service", journey_id, "review")
    assert record["reason"]


async def test_I11_a_decision_is_the_signed_in_persons_own(at: Doorway) -> None:
    journey_id = await waiting(at)
    for role in REVIEWERS:
        path = f"/v1/staff/reviews/{journey_id}/decide"
        got = await at.call("POST", path, body=LEGIBLE, headers=keyed(at, role))
        assert (got.status, got.json) == (200, {"open": False})
    asked = at.heard(signing.DecideReview)
    assert [(each.reviewer, each.finding, each.review_no) for each in asked] == [
        ("one_of_service", "legible", 1),
        ("one_of_legal", "legible", 1),
    ]


async def test_nobody_decides_in_the_name_of_somebody_else(at: Doorway) -> None:
    journey_id = await waiting(at)
    body = {**LEGIBLE, "reviewer": "one_of_legal"}
    path = f"/v1/staff/reviews/{journey_id}/decide"
    got = await at.call("POST", path, body=body, headers=keyed(at, "service"))
    assert (got.status, got.code) == (422, "invalid_fields")
    assert at.heard(signing.DecideReview) == []


@pytest.mark.parametrize("who", ["audit", "harbour_motors", None])
async def test_who_may_not_look_sees_and_does_nothing(at: Doorway, who: str | None) -> None:
    journey_id = await waiting(at)
    headers = {"Idempotency-Key": new_ulid(), **({} if who is None else at.bearer(who))}
    for method, path, body in (
        ("GET", "/v1/staff/reviews", None),
        ("GET", f"/v1/staff/reviews/{journey_id}", None),
        ("POST", f"/v1/staff/reviews/{journey_id}/decide", LEGIBLE),
    ):
        got = await at.call(method, path, body=body, headers=headers)
        assert got.code == ("role_missing" if who == "audit" else "credentials_invalid" if who else
                            "credentials_missing")  # fmt: skip
    assert await records(at) == []
    assert not at.heard(signing.DecideReview)


async def test_the_customers_own_phone_is_nobody_here(at: Doorway) -> None:
    journey_id = await waiting(at)
    path = f"/v1/staff/reviews/{journey_id}"
    got = await at.call("GET", path, headers=at.proven("GET", path))
    assert got.status == 401
    assert await records(at) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"review_no": 0, "finding": "legible"}, "invalid_fields"),
        ({"review_no": 1, "finding": "pass"}, "invalid_fields"),
        ({"review_no": 1}, "invalid_fields"),
        ([], "invalid_fields"),
        (b"{", "malformed"),
    ],
)
async def test_what_is_no_finding_is_refused(at: Doorway, body: Any, code: str) -> None:
    journey_id = await waiting(at)
    path = f"/v1/staff/reviews/{journey_id}/decide"
    assert (await at.call("POST", path, body=body, headers=keyed(at, "service"))).code == code
    assert not at.heard(signing.DecideReview)


async def test_a_decision_without_a_key_or_from_another_site_is_refused(at: Doorway) -> None:
    journey_id = await waiting(at)
    path = f"/v1/staff/reviews/{journey_id}/decide"
    got = await at.call("POST", path, body=LEGIBLE, headers=at.bearer("service"))
    assert got.code == "idempotency_key_missing"
    cookie = {**await at.signed_in("service"), "Idempotency-Key": new_ulid(), "Sec-Fetch-Site": "cross-site"}
    assert (await at.call("POST", path, body=LEGIBLE, headers=cookie)).code == "cross_site"


@pytest.mark.parametrize("code", ["review_over", "review_decided"])
async def test_what_signing_refuses_comes_back_as_a_sentence(at: Doorway, code: str) -> None:
    journey_id = await waiting(at)
    at.refuse(signing.DecideReview, code)
    path = f"/v1/staff/reviews/{journey_id}/decide"
    got = await at.call("POST", path, body=LEGIBLE, headers=keyed(at, "service"))
    assert (got.status, got.code) == (409, code)
    assert got.json["detail"]


async def test_a_review_that_is_over_shows_nothing(at: Doorway) -> None:
    journey_id = await waiting(at)

    def over(_: Any) -> signing.Review:
        raise Refuse("review_over")

    at.play(signing.ViewReview, over)
    got = await at.call("GET", f"/v1/staff/reviews/{journey_id}", headers=at.bearer("service"))
    assert (got.status, got.code) == (409, "review_over")
    assert await records(at) == []
    unknown = await at.call("GET", f"/v1/staff/reviews/{new_ulid()}", headers=at.bearer("service"))
    assert unknown.code == "journey_unknown"
