"""Phrases of a declaration copied by hand, where the product demands it (DOMAIN §2.3): what counts as copied. Pure, but
for the model it reads with.

It shows that the customer wrote these words, not who they are: the limits are lower than a name's, a few characters may
be poor, and trying again costs nothing. A character that the reader does not know is not judged. The words are the
product's, so nobody can choose such characters, and nobody gets stuck on them: of a phrase that has no others the ink
checks alone decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from contracts.commands.signing import Phrase
from contracts.facts.signing import CharacterRead, InkCheck, Reading
from contracts.problems import Refuse
from contracts.values import Sha256, Slug, sha256_hex
from products import Product
from services.signing import handwriting
from services.signing.handwriting import Outcome
from services.signing.recogniser import Picture

LEAST_SCORE: Final = -25.0
"""Points of a character; ten fewer than a name's. Of simulated hands that copied the right phrase, 120 times, every
character has 4 or more; of as many that wrote other characters in its place 2.7 % reach this, and no phrase passes.
"""
SHARE: Final = 0.8
"""Of a phrase's judged characters that must have them."""
VERSION: Final = f"{handwriting.VERSION}/copied-1"


def phrases(products: Iterable[Product], copied: Iterable[Sha256]) -> tuple[Phrase, ...]:
    """What is to be copied, in order, each text once."""
    done = frozenset(copied)
    texts = dict.fromkeys(phrase for product in products for phrase in product.declaration.copied)
    hashes = {text: sha256_hex(text.encode()) for text in texts}
    return tuple(Phrase(text=text, sha256=hashes[text], copied=hashes[text] in done) for text in texts)


def demanding(products: Mapping[Slug, Product], text: str) -> tuple[Slug, ...]:
    """The products whose declaration has the phrase."""
    return tuple(slug for slug, product in products.items() if text in product.declaration.copied)


def wanted(among: Iterable[Phrase], sha256: Sha256) -> Phrase:
    """Raises ``Refuse``: ``phrase_unknown``, ``already_done``."""
    phrase = next((each for each in among if each.sha256 == sha256), None)
    if phrase is None:
        raise Refuse("phrase_unknown")
    if phrase.copied:
        raise Refuse("already_done")
    return phrase


def check_copied(among: Iterable[Phrase]) -> None:
    """Raises ``Refuse("declaration_uncopied")``."""
    if left := sum(not phrase.copied for phrase in among):
        raise Refuse("declaration_uncopied", left=left)


def check_phrase(boxes: Sequence[Picture], text: str) -> Reading:
    """One picture a character, as ``handwriting.check_boxes`` takes them."""
    judged = [box for box, character in enumerate(text) if handwriting.known(character)]
    if not judged:
        return _read("manual", ())
    verdict = handwriting.check_boxes([boxes[box] for box in judged], "".join(text[box] for box in judged))
    characters = tuple(
        CharacterRead(
            box=box,
            score=each.score if math.isfinite(each.score) else None,
            limit=LEAST_SCORE,
            ok=each.score >= LEAST_SCORE,
        )
        for box, each in zip(judged, verdict.characters, strict=True)
    )
    enough = sum(each.ok for each in characters) >= SHARE * len(characters)
    return _read("pass" if enough else "retry", characters)


def _read(outcome: Outcome, characters: tuple[CharacterRead, ...]) -> Reading:
    return Reading(
        outcome=outcome,
        reason="phrase_unclear" if outcome == "retry" else None,
        strictness=1,
        characters=characters,
        read_by=VERSION,
    )


def failure(failed: InkCheck | None, reading: Reading | None) -> tuple[str, int | None] | None:
    """Why a copy is not taken, and which box, from 0; None when it is."""
    if failed is not None:
        return failed.code, failed.box
    if reading is None:
        raise ValueError("nothing is taken unread")
    if reading.outcome != "retry":
        return None
    return "phrase_unclear", next((each.box for each in reading.characters if not each.ok), None)
