"""The metrics of a process: names, labels, buckets."""

import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from servicekit.telemetry import objectives
from servicekit.telemetry.metrics import HANDLE_SECONDS, HUMAN_SECONDS, STORE_SECONDS, Metrics
from servicekit.telemetry.traces import configure_traces, span


def filled() -> Metrics:
    metrics = Metrics("signing", "1.2.3")
    metrics.message("in", "journey.*.disclosure.>", "ok")
    metrics.command("sign", "refused")
    metrics.refusal("sign", "ink_too_fast")
    metrics.dead_letter("JOURNEY", "signing-disclosure")
    metrics.consumer("signing-disclosure", pending=3, ack_pending=2, redelivered=1, oldest_age_seconds=4.5)
    metrics.outbox(entries=7, oldest_seconds=1.5)
    metrics.dead_letters_waiting.set(1)
    metrics.pool_queue.set(2)
    with metrics.handling("cmd.signing.sign"), metrics.store("save"):
        pass
    return metrics


def test_every_metric_is_exported_under_its_name() -> None:
    value = filled().registry.get_sample_value
    consumer = {"consumer": "signing-disclosure"}
    labels = {"direction": "in", "pattern": "journey.*.disclosure.>", "outcome": "ok"}
    assert value("toubao_messages_total", labels) == 1
    assert value("toubao_commands_total", {"verb": "sign", "outcome": "refused"}) == 1
    assert value("toubao_refusals_total", {"verb": "sign", "code": "ink_too_fast"}) == 1
    assert value("toubao_dead_letters_total", {"stream": "JOURNEY", "consumer": "signing-disclosure"}) == 1
    assert value("toubao_consumer_pending", consumer) == 3
    assert value("toubao_consumer_ack_pending", consumer) == 2
    assert value("toubao_consumer_redelivered", consumer) == 1
    assert value("toubao_consumer_oldest_age_seconds", consumer) == 4.5
    assert value("toubao_outbox_entries") == 7
    assert value("toubao_outbox_oldest_seconds") == 1.5
    assert value("toubao_dead_letters_waiting") == 1
    assert value("toubao_pool_queue") == 2
    assert value("toubao_in_flight") == 0
    assert value("toubao_handle_seconds_count", {"pattern": "cmd.signing.sign"}) == 1
    assert value("toubao_store_seconds_count", {"operation": "save"}) == 1
    assert value("toubao_build_info", {"service": "signing", "version": "1.2.3"}) == 1
    assert value("process_resident_memory_bytes")
    assert value("python_gc_collections_total", {"generation": "0"}) is not None


def test_the_exposition_is_valid_openmetrics() -> None:
    text = generate_latest(filled().registry).decode()
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {"toubao_messages", "toubao_handle_seconds", "toubao_build", "python_info"} <= families


@pytest.mark.parametrize(
    ("metric", "label", "edges"),
    [
        ("toubao_handle_seconds", {"pattern": "cmd.signing.sign"}, HANDLE_SECONDS),
        ("toubao_store_seconds", {"operation": "save"}, STORE_SECONDS),
    ],
)
def test_targets_are_bucket_edges(metric: str, label: dict[str, str], edges: tuple[float, ...]) -> None:
    metrics = filled()
    for edge in edges:
        assert metrics.registry.get_sample_value(f"{metric}_bucket", {**label, "le": str(edge)}) == 1
    assert {0.3, 1.0} <= set(HANDLE_SECONDS)
    assert (HUMAN_SECONDS[0], HUMAN_SECONDS[-1]) == (5.0, 1800.0)


def test_processes_do_not_share_a_registry() -> None:
    first, second = Metrics("a", "1"), Metrics("b", "1", CollectorRegistry())
    first.command("sign", "accepted")
    labels = {"verb": "sign", "outcome": "accepted"}
    assert first.registry.get_sample_value("toubao_commands_total", labels) == 1
    assert second.registry.get_sample_value("toubao_commands_total", labels) is None


@pytest.mark.parametrize(
    "value",
    [
        "01M849AXVVHPWDR75MD6EPYZ7T",
        "journey.01M849AXVVHPWDR75MD6EPYZ7V.signing.signed",
        "0af7651916cd43dd8448eb211c80319c",
        "550e8400-e29b-41d4-a716-446655440000",
        "13812345678",
        "PDAA202644030000000123",
    ],
)
def test_an_id_is_never_a_label(value: str) -> None:
    metrics = Metrics("signing", "1")
    with pytest.raises(ValueError, match="a label holds an id") as refused:
        metrics.message("in", value, "ok")
    assert value not in str(refused.value)
    with pytest.raises(ValueError, match="a label holds an id"), metrics.handling(value):
        raise AssertionError("not reached")
    assert metrics.registry.get_sample_value("toubao_in_flight") == 0


def test_a_handler_that_fails_is_counted_and_no_longer_in_flight() -> None:
    metrics = Metrics("signing", "1")

    def fail() -> None:
        assert metrics.registry.get_sample_value("toubao_in_flight") == 1
        raise RuntimeError

    with pytest.raises(RuntimeError), metrics.handling("cmd.signing.sign"):
        fail()
    assert metrics.registry.get_sample_value("toubao_in_flight") == 0
    count = metrics.registry.get_sample_value("toubao_handle_seconds_count", {"pattern": "cmd.signing.sign"})
    assert count == 1


def test_the_trace_goes_along_as_exemplar() -> None:
    configure_traces("signing")
    metrics = Metrics("signing", "1")
    with span("x") as current, metrics.handling("cmd.signing.sign"):
        pass
    trace_id = f"{current.get_span_context().trace_id:032x}"
    assert f'trace_id="{trace_id}"' in generate_latest(metrics.registry).decode()


def test_what_rules_ask_for_is_there_from_the_start() -> None:
    metrics = Metrics("signing", "1")
    metrics.bind_consumer("JOURNEY", "signing-disclosure")
    metrics.bind_request("signing.sign", ["proof_signature"])
    metrics.bind_sweep()
    metrics.outside("authority")
    value = metrics.registry.get_sample_value
    consumer = {"consumer": "signing-disclosure"}
    assert value("toubao_dead_letters_total", {"stream": "JOURNEY", **consumer}) == 0
    assert value("toubao_consumers_remade_total", consumer) == 0
    assert value("toubao_consumer_oldest_age_seconds", consumer) == 0
    for outcome in ("accepted", "refused", "unavailable", "failed"):
        assert value("toubao_commands_total", {"verb": "signing.sign", "outcome": outcome}) == 0
    assert value("toubao_refusals_total", {"verb": "signing.sign", "code": "proof_signature"}) == 0
    for outcome in ("ok", "failed"):
        assert value("toubao_sweeps_total", {"outcome": outcome}) == 0
        assert value("toubao_outside_calls_total", {"party": "authority", "outcome": outcome}) == 0
    metrics.bind_request("signing.sign", ["proof_signature"])
    metrics.refusal("signing.sign", "proof_signature")
    assert value("toubao_refusals_total", {"verb": "signing.sign", "code": "proof_signature"}) == 1


class _Refused(Exception):
    pass


@pytest.mark.parametrize(
    ("raised", "outcome"), [(None, "ok"), (_Refused(), "ok"), (TimeoutError(), "failed"), (KeyError("x"), "failed")]
)
def test_a_call_of_an_outside_party_that_was_answered_is_no_failure(raised: Exception | None, outcome: str) -> None:
    metrics = Metrics("notify", "1")
    watched = metrics.outside("sms")

    def call() -> None:
        with watched(_Refused):
            if raised is not None:
                raise raised

    if raised is None:
        call()
    else:
        with pytest.raises(type(raised)):
            call()
    value = metrics.registry.get_sample_value
    seen = {each: value("toubao_outside_calls_total", {"party": "sms", "outcome": each}) for each in ("ok", "failed")}
    assert seen == {"ok": float(outcome == "ok"), "failed": float(outcome == "failed")}
    assert value("toubao_outside_seconds_count", {"party": "sms"}) == 1


def test_disks_are_those_the_folders_will_lie_on(tmp_path: Path) -> None:
    metrics = Metrics("payment", "1")
    metrics.disk({"data": tmp_path / "not" / "yet"})
    value = metrics.registry.get_sample_value
    size = value("toubao_disk_size_bytes", {"place": "data"})
    assert size is not None
    assert size == shutil.disk_usage(tmp_path).total
    free = value("toubao_disk_free_bytes", {"place": "data"})
    assert free is not None
    assert 0 < free <= size


def test_what_is_promised_is_exported() -> None:
    registry = CollectorRegistry()
    objectives.export(registry, objectives.LATENCY, objectives.EVIDENCE)
    value = registry.get_sample_value
    assert value("toubao_slo_objective_ratio", {"slo": "latency"}) == objectives.LATENCY.ratio
    assert value("toubao_slo_threshold_seconds", {"slo": "latency"}) == 1
    assert value("toubao_slo_objective_ratio", {"slo": "evidence"}) == 1
    assert value("toubao_slo_threshold_seconds", {"slo": "evidence"}) is None
