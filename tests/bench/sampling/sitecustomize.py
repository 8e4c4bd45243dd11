"""Where a process spends its CPU, noted by itself while it runs: the whole platform is started with this folder on
``PYTHONPATH``, and Python imports a module of this name by itself. Nothing of ours knows of it.

Every 5 ms of CPU the kernel sends SIGPROF. What each thread has used since the last time, by its own CPU clock, is
put to the account of the stack it is in. So the sum is exact, and only the split is a sample: a long call into C
counts for the Python line that made it. A thread of a pool is seen only where it lets others run, which is mostly when
its work is over; so each such piece of work is counted when it ends, for the function that it was. Once in a quarter of
a second of CPU the account goes to a file, one stack a line, outermost first:
``folder/file.py:function;…;folder/file.py:function SECONDS``.
"""
# ruff: noqa: PTH105, PTH123 - every process imports this, pathlib comes when somebody needs it

import atexit
import concurrent.futures.thread as pool
import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

STEP_SECONDS = 0.005
KEPT_EVERY = 50
DEEPEST = 80


class Account:
    """Of this process."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._spent: dict[tuple[str, ...], float] = {}
        self._seen: dict[int, float] = {}
        self._names: dict[CodeType, str] = {}
        self._pooled: set[int] = set()
        self._looks = 0
        self._busy = False

    def begin(self) -> None:
        """Also in a forked child, which inherits the account and not the timer."""
        self._spent.clear()
        self._seen.clear()
        signal.setitimer(signal.ITIMER_PROF, STEP_SECONDS, STEP_SECONDS)

    def end(self) -> None:
        """The interpreter gives its handlers up when it ends, and an unhandled SIGPROF kills."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._keep()

    def look(self, _signal: int, frame: FrameType | None) -> None:
        if self._busy:  # a signal came while the one before was still being noted: the next look takes both
            return
        self._busy = True
        try:
            self._note(frame)
        finally:
            self._busy = False

    def _note(self, frame: FrameType | None) -> None:
        me = threading.get_ident()
        # Not threading.enumerate: its lock may be held by the very thread this signal has interrupted.
        frames = sys._current_frames()
        for ident in frames:
            if ident in self._pooled:
                continue
            with contextlib.suppress(OSError):  # it has just ended
                now = time.clock_gettime(time.pthread_getcpuclockid(ident))
                self._add(ident, now, self._stack(frame if ident == me else frames[ident]))
        self._looks += 1
        if self._looks % KEPT_EVERY == 0:
            self._keep()

    def count(self, work: Any, run: Callable[[Any], None], item: Any) -> None:
        """Runs what this thread of a pool was given."""
        me = threading.get_ident()
        self._pooled.add(me)
        try:
            run(item)
        finally:
            self._add(me, time.thread_time(), ("pool", self._work(work)))
            self._pooled.discard(me)

    def _work(self, work: Any) -> str:
        while isinstance(work, functools.partial):
            # asyncio.to_thread hands over the context's ``run``, and what it is to run.
            work = work.args[0] if getattr(work.func, "__name__", "") == "run" and work.args else work.func
        code = getattr(getattr(work, "__func__", work), "__code__", None)
        return f"pool:{getattr(work, '__name__', '?')}" if code is None else self._name(code)

    def _add(self, thread: int, now: float, stack: tuple[str, ...]) -> None:
        used = now - self._seen.get(thread, 0.0)
        self._seen[thread] = now
        if used > 0:  # less when the number came again with another thread, whose clock begins anew
            self._spent[stack] = self._spent.get(stack, 0.0) + used

    def _name(self, code: CodeType) -> str:
        name = self._names.get(code)
        if name is None:
            name = self._names[code] = f"{'/'.join(code.co_filename.split('/')[-5:])}:{code.co_name}"
        return name

    def _stack(self, frame: FrameType | None) -> tuple[str, ...]:
        names: list[str] = []
        while frame is not None and len(names) < DEEPEST:
            names.append(self._name(frame.f_code))
            frame = frame.f_back
        return tuple(reversed(names))

    def _keep(self) -> None:
        path = f"{self._folder}/{os.getpid()}"
        with contextlib.suppress(OSError):
            with open(path + ".new", "w", encoding="utf-8", errors="replace") as file:
                file.writelines(f"{';'.join(stack)} {used:.6f}\n" for stack, used in list(self._spent.items()))
            os.replace(path + ".new", path)


def _counting(account: Account, run: Any) -> Any:
    @functools.wraps(run)
    def counted(item: Any) -> None:
        account.count(item.fn, run, item)

    return counted


if folder := os.environ.get("BENCH_STACKS_DIR"):
    account = Account(folder)
    signal.signal(signal.SIGPROF, account.look)
    # Reading and writing go on by themselves after it, in libraries too.
    signal.siginterrupt(signal.SIGPROF, False)
    os.register_at_fork(after_in_child=account.begin)
    atexit.register(account.end)
    setattr(pool._WorkItem, "run", _counting(account, pool._WorkItem.run))  # noqa: B010 - not ours to type
    account.begin()
