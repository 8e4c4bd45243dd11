"""Simulated hands: pens that follow a character's strokes as people do, and fonts after handwriting.

No real handwriting was to be had. A pen's ``mess`` is set so that reading a line outright fails about as often as it is
known to fail with real writers (a little over half of the names).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.ttLib import TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

HANDS = Path("var/hands")
FONTS = ("long-cang", "ma-shan-zheng", "zhi-mang-xing", "liu-jian-mao-cao")
"""Two regular to running, one running, and one of grass script, which nobody need be able to read."""
SIDE = 128
CENTRE = (512.0, 388.0)
"""Of a character in the medians, whose square is 1,024 wide."""

Points = NDArray[np.float64]
Picture = NDArray[np.uint8]


@cache
def medians(character: str) -> tuple[Points, ...] | None:
    path = HANDS / "hanzi-writer-data" / f"{character}.json"
    if not path.exists():
        return None
    return tuple(np.array(each, float) for each in json.loads(path.read_text("utf-8"))["medians"])


def spaced(points: Points, count: int) -> Points:
    """``count`` points at equal distances along the same way."""
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))))
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)


def smoothed(points: Points, times: int) -> Points:
    for _ in range(times):
        middle = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
        points = np.concatenate((points[:1], middle, points[-1:]))
    return points


def turned(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@dataclass
class Pen:
    """One writer. Habits are drawn once, accidents with every stroke."""

    chance: np.random.Generator
    mess: float = 1.5
    slant: float = field(init=False)

    def __post_init__(self) -> None:
        by = self.chance.normal
        self.slant, self.lean = by(0, 0.12) * self.mess, by(0, 0.05) * self.mess
        self.breadth = float(np.exp(by(0, 0.12) * self.mess))
        self.joins = max(0.0, by(0.12, 0.2)) * self.mess
        self.tremor, self.rounds = abs(by(0, 10)) * self.mess, int(abs(by(0, 3)) * self.mess)
        self.bow, self.squash = by(0, 0.06) * self.mess, self.chance.uniform(-0.25, 0.25) * self.mess
        self.width = self.chance.uniform(1.2, 4.2)

    def strokes(self, character: str) -> list[Points] | None:
        known = medians(character)
        if known is None:
            return None
        by, mess = self.chance.normal, self.mess
        breadth = self.breadth * np.exp(by(0, 0.06))
        lean = np.array([[breadth, self.slant + by(0, 0.05) * mess], [0, 1 / breadth]])
        whole = turned(self.lean + by(0, 0.04) * mess) @ lean
        drawn = [self._stroke(median) @ whole.T for median in known]
        drawn = [np.stack((p[:, 0], p[:, 1] * (1 + self.squash * p[:, 1] / 900)), axis=1) for p in drawn]
        joined = [drawn[0]]
        for stroke in drawn[1:]:
            last = joined[-1][-1]
            if self.chance.random() < self.joins and np.hypot(*(stroke[0] - last)) < 500:
                bend = np.array([last, (last + stroke[0]) / 2 + by(0, 15, 2), stroke[0]])
                joined[-1] = np.concatenate((joined[-1], smoothed(spaced(bend, 6), 1), stroke))
            else:
                joined.append(stroke)
        return joined

    def _stroke(self, median: Points) -> Points:
        by, mess = self.chance.normal, self.mess
        count = max(6, 4 * len(median))
        points = spaced(median, count) - np.array(CENTRE) + by(0, 16 * mess, 2)
        middle = points.mean(axis=0)
        points = (points - middle) @ turned(by(0, 0.06 * mess)).T * np.exp(by(0, 0.08 * mess)) + middle
        ahead = points[-1] - points[0]
        u = np.linspace(0, 1, count)[:, None]
        points = points + np.array([-ahead[1], ahead[0]]) * (self.bow + by(0, 0.03 * mess)) * 4 * u * (1 - u)
        return smoothed(points + smoothed(by(0, self.tremor, (count, 2)), 4), self.rounds)

    def writes(self, character: str) -> Picture | None:
        strokes = self.strokes(character)
        if strokes is None:
            return None
        big = 2 * SIDE
        image = Image.new("L", (big, big), 255)
        draw = ImageDraw.Draw(image)
        for stroke in strokes:
            path = [(big / 2 + x * big * 0.8 / 1000, big / 2 - y * big * 0.8 / 1000) for x, y in stroke]
            width = 2 * self.width * np.exp(self.chance.normal(0, 0.05))
            draw.line(path, fill=20, width=max(1, round(width)), joint="curve")
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@cache
def _cuts(font: str) -> dict[int, Path]:
    """A font comes in many files; which has a character."""
    found: dict[int, Path] = {}
    for path in sorted((HANDS / font / "files").glob("*.woff")):
        for code in TTFont(path).getBestCmap() or ():
            found.setdefault(code, path)
    return found


@cache
def _face(path: Path) -> Any:
    return ImageFont.truetype(path, round(2 * SIDE * 0.8))


def printed(font: str, character: str, chance: np.random.Generator) -> Picture | None:
    """By a font, turned and stretched a little."""
    path = _cuts(font).get(ord(character))
    if path is None:
        return None
    big = 2 * SIDE
    image = Image.new("L", (big, big), 255)
    ImageDraw.Draw(image).text((big / 2, big / 2), character, font=_face(path), fill=20, anchor="mm")
    angle, lean, stretch = chance.normal(0, 0.06), chance.normal(0, 0.08), np.exp(chance.normal(0, 0.08))
    warp = np.array([[np.cos(angle) * stretch, lean], [-np.sin(angle), np.cos(angle) / stretch]])
    middle = np.array([big / 2, big / 2])
    shift = middle - warp @ middle
    how = (*warp[0], shift[0], *warp[1], shift[1])
    moved = image.transform((big, big), Image.Transform.AFFINE, how, Image.Resampling.BICUBIC, fillcolor=255)
    return np.asarray(moved.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def in_line(pictures: list[Picture], chance: np.random.Generator) -> Picture:
    """Side by side as people write: unevenly high, near or far, touching at times."""
    gap = chance.uniform(-0.04, 0.2) * SIDE
    high = SIDE * 3 // 2
    found = np.full((high, len(pictures) * (SIDE + round(abs(gap)) + 2) + SIDE), 255, np.uint8)
    left = SIDE // 3
    for picture in pictures:
        dark = picture < 140
        rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
        ink = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        top = int(np.clip((high - ink.shape[0]) / 2 + chance.normal(0, SIDE * 0.03), 0, high - ink.shape[0]))
        place = found[top : top + ink.shape[0], left : left + ink.shape[1]]
        np.minimum(place, ink, out=place)
        left += ink.shape[1] + max(2, round(gap))
    return found[:, : left + SIDE // 3]
