"""Printed characters beside the pad: what a name looks like when it is written well, in regular script."""

# fontTools carries few types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from servicekit.documents.fonts import Fonts, FontsNotPrepared, load

log = logging.getLogger(__name__)

SIDE: Final = 1000
"""Units of the square a sample is drawn in."""


class Samples:
    """Opened with the first sample asked for: most customers never see one."""

    def __init__(self, fonts: Path) -> None:
        self._folder = fonts

    async def of(self, characters: Sequence[str]) -> tuple[str | None, ...]:
        """Each as the path of an SVG in a square of ``SIDE`` units; None where the font lacks it."""
        try:
            return await asyncio.to_thread(lambda: tuple(_path(self._folder, character) for character in characters))
        except FontsNotPrepared:
            # Nobody is kept from writing for want of a sample.
            log.warning("no fonts for samples")
            return (None,) * len(characters)


@lru_cache(maxsize=1)
def _opened(folder: Path) -> tuple[Fonts, Any]:
    from fontTools.ttLib import TTFont

    fonts = load(folder)
    return fonts, TTFont(fonts.kai, lazy=True)


@lru_cache(maxsize=256)
def _path(folder: Path, character: str) -> str | None:
    from fontTools.misc.transform import Identity
    from fontTools.pens.svgPathPen import SVGPathPen
    from fontTools.pens.transformPen import TransformPen

    fonts, font = _opened(folder)
    name = font.getBestCmap().get(ord(character)) if fonts.has(character) else None
    if name is None:
        return None
    glyphs = font.getGlyphSet()
    scale = SIDE / font["head"].unitsPerEm
    # A character of the font stands in a square from its descender to its ascender.
    down = Identity.translate(0, SIDE * 0.86).scale(scale, -scale)
    pen = SVGPathPen(glyphs, ntos=lambda at: f"{at:.0f}")
    glyphs[name].draw(TransformPen(pen, down))
    return pen.getCommands()
