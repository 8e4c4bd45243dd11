"""The typographic checklist, held against the form of every product and against the hardest one; and the checklist
itself, held against forms with one thing wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pypdfium2 as pdfium
import pytest
import pytest_asyncio

from servicekit.documents.paper import amount_in_words, yuan
from servicekit.documents.render import Job, Renderer
from servicekit.documents.sheet import Cover, Row, Section
from services.signing.application_form import ApplicationForm, DocumentRead, Question, form_job
from tests.servicekit.documents.prepared import render_settings
from tests.services.signing import typography
from tests.services.signing.forms import hardest, usual
from tests.services.signing.typography import RIGHT, amounts_of, faults, read

pytestmark = pytest.mark.asyncio(loop_scope="module")


def longest() -> ApplicationForm:
    """Everything there can be, over several pages."""
    form = hardest()
    return form.model_copy(
        update={
            "covers": tuple(Cover(name=f"附加险种第{n}项", limit="1,000.00", fen=100) for n in range(45)),
            "premium_fen": 4500,
            "taxes": (),
            "total_fen": 4500,
            "special_terms": tuple(f"第{n}条特别约定：" + "内容" * 60 for n in range(12)),
            "questions": tuple(Question(text=f"第{n}个问题" + "是否" * 20, answer="没有") for n in range(12)),
            "documents": tuple(DocumentRead(title=f"第{n}份文件", version="2026.1") for n in range(14)),
        }
    )


def smallest() -> ApplicationForm:
    form = usual()
    return form.model_copy(
        update={
            "sections": (Section(title="投保人", rows=(Row(label="姓名", value="王一"),)),),
            "covers": (Cover(name="意外身故", limit="100.00", fen=1),),
            "premium_fen": 1,
            "taxes": (),
            "total_fen": 1,
            "questions": (),
            "channel": (),
            "special_terms": (),
        }
    )


FORMS = {"usual": usual, "hardest": hardest, "longest": longest, "smallest": smallest}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    async with Renderer(render_settings()) as running:
        yield running


@pytest.mark.parametrize("name", FORMS)
async def test_the_checklist(renderer: Renderer, name: str, tmp_path: Path) -> None:
    form = FORMS[name]()
    pdf = await renderer.render(form_job(form))
    pictures(pdf, tmp_path / name)
    assert faults(pdf, form_number=form.form_number, form_version=form.form_version) == []


@pytest.mark.parametrize("name", FORMS)
async def test_amounts_are_said_in_words_and_stand_under_each_other(renderer: Renderer, name: str) -> None:
    form = FORMS[name]()
    pages = read(await renderer.render(form_job(form)))
    words = f"人民币（大写）{amount_in_words(form.total_fen)}"
    assert sum(words in page.text for page in pages) == 1
    ends = [end for page in pages for _, end in amounts_of(page)]
    amounts = [amount for page in pages for amount, _ in amounts_of(page)]
    assert yuan(form.total_fen) in amounts
    assert all(yuan(cover.fen) in amounts for cover in form.covers if cover.fen is not None)
    assert all(RIGHT - 1.2 <= end <= RIGHT + 0.1 for end in ends), "one edge for all"


@pytest.mark.parametrize("name", FORMS)
async def test_everything_given_is_on_the_paper(renderer: Renderer, name: str) -> None:
    form = FORMS[name]()
    said = "".join(page.text for page in read(await renderer.render(form_job(form))))
    given = [row.value for section in form.sections for row in section.rows]
    given += [form.title, form.period, form.sentence, form.dispute_resolution, *form.special_terms, *form.declaration]
    given += [question.text for question in form.questions] + [document.title for document in form.documents]
    for text in given:
        assert "".join(text.split()) in said, text


async def test_a_head_stands_over_every_page_of_a_long_table(renderer: Renderer) -> None:
    pages = read(await renderer.render(form_job(longest())))
    assert len(pages) >= 3
    for page in pages:
        if "附加险种第" in page.text:
            assert "保险金额／责任限额" in page.text


async def test_the_code_can_be_read_off_paper(renderer: Renderer) -> None:
    form = usual().model_copy(update={"qr": f"{'T' * 22}-1 {'f' * 64}"})
    pdf = await renderer.render(form_job(form))
    assert typography.module_of_qr(pdf) >= 0.3 * typography.MM


# -- the checklist sees what is wrong --------------------------------------------------------------------------------


def spoilt(style: str) -> Callable[[Job, Path], Job]:
    def with_style(job: Job, folder: Path) -> Job:
        source = (job.templates / job.template).read_text("utf-8")
        (folder / job.template).write_text(source.replace("{% block style %}", "{% block style %}" + style), "utf-8")
        return replace(job, templates=folder)

    return with_style


@pytest.mark.parametrize(
    ("style", "fault"),
    [
        (".numbers { margin-left: -4mm; }", "in the margin"),
        (".fields td { border-bottom-width: .8pt; }", "a rule of"),
        (".fields td { vertical-align: top !important; } .fields td.value { padding-top: 1.2mm; }", "baselines"),
        (".fields td.value { font-size: 9.7pt; }", "is set in"),
        (".fields td.value { letter-spacing: -.5em; }", "overlap"),
        (".stamp { margin-left: -14mm; }", "stands where"),
        (".declaration, .signed { break-inside: auto; } .sign { break-before: page; }", "on another page"),
    ],
)  # fmt: skip
async def test_the_checklist_sees(renderer: Renderer, tmp_path: Path, style: str, fault: str) -> None:
    form = usual()
    job = spoilt(style)(form_job(form), tmp_path)
    found = faults(await renderer.render(job), form_number=form.form_number, form_version=form.form_version)
    assert any(fault in said for said in found), found


async def test_the_checklist_sees_another_number_in_the_foot(renderer: Renderer) -> None:
    form = usual()
    pdf = await renderer.render(form_job(form))
    assert any("单证号" in fault for fault in faults(pdf, form_number="OTHER", form_version=form.form_version))


def pictures(pdf: bytes, into: Path) -> None:
    """A picture a page, to be looked at."""
    into.mkdir(parents=True, exist_ok=True)
    document = pdfium.PdfDocument(pdf)
    for number in range(len(document)):
        document[number].render(scale=2).to_pil().save(into / f"page-{number + 1}.png")
    document.close()
