"""``/openapi.json``: valid, whole, and true."""

from __future__ import annotations

from typing import Any

from openapi_spec_validator import validate

from gateway.acts import act_types
from tests.gateway.doorway import Doorway

WITHOUT_KEY = {
    "issue_nonce", "verify_policy", "find_customers", "search_journeys", "take_payment_notification", "take_app_report",
    "sign_in", "sign_out",
}  # fmt: skip


async def schema_of(at: Doorway) -> dict[str, Any]:
    got = await at.call("GET", "/openapi.json")
    assert got.status == 200
    return got.json


def operations(schema: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


async def test_it_is_valid(at: Doorway) -> None:
    validate(await schema_of(at))


async def test_every_act_is_there_with_its_bodies(at: Doorway) -> None:
    schema = await schema_of(at)
    known = operations(schema)
    for verb, kind in act_types().items():
        method, path, operation = known[kind.verb]
        assert (method, path) == ("post", f"/v1/journeys/{{journey_id}}/{verb}")
        body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert set(schema["components"]["schemas"][body].get("properties", {})) == set(kind.arguments.model_fields)
        assert set(schema["components"]["schemas"][answer].get("properties", {})) == set(kind.reply.model_fields)
        headers = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
        assert headers == {"Idempotency-Key", "Journey-Heads"}
        assert operation["security"] == ([{"proof": []}] if kind.purpose == "open" else [{"session": [], "proof": []}])


async def test_every_operation_names_its_problems_and_credentials(at: Doorway) -> None:
    schema = await schema_of(at)
    for name, (method, path, operation) in operations(schema).items():
        assert operation["summary"], name
        for status in ("429", "500", "503"):
            assert "application/problem+json" in operation["responses"][status]["content"], (name, status)
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, (name, status)
        open_to_all = name == "sign_in" or path.startswith(
            ("/v1/help", "/v1/nonce", "/v1/verify", "/v1/downloads", "/v1/callbacks", "/problems")
        )
        assert bool(operation.get("security")) is not open_to_all, name
        if method == "post":
            keyed = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
            assert keyed is (name not in WITHOUT_KEY), name
    assert set(schema["components"]["securitySchemes"]) == {"session", "proof", "channel", "staff", "signed_in"}
    assert "HTTPValidationError" not in str(schema)


async def test_every_operation_is_reached(at: Doorway) -> None:
    """What is described exists: no operation answers as if there were no such page."""
    for name, (method, path, _) in operations(await schema_of(at)).items():
        if name in {"explain_problem", "download"}:
            continue
        got = await at.call(method.upper(), path.replace("{", "").replace("}", ""))
        assert got.status not in {404, 405}, name


async def test_no_page_of_it_loads_from_others(at: Doorway) -> None:
    for path in ("/docs", "/redoc"):
        assert (await at.call("GET", path)).status == 404


async def test_metrics_know_routes_not_journeys(at: Doorway) -> None:
    from prometheus_client import generate_latest

    journey_id = await at.journey()
    await at.get(f"/v1/journeys/{journey_id}")
    await at.call("GET", f"/v1/journeys/{journey_id}/no-such")
    text = generate_latest(at.under.metrics.registry).decode()
    assert 'toubao_http_requests_total{method="GET",route="/v1/journeys/{journey_id}",status="2xx"} 1.0' in text
    assert 'route="unmatched",status="4xx"' in text
    assert journey_id not in text


async def test_a_trace_goes_on_from_the_phone(at: Doorway) -> None:
    from servicekit.telemetry.traces import configure_traces

    provider = configure_traces("gateway")
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    got = await at.call("GET", "/v1/help", headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    assert got.headers["x-request-id"] == trace_id
    provider.shutdown()
