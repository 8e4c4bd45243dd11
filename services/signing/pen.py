"""How plausible the pen's movement is while a name is written. Pure.

Plausibility, never proof of authorship: a machine can move as people do, and a person as evenly as a machine. Nothing
is refused for it; whoever reviews the signature sees the measures and which of them are out of the ordinary.

Times are those at which the page was handed the samples, in whole milliseconds: a finger's come once a frame of the
screen whatever the finger does, a slow phone's late, and then two at once. So how evenly samples follow each other
tells nothing; speed is taken over several of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from contracts.commands.signing import Box, Handwriting, written_characters
from contracts.facts.signing import PenMeasure
from services.signing.ink import stroke_count
from services.signing.pictures import DARK
from services.signing.recogniser import Picture

VERSION: Final = 1
"""Of the measures and their limits together."""

LEAST_SPREAD: Final = 0.06
"""Of speeds or of pauses, see ``_spread``. Of 100 to 200 names each: replays at one pace have 0.03 at most even where
their clock is off by 4 ms; the simulated hand, which hardly varies its speed, 0.09 at least; hands that speed up and
slow down in every stroke also 0.09 in a great hurry, and half of all more than 0.4.
"""
FEWEST_SPEEDS: Final = 8
FEWEST_PAUSES: Final = 5
"""Fewer say nothing of their spread."""
FASTEST: Final = 25.0
"""Box heights a second: the peak of a line across the whole box in 75 ms (a hand's peak is 1.9 times its mean). The
simulated hand has 1.85 at most, hands three times as brisk as calm writing 13.
"""
FARTHEST: Final = 0.3
"""Box heights beyond what ``FASTEST`` allows: room for a frame that is clocked late, 17 ms at 17 box heights a second.
"""
MOST_TRACED: Final = 0.9
"""Of 60 names: the simulated hand has 0.81 at most, the printed strokes of another regular-script font 0.88. Of 20: the
sample's own lines 1, and 0.96 at least where they tremble by 0.005 box heights, but most less than 0.9 at 0.01.
"""

STRETCH_MS: Final = 30
"""Over which speed is taken: a clock of whole milliseconds then errs by 3 percent."""
FRAME_MS: Final = 17
"""Of a screen at 60 Hz. The rest of a stroke that is clocked as less counts as this: it may have come late, at once."""
FAR: Final = 100.0
"""Box heights from the box's corner beyond which a place is as good as any other."""
TRACED_STROKES: Final = 3
"""Characters of fewer look alike in every hand."""
SIDE: Final = 96
"""Pixels of the square in which ink and sample are compared."""
BAND: Final = 2
"""Pixels beside a line that still count as on it: 0.02 box heights, a third of the sample's stroke."""

Bits = NDArray[np.bool_]
Lines = Sequence[NDArray[np.float64]]
"""A stroke each: its places, in pixels of the compared square."""


class _Sample(NamedTuple):
    """Place in box heights, time in milliseconds."""

    x: float
    y: float
    t: int


_Stroke = Sequence[_Sample]


def measures(writing: Handwriting, name: str, sample: Callable[[str], Picture | None]) -> tuple[PenMeasure, ...]:
    """All of them, always in this order, each over the whole name, whatever was drawn.

    - ``pen_even_timing``: spread of the pen's speed within strokes or of the pauses between the strokes of a box,
      whichever is more even; people vary both. Flagged below its limit; at its limit where there is too little ink.
    - ``pen_speed``: 99th percentile, in box heights a second.
    - ``pen_jump``: farthest that the pen came between two samples beyond what the time between them allows, in box
      heights; 0 where it never did.
    - ``pen_traced``: share of ink and of the sample's middle lines that lie on each other, mean of the characters with
      at least three strokes; 0 where there is no sample.

    ``sample`` gives the square grey picture, dark on white, of the character shown beside its box; None: there is none.
    """
    boxes = [_strokes(box) for box in writing.boxes]
    strokes = [*chain.from_iterable(boxes)]
    traced = [
        _traced(ink, box.width / box.height, lines)
        for box, ink, character in zip(writing.boxes, boxes, written_characters(name), strict=False)
        if stroke_count(character) >= TRACED_STROKES and (lines := _lines(sample(character))) is not None
    ]
    return (
        _measure("pen_even_timing", _evenness(boxes), LEAST_SPREAD, least=True),
        _measure("pen_speed", _top_speed(strokes), FASTEST),
        _measure("pen_jump", max(map(_jump, strokes), default=0.0), FARTHEST),
        _measure("pen_traced", sum(traced) / len(traced) if traced else 0.0, MOST_TRACED),
    )


def _measure(code: str, value: float, limit: float, *, least: bool = False) -> PenMeasure:
    value = round(value, 4)
    return PenMeasure(code=code, value=value, limit=limit, flagged=value < limit if least else value > limit)


def _strokes(box: Box) -> list[_Stroke]:
    def near(place: float) -> float:
        return min(FAR, max(-FAR, place / box.height))

    return [[_Sample(near(p.x), near(p.y), p.t) for p in stroke] for stroke in box.strokes if stroke]


# --- time ------------------------------------------------------------------------------------------------------


def _evenness(boxes: Sequence[Sequence[_Stroke]]) -> float:
    speeds = [
        length / ms
        for length, ms in chain.from_iterable(map(_stretches, chain.from_iterable(boxes)))
        if length and ms >= STRETCH_MS
    ]
    # From box to box people pause longer, and so may a machine: no spread of a rhythm.
    pauses = [float(after[0].t - before[-1].t) for strokes in boxes for before, after in pairwise(strokes)]
    enough = [each for each, fewest in ((speeds, FEWEST_SPEEDS), (pauses, FEWEST_PAUSES)) if len(each) >= fewest]
    return min(map(_spread, enough), default=LEAST_SPREAD)


def _spread(values: Sequence[float]) -> float:
    """Between the quarters, as a share of the middle value: one long thought makes no rhythm, nor does the rest of a
    way that even steps leave over.
    """
    low, middle, high = (float(each) for each in np.percentile(values, (25, 50, 75)))
    return (high - low) / max(middle, 1e-6)


def _stretches(stroke: _Stroke) -> Iterator[tuple[float, int]]:
    """Length and milliseconds of pieces that take ``STRETCH_MS`` or a little more; the last may take less."""
    length, ms = 0.0, 0
    for before, after in pairwise(stroke):
        length += _distance(before, after)
        ms += max(0, after.t - before.t)
        if ms >= STRETCH_MS:
            yield length, ms
            length, ms = 0.0, 0
    if length:
        yield length, ms


def _top_speed(strokes: Sequence[_Stroke]) -> float:
    speeds = [1000 * length / max(ms, FRAME_MS) for length, ms in chain.from_iterable(map(_stretches, strokes))]
    return float(np.percentile(speeds, 99)) if speeds else 0.0


def _jump(stroke: _Stroke) -> float:
    beyond = (_distance(a, b) - FASTEST * max(0, b.t - a.t) / 1000 for a, b in pairwise(stroke))
    return max(chain((0.0,), beyond))


def _distance(before: _Sample, after: _Sample) -> float:
    return math.hypot(after.x - before.x, after.y - before.y)


# --- place -----------------------------------------------------------------------------------------------------


def _traced(strokes: Sequence[_Stroke], aspect: float, lines: Bits) -> float:
    """As it stands in the box, the sample in its middle, or with the ink brought to the sample's place and size:
    whichever lies closer.
    """
    if not strokes:
        return 0.0
    places = [np.array([(p.x, p.y) for p in stroke]) for stroke in strokes]
    aside = (min(aspect, FAR) - 1) / 2
    standing = [np.clip((each - (aside, 0)) * SIDE, -SIDE, 2 * SIDE) for each in places]
    return max(_alike(_drawn(ink), lines) for ink in (standing, _fitted(places, lines)))


def _fitted(places: Lines, lines: Bits) -> Lines:
    every = np.concatenate(places)
    low, extent = every.min(axis=0), np.ptp(every, axis=0)
    rows, columns = np.flatnonzero(lines.any(axis=1)), np.flatnonzero(lines.any(axis=0))
    size = np.array((columns[-1] - columns[0], rows[-1] - rows[0]), float)
    return [(each - low) / np.maximum(extent, 1e-6) * size + (columns[0], rows[0]) for each in places]


def _drawn(ink: Lines) -> Bits:
    image = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    for line in ink:
        # Twice the first: a tap is a line of no length.
        pen.line([(float(x), float(y)) for x, y in (line[0], *line)], fill=255)
    return np.asarray(image) > 0


def _alike(ink: Bits, lines: Bits) -> float:
    """The lesser of both shares: neither a stroke on the sample is a trace of it, nor a box full of ink."""
    return min(_share_near(ink, lines), _share_near(lines, ink))


def _share_near(these: Bits, those: Bits) -> float:
    band = Image.fromarray(those.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * BAND + 1))
    return float(np.count_nonzero(these & (np.asarray(band) > 0))) / max(1, int(np.count_nonzero(these)))


def _lines(sample: Picture | None) -> Bits | None:
    """The middle lines of its strokes, which is where a pen follows them; None where nothing is to be seen."""
    if sample is None or not sample.size:
        return None
    square = Image.fromarray(sample).resize((SIDE, SIDE), Image.Resampling.BOX)
    lines = _thinned(np.asarray(square) < DARK)
    return lines if lines.any() else None


def _thinned(dark: Bits) -> Bits:
    """To lines a pixel wide (Zhang and Suen, Communications of the ACM 27, 1984)."""
    found = np.pad(dark, 1)
    before = np.zeros_like(found)
    while (found != before).any():
        before = found
        for turn in (0, 4):
            # North, then clockwise; on the second pass from the south.
            around = [
                np.roll(found, shift, (0, 1))
                for shift in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            ]
            around = around[turn:] + around[:turn]
            neighbours = np.sum(around, axis=0)
            edges = np.sum([~a & b for a, b in pairwise((*around, around[0]))], axis=0)
            north, east, south, west = around[::2]
            border = ~(east & south & (north | west))
            found = found & ~(border & (neighbours >= 2) & (neighbours <= 6) & (edges == 1))
    return found[1:-1, 1:-1]
