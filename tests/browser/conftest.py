"""One platform and one Chromium for all modules a process runs here: starting them takes longer than most tests."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from deploy.simulator.proposals import Person, proposal
from tests import web
from tests.browser.buyer import Buyer
from tests.browser.handset import USUAL, Handset, chromium_started, handset, picture
from tests.journey.whole import Whole, started

PARTIES = ("wechat", "face", "sms", "app")
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    """The running platform."""
    web.packages()
    async with started(tmp_path_factory.mktemp("browser") / "var", "sqlite") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with chromium_started() as browser:
        yield browser


@pytest.fixture
def ours(whole: Whole) -> list[str]:
    """Every origin a page may ask: us, and the outside parties' stand-ins."""
    return [whole.run.gateway_url, *(whole.run.place.party_url(party) for party in PARTIES)]


NewHandset = Callable[..., AbstractAsyncContextManager[Handset]]
NewBuyer = Callable[..., Any]


@pytest.fixture
def new_handset(chromium: Browser, ours: list[str]) -> NewHandset:
    def make(size: tuple[int, int] = USUAL, **more: Any) -> AbstractAsyncContextManager[Handset]:
        return handset(chromium, ours, size, **more)

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def buyer(
    whole: Whole, new_handset: NewHandset, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[NewBuyer]:
    """Makes somebody with a link on their phone; what they may not meet fails the test at its end.

    Where a test failed, each phone's last screen lies in its temporary folder.
    """
    made: list[Buyer] = []
    async with AsyncExitStack() as stack:

        async def make(
            *,
            extra: bool = False,
            size: tuple[int, int] = USUAL,
            name: str | None = None,
            body: Callable[[Person], dict[str, Any]] | None = None,
            **more: Any,
        ) -> Buyer:
            who = whole.someone(name)
            chance = random.Random(len(whole.people))
            asked = body(who) if body else proposal(who, datetime.now(UTC), whole.chance, extra=extra)
            accepted = await whole.channel.submit(asked)
            held = await stack.enter_async_context(new_handset(size))
            made.append(Buyer(held, who, accepted["link"], whole.parties, chance, **more))
            return made[-1]

        yield make
        if request.node.stash.get(FAILED, False):
            for number, each in enumerate(made):
                await picture(each.page, tmp_path / f"phone-{number}.png", whole=False)
                print(f"phone {number}: {each.page.url} {tmp_path}/phone-{number}.png after {each.been}")  # noqa: T201
