"""``python -m tests.bench [PART …]``: measures, prints tables, writes ``out/bench/PART.json``.

Without a part, all of them. What is measured how, and what came of it: docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import bus, journeys, signatures, store, table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--journeys", type=int, default=journeys.Ordered.journeys, help="how many are passed")
    parser.add_argument("--at-once", type=int, default=journeys.Ordered.at_once, help="customers under way")
    parser.add_argument("--store", choices=["sqlite", "mongodb"], default="sqlite", help="under the journeys")
    parser.add_argument("--dwell-scale", type=float, default=journeys.Ordered.dwell_scale)
    parser.add_argument("--out", type=Path, default=journeys.Ordered.out)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if asked.journeys < 1 or asked.at_once < 1:
        parser.error("at least one journey by one customer")
    return asked


def _journeys(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    ordered = journeys.Ordered(asked.journeys, asked.at_once, asked.store, asked.dwell_scale, asked.out)
    return asyncio.run(journeys.measured(ordered, folder))


PARTS: dict[str, tuple[Callable[[argparse.Namespace, Path], dict[str, Any]], Callable[[dict[str, Any]], str]]] = {
    "bus": (lambda _, folder: bus.run(bus.Ordered(), folder), table.of_bus),
    "signatures": (lambda _, folder: signatures.run(signatures.Ordered(), folder), table.of_signatures),
    "store": (lambda _, folder: store.run(store.Ordered(), folder), table.of_store),
    "journeys": (_journeys, table.of_journeys),
}


def main() -> int:
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results: dict[str, dict[str, Any]] = {}
    for name in asked.parts or PARTS:
        measure, shown = PARTS[name]
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            results[name] = measure(asked, Path(folder))
        written = json.dumps(results[name], indent=1, ensure_ascii=False)
        (asked.out / f"{name}.json").write_text(written + "\n", "utf-8")
        print(shown(results[name]), flush=True)
    print(table.in_short(results), flush=True)
    print(f"\n{time.monotonic() - began:.0f} s in all; all numbers in {asked.out}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
