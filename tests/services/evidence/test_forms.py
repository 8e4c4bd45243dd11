"""Finished forms before the judge, who shares no code with whoever finished them: what must hold, and each way in which
somebody with the insurer's own key could have tried to make it look so.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pikepdf
import pytest
import pytest_asyncio
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pikepdf import Array, Dictionary, Name, String
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import enumerate_sig_fields
from pyhanko.sign.validation import DocumentSecurityStore, SignatureCoverageLevel, async_validate_pdf_signature

from contracts.facts.signing import CharacterRead, PenMeasure
from contracts.values import CommittedFile, Contract
from servicekit.documents.keys import open_key
from servicekit.documents.render import Renderer
from servicekit.documents.seal import Sealer
from services.evidence import verify
from services.signing.application_form import ApplicationForm, form_job, seal_form, sign_form, statement_of
from services.signing.event_certificate import act_of
from tests import readings
from tests.prepared import sandbox_keys
from tests.servicekit.documents.blank import blank_form
from tests.servicekit.documents.prepared import render_settings
from tests.servicekit.documents.tools import signatures_of
from tests.services.signing.finishing import AT, NAME, SEAL, SIGNED, Office, finishing
from tests.services.signing.forms import hardest, usual
from tests.services.signing.handwritten import written
from tests.softhsm import imported, token

FORM = "1" * 64
SEEN = blank_form("signature", lock="seal")


@dataclass(frozen=True)
class Made:
    """A form finished as it should be, and the ways to finish others."""

    pdf: bytes
    certificate: str
    office: Office

    @property
    def trust(self) -> verify.Trust:
        return verify.Trust.read(self.office.root / "trust")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Made]:
    async with finishing(sandbox_keys(tmp_path_factory.mktemp("sandbox"))) as office:
        yield Made(*await office.finish_with(SEEN, SIGNED, FORM), office)


class Court(verify.Pack):
    """The verifier's judgement of one form, without the pack around it."""

    def __init__(self, trust: verify.Trust, certificate: str, **changed: Any) -> None:
        self.found = verify.Findings()
        self.trust = trust
        self.final = AT
        act = SIGNED.model_dump(mode="json") | changed
        self.said = {"forms_signed": [_Fact(0, act)]}
        self.sealed = _Fact(1, {"form_no": "F-1", "first_revision": FORM, "certificate": certificate})

    def named(self, *names: str) -> list[verify.Said]:
        return [fact for name in names for fact in self.said.get(name, ())]  # type: ignore[misc]

    def value(self, committed: Any) -> bytes | None:
        return str(committed).encode()

    def judge_form(self, pdf: bytes, seen: bytes = SEEN) -> verify.Findings:
        self.signed_form(self.sealed, pdf, seen, self.pdf(pdf, "form F-1"))  # type: ignore[arg-type]
        return self.found


@dataclass(frozen=True)
class _Fact:
    index: int
    data: dict[str, Any]


def court(made: Made, **changed: Any) -> Court:
    return Court(made.trust, made.certificate, **changed)


def test_a_finished_form_is_proven_offline(made: Made) -> None:
    found = court(made).judge_form(made.pdf)
    assert found.doubts == []
    assert sum("were in force" in said for said in found.proven) == 2
    assert any("nothing was done but signing and sealing it" in said for said in found.proven)


@pytest.mark.asyncio(loop_scope="module")
async def test_pyhanko_and_pdfsig_accept_both_signatures_from_what_is_in_the_file(made: Made, tmp_path: Path) -> None:
    reader = PdfFileReader(io.BytesIO(made.pdf))
    context = DocumentSecurityStore.read_dss(reader).as_validation_context(
        {"trust_roots": made.office.roots, "allow_fetching": False, "revocation_mode": "require"}
    )
    customer, insurer = [
        await async_validate_pdf_signature(signature, signer_validation_context=context, ts_validation_context=context)
        for signature in reader.embedded_signatures
    ]
    assert customer.bottom_line
    assert insurer.bottom_line
    assert customer.docmdp_ok
    assert insurer.coverage is SignatureCoverageLevel.ENTIRE_FILE
    (tmp_path / "form.pdf").write_bytes(made.pdf)
    shown = signatures_of(tmp_path / "form.pdf")
    assert shown.count("Signature is Valid") == 2
    assert "Total document signed" in shown


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_byte_changed_is_noticed(made: Made, place: float, flip: int) -> None:
    """But for what no signature can cover: certificates beside the last signature itself. Those the commitment in the
    fact covers (test_pack).
    """
    changed = bytearray(made.pdf)
    at = int(place * len(changed))
    changed[at] ^= flip
    assume(not _in_contents(made.pdf, at))
    with pytest.raises(verify.Altered):
        court(made).judge_form(bytes(changed), bytes(changed[: len(SEEN)]))


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_byte_of_the_customers_signature_is_under_the_seal(made: Made, place: float, flip: int) -> None:
    (begins, ends), _ = _gaps(made.pdf)
    changed = bytearray(made.pdf)
    changed[begins + int(place * (ends - begins))] ^= flip
    with pytest.raises(verify.Altered):
        court(made).judge_form(bytes(changed))


def _in_contents(pdf: bytes, at: int) -> bool:
    return any(a <= at < b for a, b in _gaps(pdf))


def _gaps(pdf: bytes) -> list[tuple[int, int]]:
    reader = PdfFileReader(io.BytesIO(pdf))
    ranges: list[Any] = [signature.byte_range for signature in reader.embedded_signatures]
    return [(int(r[0]) + int(r[1]), int(r[2])) for r in ranges]


@settings(max_examples=40, deadline=None)
@given(more=st.binary(min_size=1, max_size=40))
def test_anything_added_behind_the_seal_is_noticed(made: Made, more: bytes) -> None:
    with pytest.raises(verify.Altered):
        court(made).judge_form(made.pdf + more)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("form", [usual, hardest])
async def test_a_form_as_it_is_drawn_is_proven_too(made: Made, form: Callable[[], ApplicationForm]) -> None:
    async with Renderer(render_settings()) as renderer:
        seen = await renderer.render(form_job(form()))
    pdf, certificate = await made.office.finish_with(seen, SIGNED, FORM)
    assert Court(made.trust, certificate).judge_form(pdf, seen).doubts == []


@pytest.mark.asyncio(loop_scope="module")
async def test_keys_of_a_hardware_module_make_the_same_proof(tmp_path: Path) -> None:
    root = sandbox_keys(tmp_path)
    seal = open_key(imported(root / "keys/application.key.pem", "application", "0a"))
    async with finishing(root, key=seal, one_time=token()) as office:
        pdf, certificate = await office.finish_with(SEEN, SIGNED, FORM)
    assert Court(verify.Trust.read(root / "trust"), certificate).judge_form(pdf).doubts == []


def test_earlier_revisions_are_a_prefix(made: Made) -> None:
    (_, first), (_, last) = _gaps(made.pdf)
    assert made.pdf.startswith(SEEN)
    assert len(SEEN) < first < last < len(made.pdf)


# -- by whoever holds the insurer's key ------------------------------------------------------------------------------


def add_page(writer: IncrementalPdfFileWriter) -> None:
    from pyhanko.pdf_utils.content import RawContent
    from pyhanko.pdf_utils.writer import PageObject

    stream = writer.add_object(generic.StreamObject(stream_data=RawContent(b"0 0 m").render()))
    writer.insert_page(PageObject(contents=stream, media_box=(0, 0, 100, 100)))


def change_page(writer: IncrementalPdfFileWriter) -> None:
    page = writer.root["/Pages"]["/Kids"][0]
    page["/MediaBox"] = generic.ArrayObject(map(generic.NumberObject, (0, 0, 300, 300)))
    writer.mark_update(writer.root["/Pages"]["/Kids"].raw_get(0))


def add_field(writer: IncrementalPdfFileWriter) -> None:
    from pyhanko.sign.fields import SigFieldSpec, append_signature_field

    append_signature_field(writer, SigFieldSpec("third", box=(300, 300, 400, 400)))


def cover_with_a_note(writer: IncrementalPdfFileWriter) -> None:
    page = writer.root["/Pages"]["/Kids"][0]
    note = writer.add_object(
        generic.DictionaryObject(
            {
                generic.pdf_name("/Type"): generic.pdf_name("/Annot"),
                generic.pdf_name("/Subtype"): generic.pdf_name("/FreeText"),
                generic.pdf_name("/Rect"): generic.ArrayObject(map(generic.NumberObject, (0, 0, 300, 300))),
            }
        )
    )
    page["/Annots"].append(note)
    writer.mark_update(writer.root["/Pages"]["/Kids"].raw_get(0))


def change_the_handwriting(writer: IncrementalPdfFileWriter) -> None:
    field = writer.root["/AcroForm"]["/Fields"][0]
    look = writer.add_object(generic.StreamObject(stream_data=b"0 0 m 10 10 l S"))
    field["/AP"] = generic.DictionaryObject({generic.pdf_name("/N"): look})
    writer.mark_update(writer.root["/AcroForm"]["/Fields"].raw_get(0))


def unlock(writer: IncrementalPdfFileWriter) -> None:
    field = writer.root["/AcroForm"]["/Fields"][1]
    field["/Lock"]["/P"] = generic.NumberObject(2)
    writer.mark_update(field.raw_get("/Lock"))


def run_a_script(writer: IncrementalPdfFileWriter) -> None:
    writer.root["/OpenAction"] = generic.DictionaryObject(
        {generic.pdf_name("/S"): generic.pdf_name("/JavaScript"), generic.pdf_name("/JS"): generic.pdf_string("1")}
    )
    writer.update_root()


def move_the_seal(writer: IncrementalPdfFileWriter) -> None:
    field = writer.root["/AcroForm"]["/Fields"][1]
    field["/Rect"] = generic.ArrayObject(map(generic.NumberObject, (0, 0, 500, 800)))
    writer.mark_update(writer.root["/AcroForm"]["/Fields"].raw_get(1))


def leave_something_lying_about(writer: IncrementalPdfFileWriter) -> None:
    writer.add_object(generic.pdf_string("unreachable"))


MISDEEDS = (
    add_page,
    change_page,
    add_field,
    cover_with_a_note,
    change_the_handwriting,
    unlock,
    run_a_script,
    move_the_seal,
    leave_something_lying_about,
)


Misdeed = Callable[[IncrementalPdfFileWriter], None]


def spoilt(pdf: bytes, misdeed: Misdeed) -> bytes:
    """With one more revision."""
    writer = IncrementalPdfFileWriter(io.BytesIO(pdf))
    misdeed(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def together_with(field: str, misdeed: Misdeed) -> type[IncrementalPdfFileWriter]:
    """Does it in the very revision that signs ``field``."""

    class Spoiling(IncrementalPdfFileWriter):
        def __init__(self, stream: io.BytesIO) -> None:
            super().__init__(stream)
            empty = [name for name, _, _ in enumerate_sig_fields(self.prev, filled_status=False)]
            if empty[0] == field:
                misdeed(self)

        def _update_meta(self) -> None:
            pass

    return Spoiling


async def misdone(office: Office, misdeed: Misdeed, when: str) -> tuple[bytes, str]:
    """A finished form to which something else was done; all signatures in it are sound."""
    preview = CommittedFile(commitment=FORM, blob=FORM, media_type="application/pdf", size=1)
    async with office.completion.act(SIGNED, NAME) as act:
        begun = spoilt(SEEN, misdeed) if when == "before" else SEEN
        statement = statement_of(SIGNED, preview, SEEN)
        signed = await sign_form(begun, written(), statement, act.customer, NAME, AT)
        signed = spoilt(signed, misdeed) if when == "between" else signed
        return await seal_form(signed, SEAL, office.completion.insurer, act.proofs, AT), act.certificate


@pytest.mark.parametrize("when", ["before", "signature", "between", "seal"])
@pytest.mark.parametrize("misdeed", MISDEEDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_is_slipped_in_before_the_seal(
    made: Made, misdeed: Misdeed, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if when in {"signature", "seal"}:
        monkeypatch.setattr("servicekit.documents.seal._Revision", together_with(when, misdeed))
    pdf, certificate = await misdone(made.office, misdeed, when)
    judge = Court(made.trust, certificate)
    assert len(judge.pdf(pdf, "form F-1")) == 2, "every signature is sound by itself"
    with pytest.raises(verify.Altered):
        judge.judge_form(pdf)


@pytest.mark.asyncio(loop_scope="module")
async def test_certification_cannot_be_dropped(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(writer: IncrementalPdfFileWriter) -> None:
        del writer.root["/Perms"]
        writer.update_root()

    await test_nothing_is_slipped_in_before_the_seal(made, drop, "seal", monkeypatch)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("when", ["signature", "seal"])
async def test_it_is_the_misdeed_that_is_noticed(made: Made, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servicekit.documents.seal._Revision", together_with(when, lambda _: None))
    pdf, certificate = await misdone(made.office, lambda _: None, when)
    assert Court(made.trust, certificate).judge_form(pdf).doubts == []


@pytest.mark.parametrize(
    "changed",
    [
        {"legibility": "manual"},
        {"ink_checks": []},
        {"reading": None},
        {"reading": readings.passed(NAME, strictness=2).model_dump(mode="json")},
        {"reading": readings.unclear(NAME, strictness=1).model_dump(mode="json")},
        {"pen": []},
        {"pen": [{**readings.PEN[0].model_dump(mode="json"), "value": 0.32}]},
        {"strokes": {"commitment": "e" * 64}},
        {"proof": {"proof": {"jws": "another.act.signature"}}},
    ],
)
def test_the_customers_signature_stands_for_this_act_and_no_other(made: Made, changed: dict[str, Any]) -> None:
    with pytest.raises(verify.Altered):
        court(made, **changed).judge_form(made.pdf)


def test_any_score_changed_under_the_customers_signature_is_noticed(made: Made) -> None:
    said = readings.passed(NAME).model_dump(mode="json")
    for box, change in [(b, c) for b in range(len(NAME)) for c in ({"score": 7.24}, {"limit": -1.6}, {"ok": False})]:
        characters = [each | change if each["box"] == box else each for each in said["characters"]]
        with pytest.raises(verify.Altered, match="stands for something else"):
            court(made, reading=said | {"characters": characters}).judge_form(made.pdf)


NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(st.none() | NUMBER, NUMBER), max_size=20), st.lists(st.tuples(NUMBER, NUMBER), max_size=5))
def test_whatever_was_measured_the_judge_reads_the_same_numbers(
    scores: list[tuple[float | None, float]], pen: list[tuple[float, float]]
) -> None:
    """From the bytes of the fact, with another reader of numbers than the one that wrote them."""
    read = tuple(CharacterRead(box=b, score=s, limit=least, ok=True) for b, (s, least) in enumerate(scores))
    measured = tuple(PenMeasure(code="speed", value=value, limit=least, flagged=False) for value, least in pen)
    signed = SIGNED.model_copy(update={"reading": readings.passed(NAME, characters=read), "pen": measured})
    stated = statement_of(signed, CommittedFile(commitment=FORM, blob=FORM, media_type="x", size=1), SEEN)
    fact = verify.read_json(signed.model_dump_json().encode())
    assert stated.reading == verify.sha256(verify.canonical(fact["reading"]))
    assert stated.pen == verify.sha256(verify.canonical(fact["pen"]))


class OldStatement(Contract):
    """As it was before there was a check of legibility."""

    format: Literal[1] = 1
    act: str
    preview: str
    form: str
    strokes: str
    legibility: str
    checks: str


@pytest.mark.asyncio(loop_scope="module")
async def test_a_form_signed_before_there_was_a_check_is_proven_still(made: Made) -> None:
    preview = CommittedFile(commitment=FORM, blob=FORM, media_type="application/pdf", size=1)
    before = SIGNED.model_copy(update={"legibility": "not_judged"})
    said = statement_of(before, preview, SEEN).model_dump(exclude={"format", "reading", "pen"})
    async with made.office.completion.act(before, NAME) as act:
        old: Any = OldStatement(**said)
        signed = await sign_form(SEEN, written(), old, act.customer, NAME, AT)
        pdf = await seal_form(signed, SEAL, made.office.completion.insurer, act.proofs, AT)
    fact = before.model_dump(mode="json")

    def judge(**changed: Any) -> Court:
        made_of = Court(made.trust, act.certificate)
        data = {k: v for k, v in fact.items() if k not in {"reading", "pen", "review_no"}} | changed
        made_of.said["forms_signed"] = [_Fact(0, data)]
        return made_of

    assert judge().judge_form(pdf).doubts == []
    for changed in ({"reading": fact["reading"], "pen": fact["pen"]}, {"reading": None, "pen": []}):
        with pytest.raises(verify.Altered, match="stands for something else"):
            judge(**changed).judge_form(pdf)
    # Nor the other way round: what was signed with a reading does not verify without it.
    stripped = {k: v for k, v in SIGNED.model_dump(mode="json").items() if k not in {"reading", "pen"}}
    other = Court(made.trust, made.certificate)
    other.said["forms_signed"] = [_Fact(0, stripped)]
    with pytest.raises(verify.Altered, match="stands for something else"):
        other.judge_form(made.pdf)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("name", "act", "why"), [(NAME, "b" * 64, "another act"), ("李四", None, "somebody else"), (NAME, None, None)]
)
async def test_the_certificate_is_of_this_person_and_this_act(
    made: Made, name: str, act: str | None, why: str | None
) -> None:
    by = made.office.completion
    preview = CommittedFile(commitment=FORM, blob=FORM, media_type="application/pdf", size=1)
    async with by.authority.one_time(name, act or act_of(SIGNED), "e" * 64) as key, by.act(SIGNED, NAME) as usual:
        proofs = usual.proofs.and_also(await by.status.of(key.chain))
        statement = statement_of(SIGNED, preview, SEEN)
        signed = await sign_form(SEEN, written(), statement, Sealer(key, by.stamper), NAME, AT)
        pdf = await seal_form(signed, SEAL, by.insurer, proofs, AT)
    judge = Court(made.trust, verify.sha256(verify.certificate_der(key.chain[0])))
    judge.said["journey_opened"] = [_Fact(0, {"policyholder": {"name": NAME}})]
    if why is None:
        assert judge.judge_form(pdf).doubts == []
        return
    with pytest.raises(verify.Altered, match=why):
        judge.judge_form(pdf)


def test_a_form_under_another_certificate_is_another_form(made: Made) -> None:
    with pytest.raises(verify.Altered, match="another certificate"):
        Court(made.trust, "f" * 64).judge_form(made.pdf)


def test_a_form_that_was_never_seen_is_noticed(made: Made) -> None:
    other = blank_form("signature", "other", lock="seal")
    with pytest.raises(verify.Altered):
        court(made).judge_form(made.pdf, other)


def test_certificates_without_proof_of_their_status_are_a_doubt(made: Made) -> None:
    judge = court(made)
    pdf = judge.pdf(made.pdf, "form F-1")
    late = [verify.Sealing(s.cms, s.stamp, s.at + timedelta(days=2), s.ends) for s in pdf]
    judge.signed_form(judge.sealed, made.pdf, SEEN, late)  # type: ignore[arg-type]
    assert sum("were in force" in doubt for doubt in judge.found.doubts) == 2


def test_hostile_pdfs_are_refused_and_never_crash(made: Made) -> None:
    nested = b"%PDF-1.7\n1 0 obj\n" + b"[" * 500 + b"]" * 500 + b"\nendobj\n"
    for data in (b"", b"%PDF", nested, SEEN[:-20], made.pdf[:-2], nested + b"startxref\n9\n%%EOF\n"):
        with pytest.raises(verify.Altered):
            verify.Revision(data)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"(zh-CN)", b"zh-CN"),
        (rb"(zh\055CN)", b"zh-CN"),
        (b"<7A682D 434E>", b"zh-CN"),
        (b"<7>", b"p"),
        (rb"(\(\)\\\n\t\7\0533)", b"()\\\n\t\x07+3"),
        (b"(one\\\nline\\\r\n)", b"oneline"),
        (rb"(\q)", b"q"),
    ],
)
def test_a_string_is_what_it_stands_for_however_it_is_written(written: bytes, meant: bytes) -> None:
    assert verify.pdf_value(written, 0) == (meant, len(written))


def test_the_reader_agrees_with_a_real_one() -> None:
    """Dictionaries, arrays, strings, names and numbers as another writer spells them."""
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(100, 100))
    page.obj.Odd = Dictionary(A=Array([1, -2, 3.5, True, None]), B=String("a(b)c\\"), C=Name("/N#20x"), D=Array([]))
    document.Root.AcroForm = document.make_indirect(Dictionary(Fields=Array([])))
    out = io.BytesIO()
    document.save(out, object_stream_mode=pikepdf.ObjectStreamMode.disable)
    revision = verify.Revision(out.getvalue())
    pages = revision.get(revision.root["/Pages"])
    assert pages["/Count"] == 1
    odd = revision.get(pages["/Kids"][0])["/Odd"]
    assert odd["/A"][:2] == [1, -2]
    assert odd["/A"][3:] == [True, None]
    assert odd["/B"] == b"a(b)c\\"
    assert odd["/D"] == []
