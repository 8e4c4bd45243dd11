"""The measuring tools: that they count what they say."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from pathlib import Path

import pikepdf
import pytest

from tests.bench import bus, journeys, judging, parts, processes, store, table

BURN = """
import threading, time

def heavy(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(500))

def elsewhere():
    heavy(0.3)

def pooled():
    heavy(0.004)

thread = threading.Thread(target=elsewhere)
thread.start()
heavy(0.6)
thread.join()
import asyncio
async def main():
    for _ in range(50):
        await asyncio.to_thread(pooled)
asyncio.run(main())
import os
print(sum(os.times()[:2]))
"""


def test_samples_add_up_to_what_the_kernel_counts_and_name_who_used_it(tmp_path: Path) -> None:
    told = {**os.environ, "PYTHONPATH": str(journeys.SAMPLING), "BENCH_STACKS_DIR": str(tmp_path)}
    script = tmp_path / "burn.py"
    script.write_text(BURN)
    done = subprocess.run([sys.executable, str(script)], env=told, capture_output=True, text=True, check=True)
    used = float(done.stdout)
    (file,) = [each for each in tmp_path.iterdir() if each.name.isdigit()]
    stacks = parts.read(file)
    assert sum(stacks.values()) == pytest.approx(used, rel=0.15)
    assert _below(stacks, "burn.py:elsewhere") == pytest.approx(0.3, rel=0.3)
    assert _below(stacks, "burn.py:pooled") == pytest.approx(0.2, rel=0.4)
    assert _below(stacks, "burn.py:<module>") >= 0.5


def _below(stacks: parts.Stacks, name: str) -> float:
    return sum(used for stack, used in stacks.items() if any(call.endswith(name) for call in stack))


def test_without_being_asked_nothing_is_sampled(tmp_path: Path) -> None:
    told = {name: value for name, value in os.environ.items() if name != "BENCH_STACKS_DIR"}
    told["PYTHONPATH"] = str(journeys.SAMPLING)
    code = "import signal; print(signal.getitimer(signal.ITIMER_PROF))"
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(0.0, 0.0)"


@pytest.mark.parametrize(
    ("calls", "part"),
    [
        (["x/services/signing/service.py:sign", "x/site-packages/pydantic/main.py:model_validate"], "handling"),
        (["x/services/signing/service.py:sign", "x/services/signing/ink.py:judge"], "handwriting"),
        (["x/servicekit/documents/render.py:_render", "x/weasyprint/layout/inline.py:split"], "documents"),
        (["x/servicekit/documents/seal.py:work", "x/pyhanko/sign/signers/pdf_cms.py:sign"], "signing"),
        (["x/servicekit/bus.py:respond", "lib/python3.11/json/encoder.py:encode"], "bus"),
        (["x/site-packages/nats/aio/client.py:_read_loop"], "bus"),
        (["x/servicekit/journeys.py:_save", "x/servicekit/store/sqlite.py:save"], "store"),
        (["x/servicekit/journeys.py:hear", "x/pydantic/main.py:model_dump"], "folding"),
        (["x/services/payment/__main__.py:<module>", "x/servicekit/runner.py:run", "x/uvloop/__init__.py:run"],
         "event loop"),
        (["<frozen importlib._bootstrap>:_load"], "rest"),
        ([], "rest"),
    ],
)  # fmt: skip
def test_a_stack_belongs_to_the_innermost_call_that_a_rule_knows(calls: list[str], part: str) -> None:
    assert part_and_listed(calls) == part


def part_and_listed(calls: list[str]) -> str:
    part = parts.part_of(calls)
    assert part in parts.PARTS
    return part


def test_every_rule_leads_to_a_part_of_the_table() -> None:
    assert {part for _, part in parts.RULES if part} <= set(parts.PARTS)


def test_cpu_and_memory_of_a_session_hold_its_children(tmp_path: Path) -> None:
    child = "import time\nuntil = time.process_time() + 0.4\nwhile time.process_time() < until: pass\n"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    assert processes.cpu(process.pid) >= 0.4
    assert processes.memory(process.pid) > 2**20
    process.communicate(b"\n")
    assert processes.members(process.pid) == []


def test_bytes_of_a_folder_are_those_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "one").write_bytes(b"12345")
    (tmp_path / "below" / "two").write_bytes(b"123")
    assert processes.bytes_below(tmp_path) == 8


def test_percentiles_are_values_that_were_seen() -> None:
    values = list(map(float, range(1, 101)))
    assert journeys.percentile(values, 0.5) == 50
    assert journeys.percentile(values, 0.95) == 95
    assert journeys.percentile([7.0], 0.95) == 7
    assert math.isnan(journeys.percentile([], 0.5))


def test_an_endpoint_has_nothing_of_one_journey() -> None:
    journey = "01JD0000000000000000000000"
    assert journeys.endpoint("GET", f"/v1/journeys/{journey}") == "GET (view)"
    assert journeys.endpoint("POST", f"/v1/journeys/{journey}/open-document") == "POST /open-document"
    assert journeys.endpoint("GET", f"/v1/journeys/{journey}/documents/{'a' * 64}") == "GET /documents/{sha256}"
    assert journeys.endpoint("GET", f"/v1/journeys/{journey}/forms/motor") == "GET /forms/{product}"
    assert journeys.endpoint("POST", "/v1/proposals") == "POST /v1/proposals"


@pytest.mark.parametrize(("many", "at_once"), [(1, 1), (10, 3), (40, 8), (5000, 16)])
def test_first_and_last_tenth_do_not_overlap_and_lie_within(many: int, at_once: int) -> None:
    first_from, first_to, last_from, last_to = journeys.tenths(many, at_once)
    assert 0 <= first_from < first_to
    assert last_from < last_to <= many
    assert first_to - first_from == last_to - last_from == max(1, many // 10)
    if many >= 10:
        assert first_to <= last_from


def test_what_the_samples_miss_is_shared_in_proportion() -> None:
    used = {"signing": 3.0, "gateway": 1.0, "nats": 0.5, "sandbox": 0.25, "simulator": 0.75}
    by_part = journeys._by_part(used, {"documents": 2.0, "HTTP": 1.0})
    assert by_part["documents"] == pytest.approx(4.0 * 2 / 3)
    assert by_part["bus"] == 0.5
    assert by_part["stand-ins"] == 0.25
    assert sum(by_part.values()) == pytest.approx(sum(used.values()))


def test_an_unsigned_document_is_no_result(tmp_path: Path) -> None:
    path = tmp_path / "unsigned.pdf"
    document = pikepdf.new()
    document.add_blank_page()
    document.save(path)
    with pytest.raises(judging.Wrong, match=r"unsigned\.pdf: not signed"):
        judging.signatures_of(path)


def test_the_bus_is_measured_three_ways(tmp_path: Path) -> None:
    result = bus.run(bus.Ordered(messages=300, turns=1, asks=30, singles=3), tmp_path)
    assert set(result["per_second"]) == {"bare", "ours", "faststream"}
    assert all(rate > 0 for rate in result["per_second"].values())
    assert "ours to the bare loop" in table.of_bus(result)
    assert "ours to a bare loop" in table.in_short({"bus": result})


def test_a_fact_of_the_bench_has_a_kilobyte() -> None:
    assert len(bus.measured().model_dump_json()) == bus.BYTES


def test_both_stores_are_measured(tmp_path: Path) -> None:
    result = store.run(store.Ordered(alone=25, at_once=70, mongodb_alone=3, mongodb_at_once=5), tmp_path)
    for backend in ("sqlite", "mongodb"):
        assert result[backend]["alone"]["per_second"] > 0
    assert "sqlite" in table.of_store(result)


async def test_the_saves_counted_are_in_the_store(tmp_path: Path) -> None:
    opened = store.SqliteStore(tmp_path / "counted.sqlite")
    collection = opened.collection("journeys", ("proposal_no",))
    await store.saves(collection, 45, 2)
    documents = await collection.find(limit=100)
    assert sum(document.version for document in documents) == 45
    assert all(len(document.facts) == document.version <= store.FACTS for document in documents)
    await opened.close()
    await asyncio.sleep(0)
