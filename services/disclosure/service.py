"""Disclosure's handlers: bus in, rules, store out."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from pydantic import Field, model_validator

from contracts.commands.disclosure import (
    AcknowledgePoint,
    Advice,
    AnswerNeeds,
    AnswerQuestions,
    ConfirmDocument,
    ContinueOfOwnWill,
    DisclosureView,
    DocumentProgress,
    OpenDocument,
    PointShown,
    QuestionAnswers,
    Reading,
    ReadingOpened,
    ReadingProgress,
    ReportReading,
    ShowPoint,
    ViewDisclosure,
)
from contracts.facts import disclosure as facts
from contracts.facts.base import Fact
from contracts.problems import Refuse
from contracts.progress import Progress
from contracts.values import Contract, DocumentRef, canonical_json
from products import Product, Release, Releases
from servicekit.service import Admitted, Decided, Done, Ground, Service, answers
from servicekit.settings import Settings
from servicekit.store import Document as Stored
from servicekit.store import VersionConflict
from services.disclosure import rules
from services.disclosure.rules import DisclosureState

SIGNS_KEPT: Final = 10_000
"""How many readings a process remembers the last sign of."""


class DisclosureSettings(Settings):
    service: ClassVar[str] = "disclosure"

    disclosure_dwell_scale: float = Field(default=1.0, gt=0, le=1)
    """Shortens every minimum dwell, for demonstrations and tests; written into every reading fact. Refused when it
    is not 1 outside the sandbox (DESIGN §5)."""

    @model_validator(mode="after")
    def _honest(self) -> DisclosureSettings:
        if self.disclosure_dwell_scale != 1 and not self.sandboxed:
            raise ValueError("disclosure_dwell_scale is 1 outside the sandbox")
        return self


class Disclosure(Service[DisclosureState, DisclosureSettings]):
    name = "disclosure"
    state = DisclosureState
    settings = DisclosureSettings
    hears = ("proposal", "identity", "signing")

    def __init__(self, ground: Ground[DisclosureSettings]) -> None:
        super().__init__(ground)
        self.releases = Releases(self.set.releases_dir)
        self.readings = ground.store.collection("readings")
        self.front = ground.store.collection("front")
        """Journey and device session → the document whose page is in front."""
        self.shown = ground.store.collection("shown_points")
        self.scale = self.set.disclosure_dwell_scale
        self._signs: dict[str, float] = {}
        """Reading → ``ticks`` at its last sign, of the latest readings this process has seen."""

    def evolve(self, state: DisclosureState, fact: Fact) -> DisclosureState:
        return rules.evolve(state, fact)

    def moving(self, arguments: Contract) -> bool:
        # A page that lies open and still is not a person reading: the idle clock runs on.
        return not isinstance(arguments, Reading) or bool(arguments.paragraphs) or arguments.at_end

    # -- documents -----------------------------------------------------------------------------------------

    @answers(OpenDocument)
    async def open_document(self, act: Admitted[DocumentRef], state: DisclosureState) -> Decided:
        document = self._gate(act, state)
        text = self._release(state.progress).document(document.sha256)
        attempt = act.judgement.attempt
        reading = await self._reading(act.journey_id, document, attempt)
        if reading is None:
            reading = rules.Reading(opened_at=act.at, last_sign=act.at)
        # The page is new: what passed since the old one's last sign was not reading.
        reading = reading.model_copy(update={"last_sign": act.at, "visible": True})
        await self._brought_forward(act.journey_id, document, attempt)
        self._passed(act, document, anew=True)
        await self._keep_reading(act.journey_id, document, attempt, reading)
        known = state.opened_in(document, attempt)
        opened = facts.DocumentOpened(at=act.at, document=document, attempt=attempt, proof=act.proof)
        return Decided([] if known else [opened], ReadingOpened(minimum_dwell_ms=rules.minimum_ms(text, self.scale)))

    @answers(ReportReading)
    async def report_reading(self, act: Admitted[Reading], state: DisclosureState) -> ReadingProgress:
        document = self._gate(act, state, act.arguments.document)
        text = self._release(state.progress).document(document.sha256)
        reading = await self._reading(act.journey_id, document, act.judgement.attempt)
        if reading is None:
            raise Refuse("document_not_opened")
        if act.arguments.visible:
            reading = await self._in_front(act.journey_id, document, act.judgement.attempt, reading)
        reading = reading.sign(
            act.at,
            rules.known_paragraphs(text, act.arguments.paragraphs),
            at_end=act.arguments.at_end,
            visible=act.arguments.visible,
            passed=self._passed(act, document, anew=True),
        )
        await self._keep_reading(act.journey_id, document, act.judgement.attempt, reading)
        return rules.progress_of(reading, text, self.scale)

    @answers(ConfirmDocument)
    async def confirm_document(self, act: Admitted[DocumentRef], state: DisclosureState) -> Decided:
        document = self._gate(act, state)
        if document in state.progress.confirmations.read:
            raise Refuse("already_done")
        attempt = act.judgement.attempt
        text = self._release(state.progress).document(document.sha256)
        reading = await self._reading(act.journey_id, document, attempt)
        if reading is not None:
            reading = await self._in_front(act.journey_id, document, attempt, reading)
            passed = self._passed(act, document, anew=False)
            reading = reading.sign(act.at, (), at_end=False, visible=True, passed=passed)
        reading = rules.check_read(reading, text, self.scale)
        assert reading.end_reached_at is not None
        confirmed = facts.DocumentConfirmed(
            at=act.at,
            document=document,
            attempt=attempt,
            opened_at=reading.opened_at,
            end_reached_at=reading.end_reached_at,
            paragraphs_seen=len(reading.seen),
            paragraphs_total=len(text.paragraphs),
            dwell_ms=reading.dwell_ms,
            minimum_dwell_ms=text.minimum_dwell_seconds * 1000,
            dwell_scale=self.scale,
            proof=act.proof,
        )
        return Decided([confirmed])

    def _gate(
        self, act: Admitted[DocumentRef] | Admitted[Reading], state: DisclosureState, of: DocumentRef | None = None
    ) -> DocumentRef:
        self._check(state.progress, act.judgement.attempt, act.at)
        document = of if of is not None else act.arguments
        assert isinstance(document, DocumentRef)
        return rules.mandatory(state.progress, document)

    def _check(self, progress: Progress, attempt: int, now: datetime) -> None:
        progress.check_alive()
        progress.check_identity(attempt, now)
        if progress.signed is not None:
            # What was signed rests on what was read and answered before: nothing is said differently afterwards.
            raise Refuse("already_signed")
        progress.check_confirmed()

    async def _reading(self, journey_id: str, document: DocumentRef, attempt: int) -> rules.Reading | None:
        kept = await self.readings.get(f"{journey_id}/{rules.place(document, attempt)}")
        return None if kept is None else rules.Reading.model_validate(kept.state)

    def _passed(self, act: Admitted[Any], document: DocumentRef, *, anew: bool) -> timedelta | None:
        """Since the last sign of a reading, if this process has seen it; ``anew``: this is one. Counted up to when the
        act came in: what it waits for here is not reading.
        """
        place, ticks = f"{act.journey_id}/{rules.place(document, act.judgement.attempt)}", act.ticks
        last = self._signs.get(place)
        if anew:
            self._signs.pop(place, None)
            self._signs[place] = ticks
            if len(self._signs) > SIGNS_KEPT:
                del self._signs[next(iter(self._signs))]
        return None if last is None else timedelta(seconds=ticks - last)

    async def _in_front(
        self, journey_id: str, document: DocumentRef, attempt: int, reading: rules.Reading
    ) -> rules.Reading:
        """A phone shows one page at a time: what passed while another document was in front was not reading of this
        one, whatever its page claims (I3).
        """
        was = await self._brought_forward(journey_id, document, attempt)
        return reading if was else reading.model_copy(update={"visible": False})

    async def _brought_forward(self, journey_id: str, document: DocumentRef, attempt: int) -> bool:
        """Notes that this document is in front from now on; whether it was."""
        place, front = f"{journey_id}/{attempt}", {"document": rules.place(document, attempt)}
        known = await self.front.get(place)
        if known is not None and known.state == front:
            return True
        await self.front.put_many([Stored(place, state=front)])
        return False

    async def _keep_reading(self, journey_id: str, document: DocumentRef, attempt: int, reading: rules.Reading) -> None:
        """Two tabs may report at once: what either saw is kept, and time is counted once."""
        place = f"{journey_id}/{rules.place(document, attempt)}"
        while True:
            kept = await self.readings.get(place) or Stored(place)
            if kept.version:
                other = rules.Reading.model_validate(kept.state)
                reading = reading.model_copy(
                    update={
                        "seen": reading.seen | other.seen,
                        "dwell_ms": max(reading.dwell_ms, other.dwell_ms),
                        "end_reached_at": other.end_reached_at or reading.end_reached_at,
                    }
                )
            kept.state = reading.model_dump(mode="json")
            try:
                await self.readings.save(kept)
            except VersionConflict:
                continue
            return

    # -- questions -----------------------------------------------------------------------------------------

    @answers(AnswerNeeds)
    async def answer_needs(self, act: Admitted[QuestionAnswers], state: DisclosureState) -> Decided:
        product, given = await self._answered(act, state)
        rules.check_answers(product.needs_questions, given, product=product.code)
        advice = rules.advice_of(product.needs_questions, given)
        fact = facts.NeedsAnswered(
            at=act.at,
            product=product.code,
            answers=await self.vault.seal(act.journey_id, canonical_json(dict(given))),
            advice=advice,
            proof=act.proof,
        )
        return Decided([fact], Advice(product=product.code, advice=advice))

    @answers(ContinueOfOwnWill)
    async def continue_of_own_will(self, act: Admitted[Advice], state: DisclosureState) -> Decided:
        self._check(state.progress, act.judgement.attempt, act.at)
        open_now = state.progress.advice_open().get(act.arguments.product)
        if open_now is None:
            raise Refuse("already_done")
        if set(open_now) != set(act.arguments.advice):
            raise Refuse("advice_changed")
        return Decided(
            [facts.ContinuedOfOwnWill(at=act.at, product=act.arguments.product, advice=open_now, proof=act.proof)]
        )

    @answers(AnswerQuestions)
    async def answer_questions(self, act: Admitted[QuestionAnswers], state: DisclosureState) -> Decided:
        product, given = await self._answered(act, state)
        rules.check_answers(product.disclosure_questions, given, product=product.code)
        if declined := rules.declined_by(product.disclosure_questions, given):
            raise Refuse("answer_declined", product=product.code, questions=list(declined))
        fact = facts.QuestionsAnswered(
            at=act.at,
            product=product.code,
            answers=await self.vault.seal(act.journey_id, canonical_json(dict(given))),
            proof=act.proof,
        )
        return Decided([fact])

    async def _answered(self, act: Admitted[QuestionAnswers], state: DisclosureState) -> tuple[Product, dict[str, str]]:
        self._check(state.progress, act.judgement.attempt, act.at)
        code = act.arguments.product
        if code not in {terms.product for terms in state.progress.chosen()}:
            raise Refuse("product_not_offered")
        return self._release(state.progress).products[code], act.arguments.answers

    # -- deadly points -------------------------------------------------------------------------------------

    @answers(ShowPoint)
    async def show_point(self, act: Admitted[PointShown], state: DisclosureState) -> Done:
        place = self._point(act, state)
        kept = await self.shown.get(place) or Stored(place)
        if not kept.version:
            kept.state = {"at": act.at.isoformat()}
            with suppress(VersionConflict):  # shown twice at once: the first counts
                await self.shown.save(kept)
        return Done()

    @answers(AcknowledgePoint)
    async def acknowledge_point(self, act: Admitted[PointShown], state: DisclosureState) -> Decided:
        place = self._point(act, state)
        shown = await self.shown.get(place)
        if shown is None:
            raise Refuse("point_not_ready")
        if (act.arguments.product, act.arguments.point) in state.progress.confirmations.points:
            raise Refuse("already_done")
        fact = facts.PointAcknowledged(
            at=act.at,
            product=act.arguments.product,
            point=act.arguments.point,
            sha256=act.arguments.sha256,
            shown_at=datetime.fromisoformat(shown.state["at"]),
            proof=act.proof,
        )
        return Decided([fact])

    def _point(self, act: Admitted[PointShown], state: DisclosureState) -> str:
        """Pop-ups come when everything is read (P7 before P8)."""
        self._check(state.progress, act.judgement.attempt, act.at)
        asked = act.arguments
        known = next(
            (p for p in self._points(state.progress) if (p.product, p.point) == (asked.product, asked.point)), None
        )
        if known is None:
            raise Refuse("point_unknown")
        if known != asked:
            raise Refuse("document_changed")
        if state.progress.documents_open():
            raise Refuse("point_not_ready")
        return f"{act.journey_id}/{act.judgement.attempt}/{asked.product}/{asked.point}"

    def _points(self, progress: Progress) -> list[PointShown]:
        """The deadly points of the purchase, with the hash of the words of this release."""
        if progress.opened is None:
            return []
        found: list[PointShown] = []
        for terms in progress.chosen():
            product = self._release(progress).products[terms.product]
            words = {p.code: rules.words_sha256(p.title, p.text) for p in product.deadly_points}
            found += [PointShown(product=terms.product, point=p, sha256=words[p]) for p in terms.points]
        return found

    # -- reading it all back -------------------------------------------------------------------------------

    @answers(ViewDisclosure)
    async def view(self, query: ViewDisclosure) -> DisclosureView:
        state = await self.journeys.state(query.journey_id)
        progress = state.progress
        documents: list[DocumentProgress] = []
        for document in progress.documents():
            opened = state.opened_in(document, progress.attempt)
            reading = await self._reading(query.journey_id, document, progress.attempt) if opened else None
            text = self._release(progress).document(document.sha256)
            read = document in progress.confirmations.read
            place = rules.place(document, progress.attempt)
            documents.append(
                DocumentProgress(
                    document=document,
                    opened_at=opened.at if opened else None,
                    confirmed_at=state.confirmed_at.get(place) if read else None,
                    progress=rules.progress_of(reading, text, self.scale) if reading else None,
                )
            )
        points = self._points(progress)
        missing = set(progress.points_open())
        points_open = tuple(p for p in points if (p.product, p.point) in missing)
        advice = tuple(Advice(product=p, advice=a) for p, a in progress.advice_open().items())
        return DisclosureView(
            documents=tuple(documents),
            needs_open=progress.needs_open(),
            advice_open=advice,
            questions_open=progress.questions_open(),
            points=tuple(points),
            points_open=points_open,
            complete=bool(documents)
            and not (progress.documents_open() or progress.needs_open() or advice or progress.questions_open())
            and not points_open,
        )

    def _release(self, progress: Progress) -> Release:
        return self.releases.get(progress.check_opened().release)
