"""What a printed sheet is made of: rows of label and value, amounts, a table of items with a price.

The layout is ``templates/sheet.html``: labels in sans, what was filled in in kai, hairlines, figures aligned.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from contracts import Contract
from contracts.values import Fen

Text = Annotated[str, Field(min_length=1, max_length=2000)]


class Row(Contract):
    """One label and what was filled in. ``wide`` gives it the whole line."""

    label: Annotated[str, Field(min_length=1, max_length=60)]
    value: Annotated[str, Field(max_length=2000)]
    wide: bool = False


HALF_LINE = 32
"""What half a line holds, in half-width characters."""


def fitted_row(label: str, text: str) -> Row:
    """Half a line; the whole line for what would wrap in half of it."""
    width = sum(1 if character.isascii() else 2 for character in text)
    return Row(label=label, value=text, wide=width > HALF_LINE)


class Section(Contract):
    """Rows under a heading."""

    title: Text
    rows: tuple[Row, ...]


class Amount(Contract):
    """An amount on a line of its own, in fen."""

    label: Text
    fen: Fen


class Cover(Contract):
    """One line of the table of what is covered. ``limit`` and ``deductible`` are words or figures as agreed."""

    name: Text
    limit: Annotated[str, Field(max_length=200)]
    deductible: Annotated[str, Field(max_length=200)] = ""
    fen: Fen | None = None
    """The line's own premium; None where the product has one premium for all lines."""


def check_totals(covers: Sequence[Cover], premium: int, taxes: Sequence[Amount], total: int) -> None:
    """Raise ValueError where paper would show figures that don't add up."""
    priced = [c.fen for c in covers if c.fen is not None]
    if priced and (len(priced) != len(covers) or sum(priced) != premium):
        raise ValueError("the lines' premiums don't add up to the premium")
    if premium + sum(t.fen for t in taxes) != total:
        raise ValueError("premium and taxes don't add up to the total")
