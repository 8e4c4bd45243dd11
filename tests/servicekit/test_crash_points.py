"""Crash points: dead unless armed, each kills once, and what is passed is told by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from servicekit import crash_points
from servicekit.settings import Settings
from servicekit.store import Document, StoredFact
from servicekit.store.sqlite import SqliteStore
from servicekit.telemetry.metrics import Metrics

PASSES = """
import sys
from pathlib import Path
from servicekit import crash_points
crash_points.look(Path(sys.argv[1]), "payment")
with crash_points.within("place_order"):
    crash_points.passed("after_outside_call", "wechat order")
print("alive")
"""
POINT = "after_outside_call.payment.place_order.wechat-order"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / crash_points.ARMED).mkdir()
    yield tmp_path
    crash_points.look(None, "")


def passing(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PASSES, str(folder)], stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def told(folder: Path) -> list[str]:
    return (folder / crash_points.PASSED).read_text("ascii").splitlines()


def watched_from(folder: Path) -> None:
    (folder / crash_points.PASSED).touch()
    crash_points.look(folder, "payment")


def test_an_armed_point_kills_who_passes_it_once(folder: Path) -> None:
    armed = folder / crash_points.ARMED / POINT
    armed.touch()
    assert ended(passing(folder)) == (-signal.SIGKILL, "")
    assert not armed.exists()
    assert ended(passing(folder)) == (0, "alive\n")


def test_of_several_that_pass_an_armed_point_one_dies(folder: Path) -> None:
    (folder / crash_points.ARMED / POINT).touch()
    several = [passing(folder) for _ in range(4)]
    assert sorted(ended(each)[0] for each in several) == [-signal.SIGKILL, 0, 0, 0]


def test_a_point_of_another_name_kills_nobody(folder: Path) -> None:
    other = folder / crash_points.ARMED / POINT.replace("order", "refund")
    other.touch()
    assert ended(passing(folder)) == (0, "alive\n")
    assert other.exists()


def test_nothing_is_looked_for_unless_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the name of the handler is kept, and the store is the store itself."""

    def must_not(*_: object) -> None:
        raise AssertionError("killed")

    watched_from(folder)
    crash_points.look(None, "payment")
    (folder / crash_points.ARMED / "before_ack.payment.itself").touch()
    monkeypatch.setattr(os, "kill", must_not)
    crash_points.passed("before_ack")
    assert told(folder) == []
    assert (folder / crash_points.ARMED / "before_ack.payment.itself").exists()
    assert isinstance(crash_points.within("place_order"), nullcontext)
    store = SqliteStore(folder / "payment.sqlite")
    assert crash_points.watched(store) is store


def test_production_does_not_start_with_crash_points(folder: Path) -> None:
    with pytest.raises(ValidationError, match="crash_points_dir is for the sandbox"):
        Settings(crash_points_dir=folder)
    assert Settings(crash_points_dir=folder, sandboxed=True).crash_points_dir == folder
    assert Settings().crash_points_dir is None


def test_a_process_told_so_in_production_ends_before_it_begins(folder: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "services.nps"],
        env={"PATH": os.environ["PATH"], "TOUBAO_CRASH_POINTS_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert "crash_points_dir is for the sandbox" in process.stderr


def test_points_passed_are_told_by_kind_process_handler_and_what(folder: Path) -> None:
    watched_from(folder)
    crash_points.passed("after_save", "journeys")
    with crash_points.within("journey.*.signing.forms_signed"):
        crash_points.passed("before_ack")
        with crash_points.within(lambda: "POST /v1/journeys/{journey_id}/sign"):
            crash_points.passed("after_publish", "partner.*.policy_issued.*")
    crash_points.passed("after_save", "x" * 300)
    *points, long = told(folder)
    assert points == [
        "after_save.payment.itself.journeys",
        "before_ack.payment.journey-signing-forms_signed",
        "after_publish.payment.POST-v1-journeys-journey_id-sign.partner-policy_issued",
    ]
    assert len(long) == crash_points.LONGEST_NAME


def test_a_name_is_no_way_out_of_the_folder(folder: Path) -> None:
    watched_from(folder)
    crash_points.passed("after_save", "../../elsewhere")
    assert told(folder) == ["after_save.payment.itself.elsewhere"]


def test_an_outside_call_is_told_however_it_ends(folder: Path) -> None:
    watched_from(folder)
    outside = Metrics("payment", "1").outside("wechat")
    with outside(call="close"):
        pass
    with pytest.raises(TimeoutError), outside(call="query"):
        raise TimeoutError
    with pytest.raises(KeyError), outside(KeyError):
        raise KeyError
    assert told(folder) == [
        "after_outside_call.payment.itself.wechat-close",
        "after_outside_call.payment.itself.wechat-query",
        "after_outside_call.payment.itself.wechat",
    ]


async def test_a_save_is_told_with_its_new_facts_alone(folder: Path) -> None:
    watched_from(folder)
    store = crash_points.watched(SqliteStore(folder / "payment.sqlite"))
    try:
        journeys = store.collection("journeys")
        document = await journeys.save(Document("J", facts=(fact("order_placed", 1),)))
        await journeys.save(document)
        read = await journeys.get("J")
        assert read is not None
        read.facts = (*read.facts, fact("order_paid", 2), fact("refused", 3))
        await journeys.save(read)
        await journeys.put_many([Document("K")])
        await journeys.delete("K")
        assert [each.id for each in await journeys.find()] == ["J"]
        await store.ping()
    finally:
        await store.close()
    assert told(folder) == [
        "after_save.payment.itself.journeys-order_placed",
        "after_save.payment.itself.journeys",
        "after_save.payment.itself.journeys-order_paid+refused",
        "after_save.payment.itself.journeys",
        "after_save.payment.itself.journeys-deleted",
    ]


def fact(name: str, sequence: int) -> StoredFact:
    return StoredFact(
        id=f"F{sequence}",
        source="/services/payment",
        type=f"toubao.payment.{name}.v1",
        subject="J",
        time=datetime(2026, 11, 26, tzinfo=UTC).isoformat(timespec="microseconds"),
        sequence=sequence,
        dataschema=f"urn:toubao:contracts:payment.{name}.v1",
        data="{}",
    )
