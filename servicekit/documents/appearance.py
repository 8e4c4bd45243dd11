"""What a signature field shows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Appearance:
    """PDF content operators in a box of points, origin at the lower left.

    Paths and colours only, no text: text would need an embedded font.
    """

    width: float
    height: float
    operators: bytes
