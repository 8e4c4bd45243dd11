"""Traces: one from the tap to the policy, and nothing personal in it."""

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode

from servicekit.telemetry import traces
from servicekit.telemetry.traces import configure_traces, inject, span

PHONE = "13812345678"
STORED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces._Current, "tracer", NoOpTracer())


@pytest.fixture
def finished() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = configure_traces("signing", exporter)
    yield exporter
    provider.shutdown()


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (found,) = exporter.get_finished_spans()
    return found


def test_without_configuration_spans_do_nothing() -> None:
    with span("x"):
        assert inject() is None


def test_without_exporter_ids_are_valid_and_propagate() -> None:
    configure_traces("signing")
    assert inject() is None
    with span("outer") as outer:
        carried = inject()
        context = outer.get_span_context()
        assert carried is not None
        assert carried.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
        with span("inner") as inner:
            assert inner.get_span_context().trace_id == context.trace_id
    assert inject() is None


def test_a_stored_traceparent_is_continued_however_late(finished: InMemorySpanExporter) -> None:
    # A sweeper publishing hours later is within a span of its own: the fact's trace wins.
    with span("sweep"), span("publish", "producer", STORED) as current:
        assert f"{current.get_span_context().trace_id:032x}" == STORED.split("-")[1]
        assert (inject() or "").split("-")[1] == STORED.split("-")[1]
    published = finished.get_finished_spans()[0]
    assert published.parent is not None
    assert f"{published.parent.span_id:016x}" == STORED.split("-")[2]
    assert published.kind is SpanKind.PRODUCER


@pytest.mark.parametrize(
    "broken",
    ["", "nonsense", "00-0-0-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01", STORED + "\n" * 2 + "x", "汉"],
)
def test_a_broken_traceparent_does_no_harm(finished: InMemorySpanExporter, broken: str) -> None:
    with span("outer") as outer, span("inner", "consumer", broken) as inner:
        assert inner.get_span_context().trace_id == outer.get_span_context().trace_id


def test_a_batch_has_links_and_no_one_parent(finished: InMemorySpanExporter) -> None:
    other = STORED.replace("0af7", "1af7")
    with span("sweep", links=[STORED, "nonsense", other]):
        pass
    done = only(finished)
    assert done.parent is None
    assert [f"{link.context.trace_id:032x}" for link in done.links] == [
        STORED.split("-")[1],
        other.split("-")[1],
    ]


def test_an_exception_leaves_its_type_and_nothing_it_says(finished: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match=PHONE), span("sign"):
        raise ValueError(f"phone {PHONE}")
    done = only(finished)
    assert done.status.status_code is StatusCode.ERROR
    assert dict(done.attributes or {}) == {"error.type": "ValueError"}
    assert done.events == ()
    assert PHONE not in done.to_json()


def test_attributes_are_masked(finished: InMemorySpanExporter) -> None:
    with span("sign", subject="cmd.signing.sign", to=PHONE, number=int(PHONE), n=3, ok=True, s=0.5, none=None):
        pass
    assert dict(only(finished).attributes or {}) == {
        "subject": "cmd.signing.sign",
        "to": "[phone]",
        "number": "[phone]",
        "n": 3,
        "ok": True,
        "s": 0.5,
    }


async def test_concurrent_tasks_keep_their_own_spans(finished: InMemorySpanExporter) -> None:
    async def handle(name: str) -> str | None:
        with span(name):
            await asyncio.sleep(0)
            return inject()

    carried = await asyncio.gather(*(handle(f"s{number}") for number in range(20)))
    assert len({(each or "").split("-")[1] for each in carried}) == 20


def _write(path: str, service: str, count: int) -> None:
    provider = configure_traces(service, file=path)
    for number in range(count):
        with span("x" * 500, "consumer", STORED, number=number, text="汉字" * 100):
            pass
    provider.shutdown()


def test_processes_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    provider = configure_traces("gateway", file=path)
    with span("tap", "server", traceparent=STORED, links=[STORED]):
        pass
    provider.shutdown()
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(str(path), f"s{number}", 100)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    written = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(written) == 301
    assert {line["trace_id"] for line in written} == {STORED.split("-")[1]}
    assert {line["service"] for line in written} == {"gateway", "s0", "s1", "s2"}
    first = written[0]
    assert (first["name"], first["kind"], first["parent_id"]) == ("tap", "server", STORED.split("-")[2])
    assert first["end_ns"] >= first["start_ns"]
    assert first["links"] == [{"trace_id": STORED.split("-")[1], "span_id": STORED.split("-")[2]}]
