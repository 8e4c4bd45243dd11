"""What was written, looked at in worker processes: drawn, read as the expected name, the pen's way measured."""

from __future__ import annotations

import io
import math
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from contracts.commands.signing import Box, Handwriting, written_characters
from contracts.facts.signing import CharacterRead, PenMeasure, Reading
from contracts.problems import Refuse
from servicekit.documents.fonts import Fonts, load
from servicekit.workers import WorkerFailed, Workers
from services.signing import copying, handwriting, pen, strokes
from services.signing.handwriting import Verdict, check_boxes, limit, warm_up
from services.signing.recogniser import Picture

DEADLINE_SECONDS: Final = 10.0
"""Twenty characters take one at most."""
BUSY_SECONDS: Final = 2
"""After which a customer may ask again when a worker failed."""
BOX: Final = 300
"""Pixels: the one size all boxes are brought to before they are drawn."""
SAMPLE: Final = 200
"""Pixels a side of the printed character that the pen's way is compared with."""


class Seen(NamedTuple):
    """What is seen in one writing of the name."""

    reading: Reading
    pen: tuple[PenMeasure, ...]


class Reader:
    """Workers that have the model in memory, about 250 MB each."""

    def __init__(self, fonts: Path, workers: int = 1) -> None:
        self._workers = Workers(_begin, fonts, count=workers, deadline_s=DEADLINE_SECONDS)

    async def start(self) -> None:
        """Returns when each worker has read once. Raises WorkerFailed."""
        await self._workers.start()

    async def stop(self) -> None:
        await self._workers.stop()

    async def read(self, given: Handwriting, name: str, strictness: int) -> Seen:
        """How well the boxes read as ``name``, at the ``strictness``-th reading of a journey, from 1.

        Raises ``Refuse("unavailable")`` when a worker died or took too long; nothing is decided then.
        """
        try:
            verdict, measures = await self._workers.run(_look, given, name, strictness)
        except WorkerFailed:
            raise Refuse("unavailable", retry_after=BUSY_SECONDS) from None
        return Seen(recorded(verdict, name, strictness), measures)

    async def read_phrase(self, given: Handwriting, text: str) -> Reading:
        """How well the boxes read as a phrase, by the limits of phrases. Raises as ``read``."""
        try:
            return await self._workers.run(_phrase, given, text)
        except WorkerFailed:
            raise Refuse("unavailable", retry_after=BUSY_SECONDS) from None


def one_size(given: Handwriting) -> strokes.Handwriting:
    """The drawing code takes boxes of one size; phones may have given each its own."""

    def points(box: Box) -> tuple[strokes.Stroke, ...]:
        scale = BOX / box.height
        return tuple(
            tuple((p.x * scale, p.y * scale, float(p.t), p.pressure) for p in stroke)
            for stroke in box.strokes
            if stroke
        )

    return strokes.Handwriting(width=BOX, height=BOX, boxes=tuple(points(box) for box in given.boxes))


def pictures(given: Handwriting) -> list[Picture]:
    """Each box as ``strokes`` draws it from what was written: what is read is what is kept."""
    writing = one_size(given)
    return [
        np.asarray(Image.open(io.BytesIO(strokes.picture(writing, box))).convert("L"))
        for box in range(len(writing.boxes))
    ]


def recorded(verdict: Verdict, name: str, strictness: int) -> Reading:
    """A verdict as it goes on record: without the characters, which are personal."""
    expected = written_characters(name)
    return Reading(
        outcome=verdict.outcome,
        reason=verdict.reason,
        strictness=strictness,
        characters=tuple(
            CharacterRead(
                box=box,
                score=each.score if math.isfinite(each.score) else None,
                limit=limit(strictness, expected, box),
                ok=each.ok,
            )
            for box, each in enumerate(verdict.characters)
        ),
        read_by=handwriting.VERSION,
    )


# --- in the worker ---------------------------------------------------------------------------------------------

_fonts: Fonts | None = None


def _begin(fonts: Path) -> None:
    global _fonts  # noqa: PLW0603  what a worker process is given once
    _fonts = load(fonts)
    warm_up()


def _phrase(given: Handwriting, text: str) -> Reading:
    return copying.check_phrase(pictures(given), text)


def _look(given: Handwriting, name: str, strictness: int) -> tuple[Verdict, tuple[PenMeasure, ...]]:
    verdict = check_boxes(pictures(given), name, attempt=strictness)
    return verdict, pen.measures(given, name, _sample)


@cache
def _font() -> ImageFont.FreeTypeFont:
    assert _fonts is not None
    return ImageFont.truetype(_fonts.kai, SAMPLE * 0.8)


def _sample(character: str) -> Picture | None:
    """The character as it is shown beside the pad; None where the font lacks it."""
    assert _fonts is not None
    if not _fonts.has(character):
        return None
    picture = Image.new("L", (SAMPLE, SAMPLE), 255)
    ImageDraw.Draw(picture).text((SAMPLE / 2, SAMPLE / 2), character, fill=0, font=_font(), anchor="mm")
    return np.asarray(picture)
