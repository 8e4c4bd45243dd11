"""What the check of legibility says of a name that reads well: for tests that need a signature, not its check."""

from __future__ import annotations

from typing import Any

from contracts.commands.signing import written_characters
from contracts.facts.signing import CharacterRead, PenMeasure, Reading

PEN = (PenMeasure(code="speed_varies", value=0.31, limit=0.1, flagged=False),)


def passed(name: str, **changes: Any) -> Reading:
    """Every character above its limit."""
    characters = tuple(
        CharacterRead(box=box, score=7.25 + box, limit=-1.5, ok=True) for box, _ in enumerate(written_characters(name))
    )
    good = Reading(outcome="pass", reason=None, strictness=1, characters=characters, read_by="tests 1")
    return good.model_copy(update=changes)


def unclear(name: str, *, strictness: int = 4) -> Reading:
    """The first character below its limit."""
    good = passed(name)
    first = good.characters[0].model_copy(update={"score": -9.5, "ok": False})
    return passed(
        name,
        outcome="retry",
        reason="handwriting_unclear",
        strictness=strictness,
        characters=(first, *good.characters[1:]),
    )
