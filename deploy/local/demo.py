"""``make demo``: everything runs, one customer passes from proposal to policies, and the evidence is verified.

Leaves policies and evidence in ``out/``. Stays up with links to try, unless ``ONCE=1``; the exit status is that of
the journey and of the verification.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from deploy.local.__main__ import ended_by_signals, guarded, links, prepared, table
from deploy.local.environment import of_simulator
from deploy.local.processes import Console, Process, Program
from deploy.local.run import LocalRun
from deploy.local.settings import ROOT, LocalSettings, inherited
from deploy.nats.server import dying_with_parent
from deploy.simulator.channel import Channel
from deploy.simulator.proposals import person, proposal

LISTENER = ROOT / "examples" / "partner_listener.py"
VERIFIER = ROOT / "services" / "evidence" / "verify.py"
SHOWN_FINDINGS = 8
HEARING_SECONDS = 15.0
"""How soon after issuance a partner has heard of it, at the latest."""


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
                print(f"\nStill up, to try:\n{links(run)}\n{await _fresh_link(run)}\nCtrl-C stops it.", flush=True)
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
    """One customer through the journey, its partner told, its evidence verified. The worst of their statuses."""
    listener = await _partner(run)
    try:
        print("\nA customer passes, with the real minimum reading times:", flush=True)
        command = [sys.executable, "-m", "deploy.simulator", "--out", str(out), "--pack"]
        status = await _through(command, of_simulator(run.place, _channel(run)))
        if status == 0:
            status = await _partner_heard(run, out)
        return status or await _verify(run, out)
    finally:
        await listener.stop()


def _channel(run: LocalRun) -> str:
    return run.partners[0].channel_id


async def _verify(run: LocalRun, out: Path) -> int:
    packs = _packs(out)
    if not packs:
        print(f"no evidence pack in {out}", flush=True)
        return 1
    worst = 0
    for pack in packs:
        print(f"\nVerifying {pack.relative_to(out)} offline, under the certificates in {run.trust}:", flush=True)
        process = await asyncio.create_subprocess_exec(
            *dying_with_parent(sys.executable, str(VERIFIER), "--trust", str(run.trust), str(pack)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=inherited(),
        )
        output, _ = await process.communicate()
        findings = pack.with_suffix(".findings.txt")
        findings.write_bytes(output)
        print(_shortened(output.decode()), flush=True)
        print(f"  all findings: {findings}", flush=True)
        worst = max(worst, process.returncode or 0)
    return worst


def _shortened(findings: str) -> str:
    """What the verifier said, without the long list of what is proven."""
    lines: list[str] = []
    proven = 0
    listing = False
    for line in findings.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            listing = line == "Proven:"
        if not listing:
            lines.append(line)
        elif line.startswith("  - "):
            proven += 1
            if proven <= SHOWN_FINDINGS:
                lines.append(line)
        else:
            lines.append(line)
    if proven > SHOWN_FINDINGS:
        at = lines.index("Proven:") + SHOWN_FINDINGS + 1
        lines.insert(at, f"  - ... and {proven - SHOWN_FINDINGS} more")
    return "\n".join(f"  {line}" for line in lines)


async def _partner(run: LocalRun) -> Process:
    """The example program of the first partner, which hears of its policies as they are issued."""
    channel = _channel(run)
    command = [
        sys.executable, str(LISTENER), "--url", run.nats_url, "--channel", channel,
        "--seed", str(run.partner_seed(channel)),
    ]  # fmt: skip
    run.log("partner").unlink(missing_ok=True)
    process = Process(Program("partner", command, inherited(), ROOT), run.log("partner"), Console("nothing"))
    await process.start()
    return process


async def _partner_heard(run: LocalRun, out: Path) -> int:
    """Waits until the partner's program has heard of every policy; 1 if it never does."""
    wanted = {policy.stem for policy in (out / "policies").glob("*.pdf")}
    heard: list[dict[str, str]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(HEARING_SECONDS):
            while not wanted <= {fact.get("policy_no") for fact in heard}:
                await asyncio.sleep(0.1)
                lines = run.log("partner").read_text(encoding="utf-8").splitlines()
                told = [json.loads(line)["data"] for line in lines if line.startswith("{")]
                heard = [fact for fact in told if fact.get("policy_no") in wanted]
    print(f"\nThe partner {_channel(run)} heard on its own NATS account:", flush=True)
    for fact in heard:
        print(f"  policy {fact['policy_no']} of {fact['proposal_no']}, {fact['product']}", flush=True)
    missing = wanted - {fact.get("policy_no") for fact in heard}
    if missing or not wanted:
        print(f"  never heard of {', '.join(sorted(missing)) or 'any policy'}", flush=True)
        return 1
    return 0


async def _fresh_link(run: LocalRun) -> str:
    """Another proposal, for a person to pass: what to open and what to type there."""
    chance = random.Random()  # noqa: S311 - made-up people
    who = person(chance)
    async with aiohttp.ClientSession() as http:
        channel = Channel(http, run.gateway_url, run.api_key(_channel(run)))
        accepted = await channel.submit(proposal(who, datetime.now(UTC), chance))
    return "\n".join([
        f"  a fresh proposal      {accepted['link']}",
        f"    its policyholder    {who.name}  {who.id_number}  phone {who.phone}  bank card {who.card_number}",
    ])  # fmt: skip


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
