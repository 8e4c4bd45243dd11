"""Signing's handlers: bus in, rules, store out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from aiohttp import ClientSession, ClientTimeout
from cryptography.x509 import load_pem_x509_certificates
from prometheus_client import Gauge

from contracts.commands.base import Done
from contracts.commands.signing import (
    Copy,
    CopyPhrase,
    DecideReview,
    FormOffered,
    FormSeen,
    FormsOffered,
    Handwriting,
    ListReviews,
    Phrase,
    PhraseTaken,
    PrepareForms,
    Refused,
    RefusedShown,
    Review,
    ReviewDecision,
    ReviewForm,
    ReviewList,
    ReviewListed,
    SaveDraft,
    Signature,
    Signed,
    SignForms,
    SigningView,
    Try,
    ViewReview,
    ViewSigning,
)
from contracts.facts import signing as facts
from contracts.facts.base import Fact, read_fact
from contracts.facts.proposal import JourneyOpened, ProductTerms
from contracts.facts.signing import FormPrepared, Written
from contracts.problems import KINDS, Refuse, title
from contracts.progress import Progress
from contracts.values import CommittedFile, Contract, Sha256, Slug, sha256_hex
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
from services.signing import copying, ink, rules, strokes
from services.signing.application_form import ApplicationForm, DocumentRead, form_job
from services.signing.application_form import Question as FormQuestion
from services.signing.completion import Completion, Incomplete
from services.signing.event_certificate import CertificateAuthority
from services.signing.reading import Reader, one_size
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
    """Processes that draw forms."""
    signing_readers: int = 1
    """Processes that read handwriting."""


class Signing(Service[SigningState, SigningSettings]):
    name = "signing"
    state = SigningState
    settings = SigningSettings
    hears = ("proposal", "identity", "disclosure")
    fields: ClassVar[tuple[str, ...]] = ("in_review", "review_since")

    def __init__(self, ground: Ground[SigningSettings]) -> None:
        super().__init__(ground)
        self.releases = Releases(self.set.releases_dir)
        self.drafts = ground.store.collection("drafts")
        self.written = ground.store.collection("written_strokes")
        self.renderer = Renderer(
            RenderSettings(fonts=self.set.fonts_dir, workers=self.set.signing_workers), self.metrics.pool_queue.set
        )
        self.reader = Reader(self.set.fonts_dir, self.set.signing_readers)
        on = self.metrics.registry
        self._waiting = Gauge("toubao_reviews_waiting", "Signatures that wait for people.", registry=on)
        self._oldest = Gauge(
            "toubao_reviews_oldest_seconds", "For how long the oldest of them has waited.", registry=on
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
        await asyncio.gather(self.renderer.start(), self.reader.start())

    async def close(self) -> None:
        await asyncio.gather(self.renderer.stop(), self.reader.stop())
        await self.http.close()

    def evolve(self, state: SigningState, fact: Fact) -> SigningState:
        return rules.evolve(state, fact)

    def fields_of(self, state: SigningState) -> dict[str, str | int]:
        since = 0 if state.review is None else int(state.review.requested.at.timestamp())
        return {"in_review": int(state.review is not None), "review_since": since}

    async def swept(self) -> None:
        self._waiting.set(await self.journeys.collection.count({"in_review": 1}))
        oldest = await self.journeys.collection.find(equal={"in_review": 1}, order="review_since", limit=1)
        age = self.now().timestamp() - float(oldest[0].fields["review_since"]) if oldest else 0.0
        self._oldest.set(max(0.0, age))

    def due(self, state: SigningState) -> datetime | None:
        if state.review is not None:
            return state.review.moved_at if rules.review_settled(state) else None
        return state.progress.signed.at if state.progress.signed is not None and rules.to_seal(state) else None

    # -- forms ---------------------------------------------------------------------------------------------

    @answers(PrepareForms)
    async def prepare_forms(self, act: Admitted[Done], state: SigningState) -> Decided:
        progress = state.progress
        rules.check_ready(state, act.judgement.attempt, act.at)
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
        rules.check_ready(state, act.judgement.attempt, act.at)
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
        rules.check_ready(state, act.judgement.attempt, act.at)
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
        rules.check_ready(state, act.judgement.attempt, act.at)
        opened = progress.check_opened()
        release = self.releases.get(opened.release)
        declared = rules.declaration([release.products[terms.product] for terms in progress.chosen()])
        rules.check_signature(progress, given.items, given.declaration_sha256, declared)
        copying.check_copied(self._phrases(progress))
        name = await self.vault.open_text(act.journey_id, opened.policyholder.name)
        seen = await self._seen(given.handwriting, act.command_id)
        checks = ink.check_ink(given.handwriting, name, seen_before=seen)
        failed = ink.failed(checks)
        reading, pen = None, ()
        if rules.is_read(state, failed):
            reading, pen = await self.reader.read(given.handwriting, name, state.readings + 1)
        refused = rules.refusal(state, failed, reading)
        if refused is None:
            attestation = await self.attest(act.journey_id, state)
            written = await self._written(act, checks, reading, pen)
            signed = facts.FormsSigned(at=act.at, legibility="pass", attestation=attestation, **_fields(written))
            return Decided([signed], Signed(signed_at=act.at, legibility="pass"))
        if rules.for_people(state, reading):
            written = await self._written(act, checks, reading, pen)
            requested = facts.ReviewRequested(
                at=act.at,
                review_no=state.reviews + 1,
                attempt_no=state.tries + 1,
                reason=refused.code,
                **_fields(written),
            )
            return Decided([requested], Signed(signed_at=None, legibility="in_review"))
        rejected = facts.InkRejected(
            at=act.at,
            attempt_no=state.tries + 1,
            reason=refused.code,
            box=None if refused.box is None else refused.box - 1,
            checks=checks,
            reading=reading,
            pen=pen,
            strokes=await self._strokes(act.journey_id, given.handwriting),
            proof=act.proof,
        )
        return Decided([rejected], refusal=Refuse(refused.code, box=refused.box))

    @answers(CopyPhrase)
    async def copy_phrase(self, act: Admitted[Copy], state: SigningState) -> Decided:
        given, progress = act.arguments, state.progress
        rules.check_ready(state, act.judgement.attempt, act.at)
        among = self._phrases(progress)
        phrase = copying.wanted(among, given.phrase)
        seen = await self._seen(given.handwriting, act.command_id)
        checks = ink.check_ink(given.handwriting, phrase.text, seen_before=seen)
        failed = ink.failed(checks)
        reading = None if failed else await self.reader.read_phrase(given.handwriting, phrase.text)
        written = facts.WrittenPhrase(
            phrase=phrase.sha256,
            products=copying.demanding(self._offered(progress), phrase.text),
            checks=checks,
            strokes=await self._strokes(act.journey_id, given.handwriting),
            proof=act.proof,
        )
        same = _fields(written, facts.WrittenPhrase)
        if (why := copying.failure(failed, reading)) is not None:
            code, box = why
            rejected = facts.PhraseRejected(at=act.at, reason=code, box=box, reading=reading, **same)
            return Decided([rejected], refusal=Refuse(code, box=None if box is None else box + 1))
        assert reading is not None
        copied = facts.PhraseCopied(at=act.at, attempt=act.judgement.attempt, reading=reading, **same)
        return Decided([copied], PhraseTaken(left=sum(not each.copied for each in among) - 1))

    def _phrases(self, progress: Progress) -> tuple[Phrase, ...]:
        offered = self._offered(progress)
        chosen = [offered[terms.product] for terms in progress.chosen()]
        return copying.phrases(chosen, progress.confirmations.copied)

    def _offered(self, progress: Progress) -> dict[Slug, Product]:
        opened = progress.check_opened()
        release = self.releases.get(opened.release)
        return {terms.product: release.products[terms.product] for terms in opened.products}

    async def _written(
        self,
        act: Admitted[Signature],
        checks: tuple[facts.InkCheck, ...],
        reading: facts.Reading | None,
        pen: tuple[facts.PenMeasure, ...],
    ) -> Written:
        """The act as it goes on record, with what is drawn from its strokes."""
        given = act.arguments
        image, vector = await asyncio.to_thread(_drawings, given.handwriting)
        return Written(
            attempt=act.judgement.attempt,
            items=given.items,
            declaration_sha256=given.declaration_sha256,
            strokes=await self._strokes(act.journey_id, given.handwriting),
            image=await self.vault.seal_file(act.journey_id, image, "image/png"),
            vector=await self.vault.seal_file(act.journey_id, vector, "image/svg+xml"),
            strokes_rendered_by=f"services.signing.strokes/{strokes.VERSION}",
            ink_checks=checks,
            reading=reading,
            pen=pen,
            signed_at=act.at,
            proof=act.proof,
        )

    async def _strokes(self, journey_id: str, handwriting: Handwriting) -> CommittedFile:
        return await self.vault.seal_file(journey_id, handwriting.model_dump_json().encode(), "application/json")

    async def _seen(self, handwriting: Handwriting, command_id: str) -> bool:
        """Whether these strokes were given before; remembers them for ever, under the command that brought them."""
        fingerprint = ink.fingerprint(handwriting)
        try:
            await self.written.save(Document(fingerprint, state={"command_id": command_id}))
        except VersionConflict:
            known = await self.written.get(fingerprint)
            return known is not None and known.state["command_id"] != command_id
        return False

    # -- people who look at it -----------------------------------------------------------------------------

    @answers(ListReviews)
    async def list_reviews(self, query: ListReviews) -> ReviewList:
        found = await self.journeys.collection.find(equal={"in_review": 1}, order="review_since", limit=query.limit)
        listed: list[ReviewListed] = []
        for document in found:
            state = SigningState.model_validate(document.state)
            if state.review is None or rules.review_settled(state):
                continue
            requested = state.review.requested
            listed.append(
                ReviewListed(
                    journey_id=document.id,
                    review_no=requested.review_no,
                    requested_at=requested.at,
                    reason=requested.reason,
                    tries=state.tries,
                    reviewers=state.review.legible,
                )
            )
        return ReviewList(reviews=tuple(listed))

    @answers(ViewReview)
    async def view_review(self, query: ViewReview) -> Review:
        document = await self.journeys.collection.get(query.journey_id)
        if document is None:
            raise Refuse("journey_unknown")
        state = SigningState.model_validate(document.state)
        if state.review is None or rules.review_settled(state):
            raise Refuse("review_over")
        made = [read_fact(stored.type, stored.data) for stored in document.facts]
        asked = state.review.requested.review_no
        return Review(
            requested=state.review.requested,
            tries=tuple(_try(fact) for fact in made if isinstance(fact, facts.InkRejected | facts.ReviewRequested)),
            decisions=tuple(fact for fact in made if isinstance(fact, facts.ReviewDecided) and fact.review_no == asked),
        )

    @answers(DecideReview)
    async def decide_review(self, command: DecideReview, state: SigningState) -> Decided:
        """One finds it legible and another too, then it is signed; one who does not is enough to write again (I11)."""
        state.progress.check_opened()
        review = rules.check_review(state, command.review_no, command.reviewer)
        at = self.now()
        decided = facts.ReviewDecided(
            at=at, review_no=command.review_no, reviewer=command.reviewer, finding=command.finding
        )
        if command.finding == "legible":
            return Decided([decided], ReviewDecision(open=len(review.legible) + 1 < rules.REVIEWERS))
        closed = facts.ReviewClosed(
            at=at, review_no=command.review_no, attempt=review.requested.attempt, reason=command.finding
        )
        return Decided([decided, closed], ReviewDecision(open=False))

    async def _settle_review(self, journey_id: str) -> None:
        """What two people found legible is signed, by the customer's own act of before; what lost its object ends."""

        async def decision(now: SigningState) -> list[Fact]:
            review, at = now.review, self.now()
            if review is None or not rules.review_settled(now):
                return []
            requested = review.requested
            if (why := rules.overtaken(now)) is not None:
                return [facts.ReviewClosed(at=at, review_no=requested.review_no, attempt=requested.attempt, reason=why)]
            attestation = await self.attest(journey_id, now)
            return [
                facts.FormsSigned(
                    at=at,
                    legibility="manual",
                    review_no=requested.review_no,
                    attestation=attestation,
                    **_fields(requested),
                )
            ]

        await self.journeys.append(journey_id, decision)

    # -- from an act to finished forms ---------------------------------------------------------------------

    async def work(self, journey_id: str, state: SigningState) -> None:
        if state.review is not None:
            await self._settle_review(journey_id)
        else:
            await self._complete(journey_id, state)

    async def _complete(self, journey_id: str, state: SigningState) -> None:
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
                    pdf = await act.complete(preview, form.form, one_size(given), look)
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
            phrases=self._phrases(progress),
            tries=state.tries,
            refused=None if state.refused is None else _told(state.refused),
            one_by_one=rules.one_by_one(state),
            in_review_since=None if state.review is None else state.review.requested.at,
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


def _fields(written: Contract, of: type[Contract] = Written) -> dict[str, Any]:
    """What every record of the act has, by name."""
    return {name: getattr(written, name) for name in of.model_fields}


def _told(refused: Refused) -> RefusedShown:
    kind = KINDS[refused.code]
    return RefusedShown(**refused.model_dump(), title=title(kind, {"box": refused.box}), detail=kind.next_step)


def _try(fact: facts.InkRejected | facts.ReviewRequested) -> Try:
    box = fact.box if isinstance(fact, facts.InkRejected) else None
    return Try(at=fact.at, reason=fact.reason, box=box, reading=fact.reading, pen=fact.pen)


def _drawings(given: Handwriting) -> tuple[bytes, bytes]:
    """The whole name as a picture and as a drawing, box beside box."""
    writing = one_size(given)
    return strokes.name_picture(writing), strokes.name_svg(writing).encode()
