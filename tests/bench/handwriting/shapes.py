"""``python -m tests.bench.handwriting.shapes --font FILE``: makes ``services/signing/data/shapes.npz`` anew.

For each character the recogniser knows, a dozen simulated hands write it; a character without stroke medians is taken
as printed, moved by what hands differ from print on the whole. The directions are those in which characters differ most
against how much hands differ on the same character (Fisher 1936). Some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from services.signing.pictures import PAPER, inked
from services.signing.recogniser import Picture, is_ideograph, recogniser
from services.signing.shapes import SHAPES, Shape, proportion, shape_of
from tests.bench.handwriting.hands import Pen

HANDS = 12
"""Of a character."""
MESS = (0.6, 2.1)
DIRECTIONS = 64
SMOOTH = 0.1
"""Of the average spread of hands, added in every direction: what was simulated is not all there is."""
SEED = 90_000
AT_A_TIME = 60

Written = tuple[str, Shape, Picture]
"""A character, a shape a row, and how it is printed."""


def printed(font: ImageFont.FreeTypeFont, character: str) -> Picture | None:
    side = round(font.size * 1.6)
    image = Image.new("L", (side, side), PAPER)
    ImageDraw.Draw(image).text((side / 2, side / 2), character, font=font, fill=0, anchor="mm")
    return inked(np.asarray(image))


def written(task: tuple[int, str, Path]) -> list[Written]:
    seed, characters, font = task
    chance, face = np.random.default_rng(seed), ImageFont.truetype(font, 100)
    found: list[Written] = []
    for character in characters:
        print_ = printed(face, character)
        if print_ is None:
            continue
        drawn = (Pen(chance, chance.uniform(*MESS)).writes(character) for _ in range(HANDS))
        inks = (inked(picture) for picture in drawn if picture is not None)
        shapes = [shape_of(ink) for ink in inks if ink is not None]
        found.append((character, np.array(shapes, np.float32), print_))
    return found


def discriminant(all_: Iterable[Written]) -> tuple[Shape, Shape]:
    """Directions, one a column, and the point of each character along them."""
    hands, prints = zip(*((shapes, shape_of(print_)) for _, shapes, print_ in all_), strict=True)
    moved = np.mean([h.mean(axis=0) - p for h, p in zip(hands, prints, strict=True) if len(h)], axis=0)
    means = np.array([h.mean(axis=0) if len(h) else p + moved for h, p in zip(hands, prints, strict=True)])
    apart = np.concatenate([h - h.mean(axis=0) for h in hands if len(h) > 1]).astype(np.float64)
    within = apart.T @ apart / (len(apart) - sum(len(h) > 1 for h in hands))
    within += SMOOTH * np.trace(within) / len(within) * np.eye(len(within))
    whiten = _whitening(within)
    _, best = np.linalg.eigh(whiten.T @ np.cov(means.T) @ whiten)
    directions = whiten @ best[:, ::-1][:, :DIRECTIONS]
    return directions.astype(np.float32), (means @ directions).astype(np.float32)


def _whitening(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    size, axes = np.linalg.eigh(spread)
    return axes / np.sqrt(size)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.handwriting.shapes")
    parser.add_argument("--font", type=Path, required=True, help="regular script: LXGW WenKai Light")
    font = parser.parse_args().font
    known = "".join(each for each in recogniser().classes if is_ideograph(each))
    tasks = [(SEED + at, known[at : at + AT_A_TIME], font) for at in range(0, len(known), AT_A_TIME)]
    found: list[Written] = []
    with multiprocessing.get_context("spawn").Pool() as pool:
        for done, some in enumerate(pool.imap(written, tasks), 1):
            found += some
            sys.stderr.write(f"{done} of {len(tasks)} ...\n")
    directions, points = discriminant(found)
    # About their middle the numbers are small, and half precision does.
    middle = points.mean(axis=0)
    np.savez_compressed(
        SHAPES,
        characters=np.array("".join(character for character, _, _ in found)),
        directions=directions.astype(np.float16),
        middle=middle,
        points=(points - middle).astype(np.float16),
        proportions=np.array([proportion(print_) for _, _, print_ in found], np.float32),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
