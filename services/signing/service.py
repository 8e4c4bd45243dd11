"""Signing's handlers: bus in, rules, store out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final

from aiohttp import ClientSession, ClientTimeout
from cryptography.x509 import load_pem_x509_certificates

from contracts.commands.base import Done
from contracts.commands.signing import (
    Box,
    FormOffered,
    FormSeen,
    FormsOffered,
    Handwriting,
    PrepareForms,
    ReviewForm,
    SaveDraft,
    Signature,
    Signed,
    SignForms,
    SigningView,
    ViewSigning,
)
from contracts.facts import signing as facts
from contracts.facts.base import Fact
from contracts.facts.proposal import JourneyOpened, ProductTerms
from contracts.facts.signing import FormPrepared
from contracts.problems import Refuse
from contracts.values import CommittedFile, Sha256, sha256_hex
from products import Product, Release, Releases
from products.layout import Formats, cover_lines, draw, without
from products.opened import committed, values
from servicekit.documents import timestamp
from servicekit.documents.fonts import MissingGlyph, load
from servicekit.documents.keys import MEMORY, open_key
from servicekit.documents.paper import paper_date, paper_period, paper_time, yuan
from servicekit.documents.render import Renderer, RenderSettings
from servicekit.documents.round_seal import round_seal
from servicekit.documents.seal import Sealer, SigningKey
from servicekit.documents.sheet import Amount, Cover, Section, fitted_row
from servicekit.documents.status import CertificateStatus
from servicekit.service import Admitted, Decided, Ground, Service, answers
from servicekit.settings import Settings
from servicekit.store import Document, VersionConflict
from services.signing import ink, rules, strokes
from services.signing.application_form import ApplicationForm, DocumentRead, form_job
from services.signing.application_form import Question as FormQuestion
from services.signing.completion import Completion, Incomplete
from services.signing.event_certificate import CertificateAuthority
from services.signing.rules import SigningState

log = logging.getLogger(__name__)

FORMATS: Final = Formats(yuan=yuan, day=paper_date, moment=paper_time, period=paper_period)
OWN_PLACE: Final = frozenset(
    (
        "policy.form_number",
        "policy.channel",
        "policy.intermediary",
        "policy.salesperson",
        "part.period",
        "part.premium_fen",
        "part.taxes_fen",
        "part.total_fen",
        "product.insurer",
        "product.address",
        "product.hotline",
        "product.disputes",
    )
)
"""What the form has places of its own for; a product's rows that name them are not printed twice."""
SEAL_CAPTION: Final = "投保受理专用章"
BOX: Final = 300
"""Pixels: the one size all boxes are brought to before they are drawn."""


class SigningSettings(Settings):
    service: ClassVar[str] = "signing"

    signing_key: str
    """Of the application seal: a PEM file, or a PKCS#11 URI."""
    signing_chain_file: Path
    """Its certificate, then those above it, PEM."""
    signing_tsa_url: str
    signing_tsa_chain_file: Path
    """What stands above the timestamp authority's certificate, PEM."""
    signing_ca_url: str
    """The authority that issues one-time certificates."""
    signing_ca_key_file: Path
    """Shared with it: signs what is asked of it."""
    signing_ca_client_id: str = "toubao"
    signing_one_time_keys: str = MEMORY
    """Where one-time keys are made: empty for memory, or a PKCS#11 URI."""
    signing_workers: int = 1


class Signing(Service[SigningState, SigningSettings]):
    name = "signing"
    state = SigningState
    settings = SigningSettings
    hears = ("proposal", "identity", "disclosure")

    def __init__(self, ground: Ground[SigningSettings]) -> None:
        super().__init__(ground)
        self.releases = Releases(self.set.releases_dir)
        self.drafts = ground.store.collection("drafts")
        self.written = ground.store.collection("written_strokes")
        self.renderer = Renderer(
            RenderSettings(fonts=self.set.fonts_dir, workers=self.set.signing_workers), self.metrics.pool_queue.set
        )

    async def open(self) -> None:
        key = SigningKey.load(open_key(self.set.signing_key), self.set.signing_chain_file.read_bytes())
        self.http = ClientSession(timeout=ClientTimeout(total=10))
        watched = self.metrics.outside("authority")
        self.stamper = timestamp.authority(self.set.signing_tsa_url, self.http, watched=watched)
        self.insurer = Sealer(key, self.stamper)
        self.completion = Completion(
            self.insurer,
            self.stamper,
            load_pem_x509_certificates(self.set.signing_tsa_chain_file.read_bytes()),
            CertificateAuthority(
                self.set.signing_ca_url,
                self.set.signing_ca_client_id,
                self.set.signing_ca_key_file.read_bytes(),
                self.http,
                self.now,
                keys=self.set.signing_one_time_keys,
                watched=watched,
            ),
            CertificateStatus(self.http, self.now, watched=watched),
        )
        self.outlines = load(self.set.fonts_dir).outline_sources()
        await self.renderer.start()

    async def close(self) -> None:
        await self.renderer.stop()
        await self.http.close()

    def evolve(self, state: SigningState, fact: Fact) -> SigningState:
        return rules.evolve(state, fact)

    def due(self, state: SigningState) -> datetime | None:
        return state.progress.signed.at if state.progress.signed is not None and rules.to_seal(state) else None

    # -- forms ---------------------------------------------------------------------------------------------

    @answers(PrepareForms)
    async def prepare_forms(self, act: Admitted[Done], state: SigningState) -> Decided:
        progress = state.progress
        rules.check_ready(progress, act.judgement.attempt, act.at)
        opened = progress.check_opened()
        release = self.releases.get(opened.release)
        made: list[FormPrepared] = []
        for index, terms in enumerate(opened.products):
            if terms not in progress.chosen() or rules.current_form(progress, terms) is not None:
                continue
            form_no = f"{opened.proposal_no}-{index + 1}"
            pdf = await self._draw(act, release.products[terms.product], opened, terms, state, form_no)
            made.append(
                FormPrepared(
                    at=act.at,
                    attempt=act.judgement.attempt,
                    product=terms.product,
                    form_no=form_no,
                    form_version=rules.FORM_VERSION,
                    form=await self.vault.seal_file(act.journey_id, pdf, "application/pdf"),
                    lock=terms.lock,
                    answers=rules.answers_commitment(state.progress, terms.product),
                )
            )
        for fact in made:
            progress = progress.after(fact)
        reviewed = progress.confirmations.reviewed
        offered = tuple(_offered(form, reviewed=form.product in reviewed) for form in rules.current_forms(progress))
        return Decided(made, FormsOffered(forms=offered))

    async def _draw(
        self,
        act: Admitted[Done],
        product: Product,
        opened: JourneyOpened,
        terms: ProductTerms,
        state: SigningState,
        form_no: str,
    ) -> bytes:
        """One template for every product; the product supplies data only."""
        texts = {
            key: await self.vault.open_text(act.journey_id, value) for key, value in committed(opened, terms).items()
        }
        shown = values(product, opened, terms, texts)
        shown["policy"] = {"form_number": form_no, **await self._channel(act.journey_id, opened)}
        part, subject = shown["part"], shown["subject"]
        taxes = {tax.code: tax.name for tax in product.taxes}
        answered = await self._answers(act.journey_id, state, terms.product)
        form = ApplicationForm(
            title=product.name + "投保单",
            form_number=form_no,
            form_version=rules.FORM_VERSION,
            application_number=opened.proposal_no,
            created=act.at,
            insurer_name=product.insurer.name,
            insurer_address=product.insurer.address,
            insurer_hotline=product.insurer.hotline,
            sections=tuple(
                Section(title=s.title, rows=tuple(fitted_row(label, text) for label, text in s.rows))
                for s in draw(product, without(product.form, OWN_PLACE), shown, FORMATS)
                if s.rows
            ),
            covers=tuple(
                Cover(name=line.name, limit=line.limit, deductible=line.note[:200], fen=line.premium_fen)
                for line in cover_lines(product, part, subject, FORMATS)
            ),
            premium_fen=terms.premium_fen,
            taxes=tuple(Amount(label=taxes.get(tax.kind, tax.kind), fen=tax.fen) for tax in terms.taxes),
            total_fen=terms.premium_fen + sum(tax.fen for tax in terms.taxes),
            period=paper_period(terms.period_from, terms.period_to),
            special_terms=tuple(f"{term.title}：{term.text}" for term in product.special_terms),
            dispute_resolution=product.disputes,
            questions=tuple(
                FormQuestion(text=q.text, answer=chosen.text)
                for q in product.disclosure_questions
                if (chosen := q.answer(answered.get(q.code, ""))) is not None
            ),
            channel=tuple(
                fitted_row(label, text)
                for label, text in (
                    ("销售渠道", shown["policy"]["channel"]),
                    ("中介机构", shown["policy"]["intermediary"]),
                    ("业务员", shown["policy"]["salesperson"]),
                )
                if text
            ),
            documents=tuple(
                DocumentRead(title=text.title, version=text.version)
                for d in terms.documents
                if (text := product.document(d.document)) is not None
            ),
            declaration=tuple(line for line in product.declaration.statement.splitlines() if line.strip()),
            sentence=product.declaration.sentence,
            qr=f"{form_no} {terms.lock}",
        )
        try:
            return await self.renderer.render(form_job(form))
        except MissingGlyph as missing:
            # Here rather than after the payment. The characters are of somebody's name: only their numbers are logged.
            points = [f"U+{ord(character):04X}" for character in missing.characters]
            log.warning("form cannot be drawn", extra={"journey_id": act.journey_id, "points": points})
            raise Refuse("form_undrawable", product=terms.product) from None

    async def _channel(self, journey_id: str, opened: JourneyOpened) -> dict[str, str]:
        seller = ""
        if opened.salesperson is not None:
            known = json.loads(await self.vault.open_text(journey_id, opened.salesperson))
            seller = f"{known['name']} 执业证号 {known['licence_no']}"
        return {
            "channel": "中介渠道" if opened.intermediary else "保险人直接销售",
            "intermediary": opened.intermediary or "",
            "salesperson": seller,
        }

    async def _answers(self, journey_id: str, state: SigningState, product: str) -> Mapping[str, str]:
        given = state.progress.confirmations.answers.get(product)
        return {} if given is None else json.loads(await self.vault.open_text(journey_id, given))

    @answers(ReviewForm)
    async def review_form(self, act: Admitted[FormSeen], state: SigningState) -> Decided:
        rules.check_ready(state.progress, act.judgement.attempt, act.at)
        form = next((f for f in rules.current_forms(state.progress) if f.product == act.arguments.product), None)
        if form is None:
            raise Refuse("product_not_offered")
        if form.form.commitment != act.arguments.form_commitment:
            raise Refuse("form_changed")
        if form.product in state.progress.confirmations.reviewed:
            raise Refuse("already_done")
        reviewed = facts.FormReviewed(
            at=act.at, product=form.product, form_commitment=form.form.commitment, proof=act.proof
        )
        return Decided([reviewed])

    # -- the signature -------------------------------------------------------------------------------------

    @answers(SaveDraft)
    async def save_draft(self, act: Admitted[Handwriting], state: SigningState) -> Done:
        """The stroke just drawn is safe on the server, sealed; the browser keeps nothing."""
        rules.check_ready(state.progress, act.judgement.attempt, act.at)
        sealed = await self.vault.seal_file(
            act.journey_id, act.arguments.model_dump_json().encode(), "application/json"
        )
        while True:
            kept = await self.drafts.get(act.journey_id) or Document(act.journey_id)
            kept.state = {"attempt": act.judgement.attempt, "draft": sealed.model_dump()}
            try:
                await self.drafts.save(kept)
            except VersionConflict:
                continue
            return Done()

    @answers(SignForms)
    async def sign_forms(self, act: Admitted[Signature], state: SigningState) -> Decided:
        progress, given = state.progress, act.arguments
        rules.check_ready(progress, act.judgement.attempt, act.at)
        opened = progress.check_opened()
        release = self.releases.get(opened.release)
        declared = rules.declaration([release.products[terms.product] for terms in progress.chosen()])
        rules.check_signature(progress, given.items, given.declaration_sha256, declared)
        name = await self.vault.open_text(act.journey_id, opened.policyholder.name)
        raw = given.handwriting.model_dump_json().encode()
        fingerprint = ink.fingerprint(given.handwriting)
        seen = await self._seen(fingerprint, act)
        checks = ink.check_ink(given.handwriting, name, seen_before=seen)
        strokes_file = await self.vault.seal_file(act.journey_id, raw, "application/json")
        if (failed := ink.failed(checks)) is not None:
            rejected = facts.InkRejected(
                at=act.at,
                attempt_no=state.tries + 1,
                reason=failed.code,
                checks=checks,
                strokes=strokes_file,
                proof=act.proof,
            )
            where = None if failed.box is None else failed.box + 1
            return Decided([rejected], refusal=Refuse(failed.code, box=where))
        attestation = await self.attest(act.journey_id, state)
        image, vector = await asyncio.to_thread(_drawings, given.handwriting)
        signed = facts.FormsSigned(
            at=act.at,
            attempt=act.judgement.attempt,
            items=given.items,
            declaration_sha256=given.declaration_sha256,
            strokes=strokes_file,
            image=await self.vault.seal_file(act.journey_id, image, "image/png"),
            vector=await self.vault.seal_file(act.journey_id, vector, "image/svg+xml"),
            strokes_rendered_by=f"services.signing.strokes/{strokes.VERSION}",
            ink_checks=checks,
            legibility="not_judged",
            signed_at=act.at,
            attestation=attestation,
            proof=act.proof,
        )
        return Decided([signed], Signed(signed_at=act.at, legibility="not_judged"))

    async def _seen(self, fingerprint: str, act: Admitted[Signature]) -> bool:
        """Whether these strokes were given before; remembers them for ever, under the command that brought them."""
        try:
            await self.written.save(Document(fingerprint, state={"command_id": act.command_id}))
        except VersionConflict:
            known = await self.written.get(fingerprint)
            return known is not None and known.state["command_id"] != act.command_id
        return False

    async def work(self, journey_id: str, state: SigningState) -> None:
        """Completes what was signed: each form gets the customer's signature, then the insurer's seal.

        What no authority helps to complete is pending, on record, and tried again.
        """
        signed = state.progress.signed
        assert signed is not None
        opened = state.progress.check_opened()
        name = await self.vault.open_text(journey_id, opened.policyholder.name)
        given = Handwriting.model_validate_json(await self.vault.open(journey_id, signed.strokes))
        insurers = {p: product.insurer.name for p, product in self.releases.get(opened.release).products.items()}
        waiting = rules.to_seal(state)
        try:
            async with self.completion.act(signed, name) as act:
                while waiting:
                    form, *waiting = waiting
                    preview = await self.vault.open(journey_id, form.form)
                    look = await asyncio.to_thread(round_seal, insurers[form.product], SEAL_CAPTION, self.outlines)
                    pdf = await act.complete(preview, form.form, _one_size(given), look)
                    await self._sealed(journey_id, form, pdf, act.certificate)
        except Incomplete as why:
            for form in rules.to_seal(await self.journeys.state(journey_id)):
                await self._pending(journey_id, form.product, why.code)
            raise Refuse(why.code) from None

    async def _sealed(self, journey_id: str, form: FormPrepared, pdf: bytes, certificate: Sha256) -> None:
        sealed = facts.FormSealed(
            at=self.now(),
            product=form.product,
            form_no=form.form_no,
            form=await self.vault.seal_file(journey_id, pdf, "application/pdf"),
            first_revision=form.form.commitment,
            certificate=certificate,
        )

        async def decision(now: SigningState) -> list[Fact]:
            return [] if sealed.product in now.sealed_forms else [sealed]

        await self.journeys.append(journey_id, decision)

    async def _pending(self, journey_id: str, product: str, reason: str) -> None:
        async def decision(now: SigningState) -> list[Fact]:
            if product in now.sealed_forms or now.pending_forms.get(product) == reason:
                return []
            return [facts.FormPending(at=self.now(), product=product, reason=reason)]

        await self.journeys.append(journey_id, decision)

    # -- reading it all back -------------------------------------------------------------------------------

    @answers(ViewSigning)
    async def view(self, query: ViewSigning) -> SigningView:
        state = await self.journeys.state(query.journey_id)
        progress = state.progress
        opened = progress.check_opened()
        release: Release = self.releases.get(opened.release)
        confirmed = progress.confirmations
        current = (rules.current_form(progress, terms) for terms in progress.chosen())
        drawn = tuple(form for form in current if form is not None)
        complete = bool(drawn) and len(drawn) == len(progress.chosen())
        forms = drawn if complete else ()
        declared = rules.declaration([release.products[terms.product] for terms in progress.chosen()])
        draft = await self.drafts.get(query.journey_id)
        return SigningView(
            forms=tuple(_offered(form, reviewed=form.product in confirmed.reviewed) for form in forms),
            items=rules.items(progress, forms) if complete else (),
            declaration=declared,
            declaration_sha256=sha256_hex(declared.encode()),
            draft=CommittedFile.model_validate(draft.state["draft"])
            if draft is not None and draft.state["attempt"] == progress.attempt
            else None,
            signed_at=None if progress.signed is None else progress.signed.signed_at,
            sealed=tuple(state.sealed_forms.values()),
        )


def _offered(form: FormPrepared, *, reviewed: bool) -> FormOffered:
    return FormOffered(
        product=form.product,
        form_no=form.form_no,
        form_version=form.form_version,
        form=form.form,
        reviewed=reviewed,
    )


def _one_size(given: Handwriting) -> strokes.Handwriting:
    """The drawing code takes boxes of one size; phones may have given each its own."""

    def points(box: Box) -> tuple[strokes.Stroke, ...]:
        scale = BOX / box.height
        return tuple(
            tuple((p.x * scale, p.y * scale, float(p.t), p.pressure) for p in stroke)
            for stroke in box.strokes
            if stroke
        )

    return strokes.Handwriting(width=BOX, height=BOX, boxes=tuple(points(box) for box in given.boxes))


def _drawings(given: Handwriting) -> tuple[bytes, bytes]:
    """The whole name as a picture and as a drawing, box beside box."""
    writing = _one_size(given)
    return strokes.name_picture(writing), strokes.name_svg(writing).encode()
