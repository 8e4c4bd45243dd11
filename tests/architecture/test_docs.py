"""What the documents promise is there: files, headings, `make` targets, packages, codes and sentences of facts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import contracts.facts  # noqa: F401 - registers them
from contracts.facts.base import Refusal, fact_types
from contracts.problems import KINDS

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {".git", ".venv", "node_modules", "var", "out", ".pytest_cache", ".hypothesis"}
LINK = re.compile(r"(?<!\\)!?\[[^\]\[]*\]\(([^()\s]+)(?: \"[^\"]*\")?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    found = (path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts))
    # What customers read has a checker of its own (products.markdown).
    return sorted(path for path in found if "documents" not in path.parts)


def slug(heading: str) -> str:
    """A heading's anchor as GitHub makes it."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    text = FENCE.sub("", document.read_text())
    return {slug(heading) for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE)}


def broken(document: Path, text: str) -> Iterator[str]:
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or not there.is_relative_to(ROOT):
            yield f"{document.relative_to(ROOT)}: {target} is not there"
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            yield f"{document.relative_to(ROOT)}: {target} names no heading"


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert not list(broken(document, document.read_text()))


@pytest.mark.parametrize("text", ["[a](nowhere.md)", "![p](docs/none.svg)", "[a](README.md#no-such-heading)"])
def test_a_dead_link_is_found(text: str) -> None:
    assert list(broken(ROOT / "CHANGELOG.md", text))


COMMAND = re.compile(r"(?:^|`)(?:\$ )?(?:[A-Z_]+=\S+ )*make ([a-z]+)", re.MULTILINE)
"""At the start of a line or of quoted code; settings may stand before it."""


MODULE = re.compile(r"python3? -m ((?:contracts|servicekit|products|services|gateway|deploy)(?:\.\w+)*)(?![.\w]*<)")
"""`services.<name>` stands for any of them."""


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_named_exists(document: Path) -> None:
    assert set(COMMAND.findall(document.read_text())) <= targets()


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_a_document_starts_exists(document: Path) -> None:
    for module in MODULE.findall(document.read_text()):
        path = ROOT.joinpath(*module.rstrip(".").split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def required() -> set[str]:
    lines = (line for path in (ROOT / "requirements").glob("*.in") for line in path.read_text().splitlines())
    return {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in lines if re.match(r"[A-Za-z]", line)}


def test_every_dependency_has_its_row_and_every_row_its_dependency() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    named: set[str] = set()
    for row in rows:
        first = ""
        for part in re.split(r", ?", row):
            # "opentelemetry-api, -sdk"
            name = re.sub(r"\[.*?\]|`", "", part).strip().lower()
            first = first or name
            named.add(first.rpartition("-")[0] + name if name.startswith("-") else name)
    missing = required() - named
    assert not missing, f"no row in docs/dependencies.md: {sorted(missing)}"


# --- the contracts' own words -------------------------------------------------------------------------------


def sources() -> str:
    rooms = ("contracts", "servicekit", "products", "services", "gateway")
    found = (path for room in rooms for path in (ROOT / room).rglob("*.py"))
    return "\n".join(
        path.read_text() for path in found if path.name != "problems.py" or path.parent.name != "contracts"
    )


def test_every_code_raised_is_in_the_table() -> None:
    raised = set(re.findall(r"\b(?:Refuse|Problem|ProofRefused)\(\s*(?:code=)?\"([a-z0-9_]+)\"", sources()))
    assert len(raised) > 50, "the expression still finds them"
    assert raised <= KINDS.keys()


def test_every_code_in_the_table_is_used() -> None:
    text = sources()
    assert not [code for code in KINDS if f'"{code}"' not in text]


def test_every_fact_says_what_it_means() -> None:
    ours = {kind for kind in fact_types().values() if kind.__module__.startswith("contracts.")}
    assert len(ours) > 40
    # A refusal says it once, for all services.
    told = (kind.__name__ for kind in ours if not issubclass(kind, Refusal) and not kind.__dict__.get("__doc__"))
    assert not sorted(told)


# -- tests that documents name -----------------------------------------------------------------------------------

NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
SECURITY = ROOT / "docs" / "security.md"


def missing_tests(text: str) -> list[str]:
    """Every test a text names (`file::test`) that is not defined there."""
    gone: list[str] = []
    for file, test in NAMED_TEST.findall(text):
        path = ROOT / file
        defined = path.read_text() if path.exists() else ""
        if not re.search(rf"^ *(?:async )?def {test}\(", defined, re.MULTILINE):
            gone.append(f"{file}::{test}")
    return gone


def test_every_test_the_security_document_rests_on_exists() -> None:
    text = SECURITY.read_text()
    assert len(NAMED_TEST.findall(text)) > 80
    # One that is written otherwise would be looked for by nobody.
    assert len(re.findall(r"::test_", text)) == len(NAMED_TEST.findall(text))
    assert missing_tests(text) == []


@pytest.mark.parametrize("text", ["`tests/none.py::test_a`", "`tests/architecture/test_docs.py::test_nobody_wrote`"])
def test_a_test_that_is_not_there_is_found(text: str) -> None:
    assert missing_tests(text)


def test_every_requirement_is_met_by_a_test_or_says_why_not() -> None:
    """A row without a test says so by a dash."""
    rows = [line for line in SECURITY.read_text().splitlines() if line.startswith(("| v5.0.0-", "| V1"))]
    assert len(rows) > 60
    for row in rows:
        shown = row.strip("| ").split("|")[-1].strip()
        assert NAMED_TEST.search(shown) or shown == "–", row
