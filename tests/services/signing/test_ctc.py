"""The arithmetic of CTC against adding up every path by hand."""

from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.signing.ctc import BLANK, Alignment, Floats, best_reading

CLASSES = 4


def by_hand(frames: Floats, text: list[int]) -> float:
    """Log-likelihood: every path is spelled out."""
    total = 0.0
    for path in product(range(frames.shape[1]), repeat=len(frames)):
        if [each for each, _ in groupby(path) if each != BLANK] == text:
            total += float(np.exp(sum(frames[t, each] for t, each in enumerate(path))))
    return float(np.log(total)) if total else -np.inf


@st.composite
def read(draw: st.DrawFn) -> tuple[Floats, list[int]]:
    count = draw(st.integers(1, 5))
    weights = draw(
        st.lists(st.lists(st.integers(1, 50), min_size=CLASSES, max_size=CLASSES), min_size=count, max_size=count)
    )
    rows = np.array(weights, np.float64)
    text = draw(st.lists(st.integers(1, CLASSES - 1), min_size=1, max_size=3))
    return np.log(rows / rows.sum(axis=1, keepdims=True)), text


@given(read())
@settings(max_examples=60, deadline=None)
def test_a_text_is_as_likely_as_all_its_paths_together(given_: tuple[Floats, list[int]]) -> None:
    frames, text = given_
    expected = by_hand(frames, text)
    found = Alignment(frames, text).likelihood
    assert found == pytest.approx(expected) if np.isfinite(expected) else found < -1e20


@given(read(), st.data())
@settings(max_examples=60, deadline=None)
def test_with_another_character_it_is_as_likely_as_that_text(
    given_: tuple[Floats, list[int]], data: st.DataObject
) -> None:
    frames, text = given_
    position = data.draw(st.integers(0, len(text) - 1))
    classes = np.arange(1, CLASSES)
    found = Alignment(frames, text).with_another(position, classes)
    for number, value in zip(classes, found, strict=True):
        other = Alignment(frames, [*text[:position], int(number), *text[position + 1 :]]).likelihood
        assert value == pytest.approx(other) if other > -1e20 else value < -1e20


def test_an_empty_text_is_none() -> None:
    with pytest.raises(ValueError, match="no text"):
        Alignment(np.zeros((2, CLASSES)), [])


def test_the_best_path_melts_repeats_and_drops_blanks() -> None:
    likely = np.full((6, CLASSES), -9.0)
    for t, each in enumerate([1, 1, BLANK, 1, 2, BLANK]):
        likely[t, each] = -0.5
    assert best_reading(likely) == ([1, 1, 2], -3.0)
