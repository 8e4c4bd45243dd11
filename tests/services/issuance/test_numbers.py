"""The shape of policy numbers, and what their check character and code are worth."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.issuance.numbers import (
    LAST_SERIAL,
    LENGTH,
    PolicyNumber,
    SerialsExhausted,
    Series,
    check_character,
    code_of,
    grouped,
    typed_code,
)

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
series = st.builds(
    Series,
    line=st.text(CHARACTERS, min_size=4, max_size=4),
    year=st.integers(2020, 2200),
    branch=st.text("0123456789", min_size=4, max_size=4),
)
lasts = st.integers(0, LAST_SERIAL - 100)


@st.composite
def numbers(draw: st.DrawFn) -> PolicyNumber:
    of = draw(series)
    return of.number(of.next_serial(draw(lasts)))


def wrong(text: str) -> bool:
    try:
        PolicyNumber.read(text)
    except ValueError:
        return True
    return False


@given(numbers())
def test_a_number_has_its_parts_and_reads_back(number: PolicyNumber) -> None:
    text = str(number)
    assert len(text) == LENGTH
    assert re.fullmatch(r"[A-Z0-9]{4}\d{4}\d{4}\d{9}[A-Z0-9]", text)
    assert PolicyNumber.read(text) == number
    assert PolicyNumber.read(f" {text[:4].lower()} {text[4:]} ") == number


@given(numbers(), st.integers(0, LENGTH - 1), st.sampled_from(CHARACTERS))
def test_one_wrong_character_is_noticed(number: PolicyNumber, at: int, other: str) -> None:
    text = str(number)
    assume(text[at] != other)
    assert wrong(text[:at] + other + text[at + 1 :])


@given(numbers(), st.integers(0, LENGTH - 1), st.integers(0, LENGTH - 1))
def test_two_swapped_characters_are_noticed(number: PolicyNumber, one: int, other: int) -> None:
    text = list(str(number))
    assume(text[one] != text[other])
    text[one], text[other] = text[other], text[one]
    assert wrong("".join(text))


@given(series, lasts)
def test_serials_rise_and_never_need_a_star(of: Series, last: int) -> None:
    first = of.next_serial(last)
    second = of.next_serial(first)
    assert last < first < second
    assert str(of.number(first))[-1] in CHARACTERS
    assert set(of.between(last + 1, second)) == {first, second}


def test_the_published_example_of_the_standard() -> None:
    # ISO 7064 as ISBT 128 uses it: the donation number G123 498 654321 has the check character H.
    assert check_character("G123498654321") == "H"


def test_a_used_up_series_says_so() -> None:
    with pytest.raises(SerialsExhausted):
        Series("ZADA", 2026, "4401").next_serial(LAST_SERIAL)


@given(st.text(max_size=40))
def test_any_text_is_judged_without_failing(text: str) -> None:
    wrong(text)
    typed_code(text)


def test_an_application_number_is_no_policy_number() -> None:
    assert wrong("TB20261123ABCDEFGH12")


@given(st.binary(min_size=32, max_size=32))
def test_a_code_has_eighty_bits_and_forgives_how_it_is_typed(secret: bytes) -> None:
    code = code_of(secret.hex())
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{16}", code)
    assert typed_code(grouped(code)) == code
    assert typed_code(grouped(code).lower().replace("0", "o").replace("1", "l")) == code
