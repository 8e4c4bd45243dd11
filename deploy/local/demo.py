"""``make demo``: everything runs, one customer passes from proposal to policies, and the evidence is verified.

Leaves policies and evidence in ``out/``. Stays up with links to try, unless ``ONCE=1``; the exit status is that of
the journey and of the verification.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from deploy.local.__main__ import ended_by_signals, guarded, links, prepared, table
from deploy.local.environment import of_simulator
from deploy.local.processes import Console, Process, Program
from deploy.local.run import LocalRun
from deploy.local.settings import ROOT, LocalSettings, inherited
from deploy.nats.server import dying_with_parent

LISTENER = ROOT / "examples" / "partner_listener.py"
VERIFIER = ROOT / "services" / "evidence" / "verify.py"


async def demo(settings: LocalSettings) -> int:
    began = time.monotonic()
    _emptied(settings.out)
    print(f"Starting (store: {settings.store}) ...", flush=True)
    async with ended_by_signals(), prepared(settings, "problems") as run:
        print(table(run), flush=True)
        watching = asyncio.create_task(run.watch())
        passing = asyncio.create_task(_pass(run, settings.out))
        try:
            await asyncio.wait({watching, passing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            status = passing.result()
            verdict = "the journey passed and its evidence is proven" if status == 0 else "FAILED"
            print(f"\n{verdict}; {time.monotonic() - began:.0f} s in all; files in {settings.out}", flush=True)
            if not settings.once:
                print(f"\nStill up, to try:\n{links(run)}\nCtrl-C stops it.", flush=True)
                # A person who has seen enough ends it: the status stays the journey's.
                with suppress(asyncio.CancelledError):
                    await watching
        finally:
            for task in (watching, passing):
                task.cancel()
            await asyncio.gather(watching, passing, return_exceptions=True)
    return status


def _emptied(out: Path) -> None:
    """What an earlier run left would look like this one's."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)


def _packs(out: Path) -> list[Path]:
    return sorted(out.rglob("*.zip"))


async def _pass(run: LocalRun, out: Path) -> int:
    listener = await _partner(run)
    try:
        status = await _through([sys.executable, "-m", "deploy.simulator", "--out", str(out)], of_simulator(run.place))
        return status or await _verify(run, out)
    finally:
        if listener is not None:
            await listener.stop()


async def _verify(run: LocalRun, out: Path) -> int:
    packs = _packs(out)
    if not packs:
        print(f"no evidence pack in {out}", flush=True)
        return 1
    worst = 0
    for pack in packs:
        print(f"\nVerifying {pack.relative_to(out)} offline:", flush=True)
        worst = max(worst, await _through([sys.executable, str(VERIFIER), "--trust", str(run.trust), str(pack)]))
    return worst


async def _partner(run: LocalRun) -> Process | None:
    """The example program of the first partner, which hears of its policies as they are issued."""
    partner = next(iter(run.partners), None)
    if partner is None or not run.partner_seed(partner.channel_id).exists():
        return None
    command = [
        sys.executable, str(LISTENER), "--url", run.nats_url, "--channel", partner.channel_id,
        "--seed", str(run.partner_seed(partner.channel_id)),
    ]  # fmt: skip
    program = Program("partner", command, inherited(), ROOT)
    process = Process(program, run.log("partner"), Console("everything"))
    await process.start()
    return process


async def _through(command: list[str], told: dict[str, str] | None = None) -> int:
    """Runs a program on this terminal; its exit status."""
    process = await asyncio.create_subprocess_exec(
        *dying_with_parent(*command),
        stdin=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env={**inherited(), "PYTHONUNBUFFERED": "1", **(told or {})},
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def main() -> int:
    return guarded(demo(LocalSettings()))


if __name__ == "__main__":
    sys.exit(main())
