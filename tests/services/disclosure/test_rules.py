"""Reading is judged by the server's clock: the rules, by example and by property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import Refuse
from products import Document, read_products
from services.disclosure.rules import (
    LONGEST_SILENCE,
    Reading,
    advice_of,
    check_answers,
    check_read,
    declined_by,
    known_paragraphs,
    minimum_ms,
    progress_of,
)

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
PRODUCTS = read_products(Path(__file__).resolve().parents[3] / "products")
TEXT = next(d for d in PRODUCTS["motor_commercial"].documents if d.kind == "exclusions")
EVERYTHING = frozenset(block.id for block in TEXT.paragraphs)


def reading(*, seconds: int = 0, seen: frozenset[str] = EVERYTHING, ended: bool = True) -> Reading:
    return Reading(
        opened_at=NOW,
        last_sign=NOW,
        dwell_ms=seconds * 1000,
        seen=seen,
        end_reached_at=NOW if ended else None,
    )


def refused(coming: Reading | None, text: Document = TEXT) -> str:
    with pytest.raises(Refuse) as refusal:
        check_read(coming, text, 1)
    return refusal.value.code


def test_I3_a_reading_counts_only_when_opened_to_its_end_in_full_and_for_long_enough() -> None:
    long = TEXT.minimum_dwell_seconds
    assert refused(None) == "document_not_opened"
    assert refused(reading(seconds=long, ended=False)) == "reading_not_at_end"
    assert refused(reading(seconds=long, seen=EVERYTHING - {"p1"})) == "paragraphs_unread"
    assert refused(reading(seconds=long - 1)) == "reading_too_short"
    assert check_read(reading(seconds=long), TEXT, 1).dwell_ms == long * 1000


def test_I3_the_minimum_of_every_document_lies_between_3_and_300_seconds() -> None:
    for product in PRODUCTS.values():
        for document in product.documents:
            assert 3_000 <= minimum_ms(document, 1) <= 300_000


def test_time_in_the_background_is_not_reading() -> None:
    at = NOW + timedelta(seconds=10)
    away = reading(seconds=0).sign(at, (), at_end=False, visible=False)
    back = away.sign(at + timedelta(seconds=60), (), at_end=False, visible=True)
    assert back.dwell_ms == 10_000


def test_a_silent_page_counts_for_no_more_than_the_longest_silence() -> None:
    later = reading().sign(NOW + timedelta(hours=1), (), at_end=False, visible=True)
    assert later.dwell_ms == LONGEST_SILENCE / timedelta(milliseconds=1)


@given(st.lists(st.tuples(st.integers(-60_000, 60_000), st.booleans()), max_size=40))
def test_dwell_never_exceeds_the_time_that_passed_and_never_shrinks(signs: list[tuple[int, bool]]) -> None:
    at, state = NOW, Reading(opened_at=NOW, last_sign=NOW)
    for step, visible in signs:
        at += timedelta(milliseconds=step)
        after = state.sign(at, (), at_end=False, visible=visible)
        assert after.dwell_ms >= state.dwell_ms
        state = after
    assert state.dwell_ms <= max(0, (state.last_sign - NOW) / timedelta(milliseconds=1))


@given(
    st.lists(
        st.tuples(st.integers(0, 20_000), st.sampled_from([0, 0, 0, -3600, 3600]), st.booleans(), st.booleans()),
        max_size=40,
    )
)
def test_I3_a_clock_that_is_set_makes_nobody_read_faster(signs: list[tuple[int, int, bool, bool]]) -> None:
    """Where what passed is known, no more counts, and what counts is what passed."""
    at, state, passed = NOW, Reading(opened_at=NOW, last_sign=NOW), timedelta(0)
    for milliseconds, set_by, visible, known in signs:
        gone = timedelta(milliseconds=milliseconds)
        at += gone + timedelta(seconds=set_by)
        counted = state.visible and (known or set_by == 0)
        after = state.sign(at, (), at_end=False, visible=visible, passed=gone if known or set_by else None)
        passed += gone
        assert state.dwell_ms <= after.dwell_ms <= state.dwell_ms + milliseconds
        if counted and gone <= LONGEST_SILENCE:
            assert after.dwell_ms == state.dwell_ms + milliseconds
        state = after
    assert state.dwell_ms <= passed / timedelta(milliseconds=1)


def test_paragraphs_the_document_does_not_have_are_not_believed() -> None:
    assert known_paragraphs(TEXT, ["p1", "p99999", "h1", "x"]) == {"p1"}


@given(st.sets(st.sampled_from(sorted(EVERYTHING))), st.integers(0, 400), st.booleans())
def test_what_the_page_is_told_agrees_with_what_is_decided(seen: set[str], seconds: int, ended: bool) -> None:
    state = reading(seconds=seconds, seen=frozenset(seen), ended=ended)
    told = progress_of(state, TEXT, 1)
    try:
        check_read(state, TEXT, 1)
    except Refuse:
        assert not told.confirmable
    else:
        assert told.confirmable


def test_I30_answers_that_speak_against_buying_are_named() -> None:
    for product in PRODUCTS.values():
        questions = product.needs_questions
        good = {q.code: next(a.code for a in q.answers if a.outcome == "accept") for q in questions}
        assert advice_of(questions, good) == ()
        for question in questions:
            for answer in question.answers:
                expected = (question.code,) if answer.outcome == "advise_stop" else ()
                assert advice_of(questions, {**good, question.code: answer.code}) == expected


def test_an_answer_the_insurer_cannot_accept_is_named() -> None:
    questions = PRODUCTS["motor_commercial"].disclosure_questions
    good = {q.code: next(a.code for a in q.answers if a.outcome == "accept") for q in questions}
    assert declined_by(questions, good) == ()
    for question in questions:
        for answer in question.answers:
            if answer.outcome == "decline":
                assert declined_by(questions, {**good, question.code: answer.code}) == (question.code,)


def test_answers_fit_the_questions_one_by_one() -> None:
    questions = PRODUCTS["motor_commercial"].needs_questions
    good = {q.code: q.answers[0].code for q in questions}
    check_answers(questions, good, product="motor_commercial")
    first = questions[0].code
    for wrong, pointer in (
        ({k: v for k, v in good.items() if k != first}, f"/answers/{first}"),
        ({**good, "made_up": "yes"}, "/answers/made_up"),
        ({**good, first: "no_such_answer"}, f"/answers/{first}"),
    ):
        with pytest.raises(Refuse) as refusal:
            check_answers(questions, wrong, product="motor_commercial")
        assert [error.pointer for error in refusal.value.problem.errors] == [pointer]
