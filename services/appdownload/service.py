"""App download's handlers: bus in, rules, store out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Final

from prometheus_client import Counter
from pydantic import ValidationError
from yarl import URL

from contracts import subjects
from contracts.commands.appdownload import ReferralCounts, ReferralReport, ReferralView, TakeReport, ViewReferral
from contracts.commands.base import Done
from contracts.facts.aftercare import ReferralDue, ReferralOffered, ReferralStepReported
from contracts.facts.base import Fact
from contracts.problems import Refuse
from contracts.values import sha256_hex
from servicekit.bus import Delivery, Unhandleable
from servicekit.service import Ground, Service, answers
from servicekit.settings import Settings
from servicekit.store import Document, VersionConflict
from services.appdownload import rules
from services.appdownload.rules import AppDownloadState

TOKEN_CHARACTERS: Final = 32
"""Hexadecimal: 128 bits."""


class AppDownloadSettings(Settings):
    service: ClassVar[str] = "appdownload"

    appdownload_landing_url: str
    """The page of the insurer's app that takes ``?t=<token>``."""


class AppDownload(Service[AppDownloadState, AppDownloadSettings]):
    name = "appdownload"
    state = AppDownloadState
    settings = AppDownloadSettings
    aftercare = True
    fields = ("offered", *(f"had_{step}" for step in rules.STEPS))

    def __init__(self, ground: Ground[AppDownloadSettings]) -> None:
        super().__init__(ground)
        self.landing = URL(self.set.appdownload_landing_url)
        self.tokens = ground.store.collection("referral_tokens")
        """Hash of the token → journey. The token itself is kept nowhere."""
        self.referrals = Counter(
            "toubao_appdownload_referrals_total",
            "Referrals offered and the steps the app reported.",
            ("step",),
            registry=ground.metrics.registry,
        )

    def evolve(self, state: AppDownloadState, fact: Fact) -> AppDownloadState:
        return rules.evolve(state, fact)

    def due(self, state: AppDownloadState) -> datetime | None:
        return rules.due(state)

    def fields_of(self, state: AppDownloadState) -> dict[str, str | int]:
        offered: dict[str, str | int] = {"offered": 1} if state.offered else {}
        return {**offered, **{f"had_{step}": 1 for step in state.steps}}

    # -- the gateway's word that a journey was issued --------------------------------------------------------

    async def listen(self) -> None:
        # Only this fact: what we publish ourselves lies on the same stream, under the same service.
        issued = subjects.aftercare_fact(self.name, ReferralDue.name, "*")
        await self.bus.listen(subjects.AFTERCARE, self.name, issued, self._hear_due)

    async def _hear_due(self, delivery: Delivery) -> None:
        try:
            due = ReferralDue.model_validate_json(delivery.fact.data, extra="ignore")
        except ValidationError:
            raise Unhandleable("referral_due does not fit its contract") from None
        # The fan-out is stateless and cannot number: there is one such fact a journey, the rest are copies of it.
        only = replace(delivery.fact, subject=due.journey_id, source="/services/gateway", sequence=1)
        await self.journeys.hear(only)

    async def work(self, journey_id: str, state: AppDownloadState) -> None:
        del state
        place = Document(_hash(self._token(journey_id)), state={"journey_id": journey_id})
        with suppress(VersionConflict):  # kept by an earlier try
            await self.tokens.save(place)

        async def offer(state: AppDownloadState) -> Sequence[Fact]:
            return [] if state.offered else [ReferralOffered(at=self.now(), journey_id=journey_id)]

        await self.journeys.append(journey_id, offer)
        self.referrals.labels("offered").inc()

    # -- the link and what comes of it -----------------------------------------------------------------------

    def _token(self, journey_id: str) -> str:
        # Derived, not stored: whoever reads the store cannot speak for a customer's app.
        return self.vault.blind_index("referral", journey_id)[:TOKEN_CHARACTERS]

    @answers(ViewReferral)
    async def view(self, query: ViewReferral) -> ReferralView:
        state = await self.journeys.state(query.journey_id)
        url = str(self.landing.update_query(t=self._token(query.journey_id))) if state.offered else None
        return ReferralView(state=state.furthest, url=url)

    @answers(TakeReport)
    async def take_report(self, report: TakeReport) -> Done:
        known = await self.tokens.get(_hash(report.token))
        if known is None:
            raise Refuse("referral_unknown")
        journey_id = str(known.state["journey_id"])
        new = False

        async def reported(state: AppDownloadState) -> Sequence[Fact]:
            nonlocal new
            new = rules.check_step(state, report.step)
            return [ReferralStepReported(at=self.now(), journey_id=journey_id, step=report.step)] if new else []

        await self.journeys.append(journey_id, reported)
        if new:
            self.referrals.labels(report.step).inc()
        return Done()

    @answers(ReferralReport)
    async def report(self, _: ReferralReport) -> ReferralCounts:
        """How many customers came how far, over all journeys."""

        async def had(step: rules.Step) -> int:
            return await self.journeys.collection.count({f"had_{step}": 1})

        return ReferralCounts(
            offered=await self.journeys.collection.count({"offered": 1}),
            click=await had("click"),
            install=await had("install"),
            register_=await had("register"),
            login=await had("login"),
        )


def _hash(token: str) -> str:
    return sha256_hex(token.encode())
