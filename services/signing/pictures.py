"""Pictures of handwriting made ready for reading: ink found, scaled, cut into characters, put side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from services.signing.recogniser import HEIGHT, Picture

DARK = 150
"""What is darker is ink, once the picture's darkest is 0 and its paper 255."""
LEAST_CONTRAST = 40
"""Between ink and paper; a picture with less shows nothing."""
PAPER = 255
LINE_INK = 40
"""Height of the ink on a line, in pixels."""
WIDEST = 1.75
"""Of a character, in heights of its line: where it is wider stand two."""
THIN = 2.0
"""Pixels of a stroke at that height."""


def inked(gray: Picture) -> Picture | None:
    """Cut to its ink, the darkest black and the paper white; None where there is none."""
    if not gray.size:
        return None
    image = gray.astype(np.float32)
    darkest, paper = float(image.min()), float(np.median(image))
    # Mostly ink is no writing: then the brightest is the paper all the same.
    paper = max(paper, float(np.percentile(image, 95)))
    if paper - darkest < LEAST_CONTRAST:
        return None
    stretched = (np.clip((image - darkest) / (paper - darkest), 0, 1) * PAPER).astype(np.uint8)
    dark = stretched < DARK
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    return stretched[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def line(ink: Picture, *, height: int = LINE_INK, widest: int | None = None, margin: int = 6) -> Picture:
    """Ink scaled to ``height`` pixels, or to ``widest`` where that is less, on a line to be read."""
    scale = height / ink.shape[0]
    if widest is not None:
        scale = min(scale, widest / ink.shape[1])
    high, wide = max(1, round(ink.shape[0] * scale)), max(1, round(ink.shape[1] * scale))
    small = np.asarray(Image.fromarray(ink).resize((wide, high), Image.Resampling.LANCZOS))
    found = np.full((HEIGHT, max(HEIGHT, wide + 2 * margin)), PAPER, np.uint8)
    top, left = (HEIGHT - high) // 2, (found.shape[1] - wide) // 2
    found[top : top + high, left : left + wide] = small
    return found


def side_by_side(inks: Sequence[Picture], *, gap: float) -> Picture:
    """Each in the middle of the line's height; ``gap`` as a share of that height."""
    high = max(ink.shape[0] for ink in inks)
    between = round(high * gap)
    found = np.full((high, sum(ink.shape[1] for ink in inks) + between * (len(inks) - 1)), PAPER, np.uint8)
    left = 0
    for ink in inks:
        top = (high - ink.shape[0]) // 2
        found[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        left += ink.shape[1] + between
    return found


def narrowed(ink: Picture, share: float) -> Picture:
    """To ``share`` of its width: the model has read printed lines, which stand closer than handwriting."""
    size = max(1, round(ink.shape[1] * share)), ink.shape[0]
    return np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.LANCZOS))


def leaned(ink: Picture, lean: float) -> Picture:
    """Its top pushed to the right by ``lean`` of its height, or to the left."""
    high, wide = ink.shape
    beside = round(abs(lean) * high)
    padded = np.full((high, wide + 2 * beside), PAPER, np.uint8)
    padded[:, beside : beside + wide] = ink
    shear = (1, lean, -lean * high / 2, 0, 1, 0)
    size = padded.shape[1], high
    return np.asarray(
        Image.fromarray(padded).transform(
            size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC, fillcolor=PAPER
        )
    )


def thickened(ink: Picture) -> Picture:
    """Strokes so thin that little of them is left at a line's height, thicker; others as they are."""
    dark = ink < DARK
    edges = np.count_nonzero(dark[:, 1:] != dark[:, :-1]) + np.count_nonzero(dark[1:] != dark[:-1])
    if not edges or 2.6 * np.count_nonzero(dark) / edges * LINE_INK / ink.shape[0] >= THIN:
        return ink
    size = 3 if ink.shape[0] < 140 else 5
    padded = np.pad(ink, size, constant_values=PAPER)
    return np.asarray(Image.fromarray(padded).filter(ImageFilter.MinFilter(size)))


def cut(ink: Picture, count: int) -> list[Picture] | None:
    """A line of ink as ``count`` characters, cut where little ink is and none becomes much wider than others; None
    where a piece would have no ink, or room for two characters.
    """
    wide = ink.shape[1]
    if count == 1:
        return [ink]
    if wide < 4 * count:
        return None
    weight = (PAPER - ink.astype(np.float32)).sum(axis=0) / PAPER
    weight = np.convolve(np.pad(weight, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    even = wide / count
    # Cost of a cut: ink crossed, against the height; of a piece: how far from an even share.
    crossing = weight / ink.shape[0] * 6
    best = np.full((count, wide + 1), np.inf)
    came: NDArray[np.intp] = np.zeros((count, wide + 1), np.intp)
    starts: NDArray[np.intp] = np.arange(wide + 1, dtype=np.intp)
    best[0] = _unevenness(starts, even)
    best[0, 0] = np.inf
    cost = np.concatenate((crossing, [np.inf]))
    for piece in range(1, count):
        before = best[piece - 1] + cost
        for end in range(piece + 1, wide + 1):
            total = before[:end] + _unevenness(end - starts[:end], even)
            came[piece, end] = total.argmin()
            best[piece, end] = total[came[piece, end]]
    ends = [wide]
    for piece in range(count - 1, 0, -1):
        ends.append(int(came[piece, ends[-1]]))
    ends.append(0)
    pieces = [inked(ink[:, left:right]) for right, left in pairwise(ends)]
    found = [piece for piece in reversed(pieces) if piece is not None]
    if len(found) < count:
        return None
    # A line of 一 alone is flat: then its narrowest says how wide a character is.
    side = max(ink.shape[0], min(piece.shape[1] for piece in found))
    return None if any(piece.shape[1] > WIDEST * side for piece in found) else found


def _unevenness(widths: NDArray[np.intp], even: float) -> NDArray[np.float64]:
    return np.square(widths.astype(np.float64) / even - 1)
