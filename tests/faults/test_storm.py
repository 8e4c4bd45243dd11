"""A small storm: a handful of customers under kill -9. The large one is ``make storm``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import checker
from tests.faults.storm import Wanted, held, report, storm

pytestmark = pytest.mark.timeout(600)

SMALL = Wanted(journeys=8, kills_every=2.5, at_once=4, seed=11, packs=1)
"""Two of them take another phone half-way."""


async def test_everybody_comes_through_and_no_rule_is_broken(tmp_path: Path) -> None:
    result = await storm(SMALL, tmp_path / "run")
    assert held(result), report(result)
    assert sum(result["kills"].values()) >= 3, result["kills"]
    checked = {rule["rule"]: rule["journeys"] for rule in result["rules"]}
    # A storm in which nobody bought anything would hold too.
    assert checked["I16"] == checked["I23"] == SMALL.journeys
    assert checked["I12"] >= SMALL.journeys
    assert result["packs"] == checked["I21"] == 1


def a_result(**more: object) -> dict[str, object]:
    rules = [{"rule": "I16", "says": "once", "journeys": 1, "violations": []}]
    calm = {"not_through": [], "unsettled": [], "ended_by_themselves": {}, "rules": rules}
    return calm | more


@pytest.mark.parametrize(
    "wrong",
    [
        {"not_through": [{"journey": "0", "outcome": "at payment", "habits": {}, "refused": {}}]},
        {"unsettled": ["outbox 0: 1 facts of payment were never published"]},
        {"ended_by_themselves": {"payment": 1}},
        {"rules": [{"rule": "I16", "says": "once", "journeys": 1, "violations": [{"journey": "0", "what": "twice"}]}]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_storm_holds_only_if_nothing_at_all_is_wrong(wrong: dict[str, object]) -> None:
    assert held(a_result())
    assert not held(a_result(**wrong))


def test_what_is_judged_elsewhere_has_no_rule_here() -> None:
    assert not set(checker.ELSEWHERE) & {rule.name for rule in checker.RULES}
