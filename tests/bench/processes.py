"""What the kernel counts of the platform's processes: CPU and memory. Each began a session of its own
(``deploy.local.processes``), so whatever it started belongs to it by the session's number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deploy.local.ports import SERVICES
from deploy.local.run import LocalRun

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


def _stat(pid: int) -> list[str] | None:
    """The fields behind the program's name (which may hold blanks), so that index 0 is field 3 of proc(5)."""
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return None


def members(session: int) -> list[int]:
    """Pids of a session."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) is not None and int(stat[3]) == session]


def own_cpu() -> float:
    """Seconds of CPU this process has used, its threads included and its children not."""
    return sum(os.times()[:2])


def cpu(session: int) -> float:
    """Seconds of CPU of a session: of everybody alive and of those waited for (worn-out workers of a pool)."""
    ticks = 0
    for pid in members(session):
        if (stat := _stat(pid)) is not None:
            ticks += sum(int(stat[at]) for at in (11, 12, 13, 14))
    return ticks / TICK


def memory(session: int) -> int:
    """Resident bytes of a session. What its processes share (libraries) counts for each of them."""
    pages = 0
    for pid in members(session):
        with suppress(OSError):
            pages += int((PROC / str(pid) / "statm").read_text("ascii").split()[1])
    return pages * PAGE


def sessions(run: LocalRun) -> dict[str, int]:
    """By name of the process."""
    names = [*SERVICES, "gateway", "sandbox", "nats"]
    if run.store == "mongodb":
        names.append("mongodb")
    found: dict[str, int] = {}
    for name in names:
        with suppress(KeyError):
            found[name] = run.process(name).pid
    return found


def cpu_by_name(named: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu(session) for name, session in named.items()}


def memory_by_name(named: Mapping[str, int]) -> dict[str, int]:
    return {name: memory(session) for name, session in named.items()}


def bytes_below(folder: Path) -> int:
    """Of all files, as long as they are (not as the disk rounds them)."""
    total = 0
    for at, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):
                total += (Path(at) / file).stat().st_size
    return total
