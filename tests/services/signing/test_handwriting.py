"""Whether handwriting reads as the name, on names of the simulated hand: no outcome here depends on chance.

How often it is right about messy hands is measured apart (``make bench-handwriting``, docs/handwriting.md).
"""

from __future__ import annotations

import pickle
import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from contracts.commands.signing import Handwriting as Written
from deploy.simulator.hand import writes
from services.signing import handwriting
from services.signing.ctc import Floats
from services.signing.handwriting import (
    LONGEST,
    REASONS,
    Verdict,
    check_boxes,
    check_line,
    limit,
    sentence,
    warm_up,
)
from services.signing.pictures import cut, inked, side_by_side
from services.signing.reading import pictures
from services.signing.recogniser import MODEL, Picture, recogniser

SURNAMES, GIVEN = "王李张刘陈杨黄赵吴周", "明华丽强芳军敏静勇艳超秀霞平刚英文玉兰志国建春红小"


@cache
def boxes(name: str, seed: int = 0) -> tuple[Picture, ...]:
    """One picture a character, as the service draws them from the strokes."""
    return tuple(pictures(Written.model_validate(writes(name, random.Random(seed)))))


def row(name: str, seed: int = 0) -> Picture:
    return side_by_side([ink for box in boxes(name, seed) if (ink := inked(box)) is not None], gap=0.2)


def names(count: int) -> list[str]:
    chance = random.Random(7)
    return [chance.choice(SURNAMES) + "".join(chance.sample(GIVEN, chance.choice((1, 2, 2)))) for _ in range(count)]


@pytest.mark.parametrize("name", names(12))
def test_a_name_in_regular_script_passes_at_the_first_try(name: str) -> None:
    for verdict in (check_boxes(boxes(name), name), check_line(row(name), name)):
        assert verdict.outcome == "pass", verdict
        assert verdict.reason is None
        assert sentence(verdict) == ""
        assert "".join(each.character for each in verdict.characters) == name
        assert all(each.ok for each in verdict.characters)


@pytest.mark.parametrize(
    ("written", "expected", "box"),
    [
        ("王小明", "王大明", 2),
        ("王小明", "王小红", 3),
        ("王小明", "李小明", 1),
        ("张丽", "张华", 2),
        ("陈建国", "陈建平", 3),
    ],
)
def test_one_character_replaced_does_not_and_its_box_is_named(written: str, expected: str, box: int) -> None:
    for verdict in (check_boxes(boxes(written), expected), check_line(row(written), expected)):
        assert verdict.outcome == "retry"
        assert verdict.reason == "handwriting_unclear"
        assert [each.ok for each in verdict.characters].index(False) == box - 1
        assert sentence(verdict).startswith(f"第{box}格“{expected[box - 1]}”")


@pytest.mark.parametrize(("written", "expected"), list(zip(names(8), names(9)[1:], strict=True)))
def test_another_name_does_not(written: str, expected: str) -> None:
    if len(written) == len(expected):
        assert check_boxes(boxes(written), expected).outcome == "retry"
    assert check_line(row(written), expected).outcome == "retry"


def test_more_than_the_name_is_not_the_name() -> None:
    assert check_line(row("王小明明"), "王小明").outcome == "retry"
    assert check_line(row("王小"), "王小明").outcome == "retry"


def blank(_: random.Random, __: ImageDraw.ImageDraw) -> None:
    return None


def lines(chance: random.Random, draw: ImageDraw.ImageDraw) -> None:
    for _ in range(chance.randint(1, 7)):
        draw.line([(chance.uniform(8, 120), chance.uniform(8, 120)) for _ in "ab"], fill=20, width=chance.randint(1, 6))


def dots(chance: random.Random, draw: ImageDraw.ImageDraw) -> None:
    for _ in range(chance.randint(1, 4)):
        x, y, size = chance.uniform(8, 110), chance.uniform(8, 110), chance.uniform(1, 8)
        draw.ellipse((x, y, x + size, y + size), fill=20)


def scribble(chance: random.Random, draw: ImageDraw.ImageDraw) -> None:
    points = [(64.0, 64.0)]
    for _ in range(chance.randint(6, 70)):
        points.append(tuple(min(120.0, max(8.0, each + chance.gauss(0, 25))) for each in points[-1]))  # pyright: ignore[reportArgumentType]
    draw.line(points, fill=20, width=chance.randint(1, 6))


def circles(chance: random.Random, draw: ImageDraw.ImageDraw) -> None:
    for _ in range(chance.randint(1, 3)):
        x, y, size = chance.uniform(4, 50), chance.uniform(4, 50), chance.uniform(30, 70)
        draw.ellipse((x, y, x + size, y + size), outline=20, width=chance.randint(1, 6))


def letters(chance: random.Random, draw: ImageDraw.ImageDraw) -> None:
    draw.text((20, 20), "".join(chance.choices("ABCdefgWXyz0123456789", k=chance.randint(1, 3))), fill=20, font_size=60)


@pytest.mark.parametrize("kind", [blank, lines, dots, scribble, circles, letters])
def test_what_is_no_writing_never_passes(kind: Callable[[random.Random, ImageDraw.ImageDraw], None]) -> None:
    chance = random.Random(11)
    for name in names(15):
        drawn: list[Picture] = []
        for _ in name:
            image = Image.new("L", (128, 128), 255)
            kind(chance, ImageDraw.Draw(image))
            drawn.append(np.asarray(image))
        verdict = check_boxes(drawn, name)
        assert verdict.outcome == "retry", (kind.__name__, name, verdict)
        assert sentence(verdict)


def test_one_box_of_what_is_no_writing_seldom_passes_beside_honest_ones() -> None:
    """How seldom, over thousands, is measured apart; what does not pass is told by its box."""
    chance, passed = random.Random(12), 0
    kinds = (lines, dots, scribble, circles, letters)
    for name in names(10):
        for kind in kinds:
            image = Image.new("L", (128, 128), 255)
            kind(chance, ImageDraw.Draw(image))
            verdict = check_boxes([*boxes(name)[:-1], np.asarray(image)], name)
            if verdict.reason == "handwriting_unclear":
                assert [each.ok for each in verdict.characters] == [True] * (len(name) - 1) + [False]
            passed += verdict.outcome == "pass"
    assert passed <= 4, "of 50"


@pytest.mark.parametrize(("high", "wide"), [(1, 100), (1, 1000), (2, 400), (400, 1)])
def test_flat_ink_costs_no_more_than_other_ink(high: int, wide: int) -> None:
    """A hairline drawn up to a line's height would be wider than any memory."""
    hair = np.full((high + 40, wide + 40), 255, np.uint8)
    hair[20 : 20 + high, 20 : 20 + wide] = 0
    read: list[int] = []
    reader = recogniser()

    class Watched(type(reader)):
        def __init__(self) -> None:
            self.__dict__.update(reader.__dict__)

        def read(self, lines: Sequence[Picture]) -> list[Floats]:
            read.extend(each.shape[1] for each in lines)
            return super().read(lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handwriting, "recogniser", Watched)
        verdict = check_boxes([hair, *boxes("王小明")[1:]], "王小明")
    assert max(read) < 400
    assert verdict.outcome == "retry"
    assert not verdict.characters[0].ok


def test_one_stroke_is_a_character_where_the_name_has_it() -> None:
    assert check_boxes(boxes("王一明"), "王一明").outcome == "pass"


@pytest.mark.parametrize("picture", [np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9)), np.zeros(9, np.uint8)])
def test_pictures_of_another_kind_are_refused(picture: Picture) -> None:
    with pytest.raises(ValueError, match="uint8"):
        check_boxes([picture, picture], "王明")
    with pytest.raises(ValueError, match="uint8"):
        check_line(picture, "王明")


def test_nothing_at_all_is_told_as_such() -> None:
    empty = np.full((128, 128), 255, np.uint8)
    assert check_boxes([empty, empty], "王明").reason == "handwriting_empty"
    assert check_line(np.full((90, 300), 200, np.uint8), "王明").reason == "handwriting_empty"
    assert check_line(np.zeros((0, 0), np.uint8), "王明").reason == "handwriting_empty"


def test_one_empty_box_is_not_taken_for_the_rest() -> None:
    first, second, _ = boxes("王小明")
    verdict = check_boxes([first, second, np.full_like(first, 255)], "王小明")
    assert (verdict.outcome, verdict.reason) == ("retry", "handwriting_box_empty")
    assert [each.ok for each in verdict.characters] == [True, True, False]
    assert sentence(verdict).startswith("第3格还没有写字")
    verdict = check_boxes([np.full_like(first, 255), second, first], "王小明")
    assert [each.ok for each in verdict.characters] == [False, True, False], "what is there is judged all the same"
    assert sentence(verdict).startswith("第1格还没有写字")


@pytest.mark.parametrize("name", ["王\U0002ca0e", "Smith", "John·Smith", "王小8"])
def test_what_the_recogniser_does_not_know_is_for_people_to_judge(name: str) -> None:
    """A character outside its list, Latin letters: it has no word worth hearing, so it never passes either."""
    written = boxes("王小明" * 4)[: len(name.replace("·", ""))]
    verdict = check_boxes(written, name)
    assert (verdict.outcome, verdict.reason) == ("manual", "handwriting_unknown_character")
    assert not any(each.ok for each in verdict.characters)
    assert check_line(row("一"), name).outcome == "manual", "also where no line of so many characters is"


@pytest.mark.parametrize("between", "· •・‧∙⋅˙･.．\u3000\ufe00\U000e0100")
def test_the_dot_in_a_name_is_not_asked_for(between: str) -> None:
    assert check_boxes(boxes("王小明"), f"王{between}小明").outcome == "pass"


def test_the_dot_in_a_name_is_not_asked_for_in_a_line() -> None:
    assert check_line(row("王小明"), "王·小明").outcome == "pass"


def test_a_compatibility_code_point_is_the_character_it_stands_for() -> None:
    assert check_boxes(boxes("李丽"), "\uf9e1丽").outcome == "pass"


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_size_margins_and_paleness_do_not_matter(scale: float) -> None:
    changed: list[Picture] = []
    for box in boxes("王小明"):
        size = round(box.shape[1] * scale), round(box.shape[0] * scale)
        small = np.asarray(Image.fromarray(box).resize(size, Image.Resampling.LANCZOS))
        pale = (small.astype(np.float32) * 0.5 + 110).astype(np.uint8)
        changed.append(np.pad(pale, ((10, 40), (70, 5)), constant_values=int(pale.max())))
    assert check_boxes(changed, "王小明").outcome == "pass"


def test_twenty_characters_are_judged_and_more_refused() -> None:
    long = "王小明李大志" * 4
    assert check_boxes(boxes(long[:LONGEST]), long[:LONGEST]).outcome == "pass"
    with pytest.raises(ValueError, match="characters"):
        check_boxes([*boxes(long[:LONGEST]), *boxes("王")], long[: LONGEST + 1])
    with pytest.raises(ValueError, match="as many boxes"):
        check_boxes(boxes("王小"), "王小明")
    with pytest.raises(ValueError, match="characters"):
        check_line(row("王"), "·")


BETTER = {"retry": 0, "manual": 1, "pass": 2}


@given(st.sampled_from(names(12)), st.sampled_from(names(12)), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_I11_the_same_writing_fares_no_better_at_a_later_try(written: str, expected: str, attempt: int) -> None:
    drawn = row(written)
    now, later = check_line(drawn, expected, attempt=attempt), check_line(drawn, expected, attempt=attempt + 1)
    assert BETTER[later.outcome] <= BETTER[now.outcome]
    assert [each.score for each in later.characters] == [each.score for each in now.characters]
    assert all(limit(attempt + 1, expected, place) > limit(attempt, expected, place) for place in range(3))


def test_I11_no_try_comes_before_the_first() -> None:
    for attempt in (0, -9):
        with pytest.raises(ValueError, match="attempt"):
            check_boxes(boxes("王明"), "王明", attempt=attempt)
        with pytest.raises(ValueError, match="attempt"):
            check_line(row("王明"), "王明", attempt=attempt)


def test_of_a_compound_surname_both_characters_have_to_be_nearer() -> None:
    assert limit(1, "欧阳明", 1) == limit(1, "欧阳明", 0) == limit(1, "王小明", 0)
    assert limit(1, "王小明", 1) == limit(1, "欧阳明", 2) < limit(1, "王小明", 0)
    assert limit(1, "东方", 1) < limit(1, "东方", 0), "a surname of one character and a given name"


def test_I11_below_the_limit_nothing_passes() -> None:
    """Whatever the try: every pass has every character at its limit."""
    for name in names(6):
        for attempt in (1, 2, 3, 9):
            verdict = check_boxes(boxes(name), name, attempt=attempt)
            above = all(each.score >= limit(attempt, name, place) for place, each in enumerate(verdict.characters))
            assert (verdict.outcome == "pass") <= above


def test_every_reason_says_what_to_do() -> None:
    for code, text in REASONS.items():
        assert re.fullmatch(r"handwriting_[a-z_]+", code)
        assert len(text) > 10


def test_a_verdict_and_its_maker_can_be_sent_to_a_worker() -> None:
    warm_up()
    verdict: Verdict = check_boxes(boxes("王明"), "王明")
    assert pickle.loads(pickle.dumps(verdict)) == verdict
    assert pickle.loads(pickle.dumps(check_boxes)) is check_boxes


def test_the_model_is_the_one_its_licence_is_kept_for() -> None:
    told = (MODEL.parent / "README.md").read_text("utf-8")
    assert sha256(MODEL.read_bytes()).hexdigest() in told
    assert len(recogniser().classes) > 6000


def test_a_line_is_cut_where_there_is_no_ink() -> None:
    pieces = cut(row("王小明"), 3)
    assert pieces is not None
    assert [
        abs(p.shape[1] / q.shape[1] - 1) < 0.2
        for p, b in zip(pieces, boxes("王小明"), strict=True)
        if (q := inked(b)) is not None
    ] == [True] * 3
