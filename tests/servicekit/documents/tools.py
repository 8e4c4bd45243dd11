"""What independent programs say of a PDF (poppler-utils)."""

import subprocess
from pathlib import Path


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


def fonts_of(pdf: Path) -> dict[str, bool]:
    """Font name → embedded, as pdffonts lists them."""
    lines = _said("pdffonts", str(pdf)).splitlines()
    at = lines[0].index("emb")
    return {line.split()[0].split("+")[-1]: line[at : at + 3] == "yes" for line in lines[2:]}


def text_of(pdf: Path) -> str:
    return _said("pdftotext", "-layout", str(pdf), "-")


def pages_of(pdf: Path) -> int:
    return int(next(line for line in _said("pdfinfo", str(pdf)).splitlines() if line.startswith("Pages:")).split()[1])


def signatures_of(pdf: Path) -> str:
    """What pdfsig says of the signatures; certificates are not its business here."""
    return _said("pdfsig", "-nocert", str(pdf))
