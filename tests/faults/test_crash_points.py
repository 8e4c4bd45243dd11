"""kill -9 at named crash points while one journey goes: in every process, and wherever an outside party was called for
money, numbers and signatures. At every point of every story, on both stores: tests/faults/exhaustive.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest

from tests.faults.crashing import KINDS, STORIES, Crashing, Points, apart, handler
from tests.faults.platform import PROCESSES

STORE = "sqlite"
pytestmark = pytest.mark.timeout(600)

GRAVE = ("payment", "signing", "issuance")


def chosen(points: list[str]) -> list[str]:
    """One of each process, of every kind in turn, and every call for money, numbers and signatures."""
    grave = [p for p in points if p.startswith("after_outside_call") and p.split(".")[1] in GRAVE]
    kinds = cycle(KINDS)
    others = [
        next(p for _, kind in zip(KINDS, kinds, strict=False) for p in points if p.startswith(f"{kind}.{process}."))
        for process in PROCESSES
    ]
    return [*dict.fromkeys([*grave, *others])]


@pytest.mark.asyncio(loop_scope="session")
async def test_who_is_killed_at_a_crash_point_goes_on_and_charges_once(crash: Crashing) -> None:
    story = STORIES["by face"]
    points = await crash.watch(story)
    assert {point.split(".")[1] for point in points} == set(PROCESSES)
    assert {point.split(".")[0] for point in points} == set(KINDS)
    armed = apart(chosen(points))[0]
    assert {point.split(".")[1] for point in armed} == set(PROCESSES)
    assert await crash.kill_at(story, armed) == []
    assert crash.kills == len(armed)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_point_that_nobody_passes_is_told_by_name(tmp_path: Path) -> None:
    points = Points(tmp_path / "points")
    points.arm(["after_save.payment.never"])
    assert await points.spent(within=0.1) == ["after_save.payment.never"]
    assert points.armed() == []


def test_points_of_one_handler_are_of_different_journeys() -> None:
    points = [f"{kind}.payment.{verb}" for verb in ("place_order", "work") for kind in KINDS]
    journeys = apart(points)
    assert sorted(p for armed in journeys for p in armed) == sorted(points)
    assert all(len({handler(p) for p in armed}) == len(armed) for armed in journeys)
    assert len(journeys) == len(KINDS)
