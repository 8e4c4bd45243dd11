"""Does this handwriting read as the expected name (模糊校验, DOMAIN §3.3 b)? Pure, but for the model it reads with.

Not "what does this say", which fails half of honest hands, but "how well does it read as this name". Each character
is looked at several times: in the line of the whole name, narrowed, thickened and leaned, and three times beside
itself. Each look gives the logarithm of how much likelier the expected character is there than the likeliest other one
(``ctc.Alignment``). To the mean of the looks comes by how much the ink's shape is nearer to the expected character than
to any other (``shapes``): a second opinion that knows no line. Together they are the character's score, in points; a
nat of a look is one. A name passes when every one of its characters does, so that one wrong character is enough to
fail, and when the line as a whole can be read as the name and nothing else is written beside it.

How the weights and limits were found and what they let through: docs/handwriting.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from contracts.commands.signing import written_characters
from services.signing.ctc import NEVER, Alignment, Floats, best_reading
from services.signing.pictures import LINE_INK, cut, inked, leaned, line, narrowed, side_by_side, thickened
from services.signing.recogniser import HEIGHT, NAME, Picture, Recogniser, is_ideograph, recogniser
from services.signing.shapes import shapes

VERSION: Final = f"{NAME}/2"
"""Of the model, this code and its limits together; goes into every verdict on record."""

Outcome = Literal["pass", "retry", "manual"]

NEARER: Final = 0.15
"""Points a nat of the shape: fewer than the looks', whose readers were taught by real hands."""
MOST_STRETCHED: Final = 3.3
"""Times that ink may be wider or higher in proportion than the printed character; one honest one in a thousand is."""
STRETCHED: Final = 50.0
"""Points less beyond that: a hairline is a poor 王 and yet no character is a better one."""
LEAST_SCORE: Final = -15.0
"""Points, at the first try."""
SURNAME: Final = 3.0
"""Points more for the surname: another family is another person, and fewer surnames are hard to write."""
STRICTER: Final = 3.0
"""Points more with each further try: who tries often must not get through by trying (I11)."""
LEAST_READING: Final = -8.0
"""Nats a character that the line must have of the name itself, whatever else it might be: scribbles have less."""
MOST_BESIDES: Final = 7.0
"""Nats a character by which the line's best reading may be likelier: what is written besides counts here."""
FLATTEST: Final = 1.75
"""Heights of its line that a character may be wide: flat ink is not drawn up to the full height, however wide."""
CANDIDATES: Final = 150
"""Other characters a look considers: those the frames name at all."""
LONGEST: Final = 20
NARROW: Final = 0.8
LEAN: Final = -0.18
ALONE: Final = 36
"""Pixels of height of a character three times beside itself."""
COMPOUND_SURNAMES: Final = frozenset(
    re.findall(
        "..",
        "欧阳上官司马司徒司空诸葛东方夏侯皇甫尉迟公孙公冶慕容令狐长孙宇文轩辕端木独孤南宫西门东郭百里呼延"
        "闻人澹台濮阳淳于单于太叔申屠仲孙钟离鲜于闾丘宗政万俟赫连拓跋歐陽司馬諸葛東方長孫軒轅",
    )
)

REASONS: Final = {
    "handwriting_empty": "还没有写字，请写下您的姓名",
    "handwriting_unclear": "第{box}格“{character}”没有认出来，请用正楷、一笔一画重新写这一格",
    "handwriting_box_empty": "第{box}格还没有写字，请补写“{character}”",
    "handwriting_another_name": "写的不像是投保人的姓名，请按证件上的姓名逐字书写",
    "handwriting_not_cut": "没有看清每一个字，请一格写一个字，字与字分开",
    "handwriting_unknown_character": "姓名中有系统不认识的字，将由工作人员人工核对",
}
"""What each reason tells the customer, and what to do."""


@dataclass(frozen=True, slots=True)
class CharacterVerdict:
    character: str
    score: float
    """Points, see above; minus infinity where nothing was to be read."""
    ok: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is a key of ``REASONS``; none when it passes. ``characters`` are those that are written, in order."""

    outcome: Outcome
    reason: str | None
    characters: list[CharacterVerdict]


def check_boxes(boxes: Sequence[Picture], name: str, strokes: object = None, *, attempt: int = 1) -> Verdict:
    """One picture a character, H×W uint8, dark ink on white, any size. ``attempt`` counts from 1.

    ``strokes`` are not needed for this judgement. Raises ``ValueError`` for a name without characters, more than
    ``LONGEST`` of them, another number of boxes, an attempt before the first, or pictures of another kind.
    """
    del strokes
    expected = _expected(name, boxes, attempt)
    if len(boxes) != len(expected):
        raise ValueError("as many boxes as characters")
    return _judged([inked(box) for box in boxes], expected, attempt)


def check_line(gray: Picture, name: str, strokes: object = None, *, attempt: int = 1) -> Verdict:
    """A picture of the whole name in one line; otherwise as ``check_boxes``."""
    del strokes
    expected = _expected(name, [gray], attempt)
    ink = inked(gray)
    if ink is None:
        return _judged([None] * len(expected), expected, attempt)
    if _unknown(expected):
        return _all_failed("manual", "handwriting_unknown_character", expected)
    pieces = cut(ink, len(expected))
    if pieces is None:
        return _all_failed("retry", "handwriting_not_cut", expected)
    return _judged(pieces, expected, attempt)


def known(character: str) -> bool:
    """Whether it can be judged: the model has learnt it."""
    return _readable(recogniser(), character) is not None


def warm_up() -> None:
    """Loads what is needed and reads once; afterwards every reading takes as long as the next."""
    recogniser().read([np.full((HEIGHT, HEIGHT), 255, np.uint8)])
    shapes()


def limit(attempt: int, name: str, place: int) -> float:
    """The least score of the character at ``place``, which counts from 0, at this try, which counts from 1."""
    surname = place == 0 or (place == 1 and name[:2] in COMPOUND_SURNAMES and len(name) > 2)
    return LEAST_SCORE + STRICTER * (attempt - 1) + (SURNAME if surname else 0)


def sentence(verdict: Verdict) -> str:
    """What the customer is told; empty when it passed."""
    if verdict.reason is None:
        return ""
    failed = [(box, each) for box, each in enumerate(verdict.characters, 1) if not each.ok]
    if verdict.reason == "handwriting_box_empty":
        failed = [(box, each) for box, each in failed if each.score == NEVER]
    box, character = (failed[0][0], failed[0][1].character) if failed else (0, "")
    return REASONS[verdict.reason].format(box=box, character=character)


# --- what is expected ------------------------------------------------------------------------------------------


def _expected(name: str, pictures: Sequence[Picture], attempt: int) -> list[str]:
    characters = [*written_characters(unicodedata.normalize("NFC", name))]
    if not 1 <= len(characters) <= LONGEST:
        raise ValueError(f"1 to {LONGEST} characters")
    if attempt < 1:
        raise ValueError("the first attempt is 1")
    if any(picture.ndim != 2 or picture.dtype != np.uint8 for picture in pictures):
        raise ValueError("a picture is H×W uint8")
    return characters


def _unknown(expected: Sequence[str]) -> bool:
    return not all(map(known, expected))


def _readable(reader: Recogniser, character: str) -> int | None:
    """The class by which the character is read; its compatible form counts as itself. None: it is not known, or is no
    ideograph, of which this model's word is worth nothing.
    """
    for form in (character, unicodedata.normalize("NFKC", character)):
        if is_ideograph(form) and form in reader.classes:
            return reader.classes[form]
    return None


# --- the judgement ---------------------------------------------------------------------------------------------


def _judged(pieces: Sequence[Picture | None], expected: list[str], attempt: int) -> Verdict:
    if all(piece is None for piece in pieces):
        return _all_failed("retry", "handwriting_empty", expected)
    if _unknown(expected):
        return _all_failed("manual", "handwriting_unknown_character", expected)
    written = {place: piece for place, piece in enumerate(pieces) if piece is not None}
    looks = _looks(recogniser(), [*written.values()], [expected[place] for place in written])
    scores = dict.fromkeys(range(len(expected)), NEVER) | dict(zip(written, looks.scores, strict=True))
    name = "".join(expected)
    characters = [
        CharacterVerdict(expected[place], round(score, 2), score >= limit(attempt, name, place))
        for place, score in scores.items()
    ]
    if len(written) < len(pieces):
        return Verdict("retry", "handwriting_box_empty", characters)
    if not all(each.ok for each in characters):
        most = sum(not each.ok for each in characters) * 2 > len(characters)
        reason = "handwriting_another_name" if most and len(characters) > 1 else "handwriting_unclear"
        return Verdict("retry", reason, characters)
    if looks.reading < LEAST_READING or looks.besides > MOST_BESIDES:
        return Verdict("retry", "handwriting_another_name", characters)
    return Verdict("pass", None, characters)


def _all_failed(outcome: Outcome, reason: str, expected: list[str]) -> Verdict:
    return Verdict(outcome, reason, [CharacterVerdict(character, NEVER, ok=False) for character in expected])


@dataclass(frozen=True, slots=True)
class _Looks:
    scores: list[float]
    """Of each character."""
    reading: float
    """Log-likelihood of the name in the line, a character."""
    besides: float
    """By how much the line's best reading is likelier, a character."""


def _looks(reader: Recogniser, inks: list[Picture], expected: list[str]) -> _Looks:
    name = [number for character in expected if (number := _readable(reader, character)) is not None]
    near = side_by_side(inks, gap=0.15)
    narrow = side_by_side([narrowed(ink, NARROW) for ink in inks], gap=0.2)
    thick = side_by_side([thickened(ink) for ink in inks], gap=0.15)
    widest = round(len(inks) * FLATTEST * LINE_INK)
    lines = [line(each, widest=widest) for each in (narrow, thick, leaned(near, LEAN))]
    # Three times the same: the model reads lines, and a character with neighbours better than one by itself.
    alone = [line(side_by_side([ink] * 3, gap=0.2), height=ALONE, widest=round(3 * FLATTEST * ALONE)) for ink in inks]
    frames = reader.read(lines)
    together = [_ratios(reader, each, name, range(len(name))) for each in frames]
    scores: list[float] = []
    for place, by_itself in enumerate(reader.read(alone)):
        looks = [each[place] for each in together] + _ratios(reader, by_itself, [name[place]] * 3, [1])
        character = reader.characters[name[place]]
        stretched = shapes().stretched(inks[place], character) > MOST_STRETCHED
        nearer = NEARER * shapes().nearer(inks[place], character)
        scores.append(float(np.mean(looks)) + nearer - (STRETCHED if stretched else 0))
    likelihood = max(Alignment(each, name).likelihood for each in frames)
    best = max(best_reading(each)[1] for each in frames)
    return _Looks(scores, likelihood / len(name), (best - likelihood) / len(name))


def _ratios(reader: Recogniser, frames: Floats, text: list[int], positions: Sequence[int]) -> list[float]:
    """For each position, how much likelier its character is than the likeliest other."""
    alignment = Alignment(frames, text)
    strongest = frames.max(axis=0)
    strongest[~reader.ideographs] = NEVER
    candidates = np.argpartition(-strongest, CANDIDATES)[:CANDIDATES]
    found: list[float] = []
    for position in positions:
        others = candidates[candidates != text[position]]
        found.append(alignment.likelihood - float(alignment.with_another(position, others).max()))
    return found
