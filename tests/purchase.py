"""One real purchase as facts: the house's own products published, every step a customer takes, told fact by fact.

For tests of services that come late in the journey: ``await purchase.up_to("signed")``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.facts import disclosure, identity, payment, proposal, signing
from contracts.facts.base import Fact
from contracts.facts.identity import DeviceKey, NoticeRef
from contracts.facts.proposal import JourneyOpened, Party, ProductTerms
from contracts.facts.signing import SignedItem
from contracts.progress import Progress
from contracts.values import Attestation, Committed, canonical_json, sha256_hex
from deploy.simulator.proposals import Person, person
from deploy.simulator.proposals import proposal as proposed
from products import Release
from servicekit.runner import new_ulid
from servicekit.vault import Vault
from services.proposal import rules as proposal_rules
from services.proposal.rules import Submitted
from tests import prepared, readings
from tests.desk import Desk

STEPS = ("opened", "session", "verified", "confirmed", "answered", "read", "forms", "signed", "ordered", "paid")


def published(folder: Path) -> Release:
    """The house's products as a release under ``folder``."""
    return prepared.release(folder)


@dataclass
class Purchase:
    """A customer on their way. ``progress`` is the fold of what was told so far."""

    at: Desk
    release: Release
    who: Person
    extra: bool = True
    journey_id: str = field(default_factory=new_ulid)
    progress: Progress = field(default_factory=Progress)
    facts: list[Fact] = field(default_factory=list)
    link_secret: str = "0123456789abcdef0123456789abcdef"

    @property
    def vault(self) -> Vault:
        return self.at.vault

    async def tell(self, *facts: Fact) -> None:
        for fact in facts:
            self.facts.append(fact)
            self.progress = self.progress.after(fact)
        await self.at.tell(self.journey_id, *(f for f in facts if f.service != self.at.service.name))

    async def up_to(self, step: str) -> Purchase:
        """Tells every step up to and with this one (see ``STEPS``)."""
        for name in STEPS[: STEPS.index(step) + 1]:
            await self.tell(*await getattr(self, f"_{name}")())
        return self

    async def proof(self):
        return await self.at.proof(self.journey_id)

    # -- the steps -----------------------------------------------------------------------------------------

    async def _opened(self) -> list[Fact]:
        body = proposed(self.who, self.at.clock(), random.Random(7), extra=self.extra)
        return [await open_journey(self.vault, self.journey_id, self.release, body, self.at.clock(), self.link_secret)]

    async def _session(self) -> list[Fact]:
        now = self.at.clock()
        device = DeviceKey.model_validate(self.at.device.jwk)
        notice = self.release.notices["recording"]
        return [
            identity.SessionOpened(
                at=now,
                attempt=self.at.attempt,
                device_key=device,
                thumbprint=self.at.device.thumbprint,
                absolute_limit=now + timedelta(hours=2),
                proof=await self.proof(),
            ),
            identity.RecordingAcknowledged(
                at=now,
                notice=NoticeRef(notice="recording", version=notice.document.version, sha256=notice.document.sha256),
                proof=await self.proof(),
            ),
        ]

    async def _verified(self) -> list[Fact]:
        now = self.at.clock()
        return [
            identity.RealNameChecked(at=now, matched=True, provider_ref="rn1", proof=await self.proof()),
            identity.FaceChecked(
                at=now,
                passed=True,
                provider_ref="fc1",
                score_band="high",
                checked_at=now,
                proof=await self.proof(),
            ),
            identity.IdentityVerified(
                at=now,
                attempt=self.at.attempt,
                method="face",
                customer_id=new_ulid(),
                valid_until=now + timedelta(hours=2),
                reproof=False,
            ),
        ]

    async def _confirmed(self) -> list[Fact]:
        now, told = self.at.clock(), list[Fact]()
        assert self.progress.opened is not None
        for terms in self.progress.opened.products:
            if terms.optional:
                told.append(
                    proposal.ProductChosen(at=now, product=terms.product, lock=terms.lock, proof=await self.proof())
                )
        locks = {terms.product: terms.lock for terms in self.progress.opened.products}
        return [*told, proposal.TermsConfirmed(at=now, locks=locks, proof=await self.proof())]

    async def _answered(self) -> list[Fact]:
        now, told = self.at.clock(), list[Fact]()
        for terms in self.progress.chosen():
            product = self.release.products[terms.product]
            for questions, kind in (
                (product.needs_questions, disclosure.NeedsAnswered),
                (product.disclosure_questions, disclosure.QuestionsAnswered),
            ):
                good = {q.code: next(a.code for a in q.answers if a.outcome == "accept") for q in questions}
                sealed = await self.vault.seal(self.journey_id, canonical_json(dict(good)))
                more: dict[str, Any] = {"advice": ()} if kind is disclosure.NeedsAnswered else {}
                told.append(kind(at=now, product=terms.product, answers=sealed, proof=await self.proof(), **more))
        return told

    async def _read(self) -> list[Fact]:
        told: list[Fact] = []
        for document in self.progress.documents():
            text = self.release.document(document.sha256)
            opened = self.at.clock()
            told.append(
                disclosure.DocumentOpened(
                    at=opened, document=document, attempt=self.at.attempt, proof=await self.proof()
                )
            )
            self.at.clock.pass_by(seconds=text.minimum_dwell_seconds + 1)
            told.append(
                disclosure.DocumentConfirmed(
                    at=self.at.clock(),
                    document=document,
                    attempt=self.at.attempt,
                    opened_at=opened,
                    end_reached_at=self.at.clock(),
                    paragraphs_seen=len(text.paragraphs),
                    paragraphs_total=len(text.paragraphs),
                    dwell_ms=(text.minimum_dwell_seconds + 1) * 1000,
                    minimum_dwell_ms=text.minimum_dwell_seconds * 1000,
                    dwell_scale=1,
                    proof=await self.proof(),
                )
            )
        for product, point in self.progress.points_open():
            told.append(
                disclosure.PointAcknowledged(
                    at=self.at.clock(),
                    product=product,
                    point=point,
                    sha256="c" * 64,
                    shown_at=self.at.clock(),
                    proof=await self.proof(),
                )
            )
        return told

    async def _forms(self) -> list[Fact]:
        told: list[Fact] = []
        now, given = self.at.clock(), self.progress.confirmations.answers
        for index, terms in enumerate(self.progress.chosen()):
            form = await self.vault.seal_file(self.journey_id, b"%PDF-1.7 " + terms.product.encode(), "application/pdf")
            told.append(
                signing.FormPrepared(
                    at=now,
                    attempt=self.at.attempt,
                    product=terms.product,
                    form_no=f"F{index}",
                    form_version="1",
                    form=form,
                    lock=terms.lock,
                    answers=answers.commitment if (answers := given.get(terms.product)) else None,
                )
            )
            told.append(
                signing.FormReviewed(
                    at=now, product=terms.product, form_commitment=form.commitment, proof=await self.proof()
                )
            )
        return told

    async def _signed(self) -> list[Fact]:
        now = self.at.clock()
        items: list[SignedItem] = []
        for terms in self.progress.chosen():
            form = self.progress.confirmations.forms[terms.product]
            items.append(
                SignedItem(
                    product=terms.product,
                    kind="form",
                    document="application_form",
                    version=form.form_version,
                    hash=form.form.commitment,
                )
            )
            items += [
                SignedItem(product=d.product, kind="document", document=d.document, version=d.version, hash=d.sha256)
                for d in terms.documents
            ]

        async def sealed(data: bytes, media_type: str):
            return await self.vault.seal_file(self.journey_id, data, media_type)

        told: list[Fact] = [
            signing.FormsSigned(
                at=now,
                attempt=self.at.attempt,
                items=tuple(items),
                declaration_sha256="d" * 64,
                strokes=await sealed(b"{}", "application/json"),
                image=await sealed(b"png", "image/png"),
                vector=await sealed(b"<svg/>", "image/svg+xml"),
                strokes_rendered_by="tests",
                ink_checks=(),
                reading=readings.passed(self.who.name),
                pen=readings.PEN,
                legibility="pass",
                signed_at=now,
                attestation=self.attestation(),
                proof=await self.proof(),
            )
        ]
        notice = self.release.notices["payment_authorisation"]
        told.append(
            identity.ConsentGiven(
                at=now,
                notice=NoticeRef(
                    notice="payment_authorisation", version=notice.document.version, sha256=notice.document.sha256
                ),
                proof=await self.proof(),
            )
        )
        for terms in self.progress.chosen():
            form = self.progress.confirmations.forms[terms.product]
            told.append(
                signing.FormSealed(
                    at=now,
                    product=terms.product,
                    form_no=form.form_no,
                    form=await sealed(b"%PDF-1.7 sealed", "application/pdf"),
                    first_revision=form.form.commitment,
                )
            )
        return told

    async def _ordered(self) -> list[Fact]:
        now = self.at.clock()
        opened = self.progress.check_opened()
        return [
            payment.OrderPlaced(
                at=now,
                order_no=f"TB{self.journey_id}",
                channel="wechat",
                lines=self.progress.lines(),
                total_fen=self.progress.total_fen(),
                locks={terms.product: terms.lock for terms in self.progress.chosen()},
                payer_name=opened.policyholder.name,
                payer_id_number=opened.policyholder.id_number,
                expires_at=now + timedelta(minutes=30),
                attestation=self.attestation(),
                proof=await self.proof(),
            ),
            payment.OrderAccepted(at=now, order_no=f"TB{self.journey_id}"),
        ]

    async def _paid(self) -> list[Fact]:
        return [await self.payment_confirmed()]

    async def payment_confirmed(self, **changes: Any) -> payment.PaymentConfirmed:
        order = self.progress.order
        assert order is not None
        stated: Mapping[str, Any] = {
            "at": self.at.clock(),
            "order_no": order.order_no,
            "transaction_id": "4200000001",
            "total_fen": order.total_fen,
            "lines": order.lines,
            "locks": order.locks,
            "paid_at": self.at.clock(),
            "heard_by": "notification",
            "receipt": await self.vault.seal(self.journey_id, json.dumps({"trade_state": "SUCCESS"})),
            **changes,
        }
        return payment.PaymentConfirmed.model_validate(stated)

    def attestation(self) -> Attestation:
        return Attestation(
            head="a" * 64, count=1, heads={}, at=self.at.clock(), signature="played..played", token="b" * 64
        )


async def open_journey(
    vault: Vault, journey_id: str, release: Release, body: dict[str, Any], now: datetime, link_secret: str
) -> JourneyOpened:
    """The fact an accepted proposal becomes."""
    submitted = Submitted.model_validate_json(json.dumps(body))

    async def party(who: proposal_rules.SubmittedParty) -> Party:
        return Party(
            id_type=who.id_type,
            **{
                key: await vault.seal(journey_id, getattr(who, key))
                for key in ("name", "id_number", "phone", "address")
            },
        )

    async def sealed(values: Mapping[str, Any]) -> dict[str, Committed]:
        return {key: await vault.seal(journey_id, proposal_rules.as_text(value)) for key, value in values.items()}

    policyholder = await party(submitted.policyholder)
    insured = None if submitted.insured is None else await party(submitted.insured)
    subject = await sealed(submitted.subject)
    products: list[ProductTerms] = [
        proposal_rules.terms_of(
            release.products[part.product], part, policyholder, insured, subject, await sealed(part.fields)
        )
        for part in submitted.products
    ]
    seller = submitted.salesperson
    return JourneyOpened(
        at=now.astimezone(UTC),
        release=release.hash,
        channel_id="demo",
        channel_reference=submitted.channel_reference,
        intermediary="示例保险代理有限公司",
        salesperson=None
        if seller is None
        else await vault.seal(journey_id, canonical_json({"name": seller.name, "licence_no": seller.licence_no})),
        salesperson_phone_index=None if seller is None else vault.blind_index("phone", seller.phone),
        proposal_no=proposal_rules.proposal_no(journey_id, now.date()),
        policyholder=policyholder,
        insured=insured,
        subject=subject,
        products=tuple(products),
        link_hash=sha256_hex(link_secret.encode()),
        expires_at=now + timedelta(hours=72),
    )


def purchase(at: Desk, release: Release, *, extra: bool = True, name: str = "王小明") -> Purchase:
    return Purchase(at, release, person(random.Random(1), name), extra=extra)
