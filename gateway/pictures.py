"""Pages of a PDF as pictures, drawn in a worker process: what a phone shows of a form is the very file that is signed.

A phone's own reader would leave the page, and a script that draws PDFs crashes old phones on long ones.
"""

# pypdfium2 carries no types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import io
import multiprocessing
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, cast

from pebble import ProcessExpired, ProcessPool

from contracts.problems import Refuse

MEDIA_TYPE: Final = "image/webp"
WIDTH: Final = 1240
"""Pixels across: A4 at 150 dpi, so that small print can be read enlarged."""
DEADLINE_SECONDS: Final = 15.0
WAITING: Final = 64
"""Pages that may be asked for and not drawn yet; each holds its whole file in memory."""
RECYCLE_AFTER: Final = 500
"""Pages a worker draws before it is replaced."""


@dataclass(frozen=True, slots=True)
class Picture:
    data: bytes
    pages: int
    """How many the file has."""


class Pictures:
    """One worker, started with the first page asked for."""

    def __init__(self) -> None:
        self._pool: ProcessPool | None = None
        self._drawing: set[Future[Picture | None]] = set()
        self._stopped = False

    async def page(self, pdf: bytes, number: int) -> Picture:
        """Page ``number`` (from 1) as WebP, ``WIDTH`` pixels wide.

        Raises ``Refuse``: ``not_found`` for a page the file does not have, ``unavailable`` when the worker died, took
        too long, has too much to draw already or is told to stop.
        """
        if self._stopped or len(self._drawing) >= WAITING:
            raise Refuse("unavailable", retry_after=2)
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=1, max_tasks=RECYCLE_AFTER, context=multiprocessing.get_context("spawn")
            )
        drawing = cast(
            "Future[Picture | None]", self._pool.schedule(_drawn, args=(pdf, number), timeout=DEADLINE_SECONDS)
        )
        self._drawing.add(drawing)
        try:
            picture = await asyncio.wrap_future(drawing)
        except (TimeoutError, ProcessExpired):
            raise Refuse("unavailable", retry_after=2) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._stopped or (task is not None and task.cancelling()):
                raise
            raise Refuse("unavailable", retry_after=2) from None
        finally:
            self._drawing.discard(drawing)
        if picture is None:
            raise Refuse("not_found")
        return picture

    async def stop(self) -> None:
        """Ends the worker, whatever it is drawing, for good."""
        self._stopped = True
        # The pool would leave whoever waits for a page waiting.
        for drawing in tuple(self._drawing):
            drawing.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            await asyncio.to_thread(pool.join)


def _drawn(pdf: bytes, number: int) -> Picture | None:
    import pypdfium2

    with pypdfium2.PdfDocument(pdf) as document:
        # What was filled in and sealed lies in fields: without the form's own layer they would be missing.
        document.init_forms()
        pages = len(document)
        if not 1 <= number <= pages:
            return None
        page = document[number - 1]
        image = page.render(scale=WIDTH / page.get_width(), may_draw_forms=True).to_pil()
        out = io.BytesIO()
        image.save(out, "WEBP", quality=80, method=2)
        return Picture(out.getvalue(), pages)
