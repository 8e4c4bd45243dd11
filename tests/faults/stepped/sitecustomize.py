"""A wall clock that a test steps, in whatever Python process finds this folder on its path.

``CLOCK_FILE`` holds how many seconds the process's clock is from the machine's; read at the start and at each SIGUSR1,
and written to ``<CLOCK_FILE>.shown`` once it counts. Clocks that only count (monotonic) go on unmoved, as they do when
somebody sets a machine's clock.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import time_machine

FILE = Path(os.environ["CLOCK_FILE"])
travelling: time_machine.travel | None = None


def show(*_: object) -> None:
    global travelling  # noqa: PLW0603 - there is one clock a process
    seconds = FILE.read_text("ascii")
    if travelling is not None:
        travelling.stop()
        travelling = None
    if float(seconds):
        travelling = time_machine.travel(time.time() + float(seconds))
        travelling.start()
    arriving = FILE.with_suffix(f".{os.getpid()}")
    arriving.write_text(seconds, "ascii")
    arriving.replace(FILE.with_suffix(".shown"))


signal.signal(signal.SIGUSR1, show)
show()
