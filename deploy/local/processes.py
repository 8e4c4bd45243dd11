"""Programs that belong together: started with prefixed logs, watched, and ended without leaving anything behind.

honcho's printer gives the prefixes. Its process runner is not used: it blocks, takes the signal handlers, ends
everything as soon as one program ends (fault tests end single ones), and knows nothing of readiness.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Literal, TextIO

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from deploy.nats.server import dying_with_parent

STOP_SECONDS = 5.0
LONGEST_LINE = 1 << 20
_NUMBERS = count(1)

Shown = Literal["everything", "problems", "nothing"]


class Ended(RuntimeError):
    """A program ended that should have gone on. The message names it and its last lines."""


class Console:
    """Log lines of several programs on one terminal, each behind its program's name."""

    def __init__(self, shown: Shown, output: TextIO = sys.stdout, width: int = 12) -> None:
        self._shown = shown
        self._printer = Printer(output, width=width)
        self._colours = get_colours()
        self._by_name: dict[str, str] = {}

    def say(self, name: str, line: str) -> None:
        if self._shown == "nothing":
            return
        text, problem = readable(line)
        if self._shown == "problems" and not problem:
            return
        colour = self._by_name.get(name) or self._by_name.setdefault(name, next(self._colours))
        self._printer.write(Message("line", text, datetime.now().astimezone(), name, colour))


def readable(line: str) -> tuple[str, bool]:
    """One of our JSON log lines as a person reads it, and whether it tells of a problem."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line, False
    if not isinstance(entry, dict) or "message" not in entry:
        return line, False
    level = str(entry.get("level", ""))
    rest = {k: v for k, v in entry.items() if k not in {"time", "level", "service", "logger", "message", "trace_id"}}
    details = " ".join(f"{key}={value}" for key, value in rest.items())
    return f"{level:<7} {entry['message']} {details}".rstrip(), level in {"WARNING", "ERROR", "CRITICAL"}


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


class Process:
    """One run of a program, in a process group of its own."""

    def __init__(self, program: Program, log: Path, console: Console) -> None:
        self.program = program
        self.log = log
        self._console = console
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.wanted = False
        """False once it was told to stop: its end is no accident then."""

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.program.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def returncode(self) -> int | None:
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        assert not self.running, f"{self.program.name} is running already"
        self.wanted = True
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_parent(*self.program.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.program.folder,
            env=dict(self.program.environment),
            start_new_session=True,
            limit=LONGEST_LINE,
        )
        self._reading = asyncio.create_task(self._read(), name=f"log of {self.program.name}")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self.log.open("ab", buffering=0) as file:
            while True:
                try:
                    line = await self._process.stdout.readline()
                except ValueError:  # a line longer than the limit: the rest of it follows as another
                    continue
                if not line:
                    return
                file.write(line)
                self._console.say(self.program.name, line.decode("utf-8", "replace").rstrip("\n"))

    async def wait(self) -> int:
        assert self._process is not None
        code = await self._process.wait()
        # What it started must not outlive it (worker pools of a killed service would).
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._reading is not None:
            await self._reading
        return code

    async def stop(self, within: float = STOP_SECONDS) -> int | None:
        """Asks it to end, then makes it. Returns its exit status, None if it was never started."""
        self.wanted = False
        if self._process is None:
            return None
        if self.running:
            with suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), within)
            except TimeoutError:
                self._console.say(self.program.name, "did not stop in time, killed")
                return await self.kill()
        return await self.wait()

    async def kill(self) -> int:
        """As a power cut would, with everything it started."""
        self.wanted = False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        return await self.wait()

    def last_lines(self, lines: int = 15) -> str:
        with suppress(FileNotFoundError):
            text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            return "\n".join(readable(line)[0] for line in text)
        return ""

    def ended(self) -> Ended:
        return Ended(f"{self.program.name} ended with status {self.returncode}:\n{self.last_lines()}")


async def until_ready(process: Process, ready: Callable[[], Awaitable[bool]], within: float) -> float:
    """Seconds it took. Raises ``Ended`` if the program ends instead, ``TimeoutError`` if it takes longer."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(within):
        while not await ready():
            if not process.running:
                await process.wait()
                raise process.ended()
            await asyncio.sleep(0.05)
    return loop.time() - began


async def run_to_end(program: Program, log: Path, console: Console) -> str:
    """Its output. Raises ``Ended`` if it doesn't end with status 0; none is left running when cancelled."""
    # A log of its own each time: the output is the answer.
    process = Process(program, log.with_name(f"{log.stem}-{os.getpid()}-{next(_NUMBERS)}.log"), console)
    await process.start()
    try:
        if await process.wait() != 0:
            raise process.ended()
        return process.log.read_text(encoding="utf-8")
    finally:
        if process.running:
            await process.kill()
        process.log.unlink(missing_ok=True)
