"""Worker processes for what keeps a processor busy: documents drawn, handwriting read."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from pebble import ProcessExpired, ProcessPool

T = TypeVar("T")


class WorkerFailed(Exception):
    """A worker died or overran its deadline. Transient: the same work may pass in another worker."""


class Workers:
    """A pool of processes. ``start`` returns when each is warm; ``stop`` takes under two seconds."""

    def __init__(
        self,
        begin: Callable[..., object],
        *given: Any,
        count: int = 1,
        recycle_after: int = 500,
        deadline_s: float = 20.0,
        waiting: Callable[[int], object] = lambda _: None,
    ) -> None:
        """``begin`` runs once in each worker, with what is ``given``. A worker is replaced after ``recycle_after``
        works: libraries grow slowly. ``waiting`` is told how many works have no worker yet, whenever that may have
        changed.
        """
        self._begin, self._given = begin, given
        self._count, self._recycle_after, self._deadline_s = count, recycle_after, deadline_s
        self._waiting = waiting
        self._taken = 0
        self._pool: ProcessPool | None = None

    async def start(self) -> None:
        """Raises WorkerFailed."""
        self._pool = ProcessPool(
            max_workers=self._count,
            max_tasks=self._recycle_after,
            initializer=self._begin,
            initargs=self._given,
            # Forking a process that runs threads and an event loop is asking for a deadlock.
            context=multiprocessing.get_context("spawn"),
        )
        await asyncio.gather(*(self.run(_ready) for _ in range(self._count)))

    async def stop(self) -> None:
        """End the workers, whatever they are doing."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            await asyncio.to_thread(pool.join)

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """What ``work`` returns in a worker, or raises there. Raises WorkerFailed."""
        if self._pool is None:
            raise RuntimeError("the workers are not running")
        future = cast("Future[T]", self._pool.schedule(work, args=args, timeout=self._deadline_s))
        self._count_taken(1)
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError:
            raise WorkerFailed("deadline passed") from None
        except ProcessExpired:
            raise WorkerFailed("worker died") from None
        finally:
            self._count_taken(-1)

    def _count_taken(self, change: int) -> None:
        self._taken += change
        self._waiting(max(0, self._taken - self._count))


def _ready() -> None:
    """Any work that succeeds shows that a worker has begun."""
