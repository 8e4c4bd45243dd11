"""Judges what a run left behind, and shares no code with what ran.

It reads stores, blobs, packs and the stand-ins' ledger as they lie on disk and derives from the facts which
invariants (DOMAIN §6) hold of every journey. ``python -m tests.faults.checker FOLDER`` prints the table.
"""

from pathlib import Path

from tests.faults.checker.rules import RULES
from tests.faults.checker.table import ELSEWHERE, Verdict, shown
from tests.faults.checker.verdict import judge
from tests.faults.checker.world import PACKS, WITNESS, read

__all__ = ["ELSEWHERE", "PACKS", "RULES", "WITNESS", "Verdict", "check", "judge", "read", "shown", "unsettled"]


def check(folder: Path, mongodb: str | None = None) -> Verdict:
    """Every rule on every journey of the run in ``folder``. ``mongodb``: where its stores are if they are no files."""
    return judge(read(folder, mongodb), RULES)


def unsettled(folder: Path, mongodb: str | None = None) -> list[str]:
    """What is still to be done: facts not published, facts not heard, money between here and there."""
    verdict = judge(read(folder, mongodb), [rule for rule in RULES if rule.settles])
    return [f"{violation.rule} {violation.journey}: {violation.what}" for violation in verdict.violations]
