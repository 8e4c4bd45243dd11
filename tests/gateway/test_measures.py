"""Requests by route, method and class of status; refusals by code; from the start at zero."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from contracts.problems import KINDS
from gateway.measures import Requests
from servicekit.telemetry import objectives
from servicekit.telemetry.metrics import HANDLE_SECONDS
from servicekit.telemetry.traces import configure_traces, span
from tests.gateway.doorway import Doorway

ROUTE = ("POST", "/v1/proposals")


def test_every_route_and_code_is_at_zero_before_anybody_asks() -> None:
    registry = CollectorRegistry()
    Requests(registry, [ROUTE])
    labels = {"method": ROUTE[0], "route": ROUTE[1]}
    value = registry.get_sample_value
    assert [value("toubao_http_requests_total", {**labels, "status": s}) for s in ("2xx", "4xx", "5xx")] == [0, 0, 0]
    assert value("toubao_http_request_seconds_count", labels) == 0
    assert {value("toubao_http_problems_total", {"code": code}) for code in KINDS} == {0}
    assert value("toubao_slo_objective_ratio", {"slo": "availability"}) == objectives.AVAILABILITY.ratio


def test_a_request_is_counted_by_its_class_and_timed_with_its_trace() -> None:
    provider = configure_traces("gateway")
    registry = CollectorRegistry()
    requests = Requests(registry, [ROUTE])
    with span("x") as current:
        requests.answered(*ROUTE, 503, 0.4)
    requests.refused("unavailable")
    labels = {"method": ROUTE[0], "route": ROUTE[1]}
    value = registry.get_sample_value
    assert value("toubao_http_requests_total", {**labels, "status": "5xx"}) == 1
    assert value("toubao_http_request_seconds_bucket", {**labels, "le": "0.3"}) == 0
    assert value("toubao_http_request_seconds_bucket", {**labels, "le": "0.5"}) == 1
    assert value("toubao_http_problems_total", {"code": "unavailable"}) == 1
    assert objectives.LATENCY.seconds in HANDLE_SECONDS
    assert f'trace_id="{current.get_span_context().trace_id:032x}"' in generate_latest(registry).decode()
    provider.shutdown()


async def test_all_routes_are_known_before_the_first_request_and_none_is_added_by_asking(at: Doorway) -> None:
    value = at.under.metrics.registry.get_sample_value
    act = {"method": "POST", "route": "/v1/journeys/{journey_id}/sign-forms"}
    assert value("toubao_http_requests_total", {**act, "status": "5xx"}) == 0
    journey_id = await at.journey()
    await at.call("GET", f"/v1/journeys/{journey_id}")
    await at.call("BREW", "/v1/help")
    refused = {code: value("toubao_http_problems_total", {"code": code}) for code in KINDS}
    assert sum(n or 0 for n in refused.values()) >= 1
    text = generate_latest(at.under.metrics.registry).decode()
    assert "BREW" not in text
    assert journey_id not in text
