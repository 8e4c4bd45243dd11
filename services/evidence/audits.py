"""Looks by itself, once a policy is out, whether its evidence is complete (I19), and keeps the verdict by policy.

Soon after a journey is issued its chain is anchored to the end and everything a pack would hold is had once. What is
not complete is looked at again: a file that was restored, an authority that is back, mend the verdict.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from prometheus_client import Gauge

from contracts.facts import issuance, payment
from contracts.facts.base import Fact
from contracts.facts.issuance import JourneyIssued
from contracts.problems import Refuse
from contracts.progress import Progress
from servicekit.store import Collection, Document
from servicekit.telemetry import objectives
from servicekit.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

Verdict = Literal["pending", "complete", "incomplete"]

SETTLE: Final = timedelta(seconds=2)
"""Facts that were made with the last policy may still be under way."""
AGAIN: Final = timedelta(minutes=10)
"""Until an incomplete one is looked at again."""
RETRY: Final = timedelta(seconds=15)
"""Until it is tried again where the look itself was not possible (no timestamp to be had)."""
COUNT_SECONDS: Final = 15.0
"""How old the counts may be when nothing is known to have changed."""
AT_ONCE: Final = 20
FIELDS: Final = ("verdict", "broken_i1", "broken_i12", "broken_i16", "broken_i17", "broken_i18", "broken_i19")
RULES: Final = tuple(field.removeprefix("broken_").upper() for field in FIELDS[1:])


def broken(facts: Sequence[Fact]) -> frozenset[str]:
    """The invariants (DOMAIN §6) that the facts of an issued journey do not bear out, by their numbers. Pure."""
    progress = Progress()
    for fact in facts:
        progress = progress.after(fact)
    numbered = [fact for fact in facts if isinstance(fact, issuance.PoliciesNumbered)]
    policies = [fact for fact in facts if isinstance(fact, issuance.PolicyIssued)]
    payments = {f.transaction_id: f for f in facts if isinstance(f, payment.PaymentConfirmed)}
    orders = {f.order_no: f for f in facts if isinstance(f, payment.OrderPlaced)}
    found: set[str] = set()
    paid = next((p for p in payments.values() if numbered and p.order_no == numbered[0].order_no), None)
    order = None if paid is None else orders.get(paid.order_no)
    one_each = len({policy.product for policy in policies}) == len(policies)
    if len(numbered) != 1 or len(payments) != 1 or paid is None or not one_each:
        found.add("I16")
    signed = progress.signed
    if signed is None or order is None or not signed.attempt == signed.proof.attempt == order.proof.attempt:
        found.add("I12")
    # What the act of signing stands on, whatever became of the session since.
    standing = progress.model_copy(update={"attempt": 0 if signed is None else signed.attempt, "issued": False})
    if standing.documents_open():
        found.add("I1")
    locks = {terms.product: terms.lock for terms in standing.chosen()}
    try:
        standing.check_confirmed()
    except Refuse:
        found.add("I18")
    if {policy.product: policy.lock for policy in policies} != locks or order is None or order.locks != locks:
        found.add("I18")
    if paid is None or order is None or not paid.total_fen == order.total_fen == standing.total_fen():
        found.add("I17")
    if not numbered or not numbered[0].attestation.count:
        found.add("I19")
    return frozenset(found)


class Audits:
    def __init__(
        self,
        collection: Collection,
        metrics: Metrics,
        now: Callable[[], datetime],
        look: Callable[[str], Awaitable[tuple[bool, frozenset[str]]]],
    ) -> None:
        """``look`` says of a journey whether everything is there, and which rules are broken. It may raise ``Refuse``
        where that cannot be said now.
        """
        self._collection = collection
        self._metrics = metrics
        self._now = now
        self._look = look
        self._counted_at = float("-inf")
        on = metrics.registry
        self._verdicts = Gauge(
            "toubao_policies_evidence",
            "Issued policies by whether their evidence is complete.",
            ("verdict",),
            registry=on,
        )
        self._pending = Gauge(
            "toubao_evidence_pending_oldest_seconds",
            "For how long the oldest issued policy has been without a verdict.",
            registry=on,
        )
        objectives.export(on, objectives.EVIDENCE)
        for verdict in get_args(Verdict):
            self._verdicts.labels(verdict).set(0)
        metrics.violations(dict.fromkeys(RULES, 0))

    async def expect(self, journey_id: str, issued: JourneyIssued) -> None:
        """These policies are out. Saying it again changes nothing."""
        for policy_no in issued.policies:
            if await self._collection.get(policy_no) is None:
                state = {"journey_id": journey_id, "since": issued.at.isoformat()}
                pending = Document(policy_no, state=state, due=self._now() + SETTLE, fields={"verdict": "pending"})
                await self._collection.put_many([pending])
        self._counted_at = float("-inf")

    async def swept(self) -> None:
        """Looks at what is due, then counts."""
        due = await self._collection.find(up_to=("due", self._now()), order="due", limit=AT_ONCE)
        journeys: dict[str, list[Document]] = {}
        for document in due:
            journeys.setdefault(str(document.state["journey_id"]), []).append(document)
        for journey_id, documents in journeys.items():
            await self._judge(journey_id, documents)
        clock = asyncio.get_running_loop().time()
        if due or clock - self._counted_at > COUNT_SECONDS:
            self._counted_at = clock
            await self._count()

    async def _judge(self, journey_id: str, documents: Sequence[Document]) -> None:
        now = self._now()
        verdict: Verdict
        fields: dict[str, Any]
        try:
            complete, rules = await self._look(journey_id)
        except Refuse as refusal:
            if refusal.code == "evidence_incomplete":
                verdict, fields, again = "incomplete", {"broken_i19": 1}, now + AGAIN
            else:
                verdict, fields, again = "pending", {}, now + RETRY
            log.warning("evidence not judged", extra={"journey_id": journey_id, "code": refusal.code})
        else:
            verdict = "complete" if complete and not rules else "incomplete"
            fields = {f"broken_{rule.lower()}": 1 for rule in rules}
            again = None if verdict == "complete" else now + AGAIN
            if verdict == "incomplete":
                log.error("evidence is incomplete", extra={"journey_id": journey_id, "rules": sorted(rules)})
        await self._collection.put_many(
            Document(document.id, state=document.state, due=again, fields={"verdict": verdict, **fields})
            for document in documents
        )

    async def _count(self) -> None:
        counts = {verdict: await self._collection.count({"verdict": verdict}) for verdict in get_args(Verdict)}
        violations = {rule: await self._collection.count({f"broken_{rule.lower()}": 1}) for rule in RULES}
        waiting = await self._collection.find(equal={"verdict": "pending"}, order="due", limit=AT_ONCE)
        since = [datetime.fromisoformat(str(document.state["since"])) for document in waiting]
        # All at once, so that whoever scrapes in between sees no verdicts of now beside an age of before.
        for verdict, count in counts.items():
            self._verdicts.labels(verdict).set(count)
        self._metrics.violations(violations)
        self._pending.set(max(0.0, (self._now() - min(since)).total_seconds()) if since else 0.0)
