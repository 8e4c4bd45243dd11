from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.documents.paper import amount_in_words, paper_date, paper_period, paper_time, yuan


@pytest.mark.parametrize(
    ("fen", "words"),
    [
        (0, "零元整"),
        (1, "壹分"),
        (10, "壹角整"),
        (15, "壹角伍分"),
        (100, "壹元整"),
        (101, "壹元零壹分"),
        (110, "壹元壹角整"),
        (10_00, "壹拾元整"),
        (1409_50, "壹仟肆佰零玖元伍角整"),
        (6007_14, "陆仟零柒元壹角肆分"),
        (1680_32, "壹仟陆佰捌拾元叁角贰分"),
        (325_04, "叁佰贰拾伍元零肆分"),
        (107000_53, "壹拾万零柒仟元伍角叁分".replace("零", "")),
        (100_500_00, "壹拾万零伍佰元整"),
        (10_001_00, "壹万零壹元整"),
        (1_000_000_00, "壹佰万元整"),
        (100_010_001_00, "壹亿零壹万零壹元整"),
        (3_000_000_001_00, "叁拾亿零壹元整"),
        (1_234_567_89, "壹佰贰拾叁万肆仟伍佰陆拾柒元捌角玖分"),
    ],
)
def test_amounts_in_words(fen: int, words: str) -> None:
    assert amount_in_words(fen) == words


_VALUES = {c: i for i, c in enumerate("零壹贰叁肆伍陆柒捌玖")}
_PLACES = {"拾": 10, "佰": 100, "仟": 1000}


def _read(words: str) -> int:
    """Reads capital numerals back: an independent, slow way round."""
    total, group, digit, fen = 0, 0, 0, 0
    for c in words:
        if c in _VALUES:
            digit = _VALUES[c]
        elif c in _PLACES:
            group += digit * _PLACES[c]
            digit = 0
        elif c in "万亿元":
            group += digit
            total, group, digit = total + group * {"万": 10**4, "亿": 10**8, "元": 1}[c], 0, 0
        elif c == "角":
            fen, digit = fen + digit * 10, 0
        elif c == "分":
            fen, digit = fen + digit, 0
    return total * 100 + fen


@given(st.integers(min_value=0, max_value=10**14 - 1))
def test_amount_in_words_reads_back(fen: int) -> None:
    words = amount_in_words(fen)
    assert _read(words) == fen
    assert "零零" not in words
    assert words.endswith(("整", "分"))
    assert not words.endswith("分整")


@pytest.mark.parametrize("fen", [-1, 10**14])
def test_amount_out_of_range(fen: int) -> None:
    with pytest.raises(ValueError, match="range"):
        amount_in_words(fen)


def test_yuan() -> None:
    assert yuan(0) == "0.00"
    assert yuan(123456789) == "1,234,567.89"
    assert yuan(-5) == "-0.05"


def test_time_is_shanghai_on_paper() -> None:
    moment = datetime(2026, 3, 7, 16, 5, 9, tzinfo=UTC)
    assert paper_time(moment) == "2026-03-08 00:05:09"
    assert paper_date(moment) == "2026年3月8日"
    assert paper_date(date(2026, 3, 7)) == "2026年3月7日"


def test_period_ends_at_the_24th_hour() -> None:
    begins, ends = datetime(2026, 3, 14, 16, tzinfo=UTC), datetime(2027, 3, 14, 16, tzinfo=UTC)
    assert paper_period(begins, ends) == "自2026年3月15日0时起至2027年3月14日24时止"
    at_once = datetime(2026, 3, 7, 8, 30, tzinfo=UTC)
    assert paper_period(at_once, ends) == "自2026年3月7日16时30分起至2027年3月14日24时止"
