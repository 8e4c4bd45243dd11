"""The rule files as tests read them, and the names of metrics in a query of PromQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.local.settings import ROOT

HERE = ROOT / "deploy" / "prometheus"

_STRINGS = re.compile(r'"(?:\\.|[^"\\])*"')
_GROUPINGS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"\b([a-zA-Z_][a-zA-Z0-9_:]*)\b(?!\s*\()((?:\s*\{[^}]*\})?)")
_WORDS = {"and", "or", "unless", "bool", "offset", "by", "on", "ignoring", "group_left", "group_right", "without"}


@dataclass(frozen=True)
class Rule:
    file: str
    name: str
    expr: str
    alert: bool
    labels: dict[str, str]
    annotations: dict[str, str]


@cache
def rules() -> tuple[Rule, ...]:
    found: list[Rule] = []
    for path in sorted((HERE / "rules").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for each in group["rules"]:
                name = each.get("alert") or each["record"]
                found.append(
                    Rule(
                        path.name,
                        name,
                        each["expr"],
                        "alert" in each,
                        each.get("labels", {}),
                        each.get("annotations", {}),
                    )
                )
    return tuple(found)


def alerts() -> list[Rule]:
    return [rule for rule in rules() if rule.alert]


def selectors(query: str) -> list[tuple[str, str]]:
    """Name and label matchers of each selector of a query."""
    strings: list[str] = []

    def put_by(match: re.Match[str]) -> str:
        strings.append(match[0])
        return f'"s{len(strings) - 1}"'

    bare = re.sub(r"\[[0-9a-z]+\]", "", _GROUPINGS.sub("", _STRINGS.sub(put_by, query)))
    found: list[tuple[str, str]] = []
    for name, matchers in _SELECTOR.findall(re.sub(r"(?<![\w:])[0-9.]+(?:e-?[0-9]+)?", "", bare)):
        if name not in _WORDS:
            found.append((name, re.sub(r'"s([0-9]+)"', lambda m: strings[int(m[1])], matchers.strip())))
    return found


def names(query: str) -> set[str]:
    return {name for name, _ in selectors(query)}


@cache
def cases() -> tuple[dict[str, Any], ...]:
    """Every promtool test with the file it stands in."""
    found: list[dict[str, Any]] = []
    for path in sorted((HERE / "tests").glob("*.yaml")):
        found += [{**each, "file": path.name} for each in yaml.safe_load(path.read_text("utf-8"))["tests"]]
    return tuple(found)


def console_queries() -> list[str]:
    """Queries of the page, placeholders standing for anything."""
    text = (HERE / "consoles" / "toubao.html").read_text("utf-8")
    found = re.findall(r'query \(?(?:printf )?"((?:\\.|[^"\\])*)"', text)
    return [each.replace('\\"', '"').replace('"%s"', '"x"') for each in found]


def runbook() -> Path:
    return ROOT / "docs" / "runbook.md"
