"""Debian's Prometheus over a whole platform with one customer through: what the rules ask for is there."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from contracts.problems import KINDS
from deploy.local.run import EVERYTHING
from deploy.nats.partners import PARTNERS_FILE, read
from servicekit.telemetry.metrics import _AN_ID
from tests.deploy.prometheus.rules import alerts, console_queries, names, rules, selectors
from tests.journey.whole import Whole, started

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

PATIENCE_SECONDS = 60.0
FREE = {"instance", "job", "process", "le", "__name__"}
"""Labels that Prometheus adds, or that are numbers of buckets."""


class Seen:
    """What Prometheus answers."""

    def __init__(self, whole: Whole) -> None:
        self._whole = whole
        self.url = whole.run.place.prometheus_url

    async def get(self, path: str, **asked: str) -> Any:
        async with self._whole.http.get(f"{self.url}{path}", params=asked) as answer:
            told = await answer.json()
            assert told["status"] == "success", told
            return told["data"]

    async def query(self, query: str) -> list[dict[str, Any]]:
        return (await self.get("/api/v1/query", query=query))["result"]

    async def until(self, query: str, holds: Callable[[float], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Prometheus tells nobody when it has looked.
            while not [r for r in await self.query(query) if holds(float(r["value"][1]))]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def page(self, path: str) -> str:
        async with self._whole.http.get(f"{self.url}{path}") as answer:
            assert answer.status == 200
            return await answer.text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    folder = tmp_path_factory.mktemp("seen")
    async with started(folder, "sqlite", prometheus=True, scrape_seconds=1) as running:
        # Counted from before anything happened: a rate needs two looks.
        await Seen(running).until('count(up{job="toubao"} == 1)', lambda up: up == len(EVERYTHING))
        await (await running.customer()).pass_through()
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(whole: Whole) -> Seen:
    at = Seen(whole)
    await at.until('toubao_policies_evidence{verdict="complete"}', lambda complete: complete >= 1)
    # And the rules have been computed on it since.
    await at.until("toubao:evidence_complete:ratio", lambda ratio: ratio == 1)
    await at.until('sum(toubao:journeys_ended:sum{ending="issued"})', lambda ended: ended == 1)
    return at


async def test_every_metric_a_rule_names_is_exported(seen: Seen) -> None:
    known = set(await seen.get("/api/v1/label/__name__/values"))
    wanted = {name for rule in rules() for name in names(rule.expr)}
    wanted |= {name for query in console_queries() for name in names(query)} - {"ALERTS"}
    assert len(wanted) > 40
    assert not wanted - known


async def test_every_selector_of_every_rule_returns_data(seen: Seen) -> None:
    empty = {
        f"{rule.name}: {name}{matchers}"
        for rule in rules()
        for name, matchers in selectors(rule.expr)
        if not await seen.query(name + matchers)
    }
    assert not empty


async def test_every_recording_rule_returns_data(seen: Seen) -> None:
    empty = [rule.name for rule in rules() if not rule.alert and not await seen.query(rule.expr)]
    assert not empty
    groups = (await seen.get("/api/v1/rules"))["groups"]
    broken = [(rule["name"], rule.get("lastError")) for g in groups for rule in g["rules"] if rule["health"] != "ok"]
    assert not broken


async def test_a_healthy_run_alerts_nobody(seen: Seen) -> None:
    assert len((await seen.get("/api/v1/rules", type="alert"))["groups"]) > 3
    firing = [alert for alert in (await seen.get("/api/v1/alerts"))["alerts"] if alert["state"] == "firing"]
    assert not firing


async def test_the_journey_is_seen_at_each_step(seen: Seen) -> None:
    channel = "harbour_motors"
    reached = await seen.query(f'toubao_journeys_reached_total{{channel="{channel}",line="motor"}}')
    assert {one["metric"]["step"]: one["value"][1] for one in reached} == dict.fromkeys(
        ("recording", "consents", "identity", "terms", "reading", "signature", "payment", "issuance", "done"), "1"
    )
    ended = await seen.query("toubao_journeys_ended_total")
    assert {one["metric"]["ending"]: one["value"][1] for one in ended} == {
        "issued": "1", "withdrawn": "0", "expired": "0", "refunded": "0",
    }  # fmt: skip
    assert (await seen.query("sum(toubao_paid_to_issued_seconds_count)"))[0]["value"][1] == "1"
    assert (await seen.query('toubao_signatures_total{tries="1",legibility="pass"}'))[0]["value"][1] == "1"
    assert (await seen.query("sum(toubao_step_seconds_count)"))[0]["value"][1] == "7"
    for party in ("wechat", "face", "sms", "authority"):
        calls = await seen.query(f'sum(toubao_outside_calls_total{{party="{party}",outcome="ok"}})')
        assert float(calls[0]["value"][1]) >= 1, party


async def test_labels_are_closed_sets_without_ids(seen: Seen, whole: Whole) -> None:
    series = await seen.get("/api/v1/series", **{"match[]": '{job="toubao"}'})
    assert len(series) > 1000
    values: dict[str, set[str]] = {}
    for one in series:
        for label, value in one.items():
            if label not in FREE:
                values.setdefault(label, set()).add(value)
    assert not [value for found in values.values() for value in found if _AN_ID.search(value)]
    personal = {w for who in whole.people for w in (who.name, who.id_number, who.phone, who.card_number)}
    assert not [value for found in values.values() for value in found if value in personal]
    assert values["channel"] <= {partner.channel_id for partner in read(PARTNERS_FILE)} | {"other"}
    assert values["code"] <= set(KINDS)
    assert values["status"] <= {"2xx", "3xx", "4xx", "5xx"}


async def test_a_trace_stands_beside_what_it_explains(seen: Seen) -> None:
    now = time.time()
    found = await seen.get(
        "/api/v1/query_exemplars",
        query="toubao_http_request_seconds_bucket",
        start=str(now - 600),
        end=str(now),
    )
    traces = [one["labels"]["trace_id"] for each in found for one in each["exemplars"]]
    assert traces
    assert all(re.fullmatch(r"[0-9a-f]{32}", trace) for trace in traces)


async def test_the_page_of_main_figures_shows_them(seen: Seen) -> None:
    page = await seen.page("/consoles/toubao.html")
    assert "error executing template" not in page
    for shown in ("harbour_motors", "prepare-forms", "authority", "availability", "evidence", "identity"):
        assert shown in page
    shares = dict(re.findall(r"<tr><td>([^<]*sign[^<]*)</td><td>([^<]*)</td>", page))
    assert shares["signed at the first try"] == "100%"
    assert shares["writings a signature"] == "1.00"
    assert shares["signed after people looked, last hour"] == "0%"
    assert shares["oldest signature that waits for people"] == "0s"
    tiles = re.findall(r'<div class="tile[^"]*"><b>([^<]*)</b>', page)
    assert len(tiles) == 9
    assert all(tile.strip() for tile in tiles)
    assert f"{len(EVERYTHING)} / {len(EVERYTHING)}" in tiles


async def test_a_process_that_is_gone_is_seen(seen: Seen, whole: Whole) -> None:
    assert "ProcessDown" in {alert.name for alert in alerts()}
    await whole.run.kill("nps")
    await seen.until('up{process="nps"}', lambda up: up == 0)
    await seen.until('ALERTS{alertname="ProcessDown",process="nps"}', lambda raised: raised == 1)
    await whole.run.restart("nps")
    await seen.until('up{process="nps"}', lambda up: up == 1)
