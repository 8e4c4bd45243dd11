"""``python -m tests.bench.handwriting``: how often the check is right, over hands and impostors it has not seen.

Prints a table and writes ``out/bench/handwriting.json``; with ``--curve FILE`` also both errors over the limit, drawn.
What was seen, and on what: docs/handwriting.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from services.signing.ctc import best_reading
from services.signing.handwriting import (
    LEAST_SCORE,
    STRICTER,
    VERSION,
    Verdict,
    check_boxes,
    check_line,
    limit,
    warm_up,
)
from services.signing.pictures import inked, line
from services.signing.recogniser import recogniser
from tests.bench import table
from tests.bench.handwriting import impostors
from tests.bench.handwriting.curve import curve
from tests.bench.handwriting.hands import FONTS, Pen, Picture, in_line, printed

SURNAMES, GIVEN = Path(__file__).with_name("names.txt").read_text("utf-8").split()
TRIES = 3


def name(chance: np.random.Generator, count: int | None = None) -> str:
    given = (count or int(chance.choice([2, 3, 3, 3]))) - 1
    return str(chance.choice([*SURNAMES])) + "".join(chance.choice([*GIVEN], given))


def another(chance: np.random.Generator, among: Iterable[str], character: str) -> str:
    return str(chance.choice([each for each in among if each != character]))


class Tally:
    """By kind, how far above the given names' limit of the first try a verdict's least character is, in that limit's
    own points; minus infinity where something else than a limit refused it.
    """

    def __init__(self) -> None:
        self.scores: dict[str, list[float]] = defaultdict(list)

    def take(self, kind: str, verdict: Verdict) -> None:
        name = "".join(each.character for each in verdict.characters)
        least = min(each.score + LEAST_SCORE - limit(1, name, place) for place, each in enumerate(verdict.characters))
        refused = verdict.outcome != "pass" and all(each.ok for each in verdict.characters)
        self.scores[kind].append(-np.inf if refused else least)

    def share(self, kind: str, least: float = LEAST_SCORE) -> float:
        """Of those accepted where ``least`` is the limit of given names."""
        return float(np.mean(np.array(self.scores[kind]) >= least)) if self.scores[kind] else float("nan")


def measured(names: int, junk: int, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    reader = recogniser()
    alike = impostors.look_alikes([*dict.fromkeys(GIVEN)], [each for each in reader.classes if "一" <= each <= "龥"])
    warm_up()
    spent: list[float] = []

    hands: dict[str, tuple[Tally, list[bool]]] = {}
    for source in ("pens", *FONTS):
        tally, equal = Tally(), list[bool]()
        hands[source] = tally, equal
        for _ in range(names if source == "pens" else names // 4):
            written = name(chance)
            drawn = [_written(source, character, chance) for character in written]
            if any(each is None for each in drawn):
                continue
            boxes = [each for each in drawn if each is not None]
            whole = in_line(boxes, chance)
            ink = inked(whole)
            assert ink is not None
            spelled, _likelihood = best_reading(reader.read([line(ink)])[0])
            equal.append("".join(reader.characters.get(each, "?") for each in spelled) == written)
            at = int(chance.integers(1, len(written)))

            def with_one(place: int, character: str, written: str = written) -> str:
                return written[:place] + character + written[place + 1 :]

            expected = {
                "genuine": written,
                "another name": name(chance, len(written)),
                "given name's character replaced": with_one(at, another(chance, GIVEN, written[at])),
                "surname replaced": with_one(0, another(chance, SURNAMES, written[0])),
            }
            if near := alike.get(written[at]):
                expected["… by a look-alike of all there are"] = with_one(at, str(chance.choice(near)))
            for kind, asked in expected.items():
                if kind == "another name" and asked == written:
                    continue
                began = time.process_time()
                tally.take(f"{kind}, boxes", check_boxes(boxes, asked))
                if len(written) == 3:
                    spent.append((time.process_time() - began) * 1000)
                tally.take(f"{kind}, line", check_line(whole, asked))
        tell(source)
    passed: dict[str, dict[str, int]] = {}
    for kind in impostors.JUNK:
        counted = passed[kind] = {"every box": 0, "the surname's": 0, "the last": 0}
        for _ in range(junk):
            expected_name = name(chance)
            verdict = check_boxes([impostors.junk(kind, chance) for _ in expected_name], expected_name)
            counted["every box"] += verdict.outcome == "pass"
            honest = [_written("pens", character, chance) for character in expected_name]
            for title, place in (("the surname's", 0), ("the last", len(honest) - 1)):
                mixed = [impostors.junk(kind, chance) if at == place else each for at, each in enumerate(honest)]
                drawn = [each for each in mixed if each is not None]
                if len(drawn) == len(mixed):
                    counted[title] += check_boxes(drawn, expected_name).outcome == "pass"
        tell(kind)
    pens = hands["pens"][0]
    return {
        "version": VERSION,
        "seed": seed,
        "hands": {
            source: {"names": len(equal), "read_equal": float(np.mean(equal)), **_shares(tally)}
            for source, (tally, equal) in hands.items()
        },
        "junk": {"of": junk, "passed": passed},
        "tries": {kind: _over_tries(pens, kind) for kind in pens.scores},
        "curve": [
            {"limit": least, **{kind: pens.share(kind, least) for kind in pens.scores}}
            for least in np.arange(-30, 0.01, 1).tolist()
        ],
        "ms": {"p50": float(np.percentile(spent, 50)), "p95": float(np.percentile(spent, 95))},
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _written(source: str, character: str, chance: np.random.Generator) -> Picture | None:
    """A writer a character: names put together of real characters are made so as well."""
    if source == "pens":
        return Pen(chance, 0.9 + 1.2 * chance.random()).writes(character)
    return printed(source, character, chance)


def _shares(tally: Tally) -> dict[str, float]:
    return {kind: tally.share(kind) for kind in tally.scores}


def _over_tries(tally: Tally, kind: str) -> float:
    """Accepted at one of ``TRIES`` independent tries, each at its own limit."""
    refused = 1.0
    for attempt in range(TRIES):
        refused *= 1 - tally.share(kind, LEAST_SCORE + STRICTER * attempt)
    return 1 - refused


def shown(told: dict[str, Any]) -> str:
    hands, junk = told["hands"], told["junk"]

    def across(title: str, key: str) -> list[object]:
        return [title, *(_percent(each.get(key)) for each in hands.values())]

    kinds = [kind for kind in hands["pens"] if "," in kind]
    lines: list[list[object]] = [["", *hands], ["names", *(each["names"] for each in hands.values())]]
    lines.append(across("read outright as the name (OCR equality)", "read_equal"))
    lines += [across(f"passes: {kind}", kind) for kind in kinds]
    cost: list[list[object]] = [
        ["ms of CPU, three boxes, p50 and p95", told["ms"]["p50"], told["ms"]["p95"]],
        ["resident MB, this program's own included", told["resident_mb"]],
    ]
    return "\n".join(
        [
            table.rows(f"Handwriting: {told['version']}, seed {told['seed']}, at the first try", lines),
            table.rows(
                f"Junk that passed, of {junk['of']} each",
                [
                    ["in", *next(iter(junk["passed"].values()))],
                    *([k, *of.values()] for k, of in junk["passed"].items()),
                ],
            ),
            table.rows(
                f"Pens, passed at one of {TRIES} tries with rising limits",
                [[kind, _percent(value)] for kind, value in told["tries"].items()],
            ),
            table.rows("Cost", cost),
        ]
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.handwriting")
    parser.add_argument("--names", type=int, default=400, help="of the pens; a quarter of it of each font")
    parser.add_argument("--junk", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=20261126, help="1 to 99 were used to find the limits")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--curve", type=Path, default=None)
    asked = parser.parse_args()
    told = measured(asked.names, asked.junk, asked.seed, lambda line: print(f"{line} ...", file=sys.stderr, flush=True))
    print(shown(told))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "handwriting.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if asked.curve is not None:
        limits = [LEAST_SCORE + STRICTER * attempt for attempt in range(TRIES)]
        asked.curve.write_text(curve(told["curve"], limits), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
