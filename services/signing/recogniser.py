"""What a picture of handwriting may read as: the PP-OCRv4 recogniser in ONNX Runtime (``data/README.md``).

The one place that touches the library, which carries no types.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from services.signing.ctc import BLANK, Floats

MODEL = Path(__file__).parent / "data" / "ch_PP-OCRv4_rec_infer.onnx"
NAME = "PP-OCRv4"
HEIGHT = 48
"""Pixels of a line's picture; the width is free."""
FRAME = 8
"""Pixels of width to a frame."""
LEAST = 1e-9
"""No probability counts as smaller: what the model calls impossible is a guess as well."""

Picture = NDArray[np.uint8]


class Recogniser:
    """``classes`` has the class of each character; those it lacks it cannot read."""

    def __init__(self) -> None:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        # One worker, one core: there are as many workers as cores for this.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
        known: list[str] = self._session.get_modelmeta().custom_metadata_map["character"].split("\n")
        self.classes = {character: number for number, character in enumerate(known, BLANK + 1) if character}
        self.characters = {number: character for character, number in self.classes.items()}
        ideographs = [number for character, number in self.classes.items() if is_ideograph(character)]
        self.ideographs: NDArray[np.bool_] = np.zeros(len(known) + 2, bool)
        self.ideographs[ideographs] = True

    def read(self, lines: Sequence[Picture]) -> list[Floats]:
        """Logarithms of T×C probabilities of each line. Lines are ``HEIGHT`` high, dark on white, of any width."""
        width = max(line.shape[1] for line in lines)
        width += -width % FRAME
        batch = np.full((len(lines), HEIGHT, width), 255, np.uint8)
        for row, line in zip(batch, lines, strict=True):
            left = (width - line.shape[1]) // 2
            row[:, left : left + line.shape[1]] = line
        scaled = (batch.astype(np.float32) / 255 - 0.5) / 0.5
        three = np.repeat(scaled[:, None], 3, axis=1)
        found = cast("NDArray[np.float32]", self._session.run(None, {self._session.get_inputs()[0].name: three})[0])
        return [*np.log(np.maximum(found, LEAST)).astype(np.float64)]


@cache
def recogniser() -> Recogniser:
    """This process's own. Loading takes a fifth of a second and 140 MB."""
    return Recogniser()


def is_ideograph(text: str) -> bool:
    """Of one character."""
    return len(text) == 1 and ("\u3400" <= text <= "\u9fff" or "\U00020000" <= text <= "\U0003ffff" or text == "〇")
