"""The application: routes, what surrounds them, and the order of start and stop (ENGINEERING §4.1)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Lifespan

from gateway import (
    acts,
    assets,
    callbacks,
    channels,
    journey,
    public,
    sign_in,
    staff,
    staff_journeys,
    staff_live,
    staff_reviews,
    staff_unmasking,
)
from gateway.credentials import Credentials
from gateway.downloads import Downloads
from gateway.edge import Edge
from gateway.fanout import FanOut
from gateway.limits import Buckets
from gateway.measures import Requests
from gateway.middleware import surround
from gateway.openapi import describe
from gateway.pictures import Pictures
from gateway.problems import answer_with_problems
from gateway.samples import Samples
from gateway.settings import GatewaySettings
from products import Releases
from servicekit.service import Ground

MODELS: Final = (
    channels.ProposalBody,
    channels.Withdrawal,
    public.PolicyCheck,
    sign_in.Entrance,
    staff.PackWanted,
    staff.CustomerSought,
    staff.RefundWanted,
    staff_journeys.JourneySought,
    staff_unmasking.UnmaskWanted,
    staff_unmasking.FileWanted,
    staff_reviews.Finding,
)
"""Bodies that operations name and read by themselves."""


def routed(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Every route and its description, with nothing behind them yet: enough for ``/openapi.json``."""
    # The interactive pages would load their scripts from others.
    app = FastAPI(
        title="Toubao",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    for routes in (
        journey.router(),
        acts.router(),
        sign_in.router(),
        channels.router(),
        staff.router(),
        staff_journeys.router(),
        staff_unmasking.router(),
        staff_reviews.router(),
        staff_live.router(),
        callbacks.router(),
        public.router(),
        public.pages(),
        assets.router(),
    ):
        app.include_router(routes)
    answer_with_problems(app)
    describe(app, [*MODELS, *(kind.arguments for kind in acts.act_types().values())])
    return app


def templates(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path's template of every route."""
    for route in iter_route_contexts(app.routes):
        for method in sorted(route.methods or ()):
            yield method, route.path or ""


def create_app(ground: Ground[GatewaySettings], *, fan_out: bool = True) -> FastAPI:
    """Raises ``CredentialsError`` or ``ValueError`` for files that cannot be used.

    While it runs it feeds the fan-out; on stopping it takes nothing new from the bus and finishes what it has.
    Whoever opened the ground closes it afterwards. ``app.state.edge.stopping`` is set before, to end streams.
    """
    settings = ground.settings
    edge = Edge(
        ground=ground,
        credentials=Credentials.load(settings.gateway_channels_file, settings.gateway_staff_file),
        releases=Releases(settings.releases_dir),
    )

    pictures = Pictures()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        if fan_out:
            await FanOut(ground.bus).start()
        try:
            yield
        finally:
            edge.stopping.set()
            await ground.bus.quiesce()
            await pictures.stop()

    app = routed(lifespan)
    app.state.edge = edge
    app.state.downloads = Downloads(edge)
    app.state.pictures = pictures
    app.state.samples = Samples(settings.fonts_dir)
    app.state.app_secret = callbacks.webhook_secret(settings)
    surround(
        app,
        requests=Requests(ground.metrics.registry, templates(app)),
        buckets=Buckets(time.monotonic, scale=settings.gateway_limits_scale),
        secure=settings.gateway_public_url.startswith("https://"),
        body_seconds=settings.gateway_body_seconds,
    )
    return app
