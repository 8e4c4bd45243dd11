"""How well a recogniser's output reads as a given text, and what else it might read as. Pure arithmetic.

A line recogniser trained with CTC (Graves et al. 2006) says for each of T narrow frames how likely each character
starts or goes on there, or the blank between. A text's probability is the sum over all ways to lay it along the frames.
All values are natural logarithms; ``frames`` is T×C with the blank as class 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLANK = 0
NEVER = -1e30


class Alignment:
    """One text laid along the frames in every way there is. Raises ``ValueError`` for an empty text."""

    def __init__(self, frames: Floats, text: Sequence[int]) -> None:
        if not text:
            raise ValueError("there is no text")
        self._frames = frames
        self._text = text
        # blank, first character, blank, second, …, blank
        states = np.full(2 * len(text) + 1, BLANK)
        states[1::2] = text
        self._leaps = np.zeros(len(states), bool)
        # From character to character without a blank, unless they are the same: those would melt into one.
        self._leaps[3::2] = states[3::2] != states[1:-2:2]
        emitted = frames[:, states]
        self._before = self._forward(emitted)
        self._behind = self._backward(emitted)

    def _forward(self, emitted: Floats) -> Floats:
        """[t, k]: everything up to and with frame t, ending in state k."""
        found = np.full(emitted.shape, NEVER)
        found[0, :2] = emitted[0, :2]
        for t in range(1, len(emitted)):
            last = found[t - 1]
            step = np.logaddexp(last, np.concatenate(([NEVER], last[:-1])))
            leap = np.where(self._leaps, np.concatenate(([NEVER, NEVER], last[:-2])), NEVER)
            found[t] = np.logaddexp(step, leap) + emitted[t]
        return found

    def _backward(self, emitted: Floats) -> Floats:
        """[t, k]: everything from frame t on, beginning there in state k."""
        found = np.full(emitted.shape, NEVER)
        found[-1, -2:] = emitted[-1, -2:]
        leaps = np.concatenate((self._leaps[2:], [False, False]))
        for t in range(len(emitted) - 2, -1, -1):
            following = found[t + 1]
            step = np.logaddexp(following, np.concatenate((following[1:], [NEVER])))
            leap = np.where(leaps, np.concatenate((following[2:], [NEVER, NEVER])), NEVER)
            found[t] = np.logaddexp(step, leap) + emitted[t]
        return found

    @property
    def likelihood(self) -> float:
        """Of the text."""
        return float(np.logaddexp(self._before[-1, -1], self._before[-1, -2]))

    def with_another(self, position: int, classes: NDArray[np.intp]) -> Floats:
        """Of the text with each of ``classes`` in place of the character at ``position``."""
        state, count = 2 * position + 1, len(self._frames)
        never = np.full(count, NEVER)
        # From the blank before, or straight from the character before; to the blank behind or the character behind.
        rested = self._before[:, state - 1]
        straight = self._before[:, state - 2] if position else never
        resting, onward = never.copy(), never.copy()
        resting[:-1] = self._behind[1:, state + 1]
        if position + 1 < len(self._text):
            onward[:-1] = self._behind[1:, state + 2]
        else:
            resting[-1] = 0.0
        # Two of the same need a blank between them.
        after_another = classes != (self._text[position - 1] if position else BLANK)
        before_another = classes != (self._text[position + 1] if position + 1 < len(self._text) else BLANK)
        within = np.full(len(classes), NEVER)
        total = np.full(len(classes), NEVER)
        for t in range(count):
            if t:
                entering = _either(after_another, np.logaddexp(rested[t - 1], straight[t - 1]), rested[t - 1])
            else:
                entering = np.full(len(classes), NEVER if position else 0.0)
            within = np.logaddexp(within, entering) + self._frames[t, classes]
            leaving = _either(before_another, np.logaddexp(resting[t], onward[t]), resting[t])
            total = np.logaddexp(total, within + leaving)
        return total


def _either(these: NDArray[np.bool_], yes: np.float64, no: np.float64) -> Floats:
    found = np.full(these.shape, no)
    found[these] = yes
    return found


def best_reading(frames: Floats) -> tuple[list[int], float]:
    """The text the likeliest path spells, and that path's likelihood."""
    path = frames.argmax(axis=1)
    starts = np.concatenate(([True], path[1:] != path[:-1]))
    return [int(each) for each in path[starts] if each != BLANK], float(frames.max(axis=1).sum())
