"""``python -m deploy.simulator --out DIR``: a channel submits a proposal, a customer passes from link to policies.

Prints each step with its time and leaves policies, forms and (with ``--pack``) the evidence pack in DIR. Exits with
0 if every customer came through, else 1. Addresses and keys come from the environment, ``TOUBAO_SIMULATOR_…``, or from
what the local run on this machine left in ``var/simulator.env``.

``--misbehave NAME`` has one customer try what must be refused, and go on (``deploy.simulator.misdeeds``); ``list``
tells the names, ``all`` tries them one after the other. Then 0 means: refused as it must be, and nothing lost by it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.settings import ROOT
from deploy.simulator.api import KeyHolder, Phone, ProblemAnswer
from deploy.simulator.channel import Channel
from deploy.simulator.customer import Customer, Habits, Passage, Stuck
from deploy.simulator.misdeeds import MISDEEDS, Doors, commit
from deploy.simulator.parties import Parties
from deploy.simulator.proposals import person, proposal
from deploy.simulator.staff import fetch_pack

LINK = r"(https?://\S+/j#\S+?)(?=[^\w.:/#-]|$)"


class SimulatorSettings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_prefix="TOUBAO_SIMULATOR_", env_file=ROOT / "var" / "simulator.env"
    )

    gateway_url: str
    wechat_url: str
    face_url: str
    sms_url: str
    app_url: str
    channel_key_file: Path
    staff_key_file: Path | None = None
    """Of somebody who may see what is masked; needed for ``--pack`` and ``--misbehave``."""
    other_channel_key_file: Path | None = None
    """Of a channel that sells nothing here; this and the next are needed for ``--misbehave``."""
    salesperson: str = ""
    salesperson_password_file: Path | None = None
    staff: str = ""
    staff_password_file: Path | None = None


class Screen:
    """Lines behind their time, since the beginning and since the line before. What a step rewrites stays on one
    line where a person watches; elsewhere only its end is written.
    """

    def __init__(self, name: str, *, live: bool) -> None:
        self._name = name
        self._live = live
        self._began = time.monotonic()
        self._width = 0

    def __call__(self, step: str, what: str) -> None:
        passing = what.startswith("\r") and not what.endswith("\n")
        if passing and not self._live:
            return
        line = f"{self._name}{time.monotonic() - self._began:7.1f} s  {step:<11} {what.strip()}"
        if passing:
            sys.stdout.write("\r" + line.ljust(self._width))
            self._width = len(line) + 40
        else:
            sys.stdout.write(("\r" if self._width else "") + line.ljust(self._width) + "\n")
            self._width = 0
        sys.stdout.flush()


async def one(
    number: int, asked: argparse.Namespace, settings: SimulatorSettings, http: aiohttp.ClientSession
) -> Passage | None:
    """One customer from proposal to app; None if they did not come through."""
    chance = random.Random(None if asked.seed is None else asked.seed + number)  # noqa: S311 - made-up people
    tell = Screen(f"[{number}] " if asked.customers > 1 else "", live=sys.stdout.isatty() and asked.customers == 1)
    who = person(chance)
    parties = Parties(http, settings.wechat_url, settings.face_url, settings.sms_url, settings.app_url)
    channel = Channel(http, settings.gateway_url, settings.channel_key_file.read_text("ascii").strip())
    habits = Habits(path=asked.path, take_extra=not asked.no_extra, drop_extra=asked.drop_extra)
    passage: Passage | None = None
    try:
        accepted = await channel.submit(proposal(who, datetime.now(UTC), chance))
        tell("proposal", f"the channel submitted {accepted['proposal_no']}")
        link = await parties.await_message(who.phone, LINK)
        tell("sms", "the link came by SMS")
        customer = Customer(Phone(http, link), who, parties, chance, habits, tell)
        passage = customer.passage
        began = time.monotonic()
        await customer.pass_through()
        tell("done", f"passed in {time.monotonic() - began:.1f} s")
        await _kept(passage, asked, settings, http, tell)
    except (ProblemAnswer, Stuck, aiohttp.ClientError, TimeoutError) as error:
        tell("failed", f"{type(error).__name__} {error}")
        return None
    return passage


async def _kept(
    passage: Passage,
    asked: argparse.Namespace,
    settings: SimulatorSettings,
    http: aiohttp.ClientSession,
    tell: Screen,
) -> None:
    folder: Path = asked.out if asked.customers == 1 else asked.out / passage.journey_id
    for kind, files in (("policies", passage.policies), ("forms", passage.forms)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, pdf in files.items():
            (folder / kind / f"{name}.pdf").write_bytes(pdf)
    if asked.pack:
        if settings.staff_key_file is None:
            raise SystemExit("--pack needs TOUBAO_SIMULATOR_STAFF_KEY_FILE")
        staff = KeyHolder(http, settings.gateway_url, settings.staff_key_file.read_text("ascii").strip())
        name, pack = await fetch_pack(staff, passage.journey_id, reason="simulated dispute: full evidence")
        (folder / name).write_bytes(pack)
        tell("pack", f"the insurer's counsel fetched {name} ({len(pack) // 1024} KB)")


async def misbehaved(asked: argparse.Namespace, settings: SimulatorSettings, http: aiohttp.ClientSession) -> bool:
    """One customer who tries what they must not, and goes on. Whether all of it was refused, and they came through."""
    chance = random.Random(asked.seed)  # noqa: S311 - made-up people
    tell = Screen("", live=sys.stdout.isatty())
    keys = (settings.other_channel_key_file, settings.staff_key_file)
    passwords = (settings.salesperson_password_file, settings.staff_password_file)
    if None in (*keys, *passwords):
        raise SystemExit(
            "--misbehave needs the keys and passwords of others: TOUBAO_SIMULATOR_OTHER_CHANNEL_KEY_FILE, …"
        )
    read = [path.read_text("ascii").strip() for path in (*keys, *passwords) if path is not None]
    doors = Doors(
        http=http,
        gateway=settings.gateway_url,
        parties=Parties(http, settings.wechat_url, settings.face_url, settings.sms_url, settings.app_url),
        channel_key=settings.channel_key_file.read_text("ascii").strip(),
        other_channel_key=read[0],
        staff_key=read[1],
        salesperson=(settings.salesperson, read[2]),
        staff=(settings.staff, read[3]),
        chance=chance,
        restart=_restarted_by_hand,
    )
    wanted = list(MISDEEDS.values()) if asked.misbehave == ["all"] else [MISDEEDS[name] for name in asked.misbehave]
    customer = await doors.customer(None, Habits(score=None, use_app=False), extra=True, tell=tell)
    try:
        done = await commit(doors, customer, wanted)
    except (ProblemAnswer, Stuck, aiohttp.ClientError, TimeoutError) as error:
        tell("failed", f"and did not come through: {type(error).__name__} {error}")
        return False
    for name, attempts in done.items():
        print(f"{name}: {MISDEEDS[name].sentence}")
        for attempt in attempts:
            print(f"  {'refused' if attempt.right else 'WRONG  '}  {attempt}")
    return all(attempt.right for attempts in done.values() for attempt in attempts)


async def _restarted_by_hand(service: str) -> None:
    print(f"restart {service} now, then press Enter", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.simulator", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="where policies, forms and pack go")
    parser.add_argument("--path", choices=["face", "bank_card"], default="face", help="how identity is proven")
    parser.add_argument("--no-extra", action="store_true", help="leave the optional product unticked")
    parser.add_argument("--drop-extra", action="store_true", help="take it out again after signing")
    parser.add_argument("--customers", type=int, default=1, metavar="N", help="so many at once")
    parser.add_argument("--seed", type=int, default=None, help="the same people, cars and strokes again")
    parser.add_argument("--pack", action="store_true", help="fetch the evidence pack too")
    parser.add_argument(
        "--misbehave", action="append", metavar="NAME", choices=["list", "all", *MISDEEDS], default=[],
        help="try what must be refused, and go on (again for more; `list` tells what there is)",
    )  # fmt: skip
    asked = parser.parse_args()
    if asked.out is None and not asked.misbehave:
        parser.error("--out is needed")
    return asked


async def passages(asked: argparse.Namespace, settings: SimulatorSettings) -> list[Any]:
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)
    ) as http:
        if asked.misbehave:
            return [True if await misbehaved(asked, settings, http) else None]
        return await asyncio.gather(*(one(number, asked, settings, http) for number in range(asked.customers)))


def main() -> int:
    asked = arguments()
    if "list" in asked.misbehave:
        for each in MISDEEDS.values():
            print(f"{each.name}\n    {each.sentence}")
        return 0
    settings = SimulatorSettings()  # pyright: ignore[reportCallIssue]
    try:
        through = asyncio.run(passages(asked, settings))
    except KeyboardInterrupt:
        return 130
    if asked.customers > 1:
        print(f"{sum(passage is not None for passage in through)} of {asked.customers} came through")
    return 0 if all(passage is not None for passage in through) else 1


if __name__ == "__main__":
    sys.exit(main())
