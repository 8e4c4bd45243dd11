"""Worker processes: what they return, what they raise, and what becomes of those that die or take too long."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from servicekit.workers import WorkerFailed, Workers

told: list[str] = []
"""In a worker: what it was begun with."""


def begin(word: str) -> None:
    told.append(word)


def begun(number: int) -> tuple[list[str], int]:
    return told, number


def refuse() -> None:
    raise ValueError("as the work says")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never_end() -> None:
    time.sleep(60)


@pytest.fixture
def waiting() -> list[int]:
    return []


@pytest.fixture
async def workers(waiting: list[int]) -> AsyncIterator[Workers]:
    made = Workers(begin, "a word", deadline_s=1.0, waiting=waiting.append)
    await made.start()
    yield made
    await made.stop()


async def test_each_begins_once_and_then_works(workers: Workers, waiting: list[int]) -> None:
    assert [await workers.run(begun, number) for number in (1, 2)] == [(["a word"], 1), (["a word"], 2)]
    assert set(waiting) == {0}


async def test_what_the_work_raises_is_raised_and_costs_no_worker(workers: Workers) -> None:
    with pytest.raises(ValueError, match="as the work says"):
        await workers.run(refuse)
    assert await workers.run(begun, 3) == (["a word"], 3)


@pytest.mark.parametrize("work", [die, never_end])
async def test_one_that_dies_or_never_ends_is_replaced(workers: Workers, work: object) -> None:
    assert callable(work)
    with pytest.raises(WorkerFailed):
        await workers.run(work)
    assert await workers.run(begun, 4) == (["a word"], 4)


async def test_nothing_runs_before_the_start_or_after_the_stop(workers: Workers) -> None:
    await workers.stop()
    with pytest.raises(RuntimeError, match="not running"):
        await workers.run(begun, 5)
