"""Every rule, in the order of the table: those DOMAIN §6 numbers by their number, then the others."""

from __future__ import annotations

from tests.faults.checker import aftercare, money, paper, person, privacy, reading, record
from tests.faults.checker.verdict import Rule


def _order(rule: Rule) -> tuple[bool, int]:
    number = rule.name.removeprefix("I")
    return not number.isdigit(), int(number) if number.isdigit() else 0


RULES: tuple[Rule, ...] = tuple(
    sorted(
        (
            *reading.RULES,
            *person.RULES,
            *money.RULES,
            *paper.RULES,
            *record.RULES,
            *privacy.RULES,
            *aftercare.RULES,
        ),
        key=_order,
    )
)
