import asyncio
import io
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import jinja2
import pikepdf
import pytest
import pytest_asyncio

from servicekit.documents.render import AddressRefused, Attached, Job, MissingGlyph, Renderer, RenderFailed
from tests.servicekit.documents.prepared import render_settings
from tests.servicekit.documents.tools import fonts_of, text_of

CREATED = datetime(2026, 3, 7, 8, 5, 9, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    async with Renderer(render_settings()) as running:
        yield running


def job(folder: Path, html: str, **data: str) -> Job:
    (folder / "page.html").write_text(
        "<html lang=zh><head><title>单</title><meta name=dcterms.created content='{{ created }}'>"
        "<style>body{font-family:{{ stacks.kai }}}</style></head><body>" + html + "</body></html>",
        encoding="utf-8",
    )
    return Job(folder, "page.html", data, "T-1", CREATED)


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_rare_name_is_embedded_and_readable(renderer: Renderer, tmp_path: Path) -> None:
    out = tmp_path / "out.pdf"
    out.write_bytes(await renderer.render(job(tmp_path, "<p>{{ name }}</p>", name="𬭚㛃䶮")))
    assert "𬭚㛃䶮" in text_of(out)
    fonts = fonts_of(out)
    assert fonts
    assert all(fonts.values())
    assert set(fonts) <= {"Toubao-Kai", "LXGW-WenKai", "Toubao-Sans", "Noto-Sans-CJK-SC"}


async def test_same_job_same_bytes(renderer: Renderer, tmp_path: Path) -> None:
    made = job(tmp_path, "<p>{{ name }}</p><a href='slot:here' style='display:block;height:9mm'></a>", name="王")
    first = await renderer.render(made)
    # Past the second, so that a date taken from a clock would show.
    time.sleep(1.1)  # noqa: ASYNC251
    assert await renderer.render(made) == first
    async with Renderer(render_settings()) as other:
        assert await other.render(made) == first


async def test_missing_glyph_names_the_character(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(MissingGlyph, match=r"U\+3134A"):
        await renderer.render(job(tmp_path, "<p>{{ name }}</p>", name="王\U0003134a"))


async def test_a_value_the_data_lacks_is_an_error(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError):
        await renderer.render(job(tmp_path, "<p>{{ nmae }}</p>", name="王"))


async def test_data_is_text_never_markup(renderer: Renderer, tmp_path: Path) -> None:
    hostile = "<img src='file:///etc/passwd'><a href='slot:forged' style='display:block;height:9mm'></a>"
    made = await renderer.render(job(tmp_path, "<p>{{ name }}</p>", name=hostile))
    out = tmp_path / "out.pdf"
    out.write_bytes(made)
    assert "slot:forged" in text_of(out)
    with pikepdf.open(io.BytesIO(made)) as document:
        assert "/AcroForm" not in document.Root


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "http://127.0.0.1:9/x.css",
        "../secret.css",
        "https://file.invalid/other",
        "data:text/css,p{}",
    ],
)
async def test_only_our_folder_is_served(renderer: Renderer, tmp_path: Path, address: str) -> None:
    (tmp_path / "secret.css").write_text("p{}")
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(AddressRefused):
        await renderer.render(job(inner, f"<link rel=stylesheet href='{address}'><p>王</p>"))


async def test_attachment_is_an_associated_file(renderer: Renderer, tmp_path: Path) -> None:
    made = job(tmp_path, "<p>王</p>")
    pdf = await renderer.render(
        Job(made.templates, made.template, {}, "T-1", CREATED, (Attached("policy.json", "保单数据", b'{"a":1}'),))
    )
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert document.attachments["policy.json"].get_file().read_bytes() == b'{"a":1}'
        assert str(document.Root.AF[0].AFRelationship) == "/Data"
        meta = document.open_metadata()
        assert (meta["pdfaid:part"], meta["pdfaid:conformance"]) == ("3", "U")


async def test_a_slot_becomes_an_empty_signature_field(renderer: Renderer, tmp_path: Path) -> None:
    pdf = await renderer.render(
        job(tmp_path, "<p>王</p><a href='slot:signature' style='display:block;width:60mm;height:20mm'></a>")
    )
    assert b"slot:" not in pdf
    with pikepdf.open(io.BytesIO(pdf)) as document:
        field = document.Root.AcroForm.Fields[0]
        assert (str(field.FT), str(field.T)) == ("/Sig", "signature")
        assert "/V" not in field
        left, bottom, right, top = (float(v) for v in field.Rect)
        assert right - left == pytest.approx(60 / 25.4 * 72, abs=0.1)
        assert top - bottom == pytest.approx(20 / 25.4 * 72, abs=0.1)


async def test_deadline_ends_the_document_not_the_pool(tmp_path: Path) -> None:
    # Nested flex is exponential in WeasyPrint: the kind of document that never ends.
    endless = job(tmp_path, "<div style='display:flex'>" * 14 + "王" + "</div>" * 14)
    async with Renderer(render_settings(deadline_s=3)) as small:
        with pytest.raises(RenderFailed):
            await small.render(endless)
        assert (await small.render(job(tmp_path, "<p>王</p>"))).startswith(b"%PDF")


async def test_workers_are_recycled(tmp_path: Path) -> None:
    made = job(tmp_path, "<p>王</p>")
    async with Renderer(render_settings(recycle_after=2)) as small:
        assert len({await small.render(made) for _ in range(4)}) == 1


async def test_stop_is_quick_even_while_busy(tmp_path: Path) -> None:
    busy = Renderer(render_settings())
    await busy.start()
    rendering = asyncio.create_task(
        busy.render(job(tmp_path, "<div style='display:flex'>" * 14 + "王" + "</div>" * 14))
    )
    await asyncio.sleep(0)
    began = time.monotonic()
    await busy.stop()
    assert time.monotonic() - began < 2
    rendering.cancel()
    await asyncio.gather(rendering, return_exceptions=True)
    with pytest.raises(RuntimeError):
        await busy.render(job(tmp_path, "<p>王</p>"))
