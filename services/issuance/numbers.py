"""Policy numbers (保单号) and the code a policy is checked with (验真码). Pure.

A policy number has 22 characters (DOMAIN §2.6)::

    ZADA 2026 4401 000000042 K
    │    │    │    │         └ check character, ISO 7064 MOD 37-2 over the 21 before it
    │    │    │    └ serial, nine digits, counted per line, year and branch
    │    │    └ branch, four digits
    │    └ year of numbering, in Asia/Shanghai
    └ line of the product

MOD 37-2 because 37 is prime and 2 its primitive root: one wrong character is always noticed, and so is any two
swapped, neighbours or not. Its 37th check character is ``*``; a serial that would get it is passed over, so that
numbers stay letters and digits. No application number (投保单号) has this length.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Self

LENGTH: Final = 22
LAST_SERIAL: Final = 999_999_999
CODE_LENGTH: Final = 16
"""Characters of five bits each: 80 bits that nobody can guess."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_SHAPE: Final = re.compile(r"([A-Z0-9]{4})([0-9]{4})([0-9]{4})([0-9]{9})([A-Z0-9])", re.ASCII)
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD: Final = str.maketrans("OIL", "011", "-‐–—")


class SerialsExhausted(ValueError):
    """A line has used every serial of its year and branch."""


@dataclass(frozen=True, slots=True)
class Series:
    """What serials are counted by."""

    line: str
    year: int
    branch: str

    @property
    def key(self) -> str:
        return f"{self.line}{self.year:04d}{self.branch}"

    def number(self, serial: int) -> PolicyNumber:
        return PolicyNumber(self, serial)

    def next_serial(self, last: int) -> int:
        """The serial that follows ``last`` (0 before the first). Raises SerialsExhausted."""
        serial = last + 1
        while serial <= LAST_SERIAL:
            if check_character(f"{self.key}{serial:09d}") != "*":
                return serial
            serial += 1
        raise SerialsExhausted(self.key)

    def between(self, first: int, last: int) -> tuple[int, ...]:
        """Every serial from ``first`` to ``last`` that is ever drawn."""
        return tuple(s for s in range(first, last + 1) if check_character(f"{self.key}{s:09d}") != "*")


@dataclass(frozen=True, slots=True)
class PolicyNumber:
    series: Series
    serial: int

    def __str__(self) -> str:
        body = f"{self.series.key}{self.serial:09d}"
        return body + check_character(body)

    @classmethod
    def read(cls, text: str) -> Self:
        """The number somebody typed: case and blanks do not matter. Raises ValueError without quoting it."""
        plain = _plain(text)
        shape = _SHAPE.fullmatch(plain)
        if shape is None or check_character(plain[:-1]) != plain[-1]:
            raise ValueError("not a policy number")
        line, year, branch, serial, _ = shape.groups()
        return cls(Series(line, int(year), branch), int(serial))


def check_character(body: str) -> str:
    """ISO 7064 MOD 37-2: with it behind, the whole is 1 modulo 37."""
    total = 0
    for character in body:
        total = (total + _VALUES[character]) * 2 % 37
    return _ALPHABET[(1 - total) % 37]


def code_of(secret: str) -> str:
    """The verification code out of a keyed digest (hex) of the number: sixteen characters of Crockford's alphabet,
    which has no letter that looks like a digit.
    """
    bits = int.from_bytes(hashlib.sha256(b"toubao verification code\0" + bytes.fromhex(secret)).digest()[:10])
    return "".join(_CROCKFORD[bits >> shift & 31] for shift in range(75, -1, -5))


def grouped(code: str) -> str:
    """As paper shows it: ``8K3M-2QTX-9V0C-7HNB``."""
    return "-".join(code[i : i + 4] for i in range(0, len(code), 4))


def typed_code(text: str) -> str:
    """A code as typed, as ``code_of`` writes it: case, dashes and blanks away, O and I and L as what they look like."""
    return _plain(text).translate(_MISREAD)


def _plain(text: str) -> str:
    """Without blanks, in capitals, with letters and digits of the usual width."""
    return "".join(unicodedata.normalize("NFKC", text).split()).upper()
