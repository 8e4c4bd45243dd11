"""The customer's acts over HTTP."""

from __future__ import annotations

import pytest

from contracts.commands.base import Act, request_types
from contracts.commands.disclosure import ConfirmDocument
from contracts.commands.identity import GiveConsent, OpenSession, RecordIntrusion, SessionToken
from contracts.commands.signing import SignForms
from gateway.acts import act_types
from servicekit.runner import new_ulid
from tests.gateway.doorway import SHA, Doorway, document_of

NOTICE = {"notice": "privacy", "version": "2026.1", "sha256": SHA}


async def test_an_act_is_sealed_as_it_came_and_sent_on(at: Doorway) -> None:
    journey_id = await at.journey()
    at.play(OpenSession, lambda _: SessionToken(session_token="t" * 43, attempt=1, absolute_limit=at.clock()))
    body = b'{ "link_secret" : "0123456789abcdef0123456789abcdef" }'

    got = await at.act(
        journey_id, "open-session", body, token=None, key="a-key-of-mine", headers={"Journey-Heads": "proposal=2"}
    )

    assert (got.status, got.json["session_token"]) == (200, "t" * 43)
    assert got.headers["journey-heads"] == "identity=7,proposal=2"
    assert got.headers["dpop-nonce"] == "nonce"
    (act,) = at.heard(OpenSession)
    assert act.command_id == "a-key-of-mine"
    assert act.after == {"proposal": 2}
    assert act.session is None
    assert act.proof.url == f"{at.base}/v1/journeys/{journey_id}/open-session"
    assert await at.under.vault.open(journey_id, act.body) == body


async def test_every_act_has_an_endpoint(at: Doorway) -> None:
    kinds = [kind for kind in request_types().values() if issubclass(kind, Act)]
    assert sorted(kind.verb.replace("_", "-") for kind in kinds) == sorted(act_types())
    journey_id = await at.journey()
    for verb in act_types():
        got = await at.call("POST", f"/v1/journeys/{journey_id}/{verb}", body={})
        assert got.code in {"credentials_missing", "proof_missing"}, verb


async def test_the_session_travels_as_a_hash(at: Doorway) -> None:
    journey_id = await at.journey()
    await at.act(journey_id, "give-consent", NOTICE)
    (act,) = at.heard(GiveConsent)
    assert act.session is not None
    assert len(act.session) == 64
    assert at.token not in act.model_dump_json()


async def test_a_refusal_is_a_problem_with_the_nonce_of_the_next_try(at: Doorway) -> None:
    journey_id = await at.journey()
    at.refuse(ConfirmDocument, "reading_too_short", retry_after=4)
    document = document_of(at.release, "motor_commercial").model_dump(mode="json")
    got = await at.act(journey_id, "confirm-document", document)
    assert (got.status, got.code) == (409, "reading_too_short")
    assert got.headers["content-type"] == "application/problem+json"
    assert got.headers["retry-after"] == "4"
    assert got.headers["dpop-nonce"] == "nonce"
    assert got.json["type"] == "/problems/reading_too_short"
    assert got.json["title"] == "阅读时间还不够。"


async def test_a_stale_nonce_brings_a_fresh_one(at: Doorway) -> None:
    journey_id = await at.journey()
    at.refuse(GiveConsent, "use_dpop_nonce", nonce="the-next-one")
    got = await at.act(journey_id, "give-consent", NOTICE)
    assert (got.status, got.code) == (401, "use_dpop_nonce")
    assert got.headers["dpop-nonce"] == "the-next-one"
    assert got.headers["www-authenticate"].startswith('DPoP error="use_dpop_nonce"')
    assert "nonce" not in got.json


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Idempotency-Key": None}, 400, "idempotency_key_missing"),
        ({"Idempotency-Key": "short"}, 422, "invalid_fields"),
        ({"Idempotency-Key": "x" * 65}, 422, "invalid_fields"),
        ({"Authorization": None}, 401, "credentials_missing"),
        ({"Authorization": "DPoP"}, 401, "credentials_missing"),
        ({"DPoP": None}, 401, "proof_missing"),
        ({"DPoP": "x" * 5000}, 401, "proof_malformed"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"Journey-Heads": "identity"}, 400, "malformed"),
        ({"Journey-Heads": "identity=-1"}, 400, "malformed"),
        ({"Journey-Heads": "nobody=1"}, 400, "malformed"),
        ({"Journey-Heads": "identity=1," * 100}, 400, "malformed"),
    ],
)
async def test_what_comes_without_its_papers_is_refused(
    at: Doorway, change: dict[str, str | None], status: int, code: str
) -> None:
    journey_id = await at.journey()
    path = f"/v1/journeys/{journey_id}/give-consent"
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": new_ulid(),
        **at.proven("POST", path, b"{}"),
        **change,
    }
    sent = {name: value for name, value in headers.items() if value is not None}
    got = await at.call("POST", path, body=b"{}", headers=sent)
    assert (got.status, got.code) == (status, code)
    assert not at.heard(GiveConsent)


async def test_wrong_fields_are_named_and_never_quoted(at: Doorway) -> None:
    journey_id = await at.journey()
    got = await at.act(
        journey_id, "check-real-name", {"name": "王", "id_number": "11010119900307", "phone": "13800138000"}
    )
    assert (got.status, got.code) == (422, "invalid_fields")
    assert {fault["pointer"] for fault in got.json["errors"]} == {"/name", "/id_number", "/phone"}
    for value in ("王", "11010119900307", "13800138000"):
        assert value not in got.body.decode()
    broken = await at.act(journey_id, "check-real-name", b'{"name": "\xe7\x8e\x8b", ')
    assert (broken.status, broken.code) == (400, "malformed")


async def test_no_key_is_made_for_a_journey_nobody_opened(at: Doorway) -> None:
    for journey_id in (new_ulid(), "not-a-ulid", "blind-index", "..%2f..%2fmaster", "０" * 26):
        got = await at.act(journey_id, "give-consent", NOTICE)
        assert got.status == 404, journey_id
        assert got.code in {"journey_unknown", "not_found"}
    assert not list((at.folder / "vault").glob("??/*.key"))
    assert not at.heard(GiveConsent)


@pytest.mark.parametrize(("who", "actor"), [("harbour_motors", "channel"), ("legal", "staff"), ("service", "staff")])
async def test_I13_no_channel_nor_staff_key_can_act_for_the_customer(at: Doorway, who: str, actor: str) -> None:
    journey_id = await at.journey()
    for verb in act_types():
        path = f"/v1/journeys/{journey_id}/{verb}"
        headers = {**at.proven("POST", path, b"{}"), **at.bearer(who), "Idempotency-Key": new_ulid()}
        got = await at.call("POST", path, body=b"{}", headers=headers)
        assert (got.status, got.code) == (403, "not_the_customer")
        record = at.heard(RecordIntrusion)[-1]
        assert (record.journey_id, record.actor, record.attempted) == (journey_id, actor, verb.replace("-", "_"))
    assert not [request for request in at.asked if isinstance(request, Act)]


async def test_I13_nor_read_in_their_place(at: Doorway) -> None:
    journey_id = await at.journey()
    pages = (
        "",
        "/notices/privacy",
        f"/documents/{SHA}",
        "/forms/motor_commercial",
        "/policies",
        "/stream",
        "/survey",
        "/app",
    )
    for page in pages:
        got = await at.call("GET", f"/v1/journeys/{journey_id}{page}", headers=at.bearer("harbour_motors"))
        assert (got.status, got.code) == (403, "not_the_customer")
        assert at.heard(RecordIntrusion)[-1].actor == "channel"
        stranger = await at.call("GET", f"/v1/journeys/{journey_id}{page}", headers={"Authorization": "Bearer guessed"})
        assert stranger.code == "not_the_customer"
        assert at.heard(RecordIntrusion)[-1].actor == "nobody"


async def test_I13_a_key_dressed_as_a_session_is_known_for_what_it_is(at: Doorway) -> None:
    journey_id = await at.journey()
    for who, actor in (("north_agency", "channel"), ("audit", "staff")):
        held = (at.channel_keys | at.staff_keys)[who]
        got = await at.act(journey_id, "give-consent", NOTICE, headers={"Authorization": f"DPoP {held}"})
        assert (got.status, got.code) == (403, "not_the_customer")
        assert at.heard(RecordIntrusion)[-1].actor == actor
    assert not at.heard(GiveConsent)


async def test_I13_the_refusal_stands_when_it_cannot_be_recorded(at: Doorway) -> None:
    journey_id = await at.journey()
    at.refuse(RecordIntrusion, "unavailable")
    got = await at.call("GET", f"/v1/journeys/{journey_id}", headers=at.bearer("legal"))
    assert got.code == "not_the_customer"
    unknown = await at.call("GET", f"/v1/journeys/{new_ulid()}", headers=at.bearer("legal"))
    assert unknown.code == "journey_unknown"


async def test_a_repeat_keeps_its_key(at: Doorway) -> None:
    journey_id = await at.journey()
    for _ in range(2):
        assert (await at.act(journey_id, "give-consent", NOTICE, key="one-and-the-same")).status == 200
    first, second = at.heard(GiveConsent)
    assert first.command_id == second.command_id == "one-and-the-same"
    assert first.proof.jws != second.proof.jws
    at.refuse(GiveConsent, "idempotency_key_reused")
    assert (await at.act(journey_id, "give-consent", NOTICE, key="one-and-the-same")).status == 422


async def test_strokes_may_be_large_and_nothing_else(at: Doorway) -> None:
    journey_id = await at.journey()
    at.refuse(SignForms, "ink_empty")
    large = b'{"handwriting": "' + b"x" * 300_000 + b'"}'
    assert (await at.act(journey_id, "sign-forms", large)).code == "invalid_fields"
    assert (await at.act(journey_id, "give-consent", large)).code == "body_too_large"
    assert (await at.act(journey_id, "sign-forms", b"x" * 2_200_000)).status == 413
