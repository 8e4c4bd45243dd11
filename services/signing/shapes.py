"""How much nearer a written character's shape is to the expected character than to any other. Pure.

A second opinion beside the recogniser, which has learnt to read lines of print. Of the ink, brought to one place and
size by its own spread, is noted how much of its edges runs in each of four directions in each of 10 by 10 places (after
the gradient features of Liu et al., Pattern Recognition 2003). What tells characters apart rather than hands was found
by linear discriminant analysis over simulated hands (``tests/bench/handwriting/shapes.py``), and leaves 64 numbers in
which one hand's spread is about 1 in every direction. Each character is the point its hands lie around.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from services.signing.pictures import PAPER
from services.signing.recogniser import Picture

SHAPES = Path(__file__).parent / "data" / "shapes.npz"
SIDE: Final = 96
"""Pixels of the square that ink is brought into."""
SPREAD: Final = 64
"""Of which it fills so many: four standard deviations of the ink's own places."""
FLATTEST: Final = 0.25
"""No ink counts as flatter than so: 一 must not be blown up to a block."""
PLACES: Final = 10
DIRECTIONS: Final = 4
SHARP: Final = 1.2
"""Pixels of blur before edges are looked for."""

Shape = NDArray[np.float32]
"""``DIRECTIONS * PLACES * PLACES`` numbers of length 1."""


def shape_of(ink: Picture) -> Shape:
    """Of ink as ``inked`` gives it."""
    placed = Image.fromarray(_placed(ink)).filter(ImageFilter.GaussianBlur(SHARP))
    down, across = np.gradient(np.asarray(placed, np.float32))
    strength = np.hypot(down, across)
    # An edge has a direction and no sense: dark above paper and paper above dark are the same stroke.
    turn = np.arctan2(down, across) % np.pi / np.pi * DIRECTIONS
    before = np.floor(turn)
    share = turn - before
    first = before.astype(np.intp) % DIRECTIONS
    found: list[Shape] = []
    for direction in range(DIRECTIONS):
        edges = np.where(first == direction, strength * (1 - share), 0)
        edges += np.where((first + 1) % DIRECTIONS == direction, strength * share, 0)
        found.append(_windows() @ edges @ _windows().T)
    shape = np.sqrt(np.stack(found)).ravel()
    return (shape / max(float(np.linalg.norm(shape)), 1e-9)).astype(np.float32)


@cache
def _windows() -> Shape:
    """Of each place along a side, how much each pixel counts there."""
    middles = (np.arange(PLACES) + 0.5) * SIDE / PLACES
    away = (np.arange(SIDE) + 0.5 - middles[:, None]) / (SIDE / PLACES * 0.75)
    weight = np.exp(-np.square(away) / 2)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def _placed(ink: Picture) -> Picture:
    """The ink's middle in the middle, and so large that four standard deviations of it fill ``SPREAD``; wide and
    narrow characters a little less so than they are. Light on dark.
    """
    weight = PAPER - ink.astype(np.float32)
    (row, high), (column, wide) = _spread(weight.sum(axis=1)), _spread(weight.sum(axis=0))
    high, wide = max(high, FLATTEST * wide, 1.0), max(wide, FLATTEST * high, 1.0)
    least = float(np.sqrt(np.sin(np.pi / 2 * min(high, wide) / max(high, wide)))) * SPREAD
    x_scale = wide / (SPREAD if wide > high else least)
    y_scale = high / (SPREAD if high >= wide else least)
    image = Image.fromarray(weight.astype(np.uint8))
    coarse = max(x_scale, y_scale)
    if coarse > 1:
        image = image.filter(ImageFilter.GaussianBlur(coarse * 0.4))
    to_ink = (x_scale, 0, column - x_scale * SIDE / 2, 0, y_scale, row - y_scale * SIDE / 2)
    return np.asarray(image.transform((SIDE, SIDE), Image.Transform.AFFINE, to_ink, Image.Resampling.BILINEAR))


def _spread(weight: Shape) -> tuple[float, float]:
    at = np.arange(len(weight)) + 0.5
    whole = float(weight.sum())
    middle = float((weight * at).sum()) / whole
    return middle, 4 * float(np.sqrt((weight * np.square(at - middle)).sum() / whole))


class Shapes:
    """Raises ``OSError`` without ``data/shapes.npz``."""

    def __init__(self) -> None:
        with np.load(SHAPES, allow_pickle=False) as kept:
            self._rows = {character: row for row, character in enumerate(str(kept["characters"]))}
            self._directions: Shape = kept["directions"].astype(np.float32)
            self._middle: Shape = kept["middle"]
            self._points: Shape = kept["points"].astype(np.float32)
            self._proportions: NDArray[np.float32] = kept["proportions"]
        self._squares = np.square(self._points).sum(axis=1)

    def nearer(self, ink: Picture, character: str) -> float:
        """Half of by how much the square distance to the nearest other character is greater than that to this one:
        were hands spread as simulated ones, the nats by which this one is likelier. 0 for one that is not known here.
        """
        row = self._rows.get(character)
        if row is None:
            return 0.0
        at = shape_of(ink) @ self._directions - self._middle
        # Without the square of ``at``, which is the same to all.
        distances = self._squares - 2 * (self._points @ at)
        own, distances[row] = distances[row], np.inf
        return float(distances.min() - own) / 2

    def stretched(self, ink: Picture, character: str) -> float:
        """By what factor the ink is wider for its height, or higher for its width, than the printed character: from 1;
        1 also for a character that is not known here.
        """
        row = self._rows.get(character)
        if row is None:
            return 1.0
        factor = proportion(ink) / float(self._proportions[row])
        return max(factor, 1 / factor)


def proportion(ink: Picture) -> float:
    return ink.shape[1] / ink.shape[0]


@cache
def shapes() -> Shapes:
    """This process's own."""
    return Shapes()
