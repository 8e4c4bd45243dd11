"""How plausible the pen's movement is: hands as people move them, pens as machines do, and anything at all."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFont

from contracts.commands.signing import Box, Handwriting, Point
from contracts.facts.signing import PenMeasure
from deploy.simulator.hand import _medians, writes
from servicekit.documents.fonts import load
from services.signing.pen import FASTEST, SIDE, _lines, measures
from services.signing.recogniser import Picture
from tests.servicekit.documents.prepared import fonts_folder

ORDER = ["pen_even_timing", "pen_speed", "pen_jump", "pen_traced"]
BOX = 300
SURNAMES, GIVEN = "王李张刘陈杨黄赵吴周", "明华丽强芳军敏静勇艳超秀霞平刚英文玉兰志国建春红小"

Path = Sequence[tuple[float, float]]


def names(count: int) -> list[str]:
    chance = random.Random(7)
    return [chance.choice(SURNAMES) + "".join(chance.sample(GIVEN, chance.choice((1, 2, 2)))) for _ in range(count)]


@cache
def sample(character: str) -> Picture | None:
    """In the Kai the forms are set in, as it might stand beside the box."""
    font = load(fonts_folder()).kai
    if ord(character) not in _known(str(font)):
        return None
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).text((100, 100), character, font=ImageFont.truetype(font, 180), fill=30, anchor="mm")
    return np.asarray(image)


@cache
def _known(font: str) -> frozenset[int]:
    with TTFont(font) as opened:
        return frozenset(opened.getBestCmap() or ())


def none(_: str) -> Picture | None:
    return None


def found(writing: Handwriting, name: str, shown: Callable[[str], Picture | None] = none) -> dict[str, PenMeasure]:
    answer = measures(writing, name, shown)
    assert [each.code for each in answer] == ORDER
    return {each.code: each for each in answer}


def flagged(writing: Handwriting, name: str, shown: Callable[[str], Picture | None] = none) -> list[str]:
    return [code for code, each in found(writing, name, shown).items() if each.flagged]


# --- hands and machines ----------------------------------------------------------------------------------------


def simulated(name: str, seed: int = 1) -> Handwriting:
    return Handwriting.model_validate(writes(name, random.Random(seed)))


def printed(character: str) -> list[Path]:
    """The strokes of another regular-script font, in pixels of a box."""
    return [
        [(0.1 * BOX + 0.8 * BOX * x / 1024, 0.1 * BOX + 0.8 * BOX * y / 1024) for x, y in m]
        for m in _medians()[character]
    ]


def along(path: Path, share: float) -> tuple[float, float]:
    lengths = [math.dist(a, b) for a, b in pairwise(path)]
    left = share * sum(lengths)
    for (start, end), length in zip(pairwise(path), lengths, strict=True):
        if left <= length:
            u = left / max(length, 1e-9)
            return start[0] + (end[0] - start[0]) * u, start[1] + (end[1] - start[1]) * u
        left -= length
    return path[-1]


def written(name: str, stroke: Callable[[Path, float], tuple[list[Point], float]]) -> Handwriting:
    """``stroke`` gives the samples along a way that begins at a time, and the time at which the next begins."""
    clock, boxes = 0.0, list[Box]()
    for character in name:
        strokes: list[tuple[Point, ...]] = []
        for path in printed(character):
            points, clock = stroke(path, clock)
            strokes.append(tuple(points))
        boxes.append(Box(width=BOX, height=BOX, strokes=tuple(strokes)))
        clock += 500
    return Handwriting(boxes=tuple(boxes))


def lively(name: str, seed: int, *, hz: int = 60, brisk: float = 1.0, late: float = 0.0) -> Handwriting:
    """A hand: speeds up and slows down in every stroke (minimum jerk), strokes and pauses vary. ``late`` is the share
    of frames that a slow phone hands over with the next one; ``brisk`` is by how much it hurries.
    """
    chance = random.Random(seed)

    def stroke(path: Path, clock: float) -> tuple[list[Point], float]:
        length = sum(math.dist(a, b) for a, b in pairwise(path)) / BOX
        lasts = (120 + 350 * length) * chance.lognormvariate(0, 0.25) / brisk
        points: list[Point] = []
        at, clocked = 0.0, clock
        while at < lasts:
            u = at / lasts
            x, y = along(path, u**3 * (10 - 15 * u + 6 * u * u))
            if at == 0 or chance.random() >= late:
                clocked = max(clocked, clock + at)
                x, y = x + chance.gauss(0, 0.6), y + chance.gauss(0, 0.6)
                points.append(Point(x=round(x, 2), y=round(y, 2), t=round(clocked)))
            else:
                clocked = clock + at + 1000 / hz
            at += 1000 / hz
        return points, clock + lasts + chance.lognormvariate(5, 0.4) / brisk

    return written(name, stroke)


def replayed(name: str, *, every: float = 8, step: float = 4, pause: float = 120, jitter: int = 0) -> Handwriting:
    """A machine: steps of ``step`` pixels, one ``every`` so many milliseconds, the same pause after every stroke."""
    chance = random.Random(3)

    def stroke(path: Path, clock: float) -> tuple[list[Point], float]:
        length = sum(math.dist(a, b) for a, b in pairwise(path))
        count = math.ceil(length / step)
        points: list[Point] = []
        for i in range(count + 1):
            x, y = along(path, min(1.0, i * step / length))
            points.append(Point(x=round(x, 2), y=round(y, 2), t=round(clock + i * every + chance.uniform(0, jitter))))
        return points, clock + count * every + pause

    return written(name, stroke)


def traced(name: str, *, size: float = 0.8, tremor: float = 0.0) -> Handwriting:
    """The sample's own middle lines, at ``size`` of the box, now faster and now slower."""
    chance, clock, boxes = random.Random(4), 0, list[Box]()
    for character in name:
        strokes: list[tuple[Point, ...]] = []
        for path in middle_lines(character):
            points: list[Point] = []
            for place in path:
                x, y = (((v / SIDE - 0.5) * size + 0.5 + chance.gauss(0, tremor)) * BOX for v in place)
                points.append(Point(x=x, y=y, t=clock))
                clock += chance.randint(5, 15)
            strokes.append(tuple(points))
            clock += chance.randint(100, 300)
        boxes.append(Box(width=BOX, height=BOX, strokes=tuple(strokes)))
    return Handwriting(boxes=tuple(boxes))


def middle_lines(character: str) -> list[list[tuple[int, int]]]:
    """From pixel to neighbouring pixel, and a new line where none is left."""
    lines = _lines(sample(character))
    assert lines is not None
    left = {(int(column), int(row)) for row, column in zip(*np.nonzero(lines), strict=True)}
    paths: list[list[tuple[int, int]]] = []
    at = (-9, -9)
    while left:
        before, at = at, min(left, key=lambda pixel, last=at: (math.dist(pixel, last), pixel))
        left.remove(at)
        if math.dist(before, at) > 1.5:
            paths.append([])
        paths[-1].append(at)
    return paths


@pytest.mark.parametrize("name", names(12))
def test_honest_hands_are_not_flagged(name: str) -> None:
    for seed in range(3):
        assert flagged(simulated(name, seed), name, sample) == []
    for brisk in (0.5, 1.0, 2.0, 3.0):
        assert flagged(lively(name, 5, brisk=brisk), name) == []
        assert flagged(lively(name, 6, brisk=brisk, hz=120), name) == []


@pytest.mark.parametrize("name", names(12))
def test_nor_is_a_slow_phone(name: str) -> None:
    for late in (0.1, 0.3, 0.5):
        assert flagged(lively(name, 7, late=late, brisk=2.0), name) == []


@pytest.mark.parametrize("name", ["王小明", "陈建国", "李华", "欧阳丽"])
@pytest.mark.parametrize(
    ("every", "step", "jitter"),
    [(8, 4, 0), (4.17, 2, 0), (16.67, 6, 0), (8, 4, 4), (12, 40, 0)],
    ids=["125 Hz", "240 Hz", "60 Hz", "unsteady clock", "few samples"],
)
def test_a_replay_at_one_pace_is_too_even(name: str, every: float, step: float, jitter: int) -> None:
    assert found(replayed(name, every=every, step=step, jitter=jitter), name)["pen_even_timing"].flagged


def test_either_evenness_is_enough() -> None:
    """Pauses made up by chance do not hide one speed, nor the other way round."""
    chance = random.Random(2)
    one_speed = replayed("王小明")
    shifted: list[Box] = []
    late = 0
    for box in one_speed.boxes:
        strokes: list[tuple[Point, ...]] = []
        for stroke in box.strokes:
            late += chance.randint(0, 400)
            strokes.append(tuple(p.model_copy(update={"t": p.t + late}) for p in stroke))
        shifted.append(box.model_copy(update={"strokes": tuple(strokes)}))
    assert flagged(Handwriting(boxes=tuple(shifted)), "王小明") == ["pen_even_timing"]
    one_pause: list[Box] = []
    clock = 0
    for box in lively("王小明", 1).boxes:
        strokes = []
        for stroke in box.strokes:
            strokes.append(tuple(p.model_copy(update={"t": p.t - stroke[0].t + clock}) for p in stroke))
            clock = strokes[-1][-1].t + 150
        one_pause.append(box.model_copy(update={"strokes": tuple(strokes)}))
    assert flagged(Handwriting(boxes=tuple(one_pause)), "王小明") == ["pen_even_timing"]


def one(*strokes: Sequence[tuple[float, float, int]], height: float = 100) -> Handwriting:
    drawn = tuple(tuple(Point(x=x, y=y, t=t) for x, y, t in stroke) for stroke in strokes)
    return Handwriting(boxes=(Box(width=height, height=height, strokes=drawn),))


def test_speed_is_in_box_heights_a_second_whatever_the_box() -> None:
    """Half a box in 100 ms."""
    for height in (50, 100, 400):
        writing = one([(i * height / 20, 0, 10 * i) for i in range(11)], height=height)
        assert found(writing, "一")["pen_speed"].value == pytest.approx(5, rel=1e-3)


def test_nobody_is_so_fast() -> None:
    assert flagged(replayed("王小明", every=1, step=12), "王小明") == ["pen_even_timing", "pen_speed"]
    everything_at_once = replayed("王小明", every=0, pause=0)
    assert "pen_speed" in flagged(everything_at_once, "王小明")


def test_a_point_that_leaps_is_a_jump_and_a_gap_in_time_is_none() -> None:
    calm = [(10.0 + i, 10.0, 8 * i) for i in range(20)]
    last = calm[-1][2]
    rest = [(90.0, 90.0 - i, 8 * i) for i in range(20)]
    for gap, leaps in ((8, True), (0, True), (200, False), (3000, False)):
        jump = found(one([*calm, *((x, y, last + gap + t) for x, y, t in rest)]), "一")["pen_jump"]
        assert jump.flagged is leaps
    assert not found(one(calm, [(x, y, last + 8 + t) for x, y, t in rest]), "一")["pen_jump"].flagged, "lifted"
    assert jump.value == 0


def test_two_frames_handed_over_at_once_are_neither_fast_nor_a_jump() -> None:
    times = [0, 17, 33, 66, 66, 67, 83, 100, 133, 133, 150]
    assert flagged(one([(8.0 * i, 50.0, t) for i, t in enumerate(times)]), "一") == []


@pytest.mark.parametrize("name", names(8))
def test_ink_on_the_very_lines_of_the_sample_is_traced_wherever_it_stands(name: str) -> None:
    for size in (0.5, 0.8, 1.0):
        assert flagged(traced(name, size=size), name, sample) == ["pen_traced"]
    assert flagged(traced(name, tremor=0.004), name, sample) == ["pen_traced"]


@pytest.mark.parametrize("name", names(8))
def test_another_regular_script_is_no_trace_of_it(name: str) -> None:
    measure = found(replayed(name), name, sample)["pen_traced"]
    assert 0 < measure.value <= 0.9
    assert not measure.flagged


def test_a_box_full_of_ink_is_no_trace() -> None:
    full = one([(x if y % 4 else 100 - x, y, 100 * y + x) for y in range(0, 101, 2) for x in (0, 100)])
    assert not found(full, "明", sample)["pen_traced"].flagged


def test_nothing_is_traced_where_no_sample_is_shown() -> None:
    blank = np.full((64, 64), 255, np.uint8)
    for shown in (none, lambda _: blank, lambda _: np.zeros((0, 0), np.uint8)):
        measure = found(simulated("王小明"), "王小明", shown)["pen_traced"]
        assert (measure.value, measure.flagged) == (0, False)
    assert sample("頋") is None
    assert found(simulated("一丁"), "一丁", sample)["pen_traced"].value == 0, "too few strokes to tell"


def test_too_little_ink_is_called_neither_even_nor_uneven() -> None:
    for writing in (Handwriting(boxes=()), one(), one([]), one([(1, 1, 0)]), one([(1, 1, 0), (60, 1, 300)])):
        measure = found(writing, "一")["pen_even_timing"]
        assert measure.value == measure.limit
        assert not measure.flagged


# --- anything at all -------------------------------------------------------------------------------------------

places = st.floats(-4096, 4096, allow_subnormal=True) | st.sampled_from([0.0, 50.0, 100.0])
times = st.integers(0, 3_600_000) | st.integers(0, 50)
sizes = st.floats(0, 4096, exclude_min=True, allow_subnormal=True) | st.just(100.0)
points = st.builds(Point, x=places, y=places, t=times)
strokes = st.lists(points, max_size=30).map(tuple) | st.builds(lambda p, n: (p,) * n, points, st.integers(1, 30))
some_boxes = st.builds(Box, width=sizes, height=sizes, strokes=st.lists(strokes, max_size=8).map(tuple))
writings = st.builds(Handwriting, boxes=st.lists(some_boxes, max_size=4).map(tuple))
pictures = arrays(np.uint8, st.tuples(*[st.integers(0, 20)] * 2), elements=st.sampled_from([0, 149, 150, 255]))


@settings(max_examples=150, deadline=None)
@given(writings, st.text("王小明丁一龘·x 𠮷", max_size=5), st.none() | pictures)
def test_anything_drawn_is_measured(writing: Handwriting, name: str, picture: Picture | None) -> None:
    measured = found(writing, name, lambda _: picture)
    for code, each in measured.items():
        assert math.isfinite(each.value)
        assert each.value >= 0
        assert each.flagged is (each.value < each.limit if code == "pen_even_timing" else each.value > each.limit)
    assert measured["pen_traced"].value <= 1
    assert found(writing, name, lambda _: picture) == measured


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(names(6)), st.sampled_from([0.25, 2.0, 4.0]), st.integers(0, 10**6))
def test_neither_the_size_of_the_page_nor_when_it_was_opened_matters(
    seed: int, name: str, scale: float, later: int
) -> None:
    writing = simulated(name, seed)
    moved = [
        Box(
            width=box.width * scale,
            height=box.height * scale,
            strokes=tuple(
                tuple(p.model_copy(update={"x": p.x * scale, "y": p.y * scale, "t": p.t + later}) for p in stroke)
                for stroke in box.strokes
            ),
        )
        for box in writing.boxes
    ]
    assert measures(Handwriting(boxes=tuple(moved)), name, none) == measures(writing, name, none)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(names(6)), st.floats(0.02, 0.5))
def test_the_faster_the_replay_the_higher_its_speed(seed: int, name: str, share: float) -> None:
    writing = simulated(name, seed)
    hurried = [
        box.model_copy(
            update={
                "strokes": tuple(
                    tuple(p.model_copy(update={"t": int(p.t * share)}) for p in stroke) for stroke in box.strokes
                )
            }
        )
        for box in writing.boxes
    ]
    faster, slower = (found(each, name)["pen_speed"] for each in (Handwriting(boxes=tuple(hurried)), writing))
    assert faster.value > slower.value
    assert faster.flagged is (faster.value > FASTEST)
