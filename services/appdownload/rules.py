"""How far a referral came. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from contracts.facts.aftercare import ReferralDue, ReferralOffered, ReferralStepReported
from contracts.facts.base import Fact
from contracts.problems import Refuse
from servicekit.journeys import JourneyState

Step = Literal["click", "install", "register", "login"]

STEPS: Final[tuple[Step, ...]] = ("click", "install", "register", "login")
NEEDS: Final[dict[Step, Step | None]] = {"click": None, "install": "click", "register": "install", "login": "install"}
"""What must be on record before. Who has an account already logs in without registering."""


class AppDownloadState(JourneyState):
    due_since: datetime | None = None
    """When the journey was issued, as the gateway said (I29)."""
    offered: bool = False
    steps: tuple[Step, ...] = ()
    """Each at most once, in the order of ``STEPS``."""

    @property
    def furthest(self) -> Literal["none", "offered", "click", "install", "register", "login"]:
        return self.steps[-1] if self.steps else "offered" if self.offered else "none"


def evolve(state: AppDownloadState, fact: Fact) -> AppDownloadState:
    match fact:
        case ReferralDue():
            return state.model_copy(update={"due_since": state.due_since or fact.at})
        case ReferralOffered():
            return state.model_copy(update={"offered": True})
        case ReferralStepReported():
            had = {*state.steps, fact.step}
            return state.model_copy(update={"steps": tuple(step for step in STEPS if step in had)})
        case _:
            return state


def due(state: AppDownloadState) -> datetime | None:
    return None if state.offered else state.due_since


def check_step(state: AppDownloadState, step: Step) -> bool:
    """Whether the step is new. A report that comes twice is no fault of the app: its first answer was lost.

    Raises ``Refuse("referral_too_early")`` while the step before is not on record; reports may overtake each other,
    and the app sends again what was refused.
    """
    if not state.offered:
        raise Refuse("referral_unknown")
    if step in state.steps:
        return False
    before = NEEDS[step]
    if before is not None and before not in state.steps:
        raise Refuse("referral_too_early")
    return True
