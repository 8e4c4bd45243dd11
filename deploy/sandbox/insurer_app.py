"""The insurer's app: a landing page that leads through download, installation, registration and login.

Opening the page reports nothing (previews and crawlers open pages); each button does, server to server,
as a webhook in the form of Standard Webhooks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal, cast
from urllib.parse import quote, urlsplit

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.sandbox.deliveries import Deliveries, Outgoing
from deploy.sandbox.pages import page, page_not_found, style_sheet
from deploy.sandbox.records import Document, Records
from deploy.sandbox.settings import SandboxSettings

Step = Literal["click", "install", "register", "login"]

_TOKEN = re.compile(r"[A-Za-z0-9_\-.~]{8,200}")
# What must have happened before; who has an account already logs in without registering.
_AFTER: dict[Step, Step | None] = {
    "click": None,
    "install": "click",
    "register": "install",
    "login": "install",
}
_BUTTONS: dict[Step, str] = {
    "click": "去下载",
    "install": "安装完成",
    "register": "注册账号",
    "login": "登录",
}


class StepReport(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    step: Step


def webhook_signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """Standard Webhooks: `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`; secret as `whsec_…`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


class InsurerApp:
    """The app's landing page. `clock` gives Unix seconds."""

    def __init__(
        self,
        settings: SandboxSettings,
        records: Records,
        webhook_secret: str,
        public_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._records, self._secret, self._clock = settings, records, webhook_secret, clock
        self._prefix = urlsplit(public_url).path
        self.reports = Deliveries("app_report", records, settings.app_callback_schedule, self._report, clock)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 16)
        app.add_routes(
            [
                web.get("/app", self._landing),
                web.post("/app", self._form),
                web.post("/sandbox/steps", self._step_json),
                web.get("/sandbox/steps", self._steps_json),
                web.get("/sandbox.css", style_sheet),
            ]
        )
        return app

    def _take(self, token: str, step: Step) -> bool:
        """Notes a step and owes its report; a step counts once. False when it comes too early."""
        visit = self._records.get("app_visit", token) or {"token": token, "steps": {}}
        steps: dict[str, str] = visit["steps"]
        before = _AFTER[step]
        if before is not None and before not in steps:
            return False
        if step in steps:
            return True
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        steps[step] = now.replace("+00:00", "Z")
        with self._records.together():
            self._records.put("app_visit", token, visit)
            if self._settings.app_callback_url:
                report_id = "app_" + hashlib.sha256(f"{token}.{step}".encode()).hexdigest()[:32]
                self.reports.owe(report_id, {"token": token, "step": step, "at": steps[step]})
        return True

    def _report(self, entry: Document) -> Sequence[Outgoing]:
        body = json.dumps(
            {
                "type": f"app.{entry['step']}",
                "timestamp": entry["at"],
                "data": {"token": entry["token"], "step": entry["step"], "occurred_at": entry["at"]},
            }
        ).encode()
        timestamp = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": entry["id"],
            "webhook-timestamp": str(timestamp),
            "webhook-signature": webhook_signature(self._secret, entry["id"], timestamp, body),
        }
        return [Outgoing(self._settings.app_callback_url, headers, body)]

    async def _landing(self, request: web.Request) -> web.Response:
        token = request.query.get("t", "")
        if not _TOKEN.fullmatch(token):
            css = f"{self._prefix}/sandbox.css"
            return page_not_found("这个链接不完整，请从短信或保单页面重新打开。", css)
        steps = (self._records.get("app_visit", token) or {"steps": {}})["steps"]
        open_steps = [
            (step, words)
            for step, words in _BUTTONS.items()
            if step not in steps and (_AFTER[step] is None or _AFTER[step] in steps)
        ]
        if "login" in steps:
            open_steps = []
        said = "用 App 查保单、报案、续保更方便。不下载也不影响您的保单。"
        if "login" in steps:
            said = "您已登录 App，可以关闭这个页面。"
        elif "install" in steps:
            said = "App 已安装。没有账号请先注册，有账号直接登录。"
        elif "click" in steps:
            said = "正在下载。安装好以后，点“安装完成”。"
        return page(
            "app",
            css=f"{self._prefix}/sandbox.css",
            action=f"{self._prefix}/app?t={quote(token, safe='')}",
            said=said,
            choices=open_steps,
        )

    async def _form(self, request: web.Request) -> web.Response:
        token = request.query.get("t", "")
        step = (await request.post()).get("step")
        if not _TOKEN.fullmatch(token) or step not in _AFTER:
            raise web.HTTPBadRequest
        self._take(token, cast("Step", step))
        raise web.HTTPSeeOther(f"{self._prefix}/app?t={quote(token, safe='')}")

    async def _step_json(self, request: web.Request) -> web.Response:
        try:
            asked = StepReport.model_validate_json(await request.read())
        except ValidationError:
            asked = None
        if asked is None or not _TOKEN.fullmatch(asked.token):
            return web.json_response({"code": "malformed", "message": "token and step are needed"}, status=400)
        if not self._take(asked.token, asked.step):
            return web.json_response({"code": "too_early", "message": f"{asked.step} comes later"}, status=409)
        return web.json_response({"token": asked.token, "step": asked.step})

    async def _steps_json(self, request: web.Request) -> web.Response:
        visit = self._records.get("app_visit", request.query.get("t", ""))
        return web.json_response({"steps": visit["steps"] if visit else {}})
