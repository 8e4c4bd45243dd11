"""The house rules of docs/architecture.md that import-linter cannot say (it says the rest, see pyproject.toml).

Each rule is a function from a source file to what is wrong with it, so that it can be shown both to hold for the
tree and to catch a file that breaks it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, Source, dotted, sources

Rule = Callable[[Source], Iterator[str]]


# --- the rules ----------------------------------------------------------------------------------------------


def no_branch_on_the_sandbox(source: Source) -> Iterator[str]:
    """Configuration alone moves an adapter from stand-in to the real party: nobody outside deploy/ asks.

    One exception, which chooses nothing: the setting ``sandboxed`` permits what must never be set elsewhere,
    ``dwell_scale`` other than 1 and crash points, and start is refused otherwise (I6).
    """
    if source.package == "deploy":
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            condition: ast.AST = node.test
        elif isinstance(node, ast.match_case):
            condition = ast.Module(body=[], type_ignores=[])
            for part in ast.walk(node.pattern):
                if isinstance(part, ast.MatchValue) and mentions_sandbox(part.value):
                    yield f"{source.name}:{node.body[0].lineno} matches on the sandbox"
            if node.guard is None:
                continue
            condition = node.guard
        elif isinstance(node, ast.BoolOp | ast.Compare):
            condition = node
        else:
            continue
        if mentions_sandbox(condition) and not permits(condition):
            yield f"{source.name}:{getattr(node, 'lineno', 0)} branches on the sandbox"


def mentions_sandbox(node: ast.AST) -> bool:
    for part in ast.walk(node):
        word = ""
        if isinstance(part, ast.Name):
            word = part.id
        elif isinstance(part, ast.Attribute):
            word = part.attr
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            word = part.value
        if re.search(r"sandbox|stand_?in\b|is_demo|is_fake", word, re.IGNORECASE):
            return True
    return False


PERMITTED = {"disclosure_dwell_scale", "dwell_scale", "crash_points_dir"}


def permits(condition: ast.AST) -> bool:
    names = {
        part.attr if isinstance(part, ast.Attribute) else part.id
        for part in ast.walk(condition)
        if isinstance(part, ast.Attribute | ast.Name)
    }
    return bool(names & PERMITTED)


def environment_is_read_by_settings_alone(source: Source) -> Iterator[str]:
    if source.path.stem == "settings" or source.package == "examples":
        return
    # Setting a variable for a C library or a child is no reading.
    set_only = {
        id(node.value)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Attribute)
            and dotted(node) in {"os.environ", "os.environb"}
            and id(node) not in set_only
        ):
            yield f"{source.name}:{getattr(node, 'lineno', 0)} reads the environment"
        if isinstance(node, ast.Call) and dotted(node.func) in {"os.getenv", "getenv", "os.getenvb"}:
            yield f"{source.name}:{node.lineno} reads the environment"
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                if alias.name in {"environ", "getenv", "environb", "getenvb"}:
                    yield f"{source.name}:{node.lineno} reads the environment"


IMPURE_MODULES = frozenset(
    {
        "aiohttp", "asyncio", "httpx", "io", "logging", "motor", "nats", "os", "pathlib", "pymongo",
        "random", "requests", "secrets", "socket", "sqlite3", "subprocess", "threading", "time", "ulid",
        "uuid", "urllib",
    }
)  # fmt: skip
"""What rules may not even import: clocks, chance, ids made on the spot, and every way out of the process."""
IMPURE_KIT = ("servicekit.bus", "servicekit.store", "servicekit.blobs", "servicekit.vault", "servicekit.runner",
              "servicekit.settings", "servicekit.telemetry")  # fmt: skip
IMPURE_CALLS = frozenset({"now", "utcnow", "today", "time", "time_ns", "monotonic", "open", "print", "input"})


def rules_are_pure(source: Source) -> Iterator[str]:
    """Time, chance and ids come in as arguments; rules do no I/O."""
    if source.path.name != "rules.py":
        return
    for name in sorted(source.imports_any(*IMPURE_MODULES)):
        # urllib.parse only takes apart and puts together.
        if not name.startswith("urllib.parse"):
            yield f"{source.name} imports {name}"
    for name in sorted(source.imports):
        if name.startswith(IMPURE_KIT):
            yield f"{source.name} imports {name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield f"{source.name}:{node.lineno} awaits"
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            last = called.rsplit(".", 1)[-1]
            clock = "." in called and last in IMPURE_CALLS - {"open", "print", "input"} and (
                called.split(".", 1)[0] in {"datetime", "date", "dt", "time"}
            )  # fmt: skip
            if clock or called in {"open", "print", "input"}:
                yield f"{source.name}:{node.lineno} calls {called}"


EMPTY_NAMES = frozenset(
    {
        "utils", "util", "common", "manager", "managers", "helper", "helpers", "misc", "base_utils",
        "tools", "lib",
    }
)  # fmt: skip
EMPTY_CLASS = re.compile(r"(Manager|Helpers?|Utils?)$")


def names_say_something(source: Source) -> Iterator[str]:
    parts = (*source.path.relative_to(ROOT).parent.parts, source.path.stem)
    for part in parts:
        if part.lower() in EMPTY_NAMES or re.search(r"_(utils?|helpers?|manager)$", part):
            yield f"{source.name}: a module called {part} says nothing"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and EMPTY_CLASS.search(node.name):
            yield f"{source.name}:{node.lineno} a class called {node.name} says nothing"


DRIVERS = {
    "motor": "servicekit/store/mongodb.py",
    "pymongo": "servicekit/store/mongodb.py",
    "bson": "servicekit/store/mongodb.py",
    "gridfs": "servicekit/store/mongodb.py",
    "nats": "servicekit/bus.py",
    "nkeys": "servicekit/bus.py",
    "weasyprint": "servicekit/documents/",
    "pyhanko": "servicekit/documents/",
    "pyhanko_certvalidator": "servicekit/documents/",
}


def drivers_stay_in_one_module(source: Source) -> Iterator[str]:
    """The driver of a third party is imported in exactly one module (documents: one package)."""
    if source.package in {"deploy", "examples"}:
        # deploy/ sets the bus up and plays the outside parties; an example is an outsider's program.
        return
    for name in sorted(source.imports_any(*DRIVERS)):
        home = DRIVERS[name.split(".", 1)[0]]
        here = source.name
        if not (here.startswith(home) if home.endswith("/") else here == home):
            yield f"{here} imports {name}, whose place is {home}"


VERIFIER = "services/evidence/verify.py"
VERIFIER_MAY_IMPORT = frozenset({"cryptography", "asn1crypto"}) | sys.stdlib_module_names


def verifier_stands_alone(source: Source) -> Iterator[str]:
    """One file importing the standard library, cryptography and asn1crypto; nothing of ours, not even beside it."""
    if source.name != VERIFIER:
        return
    for name in sorted(source.imports):
        if name.split(".", 1)[0] not in VERIFIER_MAY_IMPORT:
            yield f"{source.name} imports {name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in {
            "__import__", "importlib.import_module", "import_module", "exec", "eval",
            "runpy.run_path", "runpy.run_module",
        }:  # fmt: skip
            yield f"{source.name}:{node.lineno} brings in code at run time"


def nobody_builds_on_the_verifier(source: Source) -> Iterator[str]:
    if source.name.startswith("deploy/"):
        return
    if any(name.startswith("services.evidence.verify") for name in source.imports):
        yield f"{source.name} imports the verifier: producer and judge share no code"


RULES: tuple[Rule, ...] = (
    no_branch_on_the_sandbox,
    environment_is_read_by_settings_alone,
    rules_are_pure,
    names_say_something,
    drivers_stay_in_one_module,
    verifier_stands_alone,
    nobody_builds_on_the_verifier,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule) -> None:
    broken = [complaint for source in sources() for complaint in rule(source)]
    assert not broken, "\n".join(broken)


BREAKING: tuple[tuple[Rule, str, str], ...] = (
    (no_branch_on_the_sandbox, "services/payment/service.py", "if settings.sandboxed:\n    pay()"),
    (no_branch_on_the_sandbox, "gateway/app.py", "url = 'a' if env == 'sandbox' else 'b'"),
    (no_branch_on_the_sandbox, "services/notify/sms.py", "match kind:\n    case 'sandbox':\n        pass"),
    (environment_is_read_by_settings_alone, "services/nps/service.py", "import os\nx = os.environ['A']"),
    (environment_is_read_by_settings_alone, "servicekit/bus.py", "from os import getenv\nx = getenv('A')"),
    (rules_are_pure, "services/nps/rules.py", "from datetime import datetime\nx = datetime.now()"),
    (rules_are_pure, "services/nps/rules.py", "import datetime\nx = datetime.datetime.now(datetime.UTC)"),
    (rules_are_pure, "services/nps/rules.py", "import time\nx = time.time()"),
    (rules_are_pure, "services/nps/rules.py", "from uuid import uuid4"),
    (rules_are_pure, "services/nps/rules.py", "def f():\n    import random"),
    (rules_are_pure, "services/nps/rules.py", "from servicekit.store import Store"),
    (rules_are_pure, "services/nps/rules.py", "async def f(): ..."),
    (names_say_something, "servicekit/utils.py", ""),
    (names_say_something, "services/nps/pdf_helpers.py", ""),
    (names_say_something, "services/nps/service.py", "class SurveyManager: ..."),
    (drivers_stay_in_one_module, "services/nps/service.py", "import motor.motor_asyncio"),
    (drivers_stay_in_one_module, "servicekit/store/sqlite.py", "import pymongo"),
    (drivers_stay_in_one_module, "gateway/partners.py", "from nats.js import api"),
    (verifier_stands_alone, VERIFIER, "from contracts.facts import base"),
    (verifier_stands_alone, VERIFIER, "from services.evidence import chain"),
    (verifier_stands_alone, VERIFIER, "import importlib\nm = importlib.import_module('contracts')"),
    (nobody_builds_on_the_verifier, "services/evidence/pack.py", "from services.evidence import verify"),
)


@pytest.mark.parametrize(("rule", "name", "text"), BREAKING, ids=[f"{r.__name__}-{i}" for i, (r, _, _) in enumerate(BREAKING)])  # fmt: skip  # noqa: E501
def test_the_rule_catches(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Written(ROOT / name, text)))


def test_the_dwell_scale_permission_is_no_branch_on_the_sandbox() -> None:
    text = "if settings.dwell_scale != 1 and not settings.sandboxed:\n    raise SystemExit(2)"
    assert not list(no_branch_on_the_sandbox(Written(ROOT / "services/disclosure/__main__.py", text)))


class Written(Source):
    """A file as it might be written one day."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(path)
        object.__setattr__(self, "text", text)

    @property
    def tree(self) -> ast.Module:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ast.parse(self.text)  # pyright: ignore[reportAttributeAccessIssue]


# --- the rooms of a service ---------------------------------------------------------------------------------


def services() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "services").glob("*/__main__.py"))


@pytest.mark.parametrize("service", services(), ids=lambda path: path.name)
def test_each_service_has_the_same_rooms(service: Path) -> None:
    for room in ("__init__.py", "__main__.py", "service.py", "rules.py"):
        assert (service / room).is_file(), f"{service.name} has no {room}"
    tests = ROOT / "tests" / "services" / service.name
    assert list(tests.glob("test_*.py")), f"no tests under {tests.relative_to(ROOT)}"


def test_tests_mirror_the_tree() -> None:
    """A test folder stands for a folder of the tree, or for a way of looking at the whole of it."""
    whole = {"architecture", "journey", "browser", "faults", "hostile", "bench"}
    for folder in sorted((ROOT / "tests").rglob("*")):
        if not folder.is_dir() or not list(folder.glob("test_*.py")):
            continue
        mirrored = folder.relative_to(ROOT / "tests")
        if mirrored.parts[0] not in whole:
            there = ROOT / mirrored
            assert there.is_dir() or there.with_suffix(".py").is_file(), f"tests/{mirrored} mirrors nothing"
