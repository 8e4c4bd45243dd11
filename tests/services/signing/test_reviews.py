"""From a writing that is not taken to one that is, or to the two people who look at it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from contracts.commands.evidence import Attest
from contracts.commands.signing import (
    DecideReview,
    ListReviews,
    PrepareForms,
    Review,
    ReviewForm,
    SaveDraft,
    SignForms,
    SigningView,
    ViewReview,
    ViewSigning,
)
from contracts.facts import identity, proposal
from contracts.facts import signing as facts
from contracts.problems import Refuse
from contracts.values import Attestation, sha256_hex
from deploy.simulator.hand import writes
from servicekit.runner import new_ulid
from servicekit.workers import WorkerFailed
from services.signing import handwriting
from services.signing.rules import MOST_REVIEWS, TRIES, SigningState, evolve
from tests.desk import Desk
from tests.purchase import Purchase, published, purchase
from tests.services.signing.test_service import at, hand, made, ready, reviewed, signature

__all__ = ["at", "ready"]
pytestmark = pytest.mark.usefixtures("warm_workers", "warm_readers")

SOMEBODY = "李红强"
"""Written in place of 王小明, whose strokes are counted alike."""


class Writer:
    """A customer at the pad: each writing another."""

    def __init__(self, buyer: Purchase, view: SigningView) -> None:
        self.at, self.journey, self.view = buyer.at, buyer.journey_id, view
        self._seed = 100

    async def write(self, name: str = "王小明") -> Any:
        self._seed += 1
        return await self.at.act(SignForms, self.journey, signature(self.view, hand(name, self._seed)))

    async def refused(self, name: str = SOMEBODY) -> str:
        return await self.at.refused(self.write(name))

    async def to_people(self) -> None:
        """Writes until people have to look."""
        while not (await self.looks()).one_by_one:
            assert await self.refused() == "handwriting_another_name"
        assert (await self.write(SOMEBODY)).legibility == "in_review"

    async def looks(self) -> SigningView:
        return await self.at.ask(ViewSigning(journey_id=self.journey))

    async def found(self, reviewer: str, finding: Any = "legible", no: int = 1, command_id: str = "") -> Any:
        return await self.at.ask(
            DecideReview(
                command_id=command_id or new_ulid(),
                journey_id=self.journey,
                review_no=no,
                reviewer=reviewer,
                finding=finding,
            )
        )

    async def made(self, kind: type[Any]) -> list[Any]:
        return await made(self.at, self.journey, kind)

    async def signed(self) -> facts.FormsSigned:
        async def there() -> bool:
            return bool(await self.made(facts.FormsSigned))

        await self.at.eventually(there)
        (signed,) = await self.made(facts.FormsSigned)
        return signed

    async def closed(self) -> facts.ReviewClosed:
        async def there() -> bool:
            return bool(await self.made(facts.ReviewClosed))

        await self.at.eventually(there)
        return (await self.made(facts.ReviewClosed))[-1]


@pytest.fixture
async def writer(ready: Purchase) -> Writer:
    return Writer(ready, await reviewed(ready))


async def test_I11_the_name_passes_at_the_first_try_and_its_verdict_is_on_record(writer: Writer) -> None:
    assert (await writer.write()).legibility == "pass"
    (signed,) = await writer.made(facts.FormsSigned)
    assert signed.legibility == "pass"
    assert signed.review_no is None
    assert signed.reading.outcome == "pass"
    assert signed.reading.reason is None
    assert signed.reading.strictness == 1
    assert signed.reading.read_by == handwriting.VERSION
    assert [read.box for read in signed.reading.characters] == [0, 1, 2]
    assert all(read.ok and read.score >= read.limit for read in signed.reading.characters)
    assert [measure.code for measure in signed.pen] == ["pen_even_timing", "pen_speed", "pen_jump", "pen_traced"]
    assert not any(measure.flagged for measure in signed.pen)


async def test_I11_another_name_is_refused_and_one_wrong_box_is_named(writer: Writer) -> None:
    assert await writer.refused(SOMEBODY) == "handwriting_another_name"
    with pytest.raises(Refuse) as refused:
        await writer.write("王大明")
    assert refused.value.code == "handwriting_unclear"
    assert refused.value.problem.extra == {"box": 2}
    first, second = await writer.made(facts.InkRejected)
    assert (first.reason, first.box, first.attempt_no) == ("handwriting_another_name", None, 1)
    assert (second.reason, second.box, second.attempt_no) == ("handwriting_unclear", 1, 2)
    assert [read.ok for read in second.reading.characters] == [True, False, True]
    assert second.pen
    shown = await writer.looks()
    assert (shown.tries, shown.one_by_one) == (2, False)
    assert shown.refused is not None
    assert (shown.refused.code, shown.refused.box) == ("handwriting_unclear", 2)
    assert await writer.made(facts.FormsSigned) == []


async def test_I11_each_reading_is_judged_more_strictly_and_what_is_no_handwriting_is_none(writer: Writer) -> None:
    await writer.refused()
    blank = {"boxes": [{**box, "strokes": []} for box in hand()["boxes"]]}
    assert await writer.at.refused(writer.at.act(SignForms, writer.journey, signature(writer.view, blank))) == (
        "ink_empty"
    )
    await writer.refused()
    readings = [fact.reading for fact in await writer.made(facts.InkRejected)]
    assert [reading and reading.strictness for reading in readings] == [1, None, 2]
    assert readings[2].characters[1].limit - readings[0].characters[1].limit == handwriting.STRICTER
    await writer.write()
    (signed,) = await writer.made(facts.FormsSigned)
    assert signed.reading.strictness == 3


async def test_after_three_tries_single_boxes_then_people(writer: Writer) -> None:
    for _ in range(TRIES):
        assert not (await writer.looks()).one_by_one
        assert await writer.refused() == "handwriting_another_name"
    shown = await writer.looks()
    assert shown.one_by_one
    assert shown.in_review_since is None
    reply = await writer.write(SOMEBODY)
    assert (reply.legibility, reply.signed_at) == ("in_review", None)
    assert (await writer.looks()).in_review_since is not None
    (asked,) = await writer.made(facts.ReviewRequested)
    assert (asked.review_no, asked.attempt_no, asked.reason) == (1, TRIES + 1, "handwriting_another_name")
    assert {item.product for item in asked.items} == {item.product for item in writer.view.items}
    assert await writer.made(facts.FormsSigned) == []


async def test_honest_writing_still_passes_at_the_fourth_try(writer: Writer) -> None:
    for _ in range(TRIES):
        await writer.refused()
    assert (await writer.write()).legibility == "pass"


async def test_nothing_is_written_while_people_look(writer: Writer) -> None:
    await writer.to_people()
    at, journey = writer.at, writer.journey
    assert await writer.refused("王小明") == "review_pending"
    assert await at.refused(at.act(SaveDraft, journey, hand())) == "review_pending"
    assert await at.refused(at.act(PrepareForms, journey)) == "review_pending"
    form = {"product": writer.view.forms[0].product, "form_commitment": writer.view.forms[0].form.commitment}
    assert await at.refused(at.act(ReviewForm, journey, form)) == "review_pending"


async def test_I11_two_different_people_find_it_legible_and_the_act_of_before_is_taken(writer: Writer) -> None:
    await writer.to_people()
    acted = writer.at.clock()
    writer.at.clock.pass_by(minutes=7)
    assert (await writer.found("clerk", command_id="one-decision")).open
    assert (await writer.found("clerk", command_id="one-decision")).open, "the same again is the same"
    assert await writer.at.refused(writer.found("clerk")) == "review_decided"
    assert await writer.made(facts.FormsSigned) == []
    assert not (await writer.found("counsel")).open
    signed = await writer.signed()
    (asked,) = await writer.made(facts.ReviewRequested)
    assert signed.legibility == "manual"
    assert signed.review_no == 1
    assert signed.signed_at == acted == asked.signed_at
    assert signed.at > acted
    assert signed.proof == asked.proof
    assert (signed.items, signed.strokes, signed.reading) == (asked.items, asked.strokes, asked.reading)
    assert signed.attestation.head
    assert [fact.reviewer for fact in await writer.made(facts.ReviewDecided)] == ["clerk", "counsel"]
    assert await writer.at.refused(writer.found("third")) == "review_over"

    async def sealed() -> bool:
        return len(await writer.made(facts.FormSealed)) == len(writer.view.forms)

    await writer.at.eventually(sealed)
    assert (await writer.looks()).in_review_since is None


async def test_I11_one_who_does_not_find_it_legible_is_enough_to_write_again(writer: Writer) -> None:
    await writer.to_people()
    await writer.found("clerk")
    assert not (await writer.found("counsel", "handwriting_another_name")).open
    closed = await writer.closed()
    assert (closed.review_no, closed.reason) == (1, "handwriting_another_name")
    shown = await writer.looks()
    assert shown.in_review_since is None
    assert shown.one_by_one
    assert shown.refused is not None
    assert (shown.refused.code, shown.refused.box) == ("handwriting_another_name", None)
    assert await writer.at.refused(writer.found("third")) == "review_over"
    assert (await writer.write()).legibility == "pass"


async def test_I11_nobody_gets_through_by_asking_more_and_more_people(writer: Writer) -> None:
    for _ in range(TRIES):
        await writer.refused()
    for no in range(1, MOST_REVIEWS + 1):
        assert (await writer.write(SOMEBODY)).legibility == "in_review"
        await writer.found("clerk", "handwriting_unclear", no)
    assert await writer.refused() == "handwriting_another_name"
    assert (await writer.looks()).in_review_since is None
    assert len(await writer.made(facts.ReviewRequested)) == MOST_REVIEWS


async def test_a_character_the_reader_does_not_know_goes_to_people_at_once_and_never_passes(at: Desk) -> None:
    buyer = await purchase(at, published(at.folder / "releases"), name="王冃").up_to("read")
    writer = Writer(buyer, await reviewed(buyer))
    for no in range(1, MOST_REVIEWS + 1):
        assert (await writer.write("王明")).legibility == "in_review"
        asked = (await writer.made(facts.ReviewRequested))[-1]
        assert (asked.reason, asked.reading.outcome) == ("handwriting_unknown_character", "manual")
        await writer.found("clerk", "handwriting_unclear", no)
    assert await writer.refused("王明") == "reviews_exhausted"
    assert await writer.made(facts.FormsSigned) == []


async def test_too_few_strokes_after_three_tries_are_for_people_even_if_it_reads_well(writer: Writer) -> None:
    def joined(box: dict[str, Any]) -> dict[str, Any]:
        return {**box, "strokes": [[point for stroke in box["strokes"] for point in stroke]]}

    for seed in range(TRIES):
        boxes = hand(seed=seed)["boxes"]
        given = signature(writer.view, {"boxes": [*boxes[:2], joined(boxes[2])]})
        assert await writer.at.refused(writer.at.act(SignForms, writer.journey, given)) == "ink_too_few_strokes"
    boxes = hand(seed=9)["boxes"]
    given = signature(writer.view, {"boxes": [*boxes[:2], joined(boxes[2])]})
    assert (await writer.at.act(SignForms, writer.journey, given)).legibility == "in_review"
    (asked,) = await writer.made(facts.ReviewRequested)
    assert asked.reason == "ink_too_few_strokes"
    assert asked.reading.strictness == 1


async def test_ink_that_is_no_handwriting_never_reaches_people(writer: Writer) -> None:
    dot = [{"x": 150, "y": 150, "t": 0, "pressure": 0.5}]
    for seed in range(TRIES + 3):
        dots = [{**box, "strokes": [dot]} for box in hand(seed=seed)["boxes"]]
        given = signature(writer.view, {"boxes": dots})
        assert await writer.at.refused(writer.at.act(SignForms, writer.journey, given)) == "ink_dot"
    assert await writer.made(facts.ReviewRequested) == []


async def test_I12_another_device_makes_a_review_void(writer: Writer, ready: Purchase) -> None:
    await writer.to_people()
    await writer.found("clerk")
    await ready.tell(identity.SessionVoided(at=writer.at.clock(), attempt=1, reason="device_changed"))
    assert (await writer.closed()).reason == "session_voided"
    assert await writer.at.refused(writer.found("counsel")) == "review_over"
    assert await writer.made(facts.FormsSigned) == []


async def test_I18_a_review_of_what_is_no_longer_bought_is_void(writer: Writer, ready: Purchase) -> None:
    await writer.to_people()
    dropped = proposal.ProductDropped(
        at=writer.at.clock(), product="driver_passenger_accident", proof=await ready.proof()
    )
    await ready.tell(dropped)
    assert (await writer.closed()).reason == "terms_changed"
    assert await writer.at.refused(writer.found("clerk")) == "review_over"


async def test_a_withdrawn_proposal_ends_its_review(writer: Writer, ready: Purchase) -> None:
    await writer.to_people()
    await ready.tell(proposal.ProposalWithdrawn(at=writer.at.clock(), reason="customer_request"))
    assert (await writer.closed()).reason == "journey_ended"


async def test_I33_without_evidence_a_legible_signature_waits_and_is_taken_once_it_is_back(writer: Writer) -> None:
    await writer.to_people()

    async def down(_: Attest) -> Attestation:
        raise Refuse("timestamp_unavailable", retry_after=5)

    writer.at.attest = down
    await writer.found("clerk")
    await writer.found("counsel")
    assert await writer.made(facts.FormsSigned) == []
    assert await writer.at.refused(writer.found("third")) == "review_over"
    writer.at.attest = None
    assert (await writer.signed()).legibility == "manual"


async def test_a_settled_review_is_due_since_it_was_settled_and_not_since_it_was_asked_for(writer: Writer) -> None:
    await writer.to_people()

    async def down(_: Attest) -> Attestation:
        raise Refuse("timestamp_unavailable", retry_after=5)

    writer.at.attest = down
    writer.at.clock.pass_by(minutes=20)
    await writer.found("clerk")
    await writer.found("counsel")
    writer.at.clock.pass_by(seconds=5)
    await writer.at.service.sweep_once()
    value = writer.at.service.metrics.registry.get_sample_value
    assert value("toubao_due_oldest_seconds") == pytest.approx(5, abs=1)


async def test_what_people_see_is_all_there_is_to_decide_by(writer: Writer) -> None:
    await writer.to_people()
    (listed,) = (await writer.at.ask(ListReviews())).reviews
    assert (listed.journey_id, listed.review_no, listed.tries) == (writer.journey, 1, TRIES + 1)
    assert listed.reviewers == ()
    await writer.found("clerk")
    assert (await writer.at.ask(ListReviews())).reviews[0].reviewers == ("clerk",)
    review: Review = await writer.at.ask(ViewReview(journey_id=writer.journey))
    assert [each.reason for each in review.tries] == ["handwriting_another_name"] * (TRIES + 1)
    assert [each.reading.strictness for each in review.tries if each.reading] == [1, 2, 3, 4]
    assert [each.reviewer for each in review.decisions] == ["clerk"]
    assert await writer.at.vault.open(writer.journey, review.requested.strokes)
    await writer.found("counsel")
    await writer.signed()
    assert (await writer.at.ask(ListReviews())).reviews == ()
    assert await writer.at.refused(writer.at.ask(ViewReview(journey_id=writer.journey))) == "review_over"


async def test_a_review_nobody_asked_for_is_refused(writer: Writer) -> None:
    assert await writer.at.refused(writer.found("clerk")) == "review_over"
    await writer.to_people()
    assert await writer.at.refused(writer.found("clerk", no=2)) == "review_over"
    nowhere = DecideReview(
        command_id=new_ulid(), journey_id=new_ulid(), review_no=1, reviewer="clerk", finding="legible"
    )
    assert await writer.at.refused(writer.at.ask(nowhere)) == "journey_unknown"


async def test_reviews_waiting_and_their_age_are_measured(writer: Writer) -> None:
    await writer.to_people()
    writer.at.clock.pass_by(seconds=90)
    await writer.at.service.swept()
    value = writer.at.service.metrics.registry.get_sample_value
    assert value("toubao_reviews_waiting") == 1
    assert value("toubao_reviews_oldest_seconds") == pytest.approx(90, abs=1)
    await writer.found("clerk", "handwriting_unclear")
    await writer.at.service.swept()
    assert (value("toubao_reviews_waiting"), value("toubao_reviews_oldest_seconds")) == (0, 0)


async def test_a_reader_that_fails_decides_nothing_and_loses_nothing(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise WorkerFailed("worker died")

    written = signature(writer.view, hand(seed=77))
    with monkeypatch.context() as patched:
        patched.setattr(writer.at.service.reader._workers, "run", failing)
        coming = writer.at.act(SignForms, writer.journey, written, command_id="the-same-tap")
        assert await writer.at.refused(coming) == "unavailable"
    assert await writer.made(facts.InkRejected) == []
    again = await writer.at.act(SignForms, writer.journey, written, command_id="the-same-tap")
    assert again.legibility == "pass"


async def test_state_is_the_fold_of_its_facts_through_a_review(writer: Writer, ready: Purchase) -> None:
    await writer.to_people()
    await writer.found("clerk", "handwriting_unclear")
    assert (await writer.write(SOMEBODY)).legibility == "in_review"
    await writer.found("clerk", no=2)
    state = SigningState()
    for fact in (*ready.facts, *await writer.at.made(writer.journey)):
        state = evolve(state, fact)
    kept = await writer.at.service.journeys.state(writer.journey)
    assert state == kept.model_copy(update={"heard": {}})


async def test_nothing_personal_is_in_the_facts(writer: Writer) -> None:
    await writer.to_people()
    await writer.found("clerk")
    document = await writer.at.service.journeys.collection.get(writer.journey)
    said = "".join(fact.data for fact in document.facts)
    assert not {*"王小明", *SOMEBODY} & {*said}
    assert sha256_hex("王小明".encode()) not in said


def test_the_hand_writes_what_the_tests_say() -> None:
    assert len(writes(SOMEBODY, random.Random(1))["boxes"]) == len("王小明")
