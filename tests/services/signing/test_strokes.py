import hashlib
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from services.signing import strokes
from services.signing.strokes import Handwriting, Point
from tests.services.signing.handwritten import written


def _grey(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.mode == "L"
    return image


def test_same_strokes_same_drawings() -> None:
    first, second = written(), written()
    for box in range(3):
        assert strokes.svg(first, box) == strokes.svg(second, box)
        assert strokes.picture(first, box) == strokes.picture(second, box)
    assert strokes.appearance(first, 170, 46) == strokes.appearance(second, 170, 46)


def test_a_drawing_of_this_version_stays_what_it_is() -> None:
    """Whoever changes the ink raises VERSION: recorded strokes must draw as they were drawn."""
    assert strokes.VERSION == 1
    drawn = strokes.appearance(written(), 170, 46).operators
    assert hashlib.sha256(drawn).hexdigest() == "cc9b43e928d064c255a63ab1ec2726457d7eb21c9071908b814e014bc62d62af"


def test_ink_is_where_the_finger_was() -> None:
    picture = _grey(strokes.picture(written("王"), 0, 300))
    assert picture.size == (300, 300)
    assert picture.getpixel((149, 170)) == 0
    assert picture.getpixel((20, 20)) == 255
    # Each recorded point is inked.
    for stroke in written("王").boxes[0]:
        for x, y, _, _ in stroke:
            assert picture.getpixel((min(299, round(x)), min(299, round(y)))) in range(128)


def test_fit_brings_a_small_corner_to_the_middle() -> None:
    small = Handwriting(
        width=300,
        height=300,
        boxes=(tuple(tuple((x / 4, y / 4, t, p) for x, y, t, p in s) for s in written("王").boxes[0]),),
    )
    fitted = _grey(strokes.picture(small, 0, 128, fit=True))
    box = fitted.point(lambda v: 255 - v).getbbox()
    assert box is not None
    left, top, right, bottom = box
    assert max(right - left, bottom - top) == pytest.approx(0.9 * 128, abs=3)
    assert (left + right) / 2 == pytest.approx(64, abs=2)
    assert (top + bottom) / 2 == pytest.approx(64, abs=2)


def test_slow_is_thick_and_quick_is_thin() -> None:
    def line(ms: float) -> float:
        points: tuple[Point, ...] = tuple((i * 3.0, 50.0, i * ms, 0.5) for i in range(20))
        drawn = strokes.ink(Handwriting(width=200, height=100, boxes=((points,),)), 0)[0]
        return drawn[len(drawn) // 2].width

    assert line(60) > line(12) > line(4)


def test_measured_pressure_rules() -> None:
    def line(pressure: float) -> float:
        points: tuple[Point, ...] = tuple(
            (i * 10.0, 50.0, i * 12.0, pressure if i else pressure / 2) for i in range(20)
        )
        drawn = strokes.ink(Handwriting(width=200, height=100, boxes=((points,),)), 0)[0]
        return drawn[len(drawn) // 2].width

    assert line(0.9) > line(0.3)


def test_appearance_has_no_text_and_stays_inside() -> None:
    drawn = strokes.appearance(written("王小明王小明王小明"), 170, 46)
    operators = drawn.operators.decode()
    assert not re.search(r"\b(BT|Tf|Tj|Do|gs)\b", operators)
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d+ (?=-?\d+\.\d+ [ml])", operators)]
    assert all(0 <= n <= 170 for n in numbers)


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (12, 2), (20, 2), (40, 3)])
def test_long_names_take_more_rows(count: int, rows: int) -> None:
    dots = Handwriting(width=100, height=100, boxes=((((50.0, 50.0, 0.0, 0.5),),),) * count)
    drawn = strokes.appearance(dots, 238, 54).operators.decode()
    places = [place.split() for place in re.findall(r"w (\S+ \S+) m", drawn)]
    assert len(places) == count
    assert len({y for _, y in places}) == rows
    assert len({tuple(place) for place in places}) == count


def test_a_tap_is_a_dot_and_an_empty_box_is_white() -> None:
    tap = Handwriting(width=100, height=100, boxes=((((50.0, 50.0, 0.0, 0.5),),), ()))
    assert _grey(strokes.picture(tap, 0)).getpixel((64, 64)) == 0
    assert _grey(strokes.picture(tap, 1, fit=True)).getextrema() == (255, 255)
    assert "<path" in strokes.svg(tap, 0)
    assert "<path" not in strokes.svg(tap, 1)
    assert b" l S" in strokes.appearance(tap, 100, 50).operators


_points = st.tuples(st.floats(-500, 1000), st.floats(-500, 1000), st.floats(0, 60_000), st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_points, min_size=1, max_size=30), max_size=4))
def test_any_strokes_can_be_drawn(box: list[list[Point]]) -> None:
    hand = Handwriting(width=300, height=300, boxes=(tuple(tuple(s) for s in box),))
    strokes.picture(hand, 0, 32)
    strokes.picture(hand, 0, 32, fit=True)
    assert "nan" not in strokes.svg(hand, 0)
    assert b"nan" not in strokes.appearance(hand, 170, 46).operators


@pytest.mark.parametrize(
    "point", [(float("nan"), 0, 0, 0.5), (float("inf"), 0, 0, 0.5), (0, 0, -1, 0.5), (0, 0, 0, 1.5), (1e9, 0, 0, 0.5)]
)
def test_impossible_points_are_refused(point: Point) -> None:
    with pytest.raises(ValidationError):
        Handwriting(width=300, height=300, boxes=(((point,),),))
