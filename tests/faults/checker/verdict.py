"""Rules, how they look at a world, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.faults.checker.table import RuleFound, Verdict, Violation
from tests.faults.checker.world import Journey, World

Complaint = tuple[str, str]
"""(journey, what is wrong)"""
Look = Callable[[World, set[str]], Iterable[Complaint]]
"""Complains about a world; puts into the set every journey it looked at."""


@dataclass(frozen=True)
class Rule:
    name: str
    """Its number where DOMAIN §6 gives it one."""
    says: str
    look: Look
    settles: bool = False
    """Broken while something is still on its way; must hold once nothing moves any more."""


UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration)
"""What comes of looking at something that is not as it should be: no reason to pass it."""


def of_each(
    name: str, says: str, *, when: Callable[[Journey], object] = lambda _: True, settles: bool = False
) -> Callable[[Callable[[Journey], Iterator[str]]], Rule]:
    """A rule about one journey by itself; ``when`` says on which there is something to check."""

    def rule(check: Callable[[Journey], Iterator[str]]) -> Rule:
        def look(world: World, checked: set[str]) -> Iterator[Complaint]:
            for journey in world.journeys:
                try:
                    if when(journey):
                        checked.add(journey.id)
                        yield from ((journey.id, what) for what in check(journey))
                except UNREADABLE as error:
                    checked.add(journey.id)
                    yield journey.id, f"cannot be judged: {type(error).__name__} {error}"

        return Rule(name, says, look, settles)

    return rule


def of_all(name: str, says: str, *, settles: bool = False) -> Callable[[Look], Rule]:
    """A rule about the journeys together."""

    def rule(check: Look) -> Rule:
        def look(world: World, checked: set[str]) -> Iterator[Complaint]:
            try:
                yield from check(world, checked)
            except UNREADABLE as error:
                yield "", f"cannot be judged: {type(error).__name__} {error}"

        return Rule(name, says, look, settles)

    return rule


def judge(world: World, rules: Sequence[Rule]) -> Verdict:
    found: list[RuleFound] = []
    for rule in rules:
        checked: set[str] = set()
        violations = [Violation(rule.name, journey, what) for journey, what in rule.look(world, checked)]
        found.append(RuleFound(rule.name, rule.says, len(checked), violations))
    return Verdict(found)
