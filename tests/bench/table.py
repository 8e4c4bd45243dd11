"""Results as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench import parts

ENDPOINTS_SHOWN = 12


def rows(title: str, lines: Iterable[Sequence[object]]) -> str:
    """A title and its lines; the first column to the left, numbers to the right."""
    cells = [[each if isinstance(each, str) else _number(each) for each in line] for line in lines]
    columns = max(map(len, cells), default=0)
    wide = [max((len(line[at]) for line in cells if at < len(line)), default=0) for at in range(columns)]
    shown = [
        "  " + "  ".join(cell.ljust(wide[at]) if at == 0 else cell.rjust(wide[at]) for at, cell in enumerate(line))
        for line in cells
    ]
    return "\n".join([f"\n{title}", *shown])


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}"


def _spread(told: Mapping[str, float]) -> list[float]:
    return [told["p50"], told["p95"], told["worst"]]


def of_journeys(told: Mapping[str, Any]) -> str:
    by_part = told["cpu_ms_by_part"]
    by_process: dict[str, float] = told["cpu_ms_by_process"]
    judged = told["judged"]
    growth = told["growth"]
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in judged["verdicts"].items())
    many, at_once, store, cores = (told[name] for name in ("journeys", "at_once", "store", "cores"))
    fast, took, cpu = told["journeys_per_second"], told["seconds"], told["cpu_ms_per_journey"]
    head = f"""
Journeys: {many} by {at_once} customers at once on {store}, {cores} cores
  everything on; the only shortening is dwell_scale {told["dwell_scale"]:g}
  {fast:.2f} journeys/s ({took:.1f} s), {cpu:,.0f} ms CPU a journey, stand-ins and simulator included
  {told["cpu_ms_without_documents_signing"]:,.0f} ms CPU a journey in the platform without documents and signing
  at rest the platform takes {told["idle_cpu_ms_per_second"]:.0f} ms CPU a second, counted in the above
  answers by status: {", ".join(f"{count} x {status}" for status, count in told["statuses"].items())}
  judged afterwards: {judged["pdfs"]} PDFs, {judged["signatures"]} signatures, {judged["packs"]} packs ({verdicts})"""
    blocks = [
        head,
        rows(
            "CPU ms a journey by part (split by samples of stacks, sum by the kernel)",
            [(part, by_part[part], f"{100 * by_part[part] / cpu:.0f} %") for part in parts.PARTS],
        ),
        rows(
            "CPU ms a journey by process",
            sorted(by_process.items(), key=lambda item: item[1], reverse=True),
        ),
        rows(
            "Dearest calls, ms a journey",
            [(f"{each['part']:<16} {each['call']}", each["ms"]) for each in told["dearest"]],
        ),
        rows(
            "Seconds",
            [
                ("", "p50", "p95", "worst"),
                ("journey", *_spread(told["passed_seconds"])),
                ("paid (tap) → policies on the phone", *_spread(told["paid_to_policies_seconds"])),
                ("paid → issued (on record)", *_spread(told["paid_to_issued_seconds"])),
            ],
        ),
        rows(
            f"Endpoints, ms ({told['requests_per_journey']:.0f} requests a journey; slowest by p95)",
            [
                ("", "count", "p50", "p95", "worst"),
                *(
                    (name, each["count"], *(1000 * value for value in _spread(each)))
                    for name, each in list(told["endpoints"].items())[:ENDPOINTS_SHOWN]
                ),
            ],
        ),
        rows(
            "Start and memory",
            [
                ("", "s to ready", "MB started", "MB before", "MB after"),
                *(
                    (
                        name,
                        told["start_seconds"][name],
                        *(told[f"memory_mb_{when}"][name] for when in ("after_start", "before", "after")),
                    )
                    for name in told["memory_mb_after"]
                ),
            ],
        ),
    ]
    if growth:
        few = "" if growth["journeys_in_a_tenth"] >= 20 else "  (few journeys: noise; JOURNEYS=600 and more tell)"
        blocks.append(
            rows(
                "Growth",
                [
                    ("CPU ms a journey, first tenth", growth["cpu_ms_first_tenth"]),
                    ("CPU ms a journey, last tenth", growth["cpu_ms_last_tenth"]),
                    ("ratio (aim: within 0.9 to 1.1)" + few, growth["ratio"]),
                    ("memory KB a journey between", sum(growth["memory_kb_per_journey"].values())),
                    *((f"stored bytes a journey: {n}", b) for n, b in told["stored_bytes_per_journey"].items() if b),
                ],
            )
        )
    return "\n".join(blocks)


def of_bus(told: Mapping[str, Any]) -> str:
    best, turns = told["per_second"], told["turns"]
    return "\n".join(
        [
            rows(
                f"Bus: {told['messages']:,} facts of 1 KB to one listener, 100 at a time, each acknowledged; a second",
                [
                    ("", "best", "CPU µs a fact", "other turns"),
                    *(
                        (name, rate, told["cpu_us"][name], *sorted(turns[name], reverse=True)[1:])
                        for name, rate in best.items()
                    ),
                    ("ours to the bare loop (aim: 0.7)", told["ours_to_bare"]),
                    ("ours to FastStream", told["ours_to_faststream"]),
                    ("bare to ours, by CPU", told["cpu_us"]["bare"] / told["cpu_us"]["ours"]),
                ],
            ),
            rows(
                "Bus: one fact alone, ms from publishing to the listener",
                [("p50, p95, worst", *_spread(told["single_ms"]))],
            ),
            rows("Bus: facts published and acknowledged, a second", told["publish_per_second"].items()),
            rows("Bus: requests answered, both ends in one process, a second", told["request_per_second"].items()),
        ]
    )


def of_store(told: Mapping[str, Any]) -> str:
    backends = ("sqlite", "mongodb")
    ways = [name for name in told["sqlite"] if isinstance(told["sqlite"][name], dict)]
    operations = [name for name in told["sqlite"] if name not in ways]
    return rows(
        f"Store: saves of a journey that grows to {told['facts']} facts of 1 KB, a second "
        f"(this disk: {told['disk_syncs_per_second']:,.0f} syncs a second; mongodb is {told['mongodb_is']})",
        [
            ("", *backends),
            *((way, *(told[each][way]["per_second"] for each in backends)) for way in ways),
            *((f"{way}, CPU ms a save", *(told[each][way]["cpu_ms"] for each in backends)) for way in ways),
            *((name.replace("_ms", ", ms"), *(told[each][name] for each in backends)) for name in operations),
        ],
    )


def of_signatures(told: Mapping[str, Any]) -> str:
    return rows(
        f"Signatures: CPU ms each over {told['times']}, chains known, on a form of {told['form_bytes'] / 1000:.0f} kB",
        [
            ("", "ms", "to bare pyHanko"),
            ("the customer's: handwriting, statement, timestamp", told["customer_ms"], told["customer_to_bare"]),
            ("the insurer's seal: proofs of status, timestamp", told["insurer_ms"], told["insurer_to_bare"]),
            ("pyHanko as it comes: timestamp", told["bare_ms"], 1.0),
            ("a one-time certificate and its status, once an act", told["certificate_ms"], ""),
        ],
    )


def in_short(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The numbers that have an aim, beside it."""
    lines: list[tuple[object, ...]] = [("", "seen", "aim")]
    if bus := results.get("bus"):
        lines.append(("bus, ours to a bare loop", bus["ours_to_bare"], "≥ 0.7"))
    if journeys := results.get("journeys"):
        lines += [
            ("journeys a second", journeys["journeys_per_second"], "≥ 0.7"),
            ("CPU ms a journey without documents, signing", journeys["cpu_ms_without_documents_signing"], "≤ 250"),
            ("paid → issued, p95 s", journeys["paid_to_issued_seconds"]["p95"], "≤ 2"),
        ]
        if growth := journeys["growth"]:
            lines.append(("CPU a journey, last tenth to first", growth["ratio"], "≤ 1.1"))
        lines.append(("dwell_scale, the only shortening", journeys["dwell_scale"], ""))
    if signatures := results.get("signatures"):
        lines.append(("CPU ms a signature", max(signatures["customer_ms"], signatures["insurer_ms"]), "≤ 15"))
    return rows("In short", lines) if len(lines) > 1 else ""
