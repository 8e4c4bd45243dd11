"""The app's landing page and its signed reports."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import aiohttp

from deploy.sandbox.credentials import Credentials
from deploy.sandbox.process import Running
from deploy.sandbox.settings import Party
from tests.deploy.sandbox.callers import Heard, Listener

TOKEN = "one-time-token-0001"


def verified(heard: Heard, data_dir: Path) -> dict[str, object]:
    """Standard Webhooks, computed here from its specification."""
    secret = base64.b64decode(Credentials(data_dir).app_webhook_secret.read_text().split("_", 1)[1])
    signed = f"{heard.headers['webhook-id']}.{heard.headers['webhook-timestamp']}.".encode() + heard.body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert heard.headers["webhook-signature"] == f"v1,{expected}"
    return json.loads(heard.body)


async def test_opening_the_page_reports_nothing_and_each_button_does(
    sandbox: Running, http: aiohttp.ClientSession, listener: Listener, data_dir: Path
) -> None:
    page = f"{sandbox.urls[Party.APP]}/app?t={TOKEN}"
    async with http.get(page) as landing:
        assert landing.status == 200
        assert "去下载" in await landing.text()
    assert listener.heard.empty()
    for step in ("click", "install", "register", "login"):
        async with http.post(page, data={"step": step}) as done:
            assert done.status == 200
        report = verified(await listener.next(), data_dir)
        assert report["type"] == f"app.{step}"
        assert report["data"] == {"token": TOKEN, "step": step, "occurred_at": report["timestamp"]}
    async with http.get(page) as landing:
        assert "<form" not in await landing.text()


async def test_steps_come_in_order_and_count_once(
    sandbox: Running, http: aiohttp.ClientSession, listener: Listener, data_dir: Path
) -> None:
    url = f"{sandbox.urls[Party.APP]}/sandbox/steps"

    async def step(name: str) -> int:
        async with http.post(url, json={"token": TOKEN, "step": name}) as answer:
            return answer.status

    assert await step("install") == 409
    assert await step("login") == 409
    assert await step("click") == 200
    assert await step("click") == 200
    assert await step("install") == 200
    # Who has an account logs in without registering.
    assert await step("login") == 200
    assert await step("buy") == 400
    types = [verified(await listener.next(), data_dir)["type"] for _ in range(3)]
    assert sorted(map(str, types)) == ["app.click", "app.install", "app.login"]
    assert listener.heard.empty()


async def test_a_report_is_repeated_with_the_same_id_until_taken(
    sandbox: Running, http: aiohttp.ClientSession, listener: Listener, data_dir: Path
) -> None:
    listener.statuses = [503]
    url = f"{sandbox.urls[Party.APP]}/sandbox/steps"
    async with http.post(url, json={"token": TOKEN, "step": "click"}):
        pass
    first, second = await listener.next(), await listener.next()
    assert verified(first, data_dir) == verified(second, data_dir)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_a_broken_link_says_so(sandbox: Running, http: aiohttp.ClientSession) -> None:
    for token in ("", "short", "<script>alert(1)</script>"):
        async with http.get(f"{sandbox.urls[Party.APP]}/app", params={"t": token}) as page:
            assert page.status == 404
            assert "<script>" not in await page.text()
