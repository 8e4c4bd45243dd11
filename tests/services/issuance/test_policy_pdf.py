import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pikepdf
import pytest
import pytest_asyncio
from pydantic import ValidationError

from servicekit.documents.fonts import MissingGlyph, load
from servicekit.documents.render import Renderer
from servicekit.documents.round_seal import DIAMETER, round_seal
from servicekit.documents.seal import Sealer
from services.issuance.policy_pdf import PolicyDocument, policy_job, seal_policy
from tests.servicekit.documents.authority import make_authority
from tests.servicekit.documents.prepared import fonts_folder, render_settings
from tests.servicekit.documents.tools import fonts_of, pages_of, signatures_of, text_of
from tests.services.issuance.policies import NAME_OF_TWENTY, compulsory, hardest, usual

AT = datetime(2026, 3, 7, 8, 21, 41, tzinfo=UTC)
INSURER = "示例财产保险股份有限公司"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    async with Renderer(render_settings()) as running:
        yield running


@pytest.fixture(scope="module")
def sealer() -> Sealer:
    authority = make_authority()
    return Sealer(authority.signing_key(), authority.stamper())


def sources() -> tuple[Path, ...]:
    return load(fonts_folder()).outline_sources()


async def made(policy: PolicyDocument, renderer: Renderer, sealer: Sealer, out: Path) -> Path:
    seal = round_seal(INSURER, "电子保单专用章", sources())
    sealed = await seal_policy(await renderer.render(policy_job(policy)), seal, sealer, AT)
    out.write_bytes(sealed)
    return out


async def test_a_usual_policy_is_one_sealed_page(renderer: Renderer, sealer: Sealer, tmp_path: Path) -> None:
    out = await made(usual(), renderer, sealer, tmp_path / "policy.pdf")
    assert pages_of(out) == 1
    said = text_of(out).replace(" ", "")
    for expected in (
        "SYXA202644010000000042X",
        "TSYX202644010000000128",
        "8K3M-2QTX",
        "02SYXA440026030712345678901234567890",
        "2026-03-0716:21:35",
        "人民币（大写）贰仟伍佰柒拾贰元肆角伍分",
        "自2026年3月15日0时起至2027年3月14日24时止",
        "提交广州仲裁委员会仲裁",
        "广东示例保险代理有限公司",
        "第1页共1页",
    ):
        assert expected in said
    assert all(fonts_of(out).values())
    signed = signatures_of(out)
    assert "Signature is Valid" in signed
    assert "Total document signed" in signed
    assert "Signature Field Name: seal" in signed


async def test_taxes_stand_on_their_own_lines(renderer: Renderer, sealer: Sealer, tmp_path: Path) -> None:
    out = await made(compulsory(), renderer, sealer, tmp_path / "policy.pdf")
    assert pages_of(out) == 1
    said = text_of(out).replace(" ", "")
    for expected in (
        "代收车船税（当年应缴）325.00",
        "代收车船税滞纳金0.00",
        "保险费665.00",
        "玖佰玖拾元整",
        "180,000.00",
    ):
        assert expected in said


async def test_the_hardest_policy(renderer: Renderer, sealer: Sealer, tmp_path: Path) -> None:
    out = await made(hardest(), renderer, sealer, tmp_path / "policy.pdf")
    said = text_of(out).replace(" ", "")
    for expected in (NAME_OF_TWENTY, "𬭚㛃䶮", "WDC1679591A", "附加车轮单独损失险"):
        assert expected in said
    assert all(fonts_of(out).values())
    with pikepdf.open(out) as document:
        # The seal never stands on a page of its own.
        last = document.pages[-1]
        assert any(str(a.get("/T", "")) == "seal" for a in last.obj.Annots)
    assert "广东示例保险代理有限公司" in said.split("\f")[-2]


async def test_one_byte_changed_is_seen(renderer: Renderer, sealer: Sealer, tmp_path: Path) -> None:
    out = await made(usual(), renderer, sealer, tmp_path / "policy.pdf")
    bytes_ = bytearray(out.read_bytes())
    bytes_[len(bytes_) // 4] ^= 1
    out.write_bytes(bytes_)
    assert "Signature is Valid" not in signatures_of(out)


async def test_same_policy_same_bytes(renderer: Renderer) -> None:
    assert await renderer.render(policy_job(usual())) == await renderer.render(policy_job(usual()))


async def test_the_record_travels_inside(renderer: Renderer, sealer: Sealer, tmp_path: Path) -> None:
    out = await made(usual(), renderer, sealer, tmp_path / "policy.pdf")
    with pikepdf.open(io.BytesIO(out.read_bytes())) as document:
        assert json.loads(document.attachments["policy.json"].get_file().read_bytes()) == usual().record
        assert str(document.Root.AF[0].AFRelationship) == "/Data"
        (field,) = document.Root.AcroForm.Fields
        assert int(field.V.Reference[0].TransformParams.P) == 1
        assert b"BT" not in field.AP.N.read_bytes()


async def test_figures_must_add_up() -> None:
    with pytest.raises(ValidationError, match="add up"):
        PolicyDocument.model_validate({**usual().model_dump(), "total_fen": 1})


async def test_seal_names_the_character_it_cannot_draw() -> None:
    with pytest.raises(MissingGlyph, match=r"U\+3134A"):
        round_seal("王\U0003134a", "", sources())


@pytest.mark.parametrize("name", ["保险", INSURER, "示例互联网财产保险股份有限公司新疆维吾尔自治区分公司", "保" * 40])
async def test_seal_stays_within_its_ring(name: str) -> None:
    drawn = round_seal(name, "电子保单专用章", sources())
    assert round_seal(name, "电子保单专用章", sources()) == drawn
    numbers = [float(n) for n in drawn.operators.split() if n.replace(b".", b"").replace(b"-", b"").isdigit()]
    assert min(numbers) >= 0
    assert max(numbers) <= DIAMETER


async def test_seal_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="fit"):
        round_seal("保" * 41, "", sources())
