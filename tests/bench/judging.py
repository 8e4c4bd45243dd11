"""Judges what a run made: every PDF's signatures by pyHanko's validator, every pack by the offline verifier."""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

JUDGES = 2


class Wrong(RuntimeError):
    """Something that was made does not hold. The message names the file and what is wrong."""


def judge_all(pdfs: Sequence[Path], packs: Sequence[Path], trust: Path) -> dict[str, Any]:
    """Raises ``Wrong`` at the first that does not hold. Returns how many signatures, and the packs' verdicts."""
    # Forking a process that runs threads and an event loop is asking for a deadlock.
    with ProcessPoolExecutor(JUDGES, mp_context=multiprocessing.get_context("spawn")) as pool:
        signatures = sum(pool.map(signatures_of, pdfs, chunksize=8))
        verdicts = Counter(pool.map(partial(verdict_of, trust=trust), packs, chunksize=2))
    return {"signatures": signatures, "verdicts": dict(verdicts)}


def signatures_of(pdf: Path) -> int:
    """How many signatures it has, all of them sound over the whole file as it was signed. Raises ``Wrong``."""
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.diff_analysis import ModificationLevel
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    unchanged = (ModificationLevel.NONE, ModificationLevel.LTA_UPDATES, ModificationLevel.FORM_FILLING)
    logging.getLogger("pyhanko").setLevel(logging.CRITICAL)
    logging.getLogger("pyhanko_certvalidator").setLevel(logging.CRITICAL)
    with pdf.open("rb") as file:
        reader = PdfFileReader(file)
        embedded = reader.embedded_signatures
        if not embedded:
            raise Wrong(f"{pdf.name}: not signed")
        for each in embedded:
            # Whether the certificate is one to trust is the pack's verdict; here it is the bytes that count.
            status = validate_pdf_signature(
                each, signer_validation_context=ValidationContext(trust_roots=[], allow_fetching=False)
            )
            if not (status.intact and status.valid):
                raise Wrong(f"{pdf.name}: {each.field_name} is not valid")
            if status.modification_level not in unchanged:
                raise Wrong(f"{pdf.name}: changed after {each.field_name}")
        return len(embedded)


def verdict_of(pack: Path, trust: Path) -> str:
    """The verifier's word. Raises ``Wrong`` for what is altered, and for doubts other than about shortened reading."""
    from services.evidence import verify

    status, found = verify.judge(pack.read_bytes(), verify.Trust.read(trust))
    doubts = [doubt for doubt in found.doubts if "dwell_scale" not in doubt]
    if status == 2 or doubts:
        raise Wrong(f"{pack.name}: {verify.VERDICTS[status]}: {'; '.join(doubts[:3])}")
    return "proven" if status == 0 else "consistent, reading shortened"
