"""Handwriting: what was written, as ink.

One source (the strokes as the finger moved), one intermediate form (segments with a width), three drawings of it:
PDF operators for the signed form, SVG for pages, a grey picture for checks. Pure: the same strokes give the same
bytes. ``VERSION`` goes into the record beside the strokes; a change of any constant here raises it.
"""

import io
import math
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Annotated, NamedTuple

from pydantic import Field

from contracts import Contract
from servicekit.documents.appearance import Appearance

VERSION = 1

_INK = 0.05
"""Width of a normal stroke, in box heights."""
_THIN, _THICK = 0.55, 1.35
"""How far pressure or speed may take the width from normal."""
_STEP = 0.02
"""Length of a segment after smoothing, in box heights."""
_LEVELS = 40
"""Widths are rounded to this many steps a normal width, so that neighbours share a path."""

Coordinate = Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False)]
Point = tuple[Coordinate, Coordinate, Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0, le=1)]]
"""x and y in the box's own pixels from its upper left, time in milliseconds, pressure 0…1 (0 or 0.5: not measured)."""
Stroke = tuple[Point, ...]


class Handwriting(Contract):
    """Strokes by character box, in the order of the boxes. All boxes have one size, in pixels."""

    width: Annotated[float, Field(gt=0, le=10_000)]
    height: Annotated[float, Field(gt=0, le=10_000)]
    boxes: Annotated[tuple[tuple[Stroke, ...], ...], Field(min_length=1, max_length=40)]


class Segment(NamedTuple):
    """A piece of ink in box heights from the box's upper left: round ends, one width."""

    x0: float
    y0: float
    x1: float
    y1: float
    width: float


def ink(handwriting: Handwriting, box: int) -> tuple[tuple[Segment, ...], ...]:
    """The ink of one box, a tuple of segments a stroke. A tap is one segment of no length."""
    scale = 1 / handwriting.height
    return tuple(
        tuple(_segments([(x * scale, y * scale, t, p) for x, y, t, p in stroke]))
        for stroke in handwriting.boxes[box]
        if stroke
    )


def _segments(points: list[tuple[float, float, float, float]]) -> Iterator[Segment]:
    widths = _widths(points)
    path = list(_smooth(points, widths))
    if len(path) == 1:
        x, y, w = path[0]
        yield Segment(x0=x, y0=y, x1=x, y1=y, width=w * 1.2)
        return
    for (x0, y0, w0), (x1, y1, w1) in pairwise(path):
        width = round((w0 + w1) / 2 / _INK * _LEVELS) / _LEVELS * _INK
        yield Segment(x0=x0, y0=y0, x1=x1, y1=y1, width=width)


def _widths(points: list[tuple[float, float, float, float]]) -> list[float]:
    """A width a point: from pressure where the device measures it, else from speed (a slow finger is a full brush)."""
    pressures = [p for _, _, _, p in points]
    if max(pressures) - min(pressures) > 0.02:
        raw = [_THIN + (_THICK - _THIN) * p for p in pressures]
    else:
        raw = [1.1]
        for (x0, y0, t0, _), (x1, y1, t1, _) in pairwise(points):
            # Box heights a second; about 4 is a brisk stroke.
            speed = math.hypot(x1 - x0, y1 - y0) * 1000 / max(t1 - t0, 1.0)
            raw.append(max(_THIN, min(_THICK, 1.25 - 0.13 * speed)))
    smoothed: list[float] = []
    for i in range(len(raw)):
        near = raw[max(0, i - 2) : i + 3]
        smoothed.append(_INK * sum(near) / len(near))
    return smoothed


def _smooth(
    points: list[tuple[float, float, float, float]], widths: list[float]
) -> Iterator[tuple[float, float, float]]:
    """A Catmull-Rom curve through the points, cut into even steps."""
    nodes: list[tuple[float, float, float]] = []
    for (x, y, _, _), w in zip(points, widths, strict=True):
        if not nodes or math.hypot(x - nodes[-1][0], y - nodes[-1][1]) > 1e-4:
            nodes.append((x, y, w))
    yield nodes[0]
    for i in range(len(nodes) - 1):
        before, start, end, after = nodes[max(i - 1, 0)], nodes[i], nodes[i + 1], nodes[min(i + 2, len(nodes) - 1)]
        steps = max(1, min(200, math.ceil(math.hypot(end[0] - start[0], end[1] - start[1]) / _STEP)))
        for step in range(1, steps + 1):
            u = step / steps
            yield (
                _spline(before[0], start[0], end[0], after[0], u),
                _spline(before[1], start[1], end[1], after[1], u),
                start[2] + (end[2] - start[2]) * u,
            )


def _spline(a: float, b: float, c: float, d: float, u: float) -> float:
    return 0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u * u + (3 * b - a - 3 * c + d) * u**3)


def _polylines(strokes: Sequence[Sequence[Segment]]) -> Iterator[tuple[float, list[tuple[float, float]]]]:
    """Neighbouring segments of one width as one line."""
    for stroke in strokes:
        for width, run in groupby(stroke, key=lambda s: s.width):
            segments = list(run)
            yield width, [(segments[0].x0, segments[0].y0), *((s.x1, s.y1) for s in segments)]


def svg(handwriting: Handwriting, box: int) -> str:
    """The box as an SVG document, 100 units high."""
    wide = 100 * handwriting.width / handwriting.height
    paths = "".join(
        f'<path stroke-width="{width * 100:.2f}" d="M'
        + "L".join(f"{x * 100:.2f} {y * 100:.2f}" for x, y in line)
        + '"/>'
        for width, line in _polylines(ink(handwriting, box))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.2f} 100">'
        f'<g fill="none" stroke="#111" stroke-linecap="round" stroke-linejoin="round">{paths}</g></svg>'
    )


def name_svg(handwriting: Handwriting) -> str:
    """All boxes side by side as one SVG document, 100 units high."""
    wide = 100 * handwriting.width / handwriting.height
    groups = "".join(
        f'<g transform="translate({index * wide:.2f} 0)">'
        + "".join(
            f'<path stroke-width="{width * 100:.2f}" d="M'
            + "L".join(f"{x * 100:.2f} {y * 100:.2f}" for x, y in line)
            + '"/>'
            for width, line in _polylines(ink(handwriting, index))
        )
        + "</g>"
        for index in range(len(handwriting.boxes))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide * len(handwriting.boxes):.2f} 100">'
        f'<g fill="none" stroke="#111" stroke-linecap="round" stroke-linejoin="round">{groups}</g></svg>'
    )


def appearance(handwriting: Handwriting, width: float, height: float) -> Appearance:
    """All boxes as the appearance of a signature field of that size, in points.

    The boxes stand side by side from the left, in as many rows as make them largest; nothing is moved within
    its box.
    """
    count = len(handwriting.boxes)
    aspect = handwriting.width / handwriting.height
    rows = max(range(1, count + 1), key=lambda r: min(height / r, width / math.ceil(count / r) / aspect))
    columns = math.ceil(count / rows)
    tall = min(height / rows, width / columns / aspect)
    margin = (height - tall * rows) / 2
    # The blue-black of a pen: tells handwriting from print on a colour printer and survives a grey one.
    operators = ["0.06 0.09 0.24 RG 1 J 1 j"]
    for index in range(count):
        left = index % columns * tall * aspect
        top = height - margin - index // columns * tall
        for stroke_width, line in _polylines(ink(handwriting, index)):
            points = [f"{left + x * tall:.2f} {top - y * tall:.2f}" for x, y in line]
            lines = " ".join(f"{p} l" for p in points[1:])
            operators.append(f"{stroke_width * tall:.2f} w {points[0]} m {lines} S")
    return Appearance(width, height, "\n".join(operators).encode())


def picture(handwriting: Handwriting, box: int, size: int = 128, *, fit: bool = False) -> bytes:
    """The box as a grey PNG, ``size`` pixels high, black ink on white.

    With ``fit`` the ink alone is brought to the middle of a square and to nine tenths of it, keeping its
    proportions: what a check of legibility compares. An empty box stays white.
    """
    from PIL import Image, ImageDraw

    fine = 4
    strokes = ink(handwriting, box)
    aspect = 1.0 if fit else handwriting.width / handwriting.height
    scale, left, top = 1.0, 0.0, 0.0
    drawn = [s for stroke in strokes for s in stroke]
    if fit and drawn:
        xs = [x + side * s.width / 2 for s in drawn for x in (s.x0, s.x1) for side in (-1, 1)]
        ys = [y + side * s.width / 2 for s in drawn for y in (s.y0, s.y1) for side in (-1, 1)]
        scale = 0.9 / max(max(xs) - min(xs), max(ys) - min(ys))
        left = 0.5 - scale * (min(xs) + max(xs)) / 2
        top = 0.5 - scale * (min(ys) + max(ys)) / 2
    high = size * fine
    image = Image.new("L", (max(1, round(high * aspect)), high), 255)
    pen = ImageDraw.Draw(image)
    for s in drawn:
        radius = s.width * scale * high / 2
        x0, y0, x1, y1 = ((v * scale + o) * high for v, o in ((s.x0, left), (s.y0, top), (s.x1, left), (s.y1, top)))
        pen.line((x0, y0, x1, y1), fill=0, width=max(1, round(radius * 2)))
        for x, y in ((x0, y0), (x1, y1)):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    out = io.BytesIO()
    image.reduce(fine).save(out, "PNG")
    return out.getvalue()


def name_picture(handwriting: Handwriting, size: int = 128) -> bytes:
    """All boxes side by side as one grey PNG, ``size`` pixels high, black ink on white."""
    from PIL import Image

    boxes = [Image.open(io.BytesIO(picture(handwriting, index, size))) for index in range(len(handwriting.boxes))]
    image = Image.new("L", (sum(box.width for box in boxes), size), 255)
    left = 0
    for box in boxes:
        image.paste(box, (left, 0))
        left += box.width
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
