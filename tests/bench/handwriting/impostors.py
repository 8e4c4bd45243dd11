"""What must not pass: other names, names with one other character, and what is no writing at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tests.bench.handwriting.hands import SIDE, Picture, medians

Chance = np.random.Generator


def look_alikes(characters: Sequence[str], among: Sequence[str], *, count: int = 3) -> dict[str, list[str]]:
    """For each of ``characters`` those of ``among`` whose strokes cover the same places (形近字), nearest first."""
    shapes: dict[str, np.ndarray] = {}
    for character in {*characters, *among}:
        strokes = medians(character)
        if strokes is None:
            continue
        image = Image.new("L", (64, 64), 0)
        draw = ImageDraw.Draw(image)
        for stroke in strokes:
            draw.line([(x * 60 / 1024 + 2, 62 - (y + 124) * 60 / 1024) for x, y in stroke], fill=255, width=3)
        blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(1.6)), float).ravel()
        shapes[character] = blurred / np.linalg.norm(blurred)
    others = [each for each in among if each in shapes]
    table = np.stack([shapes[each] for each in others])
    found: dict[str, list[str]] = {}
    for character in characters:
        if character in shapes:
            nearest = np.argsort(-(table @ shapes[character]))
            found[character] = [others[i] for i in nearest[: count + 1] if others[i] != character][:count]
    return found


def _points(chance: Chance, count: int) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in chance.uniform(8, SIDE - 8, (count, 2))]


def _blank(_: Chance, __: ImageDraw.ImageDraw, ___: int) -> None:
    return None


def _lines(chance: Chance, draw: ImageDraw.ImageDraw, width: int) -> None:
    for _ in range(chance.integers(1, 8)):
        draw.line(_points(chance, 2), fill=20, width=width)


def _dots(chance: Chance, draw: ImageDraw.ImageDraw, width: int) -> None:
    for x, y in _points(chance, int(chance.integers(1, 5))):
        draw.ellipse((x, y, x + width, y + width), fill=20)


def _scribble(chance: Chance, draw: ImageDraw.ImageDraw, width: int) -> None:
    steps = np.cumsum(chance.normal(0, chance.uniform(5, 30), (int(chance.integers(8, 80)), 2)), axis=0)
    steps = (steps - steps.min(axis=0)) / max(1.0, float(np.ptp(steps))) * 100 + 14
    draw.line([(float(x), float(y)) for x, y in steps], fill=20, width=width)


def _zigzag(chance: Chance, draw: ImageDraw.ImageDraw, width: int) -> None:
    count = int(chance.integers(4, 14))
    path = [(14 + 100 * i / count, chance.uniform(14, 50) if i % 2 else chance.uniform(70, 114)) for i in range(count)]
    draw.line(path, fill=20, width=width)


def _circles(chance: Chance, draw: ImageDraw.ImageDraw, width: int) -> None:
    for _ in range(chance.integers(1, 4)):
        (x, y), size = chance.uniform(4, 50, 2), chance.uniform(30, 70)
        draw.ellipse((x, y, x + size, y + size), outline=20, width=width)


def _letters(alphabet: str) -> Callable[[Chance, ImageDraw.ImageDraw, int], None]:
    def drawn(chance: Chance, draw: ImageDraw.ImageDraw, _: int) -> None:
        text = "".join(chance.choice([*alphabet], int(chance.integers(1, 4))))
        draw.text((SIDE / 2, SIDE / 2), text, fill=20, font_size=int(chance.integers(40, 90)), anchor="mm")

    return drawn


JUNK: dict[str, Callable[[Chance, ImageDraw.ImageDraw, int], None]] = {
    "blank": _blank,
    "lines": _lines,
    "dots": _dots,
    "scribbles": _scribble,
    "zigzags": _zigzag,
    "circles": _circles,
    "Latin letters": _letters("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "digits": _letters("0123456789"),
}


def junk(kind: str, chance: Chance) -> Picture:
    image = Image.new("L", (SIDE, SIDE), 255)
    JUNK[kind](chance, ImageDraw.Draw(image), int(chance.integers(1, 7)))
    return np.asarray(image)
