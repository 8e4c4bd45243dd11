import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pikepdf
import pytest
import pytest_asyncio
from pydantic import ValidationError

from servicekit.documents.render import MissingGlyph, Renderer
from servicekit.documents.sheet import Row
from services.signing.application_form import ApplicationForm, form_job
from tests.prepared import sandbox_keys
from tests.servicekit.documents.prepared import render_settings
from tests.servicekit.documents.tools import fonts_of, pages_of, signatures_of, text_of
from tests.services.signing.finishing import Office, finishing
from tests.services.signing.forms import NAME_OF_TWENTY, SENTENCE, hardest, usual
from tests.services.signing.handwritten import written

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    async with Renderer(render_settings()) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def preview(renderer: Renderer) -> bytes:
    return await renderer.render(form_job(usual()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    async with finishing(sandbox_keys(tmp_path_factory.mktemp("sandbox"))) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def finished(preview: bytes, office: Office) -> bytes:
    return await office.finish(preview)


async def test_the_form_says_what_was_given(preview: bytes, tmp_path: Path) -> None:
    out = tmp_path / "form.pdf"
    out.write_bytes(preview)
    said = text_of(out).replace(" ", "")
    for expected in (
        "机动车商业保险投保单",
        "TSYX202644010000000128",
        "440106199003071234",
        "LGXC16AF5N0123456",
        "2,572.45",
        "贰仟伍佰柒拾贰元肆角伍分",
        "自2026年3月15日0时起至2027年3月14日24时止",
        SENTENCE,
        "《机动车商业保险免责事项说明书》",
        "TB-SYX-01",
        "第1页",
        "共2页",
        "2026-03-0716:05:09",
    ):
        assert expected in said
    assert all(fonts_of(out).values())


async def test_preview_is_the_same_bytes_each_time(renderer: Renderer, preview: bytes) -> None:
    assert await renderer.render(form_job(usual())) == preview


async def test_the_hash_the_customer_saw_is_in_the_signed_file(preview: bytes, finished: bytes, tmp_path: Path) -> None:
    seen = hashlib.sha256(preview).hexdigest()
    signed = finished
    assert signed != preview
    assert hashlib.sha256(signed[: len(preview)]).hexdigest() == seen
    out = tmp_path / "signed.pdf"
    out.write_bytes(signed)
    said = signatures_of(out)
    assert said.count("Signature is Valid") == 2
    assert "Signature Field Name: signature" in said
    assert pages_of(out) == 2


async def test_one_byte_changed_is_invalid(preview: bytes, finished: bytes, tmp_path: Path) -> None:
    signed = bytearray(finished)
    out = tmp_path / "signed.pdf"
    for place in (len(preview) // 3, len(preview) // 2, signed.index(b" RG 1 J 1 j") + 1):
        signed[place] ^= 1
        out.write_bytes(signed)
        assert signatures_of(out).count("Signature is Valid") < 2
        signed[place] ^= 1


async def test_the_handwriting_is_the_appearance_of_the_field(finished: bytes) -> None:
    with pikepdf.open(io.BytesIO(finished)) as document:
        field, _ = document.Root.AcroForm.Fields
        drawn = field.AP.N.read_bytes()
        assert drawn.count(b" m ") > 20
        assert b"BT" not in drawn
        reference = field.V.Reference[0]
        assert str(reference.TransformMethod) == "/DocMDP"
        assert int(reference.TransformParams.P) == 2


async def test_a_hard_form_fits(renderer: Renderer, office: Office, tmp_path: Path) -> None:
    out = tmp_path / "hard.pdf"
    preview = await renderer.render(form_job(hardest()))
    out.write_bytes(await office.finish(preview, name=NAME_OF_TWENTY, hand=written("王小明" * 6)))
    said = text_of(out).replace(" ", "")
    assert NAME_OF_TWENTY in said
    assert "𬭚㛃䶮" in said
    assert "车船税（当年应缴）" in said
    assert "480.00" in said
    assert pages_of(out) == 2
    assert all(fonts_of(out).values())
    assert signatures_of(out).count("Signature is Valid") == 2


async def test_a_name_that_cannot_be_set_stops_the_form(renderer: Renderer) -> None:
    form = usual()
    first, *others = form.sections
    odd = first.model_copy(update={"rows": (Row(label="姓名", value="王\U0003134a"), *first.rows[1:])})
    with pytest.raises(MissingGlyph, match=r"U\+3134A"):
        await renderer.render(form_job(form.model_copy(update={"sections": (odd, *others)})))


async def test_figures_must_add_up() -> None:
    good = usual().model_dump()
    for change in ({"premium_fen": 1}, {"total_fen": 1}, {"taxes": [{"label": "车船税", "fen": 1}]}):
        with pytest.raises(ValidationError, match="add up"):
            ApplicationForm.model_validate({**good, **change})
