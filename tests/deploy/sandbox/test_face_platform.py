"""The face and real-name platform: signed requests, and a result that only the server can fetch."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.sandbox.process import Running
from deploy.sandbox.settings import Party
from tests.deploy.sandbox.callers import Clock, Signed, Start

ZHANG = {"name": "张小测", "id_number": "11010519491231002X"}
BACK = "http://127.0.0.1:1/journey/face?keep=1"


async def opened(face: Signed, **changed: Any) -> dict[str, Any]:
    status, session = await face.call("POST", "/v1/face-sessions", ZHANG | {"return_url": BACK} | changed)
    assert status == 201
    return session


async def result(face: Signed, session: dict[str, Any]) -> dict[str, Any]:
    status, answer = await face.call("GET", f"/v1/face-sessions/{session['session_id']}")
    assert status == 200
    return answer


async def decide(face: Signed, session: dict[str, Any], outcome: str) -> str:
    url = f"{face.base}/sandbox/face-sessions/{session['session_id']}"
    async with face.session.post(url, json={"outcome": outcome}) as answer:
        assert answer.status == 200
        return (await answer.json())["redirect_to"]


@pytest.mark.parametrize(
    ("name", "id_number", "expected"),
    [
        ("张小测", "11010519491231002X", "match"),
        ("张小测", "11010519491231002x", "match"),
        ("张假", "11010519491231002X", "mismatch"),
        ("张小测", "110105194912310021", "mismatch"),
        ("张小测", "110105194913310020", "mismatch"),
        ("张", "11010519491231002X", "mismatch"),
        ("张小测", "1101051949123100２X", "mismatch"),
    ],
)
async def test_real_name_follows_the_rules_for_test_persons(
    face: Signed, name: str, id_number: str, expected: str
) -> None:
    status, answer = await face.call("POST", "/v1/real-name", {"name": name, "id_number": id_number})
    assert (status, answer["result"]) == (200, expected)
    assert answer["provider_ref"].startswith("FP")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "match"),
        ({"card_number": "6222020000000000002"}, "mismatch"),
        ({"card_number": "622202"}, "mismatch"),
        ({"phone": "12900001234"}, "mismatch"),
        ({"phone": "13900010000"}, "mismatch"),
        ({"name": "张假"}, "mismatch"),
    ],
)
async def test_bank_card_checks_all_four_elements(face: Signed, change: dict[str, str], expected: str) -> None:
    card = {"card_number": luhn_completed("622202000000000001"), "phone": "13900001234"}
    status, answer = await face.call("POST", "/v1/bank-card", ZHANG | card | change)
    assert (status, answer["result"]) == (200, expected)


def luhn_completed(digits: str) -> str:
    """The digits with the check digit that a textbook Luhn sum asks for."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


@pytest.mark.parametrize(
    "changed",
    [
        {"sent": b'{"name": "x"}'},
        {"key": b"0" * 64},
        {"client_id": "somebody"},
        {"timestamp": 1_000_000_000},
        {"nonce": "short"},
    ],
)
async def test_a_request_whose_signature_does_not_hold_is_refused(face: Signed, changed: dict[str, Any]) -> None:
    status, answer = await face.call("POST", "/v1/real-name", ZHANG, **changed)
    assert (status, answer["code"]) == (401, "signature_refused")


async def test_a_nonce_serves_once(face: Signed) -> None:
    assert (await face.call("POST", "/v1/real-name", ZHANG, nonce="n" * 16))[0] == 200
    assert (await face.call("POST", "/v1/real-name", ZHANG, nonce="n" * 16))[0] == 401


async def test_unknown_or_missing_fields_are_named(face: Signed) -> None:
    status, answer = await face.call("POST", "/v1/real-name", {"name": "张三", "photo": "…"})
    assert status == 400
    assert "id_number" in answer["message"]
    assert "photo" in answer["message"]
    assert "张三" not in answer["message"]


async def test_the_result_is_fetched_server_to_server_and_the_browser_brings_only_the_session_id(
    face: Signed,
) -> None:
    session = await opened(face)
    assert (await result(face, session))["status"] == "pending"
    async with face.session.get(session["redirect_url"]) as page:
        assert page.status == 200
        text = await page.text()
    assert "张" not in text
    async with face.session.post(session["redirect_url"], data={"outcome": "passed"}, allow_redirects=False) as done:
        assert done.status == 303
        assert done.headers["Location"] == f"{BACK}&face_session={session['session_id']}"
    answer = await result(face, session)
    assert answer["status"] == "passed"
    assert answer["score_band"] in ("high", "medium")
    assert answer["provider_ref"]
    url = f"{face.base}/v1/face-sessions/{session['session_id']}"
    async with face.session.get(url) as unsigned:
        assert unsigned.status == 401


async def test_only_its_page_may_use_the_camera_and_no_picture_can_leave_it(face: Signed) -> None:
    session = await opened(face)
    async with face.session.get(session["redirect_url"]) as page:
        text = await page.text()
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert page.headers["Permissions-Policy"].startswith("camera=(self)")
    assert (policy["default-src"], policy["script-src"], policy["img-src"]) == ("'none'", "'self'", "blob:")
    assert "connect-src" not in policy
    # What is picked belongs to no form, so no form carries it along.
    assert not re.search(r"<form(?:(?!</form>).)*<input", text, re.DOTALL)
    assert "影像不离开本页" in text
    async with face.session.get(f"{face.base}/face.js") as script:
        assert script.content_type == "text/javascript"
        assert not re.search(r"fetch|XMLHttpRequest|sendBeacon|FormData|WebSocket|submit", await script.text())
    async with face.session.get(f"{face.base}/face/none") as other:
        assert other.headers["Permissions-Policy"].startswith("camera=()")
        assert "script-src" not in other.headers["Content-Security-Policy"]


@pytest.mark.parametrize(("outcome", "reason"), [("failed", "not_the_same_person"), ("cancelled", "cancelled")])
async def test_failure_and_cancelling_are_results_and_stay(face: Signed, outcome: str, reason: str) -> None:
    session = await opened(face)
    await decide(face, session, outcome)
    await decide(face, session, "passed")
    answer = await result(face, session)
    assert (answer["status"], answer["reason"], answer["score_band"]) == ("failed", reason, None)


async def test_a_live_face_proves_nothing_for_an_unknown_identity(face: Signed) -> None:
    session = await opened(face, name="张假")
    await decide(face, session, "passed")
    answer = await result(face, session)
    assert (answer["status"], answer["reason"]) == ("failed", "identity_unknown")


async def test_a_result_is_valid_for_fifteen_minutes(face: Signed, clock: Clock) -> None:
    session = await opened(face)
    await decide(face, session, "passed")
    clock.ahead = 899
    assert (await result(face, session))["status"] == "passed"
    clock.ahead = 901
    assert (await result(face, session))["status"] == "expired"


async def test_a_session_nobody_came_to_expires(face: Signed, clock: Clock) -> None:
    session = await opened(face)
    clock.ahead = 601
    await decide(face, session, "passed")
    assert (await result(face, session))["status"] == "expired"
    async with face.session.get(session["redirect_url"]) as page:
        assert not re.search("<form", await page.text())


async def test_an_unknown_session_is_not_found(face: Signed) -> None:
    assert (await face.call("GET", "/v1/face-sessions/none"))[0] == 404
    async with face.session.get(f"{face.base}/face/none") as page:
        assert page.status == 404


async def test_results_outlive_a_restart(face: Signed, start: Start, clock: Clock, sandbox: Running) -> None:
    session = await opened(face)
    await decide(face, session, "passed")
    async with start() as again:
        other = Signed(face.session, again.urls[Party.FACE], face.key, clock)
        assert other.base != sandbox.urls[Party.FACE]
        assert (await result(other, session))["status"] == "passed"
