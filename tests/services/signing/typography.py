"""What a printed sheet must keep to, read off the finished page and not off the template.

``faults`` names every breach. Lengths in points, origin at the lower left as in PDF.
"""

from __future__ import annotations

import ctypes
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import pikepdf
import pypdfium2 as pdfium
from pypdfium2 import raw

MM: Final = 72 / 25.4
A4: Final = (595.28, 841.89)
LEFT, RIGHT, TOP, FOOT = 17 * MM, A4[0] - 17 * MM, A4[1] - 12 * MM, 5 * MM
PX: Final = 0.75
"""The page is drawn in CSS pixels."""
NEAR: Final = 0.35
"""Two things meant to agree differ by no more."""
RULES: Final = (0.35, 0.5, 1.1)
"""Hairline, edge of a table, edge of the sheet's head and of the total."""
SIZES: Final = (6.6, 6.8, 7.0, 7.7, 8.0, 8.2, 8.6, 8.8, 9.0, 9.4, 10.5, 11.2, 17.0)
FONTS: Final = {"Toubao-Sans", "Toubao-Sans-Bold", "Toubao-Song-Bold", "Toubao-Kai"}
WHOLE_FONTS: Final = {"Noto-Sans-CJK-SC", "Noto-Sans-CJK-SC-Bold", "LXGW-WenKai"}
"""Behind the cuts, for rare characters."""
SMALLEST_MODULE: Final = 0.3 * MM
"""Of a QR code that a phone reads off paper."""


@dataclass(frozen=True)
class Glyph:
    """One character as it stands: its ink, its baseline, its font."""

    character: str
    left: float
    right: float
    bottom: float
    top: float
    baseline: float
    size: float
    font: str


@dataclass(frozen=True)
class Rule:
    """A thin straight line or a thin filled box."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def across(self) -> bool:
        return self.right - self.left > self.top - self.bottom

    @property
    def weight(self) -> float:
        return min(self.right - self.left, self.top - self.bottom)


@dataclass(frozen=True)
class Page:
    number: int
    glyphs: list[Glyph]
    boxes: list[Rule]
    fields: dict[str, tuple[float, float, float, float]]

    @property
    def text(self) -> str:
        return "".join(glyph.character for glyph in self.glyphs)


def read(pdf: bytes) -> list[Page]:
    fields = _fields(pdf)
    document = pdfium.PdfDocument(pdf)
    try:
        pages = [
            Page(i + 1, list(_glyphs(document[i])), list(_boxes(document[i])), fields[i]) for i in range(len(document))
        ]
        for i in range(len(document)):
            assert abs(document[i].get_width() - A4[0]) < 0.5
            assert abs(document[i].get_height() - A4[1]) < 0.5
        return pages
    finally:
        document.close()


def _fields(pdf: bytes) -> dict[int, dict[str, tuple[float, float, float, float]]]:
    found: dict[int, dict[str, tuple[float, float, float, float]]] = defaultdict(dict)
    with pikepdf.open(io.BytesIO(pdf)) as document:
        for number, page in enumerate(document.pages):
            for note in page.obj.get("/Annots", ()):
                if note.get("/FT") == "/Sig":
                    left, bottom, right, top = (float(v) for v in note.Rect)
                    found[number][str(note.T)] = (left, bottom, right, top)
    return found


def _glyphs(page: Any) -> Iterator[Glyph]:
    text = page.get_textpage()
    for i in range(text.count_chars()):
        code = raw.FPDFText_GetUnicode(text, i)
        if 0xDC00 <= code < 0xE000:
            continue  # the second half of what came before
        if 0xD800 <= code < 0xDC00:
            code = 0x10000 + (code - 0xD800 << 10) + (raw.FPDFText_GetUnicode(text, i + 1) - 0xDC00)
        # What pdfium reports for a hyphen at a line's end.
        character = "-" if code == 2 else chr(code)
        if character.isspace() or character == "\0":
            continue
        sides = [ctypes.c_double() for _ in range(4)]
        raw.FPDFText_GetCharBox(text, i, *sides)
        left, right, bottom, top = (side.value for side in sides)
        x, y = ctypes.c_double(), ctypes.c_double()
        raw.FPDFText_GetCharOrigin(text, i, x, y)
        name = ctypes.create_string_buffer(128)
        raw.FPDFText_GetFontInfo(text, i, name, 128, None)
        font = name.value.decode().split("+")[-1]
        yield Glyph(character, left, right, bottom, top, y.value, raw.FPDFText_GetFontSize(text, i) * PX, font)
    text.close()


def _boxes(page: Any) -> Iterator[Rule]:
    for found in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH]):
        left, bottom, right, top = found.get_bounds()
        mode, stroke, width = ctypes.c_int(), ctypes.c_int(), ctypes.c_float()
        raw.FPDFPath_GetDrawMode(found.raw, mode, stroke)
        thin = min(right - left, top - bottom) < 5
        if thin and stroke.value and raw.FPDFPageObj_GetStrokeWidth(found.raw, width):
            # The bounds reach a whole line's width beyond the path, the ink half of it, and not beyond its ends.
            weight = width.value * PX
            left, bottom, right, top = left + weight, bottom + weight, right - weight, top - weight
            if right - left > top - bottom:
                bottom, top = bottom - weight / 2, top + weight / 2
            else:
                left, right = left - weight / 2, right + weight / 2
        yield Rule(left, right, bottom, top)


def faults(pdf: bytes, *, form_number: str, form_version: str) -> list[str]:
    """Every breach, page by page; none in good paper."""
    pages = read(pdf)
    found: list[str] = []
    for page in pages:
        for check in (_margins, _rules, _baselines, _letters, _spacing, _headings, _fields_are_free):
            found += [f"page {page.number}: {fault}" for fault in check(page)]
        found += [f"page {page.number}: {fault}" for fault in _foot(page, len(pages), form_number, form_version)]
    holding = [page.number for page in pages if page.fields]
    if len(holding) != 1 or set(pages[holding[0] - 1].fields) != {"signature", "seal"}:
        found.append(f"the places to sign and to seal are on pages {holding}")
    elif "投保人声明" not in pages[holding[0] - 1].text:
        found.append("the declaration is on another page than the signature")
    return found


def _margins(page: Page) -> Iterator[str]:
    for glyph in page.glyphs:
        inside = glyph.left >= LEFT - NEAR and glyph.right <= RIGHT + NEAR
        if not inside or not glyph.bottom >= FOOT or not glyph.top <= TOP + NEAR:
            yield f"{glyph.character} stands in the margin"
    for box in page.boxes:
        # The bounds of a drawing are its ink and a line's width more; those of the foot's boxes reach to the sheet's
        # edge, unseen.
        slack = NEAR if box.weight < 5 else 2
        beside = box.left < LEFT - slack or box.right > RIGHT + slack
        if beside or box.top > TOP + slack or 0 < box.bottom < FOOT:
            yield f"something drawn in the margin at {box.left:.0f}, {box.bottom:.0f}"


def _rules(page: Page) -> Iterator[str]:
    lines = [box for box in page.boxes if box.weight < 2 and max(box.right - box.left, box.top - box.bottom) > 20]
    for line in lines:
        if not any(abs(line.weight - weight) < 0.06 for weight in RULES):
            yield f"a rule of {line.weight:.2f} pt"
    # Rules of one height are of one weight, and no two lie so close that they run into one.
    heights = sorted({round((line.bottom + line.top) / 2, 1) for line in lines if line.across})
    for low, high in pairwise(heights):
        if high - low < 3 and high - low > NEAR:
            yield f"two rules {high - low:.1f} pt apart"


def _baselines(page: Page) -> Iterator[str]:
    """What stands in one line stands on one baseline: two that nearly agree are a slip."""
    # The head is two columns with lines of their own.
    title = max((g.baseline for g in page.glyphs if g.size > 15), default=A4[1])
    stands = sorted({round(g.baseline, 2) for g in page.glyphs if g.baseline < title})
    for low, high in pairwise(stands):
        if NEAR < high - low < 4:
            there = "".join(g.character for g in page.glyphs if round(g.baseline, 2) in {low, high})[:12]
            yield f"baselines {high - low:.2f} pt apart at “{there}…”"


def _letters(page: Page) -> Iterator[str]:
    for glyph in page.glyphs:
        if glyph.font not in FONTS | WHOLE_FONTS:
            yield f"{glyph.character} is set in {glyph.font}"
        if not any(abs(glyph.size - size) < 0.05 for size in SIZES):
            yield f"{glyph.character} is set in {glyph.size:.1f} pt"
        if glyph.character in "\ufffd\ufffe\uffff□":
            yield "a glyph is missing"


def _spacing(page: Page) -> Iterator[str]:
    """No ink over other ink."""
    rows: dict[float, list[Glyph]] = defaultdict(list)
    for glyph in page.glyphs:
        rows[round(glyph.baseline, 1)].append(glyph)
    for row in rows.values():
        row.sort(key=lambda glyph: glyph.left)
        for one, next_one in pairwise(row):
            if one.right - next_one.left > 0.25 * min(one.size, next_one.size):
                yield f"{one.character} and {next_one.character} overlap"


def _headings(page: Page) -> Iterator[str]:
    """A heading has its matter below it on the same page."""
    body = [g for g in page.glyphs if g.bottom > 16 * MM]
    bold = [g for g in body if g.font == "Toubao-Sans-Bold" and abs(g.size - 8.2) < 0.05]
    if body and bold and min(g.baseline for g in bold) <= min(g.baseline for g in body) + NEAR:
        yield "a heading at the end of the page"


def _fields_are_free(page: Page) -> Iterator[str]:
    for name, (left, bottom, right, top) in page.fields.items():
        for glyph in page.glyphs:
            apart = glyph.right <= left or glyph.left >= right or glyph.top <= bottom or glyph.bottom >= top
            if not apart:
                yield f"{glyph.character} stands where {name} goes"
        if left < LEFT - NEAR or right > RIGHT + NEAR:
            yield f"the place of {name} reaches into the margin"


def _foot(page: Page, pages: int, number: str, version: str) -> Iterator[str]:
    foot = "".join(g.character for g in page.glyphs if g.top < 16 * MM)
    for wanted in (f"第{page.number}页共{pages}页", f"单证号{number}", f"版式{version}"):
        if wanted.replace(" ", "") not in foot:
            yield f"the foot lacks “{wanted}”"


AMOUNT = re.compile(r"[\d,]+\.\d{2}")


def amounts_of(page: Page) -> list[tuple[str, float]]:
    """Amounts that end a line at the right, each with where its ink ends."""
    rows: dict[float, list[Glyph]] = defaultdict(list)
    for glyph in page.glyphs:
        rows[round(glyph.baseline, 1)].append(glyph)
    ends: list[tuple[str, float]] = []
    for row in rows.values():
        row.sort(key=lambda glyph: glyph.left)
        last = [row[-1]]
        for glyph in reversed(row[:-1]):
            if last[0].left - glyph.right > glyph.size / 2:
                break
            last.insert(0, glyph)
        said = "".join(glyph.character for glyph in last).removeprefix("¥")
        if AMOUNT.fullmatch(said) and last[-1].right > RIGHT - 30:
            ends.append((said, last[-1].right))
    return ends


def module_of_qr(pdf: bytes) -> float:
    """Side of one module of the code on the first page, in points."""
    document = pdfium.PdfDocument(pdf)
    try:
        square = [b for b in _boxes(document[0]) if b.right > RIGHT - 2 and b.top > TOP - 5 and b.bottom > TOP - 60]
        heights = [b.top - b.bottom for b in square]
        return min(heights, default=0.0)
    finally:
        document.close()
