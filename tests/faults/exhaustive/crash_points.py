"""kill -9 at every crash point a story comes by."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from contracts.commands.base import Act, Beat, Command
from tests.faults.crashing import STORIES, Crashing

ASIDE = {
    "withdraw": "ends the journey",
    "renounce_order": "is asked when a paid order cannot be issued",
    "refund_order": "is staff's way to do what the story of money back does",
}
"""Commands no story gives, and why."""

seen: set[str] = set()


Tell = Callable[[str], None]


class CrashPoints:
    @pytest.fixture
    def tell(self, capsys: pytest.CaptureFixture[str]) -> Tell:
        """Shows a line at once: this takes long."""

        def said(line: str) -> None:
            with capsys.disabled():
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()

        return said

    @pytest.mark.parametrize("name", STORIES)
    async def test_every_point_of_a_story(self, crash: Crashing, tell: Tell, name: str) -> None:
        story = STORIES[name]
        points = await crash.watch(story)
        seen.update(points)
        tell(f"\n{name}: {len(points)} points")
        await crash.kill_at_each(story, points, lambda line: tell(f"  {line}"))

    async def test_every_command_has_points_in_some_story(self) -> None:
        """After the stories."""
        verbs = {kind.verb for kind in commands()}
        met = {point.split(".")[2] for point in seen}
        assert verbs - met == set(ASIDE), sorted((verbs - met) ^ set(ASIDE))


def commands(kind: type[Command] = Command) -> Iterator[type[Command]]:
    for each in kind.__subclasses__():
        if each not in (Act, Beat):
            yield each
        yield from commands(each)
