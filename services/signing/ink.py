"""Is there handwriting at all: what can be said of the strokes before anybody reads them (DOMAIN §3.3 a, c, d). Pure.

Legibility is another question and not judged here.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

from contracts.commands.signing import Box, Handwriting, written_characters
from contracts.facts.signing import InkCheck
from contracts.values import canonical_json, sha256_hex

UNKNOWN_STROKES: Final = 4
"""Taken for a character the table lacks: low, so that a rare name is never refused for it."""
SHARE_OF_STROKES: Final = 3
"""One pen stroke in this many written ones is enough: regular script joins a few, cursive joins most."""
MOST_TIMES_STROKES: Final = 1.5
STRAY_STROKES: Final = 3
"""Of so many times the written strokes and so many more nobody writes one character: there stand two, or one over
another. A finger that lifts within a stroke and a palm's touch are less.
"""
MS_PER_STROKE: Final = 50
"""Nobody writes regular script faster (a brisk hand takes 150-300 ms a stroke)."""
DOT: Final = 0.12
SMALL: Final = 0.30
"""Largest extent of a character's ink, in box heights, up to which it is a dot, or too small."""
STRAIGHT: Final = 0.04
"""Deviation from one straight line, in box heights, up to which all the ink of a box is a line."""
GRID: Final = 48


@cache
def _stroke_counts() -> dict[str, int]:
    table = Path(__file__).parent / "data" / "stroke_counts.txt"
    counts: dict[str, int] = {}
    for line in table.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            count, _, characters = line.partition("\t")
            counts |= dict.fromkeys(characters, int(count))
    return counts


def stroke_count(character: str) -> int:
    """Strokes of a character in regular script (Unihan); ``UNKNOWN_STROKES`` where the table has none."""
    return _stroke_counts().get(character, UNKNOWN_STROKES)


def check_ink(writing: Handwriting, name: str, *, seen_before: bool) -> tuple[InkCheck, ...]:
    """Every check with its outcome; the first that failed is the reason. ``box`` counts from 0.

    ``seen_before`` is whether these very strokes were given earlier, in any journey.
    """
    characters = written_characters(name)
    checks = [InkCheck(code="ink_empty", ok=any(_points(box) for box in writing.boxes))]
    if not checks[0].ok:
        return tuple(checks)
    if len(writing.boxes) != len(characters):
        return (*checks, InkCheck(code="ink_wrong_boxes", ok=False))
    checks.append(InkCheck(code="ink_wrong_boxes", ok=True))
    for index, (box, character) in enumerate(zip(writing.boxes, characters, strict=True)):
        found = _check_box(box, character)
        checks += [InkCheck(code=code, ok=ok, box=index) for code, ok in found]
    if all(check.ok for check in checks):
        needed = MS_PER_STROKE * sum(map(stroke_count, characters))
        checks.append(InkCheck(code="ink_too_fast", ok=sum(map(_duration, writing.boxes)) >= needed))
        checks.append(InkCheck(code="ink_seen_before", ok=not seen_before))
    return tuple(checks)


def _check_box(box: Box, character: str) -> list[tuple[str, bool]]:
    if not _points(box):
        return [("ink_empty", False)]
    if not _in_order(box):
        return [("ink_malformed", False)]
    extent = max(_extent(box))
    if extent < DOT:
        return [("ink_dot", False)]
    if extent < SMALL:
        return [("ink_too_small", False)]
    strokes = stroke_count(character)
    # Of a rare character nobody knows how many are too many.
    most = MOST_TIMES_STROKES * strokes + STRAY_STROKES if character in _stroke_counts() else math.inf
    # 一 is a line, and rightly.
    straight = strokes > 1 and _straightness(box) < STRAIGHT
    drawn = sum(1 for stroke in box.strokes if stroke)
    return [
        ("ink_line", not straight),
        ("ink_too_few_strokes", drawn >= math.ceil(strokes / SHARE_OF_STROKES)),
        ("ink_too_many_strokes", drawn <= most),
    ]


def failed(checks: tuple[InkCheck, ...]) -> InkCheck | None:
    return next((check for check in checks if not check.ok), None)


def fingerprint(writing: Handwriting) -> str:
    """The same for strokes that were moved or scaled as a whole; times don't matter, so that a replay at another
    pace is still a replay.
    """
    shape: list[list[list[tuple[int, int]]]] = []
    for box in writing.boxes:
        points = _points(box)
        if not points:
            shape.append([])
            continue
        left, top = min(x for x, _ in points), min(y for _, y in points)
        scale = GRID / max(*_extent(box), 1e-6)
        drawn: list[list[tuple[int, int]]] = []
        for stroke in box.strokes:
            cells = [
                (round((p.x / box.height - left) * scale), round((p.y / box.height - top) * scale)) for p in stroke
            ]
            drawn.append([cell for i, cell in enumerate(cells) if i == 0 or cell != cells[i - 1]])
        shape.append(drawn)
    return sha256_hex(canonical_json({"shape": shape}))


def _points(box: Box) -> list[tuple[float, float]]:
    """In box heights."""
    return [(p.x / box.height, p.y / box.height) for p in chain.from_iterable(box.strokes)]


def _extent(box: Box) -> tuple[float, float]:
    xs, ys = zip(*_points(box), strict=True)
    return max(xs) - min(xs), max(ys) - min(ys)


def _straightness(box: Box) -> float:
    """Largest distance of the ink from the line through its two points farthest apart in direction of spread."""
    points = _points(box)
    centre = (sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points))
    sxx = sum((x - centre[0]) ** 2 for x, _ in points)
    syy = sum((y - centre[1]) ** 2 for _, y in points)
    sxy = sum((x - centre[0]) * (y - centre[1]) for x, y in points)
    angle = 0.5 * math.atan2(2 * sxy, sxx - syy)
    normal = (-math.sin(angle), math.cos(angle))
    return max(abs((x - centre[0]) * normal[0] + (y - centre[1]) * normal[1]) for x, y in points)


def _duration(box: Box) -> int:
    times = [p.t for p in chain.from_iterable(box.strokes)]
    return max(times) - min(times) if times else 0


def _in_order(box: Box) -> bool:
    return all(before.t <= after.t for before, after in pairwise(chain.from_iterable(box.strokes)))
