"""NPS's handlers: bus in, rules, store out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Final

from prometheus_client import Counter
from pydantic import ValidationError

from contracts import subjects
from contracts.commands.base import Done
from contracts.commands.nps import (
    AnswerSurvey,
    ScoreReport,
    Scores,
    SkipSurvey,
    SurveyAnswer,
    SurveyView,
    ViewSurvey,
)
from contracts.facts.aftercare import SurveyAnswered, SurveyDue, SurveyInvited, SurveySkipped, SurveyWithheld
from contracts.facts.base import Fact
from servicekit.bus import Delivery, Unhandleable
from servicekit.service import Admitted, Decided, Ground, Service, answers
from servicekit.settings import Settings
from servicekit.store import Cursor, Document, VersionConflict
from services.nps import rules
from services.nps.rules import NpsState

PAGE: Final = 500


class NpsSettings(Settings):
    service: ClassVar[str] = "nps"


class Nps(Service[NpsState, NpsSettings]):
    name = "nps"
    state = NpsState
    settings = NpsSettings
    aftercare = True
    fields = ("channel_id", "invited_at")

    def __init__(self, ground: Ground[NpsSettings]) -> None:
        super().__init__(ground)
        self.people = ground.store.collection("people")
        """Customer → the journey they were last asked about, and when."""
        registry = ground.metrics.registry
        self.surveys = Counter(
            "toubao_nps_surveys_total", "Surveys, by what became of them.", ("outcome",), registry=registry
        )
        self.answered = Counter(
            "toubao_nps_answers_total", "Answers, by score band (0–6, 7–8, 9–10).", ("band",), registry=registry
        )

    def evolve(self, state: NpsState, fact: Fact) -> NpsState:
        return rules.evolve(state, fact)

    def due(self, state: NpsState) -> datetime | None:
        return rules.due(state)

    def fields_of(self, state: NpsState) -> dict[str, str | int]:
        if state.due is None or state.invited_at is None:
            return {}
        return {"channel_id": state.due.channel_id, "invited_at": rules.micros(state.invited_at)}

    # -- the gateway's word that a journey was issued --------------------------------------------------------

    async def listen(self) -> None:
        # Only this fact: what we publish ourselves lies on the same stream, under the same service.
        issued = subjects.aftercare_fact(self.name, SurveyDue.name, "*")
        await self.bus.listen(subjects.AFTERCARE, self.name, issued, self._hear_due)

    async def _hear_due(self, delivery: Delivery) -> None:
        try:
            due = SurveyDue.model_validate_json(delivery.fact.data, extra="ignore")
        except ValidationError:
            raise Unhandleable("survey_due does not fit its contract") from None
        # The fan-out is stateless and cannot number: there is one such fact a journey, the rest are copies of it.
        only = replace(delivery.fact, subject=due.journey_id, source="/services/gateway", sequence=1)
        await self.journeys.hear(only)

    async def work(self, journey_id: str, state: NpsState) -> None:
        assert state.due is not None
        asked_at = await self._claim(state.due.customer_id, journey_id)

        async def decision(state: NpsState) -> Sequence[Fact]:
            if rules.due(state) is None:
                return []
            if asked_at is None:
                return [SurveyWithheld(at=self.now(), journey_id=journey_id, reason="asked_recently")]
            return [SurveyInvited(at=asked_at, journey_id=journey_id)]

        decided = await self.journeys.append(journey_id, decision)
        self.surveys.labels(decided.stage).inc()

    async def _claim(self, customer_id: str, journey_id: str) -> datetime | None:
        """When this journey was given the person's one invitation; None when another journey has it.

        Two journeys at once both try to write the person's document, and its version lets one of them.
        """
        while True:
            person = await self.people.get(customer_id) or Document(customer_id)
            now = self.now()
            if person.version:
                last = datetime.fromisoformat(person.state["asked_at"])
                if person.state["journey_id"] == journey_id:
                    return last  # claimed before a crash
                if not rules.may_ask_again(last, now):
                    return None
            person.state = {"journey_id": journey_id, "asked_at": now.isoformat()}
            try:
                await self.people.save(person)
            except VersionConflict:
                continue
            return now

    # -- the customer ----------------------------------------------------------------------------------------

    @answers(AnswerSurvey)
    async def answer_survey(self, act: Admitted[SurveyAnswer], state: NpsState) -> Decided:
        about = rules.check_open(state)
        words = (act.arguments.words or "").strip()
        band = rules.band(act.arguments.score)
        fact = SurveyAnswered(
            at=act.at,
            journey_id=act.journey_id,
            channel_id=about.channel_id,
            products=about.products,
            score=act.arguments.score,
            words=await self.vault.seal(act.journey_id, words) if words else None,
            follow_up=band == "detractor",
        )
        self.answered.labels(band).inc()
        self.surveys.labels("answered").inc()
        return Decided([fact])

    @answers(SkipSurvey)
    async def skip_survey(self, act: Admitted[Done], state: NpsState) -> Decided:
        rules.check_open(state)
        self.surveys.labels("skipped").inc()
        return Decided([SurveySkipped(at=act.at, journey_id=act.journey_id)])

    @answers(ViewSurvey)
    async def view(self, query: ViewSurvey) -> SurveyView:
        return SurveyView(state=(await self.journeys.state(query.journey_id)).stage)

    # -- what the answers say --------------------------------------------------------------------------------

    @answers(ScoreReport)
    async def report(self, asked: ScoreReport) -> Scores:
        """Of the surveys whose invitation went out at or after ``since``."""
        states: list[NpsState] = []
        after: Cursor | None = None
        while True:
            page = await self.journeys.collection.find(
                equal=None if asked.channel_id is None else {"channel_id": asked.channel_id},
                above=None if asked.since is None else ("invited_at", rules.micros(asked.since) - 1),
                order="invited_at",
                limit=PAGE,
                after=after,
            )
            states += [NpsState.model_validate(document.state) for document in page]
            if len(page) < PAGE:
                return Scores(scores=rules.scores(states, asked.product))
            after = page[-1].cursor("invited_at")
