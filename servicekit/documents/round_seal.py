"""The round seal an insurer's policies show: drawn here, from the insurer's name.

A ring, the name along its upper arc, a five-pointed star, a caption beneath: the customary form of a company's
contract seal. Text becomes outlines, so the drawing needs no font. It is only the look of the signature field;
what binds is the signature.
"""

# fontTools carries no types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportUnknownLambdaType=false
# pyright: reportUntypedBaseClass=false

import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from fontTools.misc.transform import Transform
from fontTools.pens.basePen import BasePen
from fontTools.pens.transformPen import TransformPen
from fontTools.ttLib import TTFont

from servicekit.documents.appearance import Appearance
from servicekit.documents.fonts import MissingGlyph

DIAMETER = 40 / 25.4 * 72
"""40 mm, in points."""

_RED = "0.78 0.11 0.13"


class _Operators(BasePen):
    """Writes outlines as PDF path operators. The names of its methods are fontTools'."""

    def __init__(self, glyphs: Any, out: list[str]) -> None:
        super().__init__(glyphs)
        self._out = out

    def _moveTo(self, pt: tuple[float, float]) -> None:  # noqa: N802
        self._out.append(f"{pt[0]:.2f} {pt[1]:.2f} m")

    def _lineTo(self, pt: tuple[float, float]) -> None:  # noqa: N802
        self._out.append(f"{pt[0]:.2f} {pt[1]:.2f} l")

    def _curveToOne(  # noqa: N802
        self, pt1: tuple[float, float], pt2: tuple[float, float], pt3: tuple[float, float]
    ) -> None:
        self._out.append(f"{pt1[0]:.2f} {pt1[1]:.2f} {pt2[0]:.2f} {pt2[1]:.2f} {pt3[0]:.2f} {pt3[1]:.2f} c")

    def _closePath(self) -> None:  # noqa: N802
        self._out.append("h")


class _Lettering:
    """Places single characters as filled outlines."""

    def __init__(self, fonts: Sequence[Any]) -> None:
        self._fonts = fonts
        self._cmaps: list[dict[int, str]] = [font.getBestCmap() for font in self._fonts]

    def draw(self, character: str, at: Transform, out: list[str]) -> None:
        """The character, one unit high, its middle at the origin of ``at``. Raises MissingGlyph."""
        for font, cmap in zip(self._fonts, self._cmaps, strict=True):
            name = cmap.get(ord(character))
            if name is not None:
                glyphs = font.getGlyphSet()
                em = font["head"].unitsPerEm
                # The ideographic em box reaches from -0.12 to 0.88.
                middle = at.scale(1 / em).translate(-glyphs[name].width / 2, -0.38 * em)
                glyphs[name].draw(TransformPen(_Operators(glyphs, out), middle))
                out.append("f")
                return
        raise MissingGlyph([character])


@lru_cache(maxsize=8)
def round_seal(name: str, caption: str, sources: tuple[Path, ...]) -> Appearance:
    """The seal of ``name``; ``sources`` are the fonts (``Fonts.outline_sources``).

    Raises MissingGlyph, and ValueError for a name or caption too long to be read (40 and 12 characters).
    """
    if not 1 <= len(name) <= 40 or len(caption) > 12:
        raise ValueError("the text does not fit the seal")
    with ExitStack() as opened:
        lettering = _Lettering([opened.enter_context(TTFont(source, lazy=True)) for source in sources])
        middle = DIAMETER / 2
        out = [f"{_RED} RG {_RED} rg", "2.3 w", *_circle(middle, middle - 1.5), "s"]
        _arc(lettering, name, middle, out)
        out += [*_star(middle, middle + DIAMETER * 0.015, DIAMETER * 0.145), "f"]
        size = min(DIAMETER * 0.088, DIAMETER * 0.52 / max(len(caption), 1))
        for i, character in enumerate(caption):
            x = middle + (i - (len(caption) - 1) / 2) * size * 1.04
            lettering.draw(character, Transform().translate(x, middle - DIAMETER * 0.262).scale(size * 0.94, size), out)
    return Appearance(DIAMETER, DIAMETER, "\n".join(out).encode())


def _arc(lettering: _Lettering, name: str, middle: float, out: list[str]) -> None:
    """Along the upper arc, from lower left to lower right, feet towards the middle; long names get narrow letters."""
    count = len(name)
    sweep = math.radians(min(25.0 * count, 216.0 + 1.2 * max(count - 12, 0)))
    step = sweep / max(count - 1, 1)
    radius = middle * 0.755
    tall = DIAMETER * 0.125
    wide = min(tall * 0.82, radius * step * 0.93 if count > 1 else tall)
    tall = min(tall, wide * 1.7)
    for i, character in enumerate(name):
        angle = math.pi / 2 + (sweep / 2 - i * step if count > 1 else 0)
        place = Transform().translate(middle + radius * math.cos(angle), middle + radius * math.sin(angle))
        lettering.draw(character, place.rotate(angle - math.pi / 2).scale(wide, tall), out)


def _star(x: float, y: float, radius: float) -> Iterable[str]:
    inner = radius * math.sin(math.radians(18)) / math.sin(math.radians(54))
    for i in range(10):
        angle = math.radians(90 + 36 * i)
        reach = radius if i % 2 == 0 else inner
        yield f"{x + reach * math.cos(angle):.2f} {y + reach * math.sin(angle):.2f} {'l' if i else 'm'}"
    yield "h"


def _circle(middle: float, radius: float) -> Iterable[str]:
    """Four Bézier curves: PDF has no arc."""
    k = radius * 4 / 3 * (math.sqrt(2) - 1)
    c, r = middle, radius
    yield f"{c + r:.2f} {c:.2f} m"
    for p in (
        (c + r, c + k, c + k, c + r, c, c + r),
        (c - k, c + r, c - r, c + k, c - r, c),
        (c - r, c - k, c - k, c - r, c, c - r),
        (c + k, c - r, c + r, c - k, c + r, c),
    ):
        yield " ".join(f"{v:.2f}" for v in p) + " c"
