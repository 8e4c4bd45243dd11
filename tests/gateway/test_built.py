"""The committed pages: what rebuilding gives, small enough for a slow network, and nothing in them asks elsewhere."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.assets import BUILT
from tests import web

# The first build fetches npm packages.
pytestmark = pytest.mark.timeout(300)

FIRST_LOAD_BYTES = 150_000
NAMED = {
    "http://www.w3.org/": "names of XML namespaces; nothing is asked there",
    "https://vuejs.org/error-reference/": "Vue writes this beside an error's number, into the console",
}
"""Foreign addresses that may stand in built files, with the reason."""


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts() -> Iterator[tuple[str, str]]:
    """What a browser is given, but the fonts; the licences beside it are for readers."""
    for name, content in files(BUILT).items():
        if name.endswith((".html", ".js", ".css", ".svg")):
            yield name, content.decode()


def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    web.run("build", "--", "--outDir", str(tmp_path / "built"))
    again, committed = files(tmp_path / "built"), files(BUILT)
    assert again.keys() == committed.keys(), "make web"
    assert [name for name, content in again.items() if content != committed[name]] == []


def test_the_pages_types_are_those_of_the_api(tmp_path: Path) -> None:
    # In a process of its own: other tests of this one may have made up acts.
    described = subprocess.run([sys.executable, "-m", "gateway.description"], capture_output=True, check=True)
    (tmp_path / "openapi.json").write_bytes(described.stdout)
    script = "openapi-typescript/bin/cli.js"
    web.node(script, str(tmp_path / "openapi.json"), "--output", str(tmp_path / "schema.ts"))
    committed = (web.WEB / "src" / "api" / "schema.ts").read_text("utf-8")
    assert (tmp_path / "schema.ts").read_text("utf-8") == committed, "make web"


class _Parts(HTMLParser):
    """What a page asks for as soon as it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        asked = told.get("src") if tag == "script" else told.get("href") if tag == "link" else None
        if asked:
            self.found.add(asked.lstrip("/"))


def first_load(page: str) -> set[str]:
    """Names of all that the page needs before it shows anything: its parts, and what its scripts import at once."""
    parts = _Parts()
    parts.feed((BUILT / page).read_text("utf-8"))
    needed, waiting = {page}, list(parts.found)
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name.endswith(".js"):
            script = (BUILT / name).read_text("utf-8")
            waiting += [f"assets/{part}" for part in re.findall(r'(?:from|import)"\./([^"]+)"', script)]
    return needed


def test_a_customers_first_load_is_small() -> None:
    needed = first_load("customer.html")
    assert any(name.endswith(".js") for name in needed)
    assert any(name.endswith(".css") for name in needed)
    sizes = {name: len(gzip.compress((BUILT / name).read_bytes(), 9)) for name in needed}
    assert sum(sizes.values()) <= FIRST_LOAD_BYTES, sizes


def test_nothing_built_names_a_foreign_origin() -> None:
    named = {
        f"{name}: {address}"
        for name, text in texts()
        for address in re.findall(r"""(?:https?:)?//[A-Za-z0-9-]+\.[A-Za-z0-9.-]+[^\s"'`)<>\\]*""", text)
        if not address.startswith(tuple(NAMED))
    }
    assert named == set()


def test_nothing_built_makes_code_from_text_or_carries_styles_in_markup() -> None:
    """The policy of our pages forbids both; a page that tried would break for the customer."""
    for name, text in texts():
        assert not re.search(r"\beval\(|\bnew Function\b|[^.\w]Function\(", text), name
        assert not re.search(r"""\sstyle=\\?["']""", text), name
        assert not re.search(r"<style|<script(?![^>]*\ssrc=)|\son[a-z]+=", text) or not name.endswith(".html"), name
