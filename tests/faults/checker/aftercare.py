"""Survey and app: after the policies, at most once a quarter, and never in their way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from tests.faults.checker.stores import AFTERCARE
from tests.faults.checker.verdict import Complaint, of_all
from tests.faults.checker.world import World

QUARTER = timedelta(days=90)


@of_all(
    "I29",
    "survey and app only after issuance and then for everybody, a survey at most once in 90 days a person",
    settles=True,
)
def after_issuance(world: World, checked: set[str]) -> Iterator[Complaint]:
    journeys = {journey.id: journey for journey in world.journeys}
    invited: defaultdict[str, list[tuple[datetime, str]]] = defaultdict(list)
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for service in AFTERCARE:
        for document in world.stores.of(service, "journeys").values():
            journey = journeys.get(document.id)
            issued = journey and journey.first("issuance.journey_issued")
            checked.add(document.id)
            if journey is None or issued is None:
                yield document.id, f"{service} offers something before anything is issued"
                continue
            names = [fact.name for fact in document.facts]
            for name in ("nps.survey_invited", "nps.survey_withheld", "appdownload.referral_offered"):
                if names.count(name) > 1:
                    yield document.id, f"{name} {names.count(name)} times"
            for fact in document.facts:
                asked[document.id].add(fact.name)
                if fact.at < issued.at:
                    yield document.id, f"{fact.name} before anything was issued"
                if fact.name == "nps.survey_invited":
                    invited[issued.data["customer_id"]].append((fact.at, document.id))
    for times in invited.values():
        times.sort()
        for (earlier, _), (later, journey_id) in pairwise(times):
            if later - earlier < QUARTER:
                yield journey_id, "somebody was asked again within 90 days"
    for journey in journeys.values():
        if not journey.facts("issuance.journey_issued"):
            continue
        checked.add(journey.id)
        if not asked[journey.id] & {"nps.survey_invited", "nps.survey_withheld"}:
            yield journey.id, "nobody thought of the survey"
        if "appdownload.referral_offered" not in asked[journey.id]:
            yield journey.id, "nobody was shown the app"


RULES = (after_issuance,)
