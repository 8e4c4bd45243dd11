"""A whole journey told to evidence: real contracts, real signatures, real PDFs, two products bought by one person."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import pikepdf

from contracts.commands.evidence import Attest
from contracts.facts import disclosure, identity, issuance, payment, proposal, signing
from contracts.facts.base import Fact
from contracts.problems import Refuse
from contracts.values import (
    ActProof,
    Attestation,
    CommittedFile,
    DocumentRef,
    PremiumLine,
    Proof,
    sha256_hex,
)
from products import Release
from servicekit.documents.keys import open_key
from servicekit.documents.seal import Sealer, SigningKey
from servicekit.documents.timestamp import authority
from servicekit.runner import new_ulid
from tests import readings
from tests.desk import Desk
from tests.servicekit.documents.blank import blank_form
from tests.services.evidence.parties import Parties
from tests.services.signing.finishing import Office

PERSON = {
    "name": "欧阳若兰",
    "id_number": "11010519491231002X",
    "phone": "13800138000",
    "address": "北京市朝阳区示范路1号",
}
PRODUCTS = ("motor_compulsory", "driver_passenger_accident")


@dataclass
class Journey:
    """``steps`` of a journey; ``spoil`` may change any fact before it is told."""

    at: Desk
    release: Release
    parties: Parties
    tsa: str
    products: tuple[str, ...] = PRODUCTS
    dwell_scale: float = 1.0
    office: Office | None = None
    """Where forms are finished; without one they bear the insurer's seal alone, as they once did."""
    reviewed: bool = False
    """The third writing is taken: of the first the check found nothing to read, of the second people did not."""
    id: str = field(default_factory=new_ulid)
    facts: list[Fact] = field(default_factory=list)
    heads: dict[str, int] = field(default_factory=dict)

    async def tell(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.heads[fact.service] = self.heads.get(fact.service, 0) + 1
        try:
            await self.at.tell(self.id, fact)
        except Refuse:
            # A busy machine: it is published, and heard later than a customer would be kept waiting.
            await self.at.eventually(self.heard, seconds=30)

    async def heard(self) -> bool:
        state = await self.at.service.journeys.state(self.id)
        return all(state.heard.get(service, 0) >= at for service, at in self.heads.items())

    async def attested(self) -> Attestation:
        return await self.at.ask(Attest(journey_id=self.id, heads=self.heads))

    async def proof(self, body: dict[str, Any], verb: str) -> ActProof:
        raw = json.dumps(body, ensure_ascii=False).encode()
        url = f"{self.at.base}/v1/journeys/{self.id}/{verb}"
        jws = self.at.device.proof("POST", url, raw, nonce="nonce")
        return ActProof(
            proof=Proof(jws=jws, method="POST", url=url), body=await self.at.vault.seal(self.id, raw), attempt=1
        )

    async def file(self, data: bytes, media_type: str = "application/pdf") -> CommittedFile:
        return await self.at.vault.seal_file(self.id, data, media_type)

    def now(self, seconds: float = 1) -> Any:
        self.at.clock.pass_by(seconds=seconds)
        return self.at.clock()

    async def party(self) -> proposal.Party:
        return proposal.Party(
            id_type="id_card", **{key: await self.at.vault.seal(self.id, value) for key, value in PERSON.items()}
        )

    async def terms(self, holder: proposal.Party, insured: proposal.Party, subject: Any, slug: str) -> Any:
        product = self.release.products[slug]
        taxes = (PremiumLine(product=slug, kind="vehicle_tax", fen=36000),) if slug == "motor_compulsory" else ()
        premium = 95000 if slug == "motor_compulsory" else 12345
        draft = proposal.ProductTerms(
            product=slug,
            product_version=product.version,
            optional=slug == "driver_passenger_accident",
            covers=(proposal.CoverTerms(cover="main", sum_fen=20_000_000, premium_fen=premium),),
            premium_fen=premium,
            taxes=taxes,
            period_from=self.at.clock() + timedelta(days=1),
            period_to=self.at.clock() + timedelta(days=366),
            fields={},
            documents=tuple(
                DocumentRef(product=slug, document=d.code, version=d.version, sha256=d.sha256)
                for d in product.documents
            ),
            points=("point_of_" + slug,),
            lock="0" * 64,
        )
        return draft.model_copy(update={"lock": proposal.terms_lock(holder, insured, subject, draft)})

    async def pass_through(self) -> None:
        """From the channel's proposal to the policies."""
        await self.open()
        await self.read()
        await self.sign()
        await self.pay()
        await self.issue()

    async def open(self) -> None:
        holder, insured = await self.party(), await self.party()
        subject = {"plate": await self.at.vault.seal(self.id, "京Q7K3D5")}
        self.terms_of = {slug: await self.terms(holder, insured, subject, slug) for slug in self.products}
        self.locks = {slug: terms.lock for slug, terms in self.terms_of.items()}
        self.holder = holder
        await self.tell(
            proposal.JourneyOpened(
                at=self.now(),
                release=self.release.hash,
                channel_id="harbour",
                proposal_no="TB2026001",
                policyholder=holder,
                insured=insured,
                subject=subject,
                products=tuple(self.terms_of.values()),
                link_hash="1" * 64,
                expires_at=self.at.clock() + timedelta(days=3),
            )
        )
        notice = self.release.notices["recording"].document
        ref = identity.NoticeRef(notice="recording", version=notice.version, sha256=notice.sha256)
        await self.tell(
            identity.SessionOpened(
                at=self.now(),
                attempt=1,
                device_key=identity.DeviceKey.model_validate(self.at.device.jwk),
                thumbprint=self.at.device.thumbprint,
                absolute_limit=self.at.clock() + timedelta(hours=2),
                proof=await self.proof({"link_secret": "s"}, "open-session"),
            )
        )
        await self.tell(
            identity.RecordingAcknowledged(
                at=self.now(), notice=ref, proof=await self.proof(ref.model_dump(), "acknowledge-recording")
            )
        )
        await self.tell(
            identity.ModeChosen(at=self.now(), mode="elder", proof=await self.proof({"mode": "elder"}, "choose-mode"))
        )
        await self.tell(
            identity.RealNameChecked(
                at=self.now(),
                matched=True,
                provider_ref="r1",
                proof=await self.proof({k: PERSON[k] for k in ("name", "id_number")}, "check-real-name"),
            )
        )
        await self.tell(
            identity.BankCardChecked(
                at=self.now(),
                matched=True,
                provider_ref="r2",
                proof=await self.proof({"card_number": "6222020200112233445"}, "check-bank-card"),
            )
        )
        await self.tell(identity.Refused(at=self.now(), command="start_face", code="consent_missing", occurrence=1))
        await self.tell(
            identity.IdentityVerified(
                at=self.now(),
                attempt=1,
                method="bank_card",
                customer_id=new_ulid(),
                valid_until=self.at.clock() + timedelta(hours=1),
                reproof=False,
            )
        )
        for slug, terms in self.terms_of.items():
            if terms.optional:
                body = {"product": slug, "lock": terms.lock}
                await self.tell(
                    proposal.ProductChosen(
                        at=self.now(), product=slug, lock=terms.lock, proof=await self.proof(body, "choose-product")
                    )
                )
        await self.tell(
            proposal.TermsConfirmed(
                at=self.now(), locks=self.locks, proof=await self.proof({"locks": self.locks}, "confirm-terms")
            )
        )

    async def read(self) -> None:
        for slug, terms in self.terms_of.items():
            for document in terms.documents:
                said = document.model_dump()
                published = self.release.document(document.sha256)
                minimum, paragraphs = published.minimum_dwell_seconds * 1000, len(published.paragraphs)
                await self.tell(
                    disclosure.DocumentOpened(
                        at=self.now(0.1), document=document, attempt=1, proof=await self.proof(said, "open-document")
                    )
                )
                opened = self.at.clock()
                end = self.now(minimum / 2000)
                confirmed = self.now(minimum / 2000 + 0.2)
                await self.tell(
                    disclosure.DocumentConfirmed(
                        at=confirmed,
                        document=document,
                        attempt=1,
                        opened_at=opened,
                        end_reached_at=end,
                        paragraphs_seen=paragraphs,
                        paragraphs_total=paragraphs,
                        dwell_ms=minimum + 100,
                        minimum_dwell_ms=minimum,
                        dwell_scale=self.dwell_scale,
                        proof=await self.proof(said, "confirm-document"),
                    )
                )
            await self.tell(
                disclosure.PointAcknowledged(
                    at=self.now(),
                    product=slug,
                    point="point_of_" + slug,
                    sha256="2" * 64,
                    shown_at=self.at.clock(),
                    proof=await self.proof(
                        {"product": slug, "point": "point_of_" + slug, "sha256": "2" * 64}, "acknowledge-point"
                    ),
                )
            )

    async def sign(self) -> None:
        items: list[signing.SignedItem] = []
        self.forms: dict[str, bytes] = {}
        first: dict[str, str] = {}
        for slug, terms in self.terms_of.items():
            self.forms[slug] = paper() if self.office is None else blank_form("signature", lock="seal")
            form = await self.file(self.forms[slug])
            first[slug] = form.commitment
            await self.tell(
                signing.FormPrepared(
                    at=self.now(),
                    attempt=1,
                    product=slug,
                    form_no=f"F-{slug}",
                    form_version="2026.1",
                    form=form,
                    lock=terms.lock,
                )
            )
            body = {"product": slug, "form_commitment": form.commitment}
            await self.tell(
                signing.FormReviewed(at=self.now(), **body, proof=await self.proof(body, "review-form"))  # type: ignore[arg-type]
            )
            items.append(
                signing.SignedItem(product=slug, kind="form", document="form", version="2026.1", hash=form.commitment)
            )
            items += [
                signing.SignedItem(product=slug, kind="document", document=d.document, version=d.version, hash=d.sha256)
                for d in terms.documents
            ]
        if self.reviewed:
            signed = await self.taken_by_people(items)
        else:
            written = fields_of(await self.written(items, readings.passed(PERSON["name"])))
            signed = signing.FormsSigned(
                at=self.at.clock(), attestation=await self.attested(), legibility="pass", **written
            )
        await self.tell(signed)
        for slug in self.terms_of:
            pdf, certificate = await self.finished(self.forms[slug], signed, first[slug])
            await self.tell(
                signing.FormSealed(
                    at=self.now(),
                    product=slug,
                    form_no=f"F-{slug}",
                    form=await self.file(pdf),
                    first_revision=first[slug],
                    certificate=certificate,
                )
            )

    async def written(self, items: list[signing.SignedItem], reading: signing.Reading | None) -> signing.Written:
        """One act of signing, now."""
        body = {"items": [item.model_dump() for item in items], "declaration_sha256": "3" * 64}
        return signing.Written(
            signed_at=self.now(),
            attempt=1,
            items=tuple(items),
            declaration_sha256="3" * 64,
            strokes=await self.file(b'{"boxes":[]}', "application/json"),
            image=await self.file(b"\x89PNG not really", "image/png"),
            vector=await self.file(b"<svg/>", "image/svg+xml"),
            strokes_rendered_by="strokes 1",
            ink_checks=(signing.InkCheck(code="ink_empty", ok=True),),
            reading=reading,
            pen=readings.PEN,
            proof=await self.proof(body, "sign-forms"),
        )

    async def taken_by_people(self, items: list[signing.SignedItem]) -> signing.FormsSigned:
        first = await self.written(items, None)
        await self.tell(
            signing.InkRejected(
                at=first.signed_at,
                attempt_no=1,
                reason="ink_dot",
                checks=(signing.InkCheck(code="ink_dot", ok=False, box=0),),
                strokes=first.strokes,
                proof=first.proof,
            )
        )
        for number in (1, 2):
            written = await self.written(items, readings.unclear(PERSON["name"], strictness=number))
            await self.tell(
                signing.ReviewRequested(
                    at=written.signed_at,
                    review_no=number,
                    attempt_no=number + 1,
                    reason="handwriting_unclear",
                    **fields_of(written),
                )
            )
            if number == 1:
                await self.decide(number, "li", "handwriting_unclear")
                await self.tell(
                    signing.ReviewClosed(at=self.at.clock(), review_no=1, attempt=1, reason="handwriting_unclear")
                )
        await self.decide(2, "li", "legible")
        await self.decide(2, "wang", "legible")
        return signing.FormsSigned(
            at=self.now(),
            attestation=await self.attested(),
            legibility="manual",
            review_no=2,
            **fields_of(written),
        )

    async def decide(self, review_no: int, reviewer: str, finding: Any) -> None:
        await self.tell(signing.ReviewDecided(at=self.now(), review_no=review_no, reviewer=reviewer, finding=finding))

    async def finished(self, pdf: bytes, signed: signing.FormsSigned, form: str) -> tuple[bytes, str | None]:
        if self.office is None:
            return await self.sealed(pdf, "application"), None
        return await self.office.finish_with(pdf, signed, form, PERSON["name"])

    async def pay(self) -> None:
        lines: list[PremiumLine] = []
        for slug, terms in self.terms_of.items():
            lines += [PremiumLine(product=slug, kind="premium", fen=terms.premium_fen), *terms.taxes]
        total = sum(line.fen for line in lines)
        body = {"total_fen": total, "locks": self.locks, "channel": "wechat"}
        await self.tell(
            payment.OrderPlaced(
                at=self.now(),
                attestation=await self.attested(),
                order_no="O1",
                channel="wechat",
                lines=tuple(lines),
                total_fen=total,
                locks=self.locks,
                payer_name=self.holder.name,
                payer_id_number=await self.at.vault.seal(self.id, PERSON["id_number"]),
                expires_at=self.at.clock() + timedelta(minutes=15),
                proof=await self.proof(body, "place-order"),
            )
        )
        receipt = {"transaction_id": "T1", "out_trade_no": "O1", "trade_state": "SUCCESS", "amount": {"total": total}}
        await self.tell(
            payment.PaymentConfirmed(
                at=self.now(),
                order_no="O1",
                transaction_id="T1",
                total_fen=total,
                lines=tuple(lines),
                locks=self.locks,
                paid_at=self.at.clock(),
                heard_by="notification",
                receipt=await self.at.vault.seal(self.id, json.dumps(receipt)),
            )
        )

    async def issue(self) -> None:
        numbers = {slug: f"PSF2026-{slug[:5]}" for slug in self.terms_of}
        self.numbers = numbers
        await self.tell(
            issuance.PoliciesNumbered(
                at=self.now(),
                attestation=await self.attested(),
                order_no="O1",
                policies=tuple(
                    issuance.NumberedPolicy(product=slug, policy_no=number, lock=self.locks[slug])
                    for slug, number in numbers.items()
                ),
            )
        )
        for slug, terms in self.terms_of.items():
            await self.tell(
                issuance.PolicyIssued(
                    at=self.now(),
                    product=slug,
                    policy_no=numbers[slug],
                    policy=await self.file(await self.sealed(paper(), "seal")),
                    lock=terms.lock,
                    premium_fen=terms.premium_fen,
                    taxes_fen=sum(t.fen for t in terms.taxes),
                    period_from=terms.period_from,
                    period_to=terms.period_to,
                    retain_until=terms.period_to + timedelta(days=3650),
                    payment_confirmed_at=self.at.clock(),
                    channel_id="harbour",
                    channel_reference=None,
                    proposal_no="TB2026001",
                )
            )
        await self.tell(
            issuance.JourneyIssued(
                at=self.now(),
                policies=tuple(numbers.values()),
                products=tuple(numbers),
                channel_id="harbour",
                customer_id=new_ulid(),
            )
        )

    async def sealed(self, pdf: bytes, who: str) -> bytes:
        key = SigningKey.load(
            open_key(str(self.parties.root / "keys" / f"{who}.key.pem")),
            (self.parties.root / "certs" / f"{who}.chain.pem").read_bytes(),
        )
        async with aiohttp.ClientSession() as session:
            return await Sealer(key, authority(self.tsa, session)).seal(pdf, field="signature", at=self.at.clock())


def fields_of(written: signing.Written) -> dict[str, Any]:
    return {name: getattr(written, name) for name in signing.Written.model_fields}


def paper() -> bytes:
    """A PDF of one empty page."""
    out = io.BytesIO()
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(200, 200))
        pdf.save(out)
    return out.getvalue()


__all__ = ["PERSON", "PRODUCTS", "Journey", "paper", "sha256_hex"]
