"""A form's pages as pictures, and the pad where the name is written."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pypdfium2
import pytest
from PIL import Image

from contracts.commands import signing
from contracts.problems import Refuse
from gateway import pictures
from gateway.pictures import MEDIA_TYPE, WIDTH, Pictures
from tests.gateway.doorway import NOTHING_YET, Doorway


def a_pdf(pages: int = 2) -> bytes:
    out = io.BytesIO()
    document = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        document.new_page(595, 842)
    document.save(out)
    return out.getvalue()


@pytest.fixture
async def drawn() -> AsyncIterator[Pictures]:
    found = Pictures()
    yield found
    await found.stop()


async def test_a_page_is_drawn_from_the_very_form_for_its_verified_customer_alone(at: Doorway) -> None:
    journey_id = await at.journey()
    form = signing.FormOffered(
        product="motor_commercial", form_no="F1", form_version="1", form=await at.sealed_pdf(journey_id, a_pdf())
    )
    view = NOTHING_YET[signing.ViewSigning].model_copy(update={"forms": (form,)})
    at.play(signing.ViewSigning, lambda _: view)
    path = f"/v1/journeys/{journey_id}/forms/motor_commercial/pages"
    got = await at.get(f"{path}/2")
    assert (got.status, got.headers["content-type"], got.headers["form-pages"]) == (200, MEDIA_TYPE, "2")
    assert got.headers["cache-control"] == "no-store"
    assert "etag" not in got.headers
    image = Image.open(io.BytesIO(got.body))
    assert (image.format, image.width) == ("WEBP", WIDTH)
    assert (await at.get(f"{path}/3")).code == "not_found"
    for number in ("0", "100", "x"):
        assert (await at.get(f"{path}/{number}")).code == "invalid_fields"
    assert (await at.get(f"{path}/1?revision=sealed")).code == "forms_not_prepared"
    at.verified = False
    assert (await at.get(f"{path}/1")).code == "identity_missing"


async def test_a_worker_that_dies_costs_one_page(drawn: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    pdf = a_pdf()
    assert (await drawn.page(pdf, 1)).pages == 2
    monkeypatch.setattr(pictures, "_drawn", _dies)
    with pytest.raises(Refuse) as refused:
        await drawn.page(pdf, 1)
    assert refused.value.code == "unavailable"
    monkeypatch.undo()
    assert (await drawn.page(pdf, 2)).pages == 2


async def test_no_more_waits_than_can_be_held(drawn: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WAITING", 3)
    answers = await asyncio.gather(*(drawn.page(a_pdf(), 1) for _ in range(5)), return_exceptions=True)
    assert [isinstance(one, Refuse) and one.code == "unavailable" for one in answers] == [False] * 3 + [True] * 2
    assert (await drawn.page(a_pdf(), 1)).pages == 2, "room is given back"


async def test_it_stops_at_once_whatever_is_being_drawn(drawn: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    await drawn.page(a_pdf(), 1)
    monkeypatch.setattr(pictures, "_drawn", _never_ends)
    asking = [asyncio.create_task(drawn.page(a_pdf(), 1)) for _ in range(3)]
    await asyncio.sleep(0)
    began = time.monotonic()
    await drawn.stop()
    assert time.monotonic() - began < 2
    answers = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 5)
    assert {one.code if isinstance(one, Refuse) else type(one).__name__ for one in answers} == {"unavailable"}
    with pytest.raises(Refuse):
        await drawn.page(a_pdf(), 1)


@pytest.mark.parametrize(
    ("name", "boxes"),
    [("王小明", "王小明"), ("阿依古丽·买买提", "阿依古丽买买提"), ("\U00030729\U00020bb7", "\U00030729\U00020bb7")],
)
async def test_the_pad_has_one_box_a_character_that_is_written(
    at: Doorway, name: str, boxes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at, "who", replace(at.who, name=name))
    journey_id = await at.journey()
    got = await at.get(f"/v1/journeys/{journey_id}/pad")
    assert (got.status, got.headers["cache-control"]) == (200, "no-store")
    assert got.json == {"characters": list(boxes), "draft": None, "samples": []}
    at.verified = False
    assert (await at.get(f"/v1/journeys/{journey_id}/pad")).code == "identity_missing"


def _dies(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _never_ends(*_: object) -> None:
    time.sleep(60)
