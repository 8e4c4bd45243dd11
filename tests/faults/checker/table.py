"""What was found, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MOST_SHOWN = 10
ELSEWHERE = ("I15", "I26", "I27", "I28", "I31", "I32")
"""Of pages, or of what is not built yet (no province's rule on codes by SMS is in force, there is no assistant): stores
say nothing of them.
"""


@dataclass(frozen=True)
class Violation:
    rule: str
    journey: str
    """Empty for what is no single journey's."""
    what: str


@dataclass(frozen=True)
class RuleFound:
    rule: str
    says: str
    checked: int
    """Journeys."""
    violations: list[Violation]


@dataclass(frozen=True)
class Verdict:
    rules: list[RuleFound]

    @property
    def violations(self) -> list[Violation]:
        return [violation for each in self.rules for violation in each.violations]

    @property
    def broken(self) -> set[str]:
        """The names of the rules found broken."""
        return {violation.rule for violation in self.violations}

    def table(self) -> list[dict[str, Any]]:
        return [
            {
                "rule": each.rule,
                "says": each.says,
                "journeys": each.checked,
                "violations": [{"journey": v.journey, "what": v.what} for v in each.violations],
            }
            for each in self.rules
        ]


def shown(table: Sequence[dict[str, Any]]) -> str:
    """The table as text. A rule that was checked on nothing says so: it has not passed."""
    lines = [f"{'rule':<9} {'journeys':>8}  {'broken':>6}  what it says"]
    for each in table:
        checked, broken = each["journeys"], len(each["violations"])
        number = str(checked) if checked else "none"
        outcome = str(broken) if checked or broken else "-"
        lines.append(f"{each['rule']:<9} {number:>8}  {outcome:>6}  {each['says']}")
    for each in table:
        lines += [
            f"BROKEN {each['rule']} {violation['journey'] or '-'}: {violation['what']}"
            for violation in each["violations"][:MOST_SHOWN]
        ]
        if (more := len(each["violations"]) - MOST_SHOWN) > 0:
            lines.append(f"BROKEN {each['rule']} and {more} more")
    empty = [each["rule"] for each in table if not each["journeys"] and not each["violations"]]
    if empty:
        lines.append(f"NOT CHECKED, for want of anything to check them on: {', '.join(empty)}")
    lines.append(f"Not of the stores, tested elsewhere: {', '.join(ELSEWHERE)}")
    return "\n".join(lines)
