"""How much nearer written characters are to their own shape than to others: no outcome here depends on chance."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from services.signing.pictures import inked
from services.signing.shapes import SHAPES, shape_of, shapes
from tests.services.signing.test_handwriting import GIVEN, boxes


def ink(character: str) -> np.ndarray:
    found = inked(boxes(character)[0])
    assert found is not None
    return found


@pytest.mark.parametrize("character", [*dict.fromkeys(GIVEN)])
def test_a_written_character_is_nearer_to_itself_than_to_the_others(character: str) -> None:
    assert shapes().nearer(ink(character), character) > -10
    assert all(shapes().nearer(ink(character), each) < -10 for each in GIVEN if each != character)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_size_does_not_matter(scale: float) -> None:
    written = ink("明")
    size = round(written.shape[1] * scale), round(written.shape[0] * scale)
    scaled = np.asarray(Image.fromarray(written).resize(size, Image.Resampling.LANCZOS))
    assert float(shape_of(scaled) @ shape_of(written)) > 0.98


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (30, 30)])
def test_a_block_of_ink_has_a_shape_too(shape: tuple[int, int]) -> None:
    block = np.zeros(shape, np.uint8)
    assert 0 <= np.linalg.norm(shape_of(block)) < 1 + 1e-5
    assert all(np.isfinite(shapes().nearer(block, character)) for character in "明国赢")


def test_how_far_ink_is_stretched_is_told_of_both_ways() -> None:
    assert shapes().stretched(ink("明"), "明") < 1.5
    assert shapes().stretched(np.zeros((1, 100), np.uint8), "明") > 50
    assert shapes().stretched(np.zeros((100, 1), np.uint8), "明") > 50
    assert shapes().stretched(np.zeros((1, 10), np.uint8), "一") < 3
    assert shapes().stretched(np.zeros((1, 100), np.uint8), "A") == 1


def test_a_character_that_is_not_known_is_as_near_as_any() -> None:
    assert shapes().nearer(ink("明"), "A") == 0.0


def test_the_shapes_are_those_their_licence_is_kept_for() -> None:
    assert sha256(SHAPES.read_bytes()).hexdigest() in (SHAPES.parent / "README.md").read_text("utf-8")
