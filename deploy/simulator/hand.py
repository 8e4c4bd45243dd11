"""A simulated hand: writes a name in regular script, stroke by stroke, as a finger on glass would."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from contracts.commands.signing import written_characters

BOX = 300
"""Pixels a side of the box of one character."""
_GRID = 1024
_SPEED = 0.45
"""Pixels a millisecond: calm."""
_SAMPLE_MS = 12


@cache
def _medians() -> dict[str, list[list[list[float]]]]:
    return json.loads((Path(__file__).parent / "hands" / "medians.json").read_text("utf-8"))


def writes(name: str, chance: random.Random) -> dict[str, Any]:
    """The handwriting of ``name`` as the API takes it: a box a character, points with time and pressure.

    The dot in a name is written in no box. Each writing differs in slant, size and tremor.
    Raises ``KeyError`` for a character the hand has not learnt.
    """
    clock = 0.0
    boxes: list[dict[str, Any]] = []
    slant, size = chance.uniform(-0.08, 0.08), chance.uniform(0.78, 0.9)
    for character in written_characters(name):
        shift = ((1 - size) * BOX / 2 + chance.uniform(-6, 6), (1 - size) * BOX / 2 + chance.uniform(-6, 6))
        strokes: list[list[dict[str, float]]] = []
        for median in _medians()[character]:
            path = [
                (
                    shift[0] + size * BOX * (x / _GRID - slant * (y / _GRID - 0.5)),
                    shift[1] + size * BOX * y / _GRID,
                )
                for x, y in median
            ]
            stroke, clock = _stroke(path, clock, chance)
            strokes.append(stroke)
            clock += chance.uniform(90, 220)
        boxes.append({"width": BOX, "height": BOX, "strokes": strokes})
        clock += chance.uniform(250, 600)
    return {"boxes": boxes}


def another(name: str) -> str:
    """Somebody else's name that takes about as many strokes, character by character; none of it stands in ``name``."""
    strokes = {character: len(medians) for character, medians in _medians().items()}
    others = [character for character in strokes if character not in name]
    chosen: list[str] = []
    for character in written_characters(name):
        chosen.append(min(others, key=lambda other: (other in chosen, abs(strokes[other] - strokes[character]))))
    return "".join(chosen)


def _stroke(
    path: list[tuple[float, float]], clock: float, chance: random.Random
) -> tuple[list[dict[str, float]], float]:
    points: list[dict[str, float]] = []
    for i, ((x0, y0), (x1, y1)) in enumerate(pairwise(path)):
        steps = max(1, math.ceil(math.hypot(x1 - x0, y1 - y0) / (_SPEED * _SAMPLE_MS)))
        for step in range(steps + (i == len(path) - 2)):
            u = step / steps
            clock += _SAMPLE_MS * chance.uniform(0.8, 1.3)
            points.append(
                {
                    "x": round(x0 + (x1 - x0) * u + chance.gauss(0, 0.6), 2),
                    "y": round(y0 + (y1 - y0) * u + chance.gauss(0, 0.6), 2),
                    "t": int(clock),
                    "pressure": round(min(1.0, max(0.1, 0.55 + chance.gauss(0, 0.04))), 2),
                }
            )
    return points, clock
