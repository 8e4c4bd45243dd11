"""To which part of the work a moment of CPU belongs, told from the stack it was spent in.

From the innermost call outwards, the first that one of ``RULES`` knows decides; what serves everybody (pydantic, json,
asyncio, ssl) is known by none of them, and so counts for whoever called it. What nobody claims is the "event loop"
(reading and writing sockets, waking tasks) where it lies below one, and "rest" where it doesn't (start-up).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

RULES: tuple[tuple[str, str], ...] = (
    # What stands at the bottom of every stack.
    ("__main__.py:", ""),
    ("servicekit/runner.py", ""),
    # Ours, by file; the longer names first.
    ("services/signing/service.py:_drawings", "handwriting"),
    ("services/signing/ink.py", "handwriting"),
    ("services/signing/strokes.py", "handwriting"),
    ("servicekit/documents/seal.py", "signing"),
    ("servicekit/documents/timestamp.py", "signing"),
    ("services/evidence/signature.py", "signing"),
    ("services/evidence/timestamps.py", "signing"),
    ("servicekit/documents/", "documents"),
    ("services/signing/application_form.py", "documents"),
    ("services/issuance/policy_pdf.py", "documents"),
    ("services/issuance/paper.py", "documents"),
    ("servicekit/documents/round_seal.py", "documents"),
    ("services/evidence/report.py", "documents"),
    ("servicekit/bus.py", "bus"),
    ("servicekit/store/", "store"),
    ("servicekit/blobs.py", "vault and blobs"),
    ("servicekit/vault.py", "vault and blobs"),
    ("servicekit/sealed.py", "vault and blobs"),
    ("servicekit/proof.py", "proofs"),
    ("servicekit/telemetry/", "telemetry"),
    ("servicekit/journeys.py", "folding"),
    ("servicekit/service.py", "handling"),
    ("services/", "handling"),
    ("products/", "handling"),
    ("gateway/", "HTTP"),
    # Libraries.
    ("weasyprint/", "documents"),
    ("jinja2/", "documents"),
    ("fontTools/", "documents"),
    ("pikepdf/", "documents"),
    ("pypdfium2", "documents"),
    ("pydyf/", "documents"),
    ("tinycss2/", "documents"),
    ("tinyhtml5/", "documents"),
    ("PIL/", "documents"),
    ("segno/", "documents"),
    ("pebble/", "documents"),
    ("multiprocessing/", "documents"),
    ("pool:open", "vault and blobs"),
    ("pool:read_bytes", "vault and blobs"),
    ("pool:is_file", "vault and blobs"),
    ("pyhanko", "signing"),
    ("nats/", "bus"),
    ("sqlite3/", "store"),
    ("motor/", "store"),
    ("pymongo/", "store"),
    ("joserfc/", "proofs"),
    ("opentelemetry/", "telemetry"),
    ("prometheus_client/", "telemetry"),
    ("logging/", "telemetry"),
    ("fastapi/", "HTTP"),
    ("starlette/", "HTTP"),
    ("uvicorn/", "HTTP"),
    ("aiohttp/", "HTTP"),
)  # fmt: skip
PARTS = (
    "documents", "signing", "handwriting", "bus", "store", "folding", "handling", "proofs", "vault and blobs",
    "HTTP", "telemetry", "event loop", "rest", "stand-ins", "simulator",
)  # fmt: skip
HEAVY = ("documents", "signing")
"""What the aim for CPU leaves out."""
OUTSIDE = ("stand-ins", "simulator")
"""What production doesn't run."""
WHOLE_PROCESS = {"sandbox": "stand-ins", "nats": "bus", "mongodb": "store"}
"""Processes that are one part."""

_known: dict[str, str | None] = {}


def _part_of_call(call: str) -> str | None:
    """``call`` is ``folder/file.py:function``; None when no rule knows it, "" when one says that it is nobody's."""
    if call not in _known:
        path = "/" + call
        _known[call] = next((part for mark, part in RULES if f"/{mark}" in path), None)
    return _known[call]


def part_of(stack: Iterable[str]) -> str:
    """``stack`` outermost first."""
    calls = list(stack)
    for call in reversed(calls):
        if part := _part_of_call(call):
            return part
    return "event loop" if any("uvloop/" in call or "asyncio/" in call for call in calls) else "rest"


Stacks = Mapping[tuple[str, ...], float]


def read(file: Path) -> dict[tuple[str, ...], float]:
    """One process's account as ``sampling/sitecustomize.py`` leaves it."""
    found: dict[tuple[str, ...], float] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        stack, _, seconds = line.rpartition(" ")
        found[tuple(stack.split(";"))] = float(seconds)
    return found


def since(now: Stacks, before: Stacks) -> dict[tuple[str, ...], float]:
    return {stack: used for stack, at in now.items() if (used := at - before.get(stack, 0.0)) > 0}


def split(stacks: Stacks) -> dict[str, float]:
    """Seconds by part."""
    found: defaultdict[str, float] = defaultdict(float)
    for stack, used in stacks.items():
        found[part_of(stack)] += used
    return dict(found)


def dearest(stacks: Stacks, most: int) -> Iterator[tuple[float, str, str]]:
    """(seconds, part, call): where the claiming call spends most, what it called included."""
    found: defaultdict[tuple[str, str], float] = defaultdict(float)
    for stack, used in stacks.items():
        call = next((call for call in reversed(stack) if _part_of_call(call)), stack[-1] if stack else "?")
        found[part_of(stack), call] += used
    for (part, call), used in sorted(found.items(), key=lambda item: -item[1])[:most]:
        yield used, part, call
