"""All stand-ins in one process: sockets first, so that each knows its own public address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.sandbox import authority, ocsp
from deploy.sandbox.credentials import make_credentials, write_public
from deploy.sandbox.event_certificates import EventCertificates
from deploy.sandbox.face_platform import FacePlatform
from deploy.sandbox.insurer_app import InsurerApp
from deploy.sandbox.records import Records
from deploy.sandbox.settings import Party, SandboxSettings
from deploy.sandbox.sms import SmsProvider
from deploy.sandbox.wechat_pay import ChannelKeys, WeChatPay

# Paths that answer even while a party plays dead.
_ALWAYS = ("/healthz", "/readyz", "/sandbox/outage")


class Outage(BaseModel):
    """A party that answers late, or with an error, the next `remaining` requests it meets (None: all)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Annotated[int, Field(ge=400, le=599)] | None = None
    delay_seconds: Annotated[float, Field(ge=0, le=600)] = 0
    remaining: Annotated[int, Field(ge=1)] | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 1
    """Of the requests, which it is decides chance."""
    path: str = "/"
    """Only requests for what begins so."""
    done: bool = False
    """What is asked is done all the same; only the answer is late or lost."""


@dataclass(frozen=True)
class Running:
    """A running sandbox: base URLs by party."""

    urls: Mapping[Party, str]


def _with_switches(party_app: web.Application, prefix: str, records: Records) -> web.Application:
    """Adds health, readiness and the outage switch to a party."""
    outage: Outage | None = None

    @web.middleware
    async def played_out(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        nonlocal outage
        current = outage
        path = request.path.removeprefix(prefix)
        if current is None or path in _ALWAYS or not path.startswith(current.path):
            return await handler(request)
        if random.random() >= current.share:  # noqa: S311 - weather, no secret
            return await handler(request)
        if current.remaining is not None:
            left = current.remaining - 1
            outage = current.model_copy(update={"remaining": left}) if left else None
        answer = await handler(request) if current.done else None
        if current.delay_seconds:
            await asyncio.sleep(current.delay_seconds)
        if current.status is not None:
            return web.json_response({"code": "SYSTEM_ERROR", "message": "系统异常，请稍后重试"}, status=current.status)
        return answer or await handler(request)

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(None if outage is None else outage.model_dump())

    async def begin(request: web.Request) -> web.Response:
        nonlocal outage
        try:
            outage = Outage.model_validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"errors": json.loads(error.json(include_url=False))}, status=400)
        return await show(request)

    async def end(request: web.Request) -> web.Response:
        nonlocal outage
        outage = None
        return await show(request)

    party_app.middlewares.append(played_out)
    party_app.add_routes(
        [
            *_health_routes(records),
            web.get("/sandbox/outage", show),
            web.post("/sandbox/outage", begin),
            web.delete("/sandbox/outage", end),
        ]
    )
    return party_app


def _health_routes(records: Records) -> list[web.RouteDef]:
    async def alive(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_request: web.Request) -> web.Response:
        ok = records.answers()
        return web.json_response({"status": "ready" if ok else "not ready"}, status=200 if ok else 503)

    return [web.get("/healthz", alive), web.get("/readyz", ready)]


def _bound(host: str, port: int) -> socket.socket:
    listening = socket.create_server((host, port), backlog=128)
    listening.setblocking(False)
    return listening


@asynccontextmanager
async def running(settings: SandboxSettings, clock: Callable[[], float] = time.time) -> AsyncIterator[Running]:
    """Serves until the block ends. Makes keys and certificates that are missing; raises OSError when a
    port is taken. The addresses are also written to `endpoints.json` in the data directory.
    """
    root = settings.data_dir
    async with contextlib.AsyncExitStack() as stack:
        if settings.port is None:
            sockets = {party: stack.enter_context(_bound(settings.host, settings.port_of(party))) for party in Party}
        else:
            shared = stack.enter_context(_bound(settings.host, settings.port))
            sockets = dict.fromkeys(Party, shared)
        urls = {party: settings.public_url(party, sockets[party].getsockname()[1]) for party in Party}

        # By the parties' own clock: whoever speaks to them by that clock finds the certificates in force.
        credentials = make_credentials(root, settings, datetime.fromtimestamp(clock(), UTC))
        # Again at another address: certificates say where their status is asked for.
        authority.make_authority(root, urls[Party.AUTHORITY], datetime.now(UTC))
        records = Records(root / "parties" / "records.sqlite3")
        stack.callback(records.close)

        wechat = WeChatPay(settings, records, ChannelKeys.load(credentials), urls[Party.WECHAT], clock)
        insurer_app = InsurerApp(settings, records, credentials.app_webhook_secret.read_text(), urls[Party.APP], clock)
        face_key, sms_key = credentials.face_key.read_bytes(), credentials.sms_key.read_bytes()
        authority_key = credentials.authority_key.read_bytes()
        persons = EventCertificates(settings, records, authority_key, urls[Party.AUTHORITY], root, clock)
        apps = {
            Party.WECHAT: wechat.app(),
            Party.FACE: FacePlatform(settings, records, face_key, urls[Party.FACE], clock).app(),
            Party.SMS: SmsProvider(settings, records, sms_key, urls[Party.SMS], clock).app(),
            Party.AUTHORITY: authority.build_app(
                root,
                (
                    *persons.routes(),
                    ocsp.responder(root, "interm", "interm-ocsp", ocsp.of_files(root, authority.SUBSCRIBERS)),
                    ocsp.responder(root, "tsa-root", "tsa-ocsp", ocsp.of_files(root, ("tsa",))),
                ),
            ),
            Party.APP: insurer_app.app(),
        }
        prefixed = settings.port is not None
        for party, app in apps.items():
            _with_switches(app, f"/{party}" if prefixed else "", records)
        if prefixed:
            front = web.Application()
            front.add_routes(_health_routes(records))
            for party, app in apps.items():
                front.add_subapp(f"/{party}", app)
            served = [(front, sockets[Party.WECHAT])]
        else:
            served = [(app, sockets[party]) for party, app in apps.items()]
        runners: list[web.AppRunner] = []
        stack.push_async_callback(_cleaned_up, runners)
        for app, listening in served:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
            await runner.setup()
            runners.append(runner)
            await web.SockSite(runner, listening).start()

        for owed in (wechat.notifications, insurer_app.reports):
            task = asyncio.create_task(owed.run())
            stack.push_async_callback(_cancelled, task)
        write_public(root / "endpoints.json", json.dumps(urls, indent=2).encode() + b"\n")
        yield Running(urls)


async def _cleaned_up(runners: list[web.AppRunner]) -> None:
    # At once: each waits in vain for the requests that hang at it.
    await asyncio.gather(*(runner.cleanup() for runner in runners))


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
