"""Issuance's handlers and its own work: bus in, rules, store out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar

from aiohttp import ClientSession, ClientTimeout
from jinja2 import UndefinedError
from prometheus_client import Counter, Gauge, Histogram
from pydantic import Field, ValidationError

from contracts.commands.issuance import (
    Gaps,
    IssuanceView,
    IssuedPolicy,
    ListGaps,
    RenounceOrder,
    Verification,
    VerifyPolicy,
    ViewIssuance,
)
from contracts.facts import issuance as facts
from contracts.facts.base import Fact
from contracts.facts.issuance import NumberedPolicy, PolicyIssued
from contracts.facts.payment import PaymentConfirmed
from contracts.facts.proposal import JourneyOpened, ProductTerms
from contracts.problems import Refuse
from products import Product, Releases
from products.opened import committed, values
from servicekit.documents import timestamp
from servicekit.documents.fonts import MissingGlyph, load
from servicekit.documents.keys import open_key
from servicekit.documents.render import AddressRefused, Renderer, RenderSettings
from servicekit.documents.round_seal import round_seal
from servicekit.documents.seal import Sealer, SigningKey, TimestampUnavailable
from servicekit.service import Decided, Ground, Service, answers
from servicekit.settings import Settings
from servicekit.telemetry import objectives
from servicekit.telemetry.metrics import ISSUE_SECONDS
from services.issuance import rules
from services.issuance.numbers import Series
from services.issuance.paper import Issued, policy_document
from services.issuance.policy_pdf import policy_job, seal_policy
from services.issuance.register import Register
from services.issuance.rules import IssuanceState

log = logging.getLogger(__name__)

SEAL_CAPTION = "电子保单专用章"


class IssuanceSettings(Settings):
    service: ClassVar[str] = "issuance"

    issuance_seal_key: str
    """P-256 key of the policy seal, PEM."""
    issuance_seal_chain_file: Path
    """Its certificate, then those above it, PEM."""
    issuance_tsa_url: str
    issuance_verify_url: str
    """The public page of the policy check; number and code follow behind ``#``."""
    issuance_branch: Annotated[str, Field(pattern=r"^[0-9]{4}$")] = "4401"
    """The branch in every policy number."""
    issuance_workers: Annotated[int, Field(ge=1)] = 1


class Issuance(Service[IssuanceState, IssuanceSettings]):
    name = "issuance"
    state = IssuanceState
    settings = IssuanceSettings
    hears = rules.HEARS

    def __init__(self, ground: Ground[IssuanceSettings]) -> None:
        super().__init__(ground)
        self.releases = Releases(self.set.releases_dir)
        self.register = Register(ground.store, self.vault.blind_index)
        self.renderer = Renderer(
            RenderSettings(fonts=self.set.fonts_dir, workers=self.set.issuance_workers), self.metrics.pool_queue.set
        )
        registry = ground.metrics.registry
        self.issued_total = Counter("toubao_policies_issued_total", "Policies issued.", ["product"], registry=registry)
        self.not_issued_total = Counter(
            "toubao_policies_not_issued_total",
            "Paid and not issued: orders refused, policies that could not be drawn.",
            ["code"],
            registry=registry,
        )
        self.issued_after = Histogram(
            "toubao_paid_to_issued_seconds",
            "Time from the confirmed payment until all its policies were issued.",
            buckets=ISSUE_SECONDS,
            registry=registry,
        )
        objectives.export(registry, objectives.ISSUE)
        self.stuck_now = Gauge(
            "toubao_journeys_stuck", "Paid journeys with a policy that cannot be drawn as it is.", registry=registry
        )

    async def open(self) -> None:
        key = SigningKey.load(open_key(self.set.issuance_seal_key), self.set.issuance_seal_chain_file.read_bytes())
        self.http = ClientSession(timeout=ClientTimeout(total=10))
        self.sealer = Sealer(
            key, timestamp.authority(self.set.issuance_tsa_url, self.http, watched=self.metrics.outside("authority"))
        )
        self.outlines = load(self.set.fonts_dir).outline_sources()
        await self.renderer.start()

    async def close(self) -> None:
        await self.renderer.stop()
        await self.http.close()

    fields = ("stuck",)

    def fields_of(self, state: IssuanceState) -> dict[str, str | int]:
        return {"stuck": int(bool(state.stuck))}

    async def swept(self) -> None:
        self.stuck_now.set(await self.journeys.collection.count({"stuck": 1}))

    def evolve(self, state: IssuanceState, fact: Fact) -> IssuanceState:
        return rules.evolve(state, fact)

    def due(self, state: IssuanceState) -> datetime | None:
        return rules.due(state)

    # -- step by step, each saved on its own -----------------------------------------------------------------

    async def work(self, journey_id: str, state: IssuanceState) -> None:
        match rules.next_step(state, self.now()):
            case rules.Reject() as step:
                await self._reject(journey_id, step)
            case rules.Number() as step:
                await self._number(journey_id, state, step)
            case rules.Issue(policy):
                await self._issue(journey_id, state, policy)
            case rules.Finish():
                await self._finish(journey_id, state)
            case None:
                pass

    async def _reject(self, journey_id: str, step: rules.Reject) -> None:
        refused = facts.Refused(
            at=self.now(), command=rules.ISSUE, code=step.code, occurrence=1, order_no=step.paid.order_no
        )

        async def decision(now: IssuanceState) -> Sequence[Fact]:
            return [refused] if rules.next_step(now, self.now()) == step else []

        await self.journeys.append(journey_id, decision)
        self.not_issued_total.labels(step.code).inc()
        log.warning("paid and not issued", extra={"journey_id": journey_id, "code": step.code})

    async def _number(self, journey_id: str, state: IssuanceState, step: rules.Number) -> None:
        """Evidence first, then numbers, then the fact. A crash in between leaves a gap, never a number twice."""
        attestation = await self.attest(journey_id, state)
        opened = state.progress.check_opened()
        release = self.releases.get(opened.release)
        at = self.now()
        year = at.astimezone(rules.PAPER).year
        policies: list[NumberedPolicy] = []
        for terms in step.products:
            series = Series(release.products[terms.product].line_code, year, self.set.issuance_branch)
            number = await self.register.draw(series)
            policies.append(NumberedPolicy(product=terms.product, policy_no=str(number), lock=terms.lock))
        numbered = facts.PoliciesNumbered(
            at=at, order_no=step.paid.order_no, policies=tuple(policies), attestation=attestation
        )

        async def decision(now: IssuanceState) -> Sequence[Fact]:
            # A fact heard meanwhile (the money going back) may have changed everything.
            return [numbered] if rules.next_step(now, self.now()) == step else []

        saved = await self.journeys.append(journey_id, decision)
        await self._note_numbers(saved)

    async def _note_numbers(self, state: IssuanceState) -> None:
        if state.numbered is not None:
            await self.register.use(policy.policy_no for policy in state.numbered.policies)

    async def _issue(self, journey_id: str, state: IssuanceState, policy: NumberedPolicy) -> None:
        await self._note_numbers(state)
        try:
            terms, paid = rules.issued_of(state, policy)
        except Refuse as refusal:
            await self._stick(journey_id, policy, refusal.code, [])
            return
        try:
            issued, sealed = await self._make(journey_id, state, policy, terms, paid)
        except MissingGlyph as missing:
            points = [f"U+{ord(character):04X}" for character in missing.characters]
            await self._stick(journey_id, policy, "glyph_missing", points)
            return
        except (ValidationError, UndefinedError, AddressRefused):
            await self._stick(journey_id, policy, "policy_undrawable", [])
            return

        async def decision(now: IssuanceState) -> Sequence[Fact]:
            return [] if policy.product in now.policies else [issued]

        saved = await self.journeys.append(journey_id, decision)
        if saved.policies[policy.product] == issued:
            await self.register.enter(issued, sealed)
            self.issued_total.labels(policy.product).inc()

    async def _make(
        self,
        journey_id: str,
        state: IssuanceState,
        policy: NumberedPolicy,
        terms: ProductTerms,
        paid: PaymentConfirmed,
    ) -> tuple[PolicyIssued, bytes]:
        """Drawn, sealed, timestamped, kept; nobody has it before the fact is saved.

        Raises MissingGlyph, ValidationError, UndefinedError, AddressRefused; ``Refuse`` while there is no timestamp.
        """
        opened = state.progress.check_opened()
        product = self.releases.get(opened.release).products[policy.product]
        at = self.now()
        texts = {key: await self.vault.open_text(journey_id, value) for key, value in committed(opened, terms).items()}
        document = policy_document(
            product,
            opened,
            terms,
            values(product, opened, terms, texts),
            Issued(
                number=policy.policy_no,
                form_number=_form_number(state, terms, opened),
                code=self.register.code(policy.policy_no),
                confirmed_at=rules.applied_at(state),
                paid_at=paid.paid_at,
                at=at,
                channel="中介渠道" if opened.intermediary else "保险人直接销售",
                intermediary=opened.intermediary or "",
                salesperson=await self._salesperson(journey_id, opened),
                verify_url=self.set.issuance_verify_url,
            ),
        )
        sealed = await self._sealed(product, await self.renderer.render(policy_job(document)), at)
        issued = PolicyIssued(
            at=self.now(),
            product=policy.product,
            policy_no=policy.policy_no,
            policy=await self.vault.seal_file(journey_id, sealed, "application/pdf"),
            lock=policy.lock,
            premium_fen=terms.premium_fen,
            taxes_fen=sum(tax.fen for tax in terms.taxes),
            period_from=terms.period_from,
            period_to=terms.period_to,
            retain_until=rules.retain_until(product, terms.period_to),
            payment_confirmed_at=paid.at,
            channel_id=opened.channel_id,
            channel_reference=opened.channel_reference,
            proposal_no=opened.proposal_no,
        )
        return issued, sealed

    async def _sealed(self, product: Product, pdf: bytes, at: datetime) -> bytes:
        look = await asyncio.to_thread(round_seal, product.insurer.name, SEAL_CAPTION, self.outlines)
        try:
            return await seal_policy(pdf, look, self.sealer, at)
        except TimestampUnavailable:
            raise Refuse("timestamp_unavailable", retry_after=5) from None

    async def _salesperson(self, journey_id: str, opened: JourneyOpened) -> str:
        if opened.salesperson is None:
            return ""
        known = json.loads(await self.vault.open_text(journey_id, opened.salesperson))
        return f"{known['name']} 执业证号 {known['licence_no']}"

    async def _stick(self, journey_id: str, policy: NumberedPolicy, code: str, points: list[str]) -> None:
        """The policy waits for people; the others of the journey go on."""

        async def decision(now: IssuanceState) -> Sequence[Fact]:
            if policy.product in now.policies:
                return []
            known = now.stuck.get(policy.product)
            return [
                facts.Refused(
                    at=self.now(),
                    command=rules.ISSUE,
                    code=code,
                    occurrence=1 if known is None else known.times + 1,
                    product=policy.product,
                )
            ]

        await self.journeys.append(journey_id, decision)
        self.not_issued_total.labels(code).inc()
        log.error(
            "policy cannot be drawn",
            extra={"journey_id": journey_id, "product": policy.product, "code": code, "points": points},
        )

    async def _finish(self, journey_id: str, state: IssuanceState) -> None:
        """All policies are out and can be checked; the register is filled again where a crash left it."""
        assert state.numbered is not None
        await self._note_numbers(state)
        for issued in state.policies.values():
            await self.register.enter(issued, await self.vault.open(journey_id, issued.policy))
        opened = state.progress.check_opened()
        finished = facts.JourneyIssued(
            at=self.now(),
            policies=tuple(policy.policy_no for policy in state.numbered.policies),
            products=tuple(policy.product for policy in state.numbered.policies),
            channel_id=opened.channel_id,
            customer_id=rules.customer_of(state),
        )

        first = False

        async def decision(now: IssuanceState) -> Sequence[Fact]:
            nonlocal first
            first = not now.done
            return [finished] if first else []

        await self.journeys.append(journey_id, decision)
        paid = next(payment for payment in state.payments if payment.order_no == state.numbered.order_no)
        if first:
            self.issued_after.observe(max(0.0, (finished.at - paid.at).total_seconds()))

    # -- money that shall go back ----------------------------------------------------------------------------

    @answers(RenounceOrder)
    async def renounce_order(self, command: RenounceOrder, state: IssuanceState) -> Decided:
        if not rules.check_renounced(state, command.order_no):
            return Decided()
        renounced = facts.Refused(
            at=self.now(), command=command.verb, code="order_renounced", occurrence=1, order_no=command.order_no
        )
        return Decided([renounced])

    # -- what may be asked -----------------------------------------------------------------------------------

    @answers(ViewIssuance)
    async def view(self, query: ViewIssuance) -> IssuanceView:
        state = await self.journeys.state(query.journey_id)
        return IssuanceView(
            state=rules.stage(state),
            policies=tuple(
                IssuedPolicy(product=p.product, policy_no=p.policy_no, policy=p.policy, issued_at=p.at)
                for p in state.policies.values()
            ),
            problem=rules.problem_of(state),
        )

    @answers(VerifyPolicy)
    async def verify(self, request: VerifyPolicy) -> Verification:
        return await self.register.check(request.policy_no, request.code, request.file_sha256)

    @answers(ListGaps)
    async def list_gaps(self, request: ListGaps) -> Gaps:
        return Gaps(serials=await self.register.gaps(Series(request.line, request.year, self.set.issuance_branch)))


def _form_number(state: IssuanceState, terms: ProductTerms, opened: JourneyOpened) -> str:
    """The application form the policy came from (投保单号), as signed."""
    signed = state.progress.signed
    session = None if signed is None else state.progress.sessions.get(signed.attempt)
    form = None if session is None else session.forms.get(terms.product)
    return opened.proposal_no if form is None else form.form_no
