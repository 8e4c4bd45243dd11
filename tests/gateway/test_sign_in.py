"""Signing in over HTTP, and what a session's cookie opens, what it does not, and who may send it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from contracts.commands import identity, nps, proposal
from contracts.commands.base import Act
from gateway.settings import GatewaySettings
from servicekit.runner import new_ulid
from tests.gateway.doorway import PASSWORD, SAME_ORIGIN, Doorway, doorway
from tests.nats_server import NatsServer

ANNA = {"door": "sales", "name": "anna", "password": PASSWORD}


async def sign_in(at: Doorway, body: Any, headers: dict[str, str] | None = None) -> Any:
    return await at.call("POST", "/v1/sign-in", body=body, headers=SAME_ORIGIN if headers is None else headers)


def keyed(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Idempotency-Key": new_ulid()}


# -- in and out --------------------------------------------------------------------------------------------


async def test_a_salesperson_signs_in_looks_and_signs_out(at: Doorway) -> None:
    got = await sign_in(at, ANNA)
    assert got.status == 200
    assert got.json == {
        "door": "sales", "name": "安娜", "roles": [], "channel_id": "harbour_motors", "channel_name": "harbour_motors",
        "ends_at": "2026-11-23T14:00:00Z", "idle_seconds": 1800,
    }  # fmt: skip
    cookie, *flags = got.headers["set-cookie"].split("; ")
    assert set(flags) == {"HttpOnly", "Path=/v1", "SameSite=strict"}
    assert got.headers["cache-control"] == "no-store"
    assert cookie.partition("=")[2] not in got.body.decode()
    headers = {**SAME_ORIGIN, "Cookie": cookie}
    assert (await at.call("GET", "/v1/sign-in", headers={"Cookie": cookie})).json == got.json
    gone = await at.call("POST", "/v1/sign-out", headers=headers)
    assert gone.status == 204
    assert 'toubao_session=""' in gone.headers["set-cookie"]
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert (await at.call("GET", "/v1/sign-in", headers=headers)).code == "credentials_missing"
    assert (await at.call("POST", "/v1/sign-out", headers=headers)).status == 204


async def test_staff_are_shown_their_roles(at: Doorway) -> None:
    headers = await at.signed_in("legal")
    told = (await at.call("GET", "/v1/sign-in", headers=headers)).json
    assert (told["door"], told["name"], told["roles"], told["channel_id"]) == ("staff", "one_of_legal", ["legal"], None)


async def test_a_wrong_name_and_a_wrong_password_are_told_alike(at: Doorway) -> None:
    answers = [
        await sign_in(at, {**ANNA, **wrong})
        for wrong in ({"password": "guess"}, {"name": "nobody"}, {"door": "staff"}, {"name": "one_of_legal"})
    ]
    assert {(got.status, got.code) for got in answers} == {(401, "sign_in_failed")}
    shown = [{k: v for k, v in got.json.items() if k != "trace_id"} for got in answers]
    assert all(each == shown[0] for each in shown)
    assert not any("set-cookie" in got.headers for got in answers)
    assert PASSWORD not in str(shown)


async def test_guessing_ends_by_name_and_by_address(at: Doorway) -> None:
    for _ in range(10):
        assert (await sign_in(at, {**ANNA, "password": "guess"})).code == "sign_in_failed"
    refused = await sign_in(at, ANNA)
    assert (refused.status, refused.code) == (429, "sign_in_attempts")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    for number in range(19):
        assert (await sign_in(at, {**ANNA, "name": f"nobody{number}"})).code == "sign_in_failed"
    refused = await sign_in(at, {**ANNA, "name": "bela"})
    assert (refused.status, refused.code) == (429, "too_many_requests")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({**ANNA, "more": 1}, "/more"), ({**ANNA, "door": "customer"}, "/door"), ({**ANNA, "name": ""}, "/name"),
        ({**ANNA, "password": "x" * 201}, "/password"), ({**ANNA, "password": ["x"]}, "/password"),
        ({"door": "sales", "name": "anna"}, "/password"),
    ],
)  # fmt: skip
async def test_faults_are_named_and_nothing_is_quoted(at: Doorway, body: Any, pointer: str) -> None:
    got = await sign_in(at, body)
    assert (got.status, got.code) == (422, "invalid_fields")
    assert [fault["pointer"] for fault in got.json["errors"]] == [pointer]
    assert PASSWORD not in got.body.decode()


async def test_signing_in_again_ends_what_was_before(at: Doorway) -> None:
    before = await at.signed_in("anna")
    after = await sign_in(at, {"door": "staff", "name": "one_of_audit", "password": PASSWORD}, before)
    assert after.status == 200
    assert (await at.call("GET", "/v1/sign-in", headers=before)).code == "credentials_missing"
    failed = await at.signed_in("anna")
    assert (await sign_in(at, {**ANNA, "password": "guess"}, failed)).status == 401
    assert (await at.call("GET", "/v1/sign-in", headers=failed)).status == 200


async def test_a_session_ends_by_idling(at: Doorway) -> None:
    headers = await at.signed_in("anna")
    at.clock.pass_by(minutes=29)
    assert (await at.call("GET", "/v1/sign-in", headers=headers)).status == 200
    at.clock.pass_by(minutes=30)
    assert (await at.call("GET", "/v1/sign-in", headers=headers)).code == "credentials_missing"
    assert (await at.call("GET", "/v1/proposals", headers=headers)).code == "credentials_missing"


async def test_over_https_the_cookie_never_travels_in_the_clear(
    tmp_path: Path, nats: NatsServer, release_folder: Any
) -> None:
    folder, release = release_folder
    shutil.copytree(folder, tmp_path / "releases")
    async with doorway(tmp_path, nats, release, gateway_public_url="https://toubao.test") as at:
        assert isinstance(at.under.settings, GatewaySettings)
        at.base = f"http://127.0.0.1:{at.under.settings.gateway_port}"
        got = await sign_in(at, ANNA, {"Origin": "https://toubao.test"})
        assert "Secure" in got.headers["set-cookie"].split("; ")


# -- other sites -------------------------------------------------------------------------------------------

FOREIGN = (
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}, {},
    {"Origin": "https://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site", "Origin": "{base}"},
)  # fmt: skip


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_what_no_page_of_ours_sent_changes_nothing(at: Doorway, foreign: dict[str, str]) -> None:
    sent = {name: value.replace("{base}", at.base) for name, value in foreign.items()}
    ours = await at.signed_in("anna")
    cookie = {"Cookie": ours["Cookie"]}
    theirs = keyed({**cookie, **sent})
    journey_id = await at.journey()
    for path in ("/v1/proposals", f"/v1/proposals/{journey_id}/withdraw", f"/v1/proposals/{journey_id}/resend-link"):
        got = await at.call("POST", path, body={}, headers=theirs)
        assert (got.status, got.code) == (403, "cross_site")
    staff = {"Cookie": (await at.signed_in("service"))["Cookie"], **sent}
    body = {"journey_id": journey_id, "order_no": "O1"}
    assert (await at.call("POST", "/v1/staff/refunds", body=body, headers=keyed(staff))).code == "cross_site"
    assert (await at.call("POST", "/v1/sign-out", headers=theirs)).code == "cross_site"
    assert (await sign_in(at, ANNA, sent)).code == "cross_site", "nobody is signed in by another site"
    assert not [asked for asked in at.asked if not isinstance(asked, identity.IssueNonce)]
    assert (await at.call("GET", "/v1/sign-in", headers=cookie)).status == 200


async def test_our_own_pages_and_programs_with_keys_may(at: Doorway) -> None:
    cookie = {"Cookie": (await at.signed_in("anna"))["Cookie"]}
    at.play(proposal.ResendLink, lambda _: proposal.ResendLink.reply())
    path = f"/v1/proposals/{await at.journey()}/resend-link"
    assert (await at.call("POST", path, headers=keyed({**cookie, "Origin": at.base}))).status == 200
    by_key = {**at.bearer("harbour_motors"), "Sec-Fetch-Site": "cross-site"}
    assert (await at.call("POST", path, headers=keyed(by_key))).status == 200


# -- doors -------------------------------------------------------------------------------------------------


async def test_each_session_opens_its_own_door_and_no_other(at: Doorway) -> None:
    at.play(nps.ScoreReport, lambda _: nps.Scores(scores=()))
    at.play(proposal.ListProposals, lambda _: proposal.ProposalStates(proposals=()))
    anna, audit, legal = [await at.signed_in(who) for who in ("anna", "audit", "legal")]
    assert (await at.call("GET", "/v1/proposals", headers=anna)).status == 200
    assert (await at.call("GET", "/v1/staff/nps", headers=audit)).status == 200
    for headers, path, code in (
        (legal, "/v1/staff/nps", "role_missing"),
        (anna, "/v1/staff/nps", "credentials_invalid"),
        (audit, "/v1/proposals", "credentials_invalid"),
        (audit, "/v1/products", "credentials_invalid"),
        (anna, "/v1/events", "role_missing"),
        (audit, "/v1/events", "credentials_invalid"),
    ):
        assert (await at.call("GET", path, headers=headers)).code == code


async def test_a_key_that_is_brought_is_what_counts(at: Doorway) -> None:
    at.play(proposal.ListProposals, lambda _: proposal.ProposalStates(proposals=()))
    anna = await at.signed_in("anna")
    both = {**anna, **at.bearer("north_agency")}
    assert (await at.call("GET", "/v1/proposals", headers=both)).status == 200
    assert at.heard(proposal.ListProposals)[-1].channel_id == "north_agency"
    wrong = {**anna, "Authorization": "Bearer nonsense"}
    assert (await at.call("GET", "/v1/proposals", headers=wrong)).code == "credentials_invalid"


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, "é", "toubao", "A" * 4000])
async def test_a_cookie_of_nobodys_opens_nothing(at: Doorway, cookie: str) -> None:
    for path in ("/v1/proposals", "/v1/products", "/v1/staff/nps", "/v1/sign-in"):
        got = await at.call("GET", path, headers={"Cookie": f"toubao_session={cookie}"})
        assert (got.status, got.code) == (401, "credentials_missing")


async def test_a_stolen_cookie_is_worth_nothing_after_the_sign_out(at: Doorway) -> None:
    mine = await at.signed_in("anna")
    stolen = dict(mine)
    await at.call("POST", "/v1/sign-out", headers=mine)
    for method, path in (("GET", "/v1/proposals"), ("POST", "/v1/proposals"), ("GET", "/v1/products")):
        got = await at.call(method, path, headers=keyed(stolen), body={} if method == "POST" else None)
        assert (got.status, got.code) == (401, "credentials_missing")


async def test_a_sessions_requests_are_limited_like_a_keys(at: Doorway) -> None:
    at.play(proposal.ResendLink, lambda _: proposal.ResendLink.reply())
    headers, path = await at.signed_in("anna"), f"/v1/proposals/{await at.journey()}/resend-link"
    answers = await asyncio.gather(*(at.call("POST", path, headers=keyed(headers)) for _ in range(34)))
    assert [got.status for got in answers].count(429) == 4
    assert len(at.heard(proposal.ResendLink)) == 30


# -- inside a journey --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("who", "actor"), [("anna", "channel"), ("legal", "staff")])
async def test_I13_no_session_counts_inside_a_journey(at: Doorway, who: str, actor: str) -> None:
    """Not alone, not dressed up, and not beside the customer's own session and proof."""
    journey_id = await at.journey()
    insider = await at.signed_in(who)
    token = insider["Cookie"].partition("=")[2]
    path = f"/v1/journeys/{journey_id}/confirm-terms"
    body = {"locks": {"x": "a" * 64}}
    alone = await at.call("POST", path, body=body, headers=keyed(insider))
    beside = await at.act(journey_id, "confirm-terms", body, headers=insider)
    opening = await at.act(
        journey_id, "open-session", {"link_secret": "0" * 32}, headers={"Cookie": insider["Cookie"]}, token=None
    )
    reading = await at.get(f"/v1/journeys/{journey_id}", headers=insider)
    file = await at.get(f"/v1/journeys/{journey_id}/policies", headers=insider)
    with_key = await at.call("POST", path, body=body, headers=keyed({**insider, **at.bearer("harbour_motors")}))
    for got in (alone, beside, opening, reading, file, with_key):
        assert (got.status, got.code) == (403, "not_the_customer")
    recorded = at.heard(identity.RecordIntrusion)
    assert [(each.journey_id, each.actor) for each in recorded] == [(journey_id, actor)] * 6
    assert [each.attempted for each in recorded][:4] == ["confirm_terms", "confirm_terms", "open_session", "view"]
    dressed = await at.call("POST", path, body=body, headers=keyed({"Authorization": f"DPoP {token}"}))
    assert dressed.code == "proof_missing"
    assert not [asked for asked in at.asked if isinstance(asked, Act | identity.JudgeProof)]


async def test_I13_a_session_hides_behind_no_other_cookie(at: Doorway) -> None:
    journey_id = await at.journey()
    cookie = (await at.signed_in("legal"))["Cookie"]
    for sent in (
        f"{cookie}; toubao_session=x",
        f"toubao_session=x; {cookie}",
        f"a=b; {cookie}; toubao_session={'A' * 43}",
    ):
        got = await at.get(f"/v1/journeys/{journey_id}", headers={"Cookie": sent})
        assert (got.status, got.code) == (403, "not_the_customer")
    many = "; ".join([cookie, *(f"toubao_session={number}" for number in range(200))])
    assert (await at.get(f"/v1/journeys/{journey_id}", headers={"Cookie": many})).code == "malformed"
    assert len(at.heard(identity.RecordIntrusion)) == 3


async def test_of_two_sessions_in_one_request_neither_counts(at: Doorway) -> None:
    """Another host of the same site may set a cookie of this name: nobody works in somebody else's session by it."""
    at.play(proposal.ListProposals, lambda _: proposal.ProposalStates(proposals=()))
    mine, theirs = [(await at.signed_in(who))["Cookie"] for who in ("anna", "bela")]
    both = {**SAME_ORIGIN, "Cookie": f"{mine}; {theirs}"}
    assert (await at.call("GET", "/v1/proposals", headers=both)).code == "credentials_missing"
    assert (await at.call("GET", "/v1/proposals", headers={"Cookie": f"{mine}; {mine}"})).status == 200
    assert (await at.call("POST", "/v1/sign-out", headers=both)).status == 204
    for cookie in (mine, theirs):
        assert (await at.call("GET", "/v1/proposals", headers={"Cookie": cookie})).code == "credentials_missing"


async def test_I13_who_signed_out_is_a_customer_like_any_other(at: Doorway) -> None:
    journey_id = await at.journey()
    insider = await at.signed_in("anna")
    await at.call("POST", "/v1/sign-out", headers=insider)
    for cookie in (insider["Cookie"], "toubao_session=nonsense", "other=1"):
        assert (await at.get(f"/v1/journeys/{journey_id}", headers={"Cookie": cookie})).status == 200
    at.clock.pass_by(minutes=1)
    idle = await at.signed_in("bela")
    at.clock.pass_by(minutes=31)
    assert (await at.get(f"/v1/journeys/{journey_id}", headers=idle)).status == 200
    assert not at.heard(identity.RecordIntrusion)


async def test_I13_where_nothing_can_be_recorded_it_is_refused_all_the_same(at: Doorway) -> None:
    insider = await at.signed_in("anna")
    journey_id = await at.journey()
    at.refuse(identity.RecordIntrusion, "unavailable")
    assert (await at.get(f"/v1/journeys/{journey_id}", headers=insider)).code == "not_the_customer"
    assert (await at.get(f"/v1/journeys/{new_ulid()}", headers=insider)).code == "journey_unknown"


async def test_a_page_that_only_refreshes_itself_keeps_no_session_alive(at: Doorway) -> None:
    there = await at.signed_in("audit")
    for _ in range(3):
        at.clock.pass_by(minutes=9)
        assert (await at.call("GET", "/v1/sign-in", headers={**there, "Unattended": "1"})).status == 200
    at.clock.pass_by(minutes=4)
    assert (await at.call("GET", "/v1/sign-in", headers={**there, "Unattended": "1"})).code == "credentials_missing"
    again = await at.signed_in("audit")
    for _ in range(4):
        at.clock.pass_by(minutes=9)
        assert (await at.call("GET", "/v1/sign-in", headers=again)).status == 200
