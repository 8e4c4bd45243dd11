"""Which page comes next, by examples along the way and by what can never be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from contracts.commands import appdownload, disclosure, identity, issuance, nps, payment, proposal, signing
from contracts.facts.proposal import Party, ProductTerms
from contracts.values import Committed, CommittedFile, DocumentRef
from gateway.masking import masked_address, masked_name, masked_number, masked_phone, masked_text
from gateway.steps import PAGES, Parts, Step, place_of
from tests.gateway.doorway import NOTHING_YET, SHA

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
SEALED = Committed(commitment=SHA, blob=SHA)
DOCUMENT = DocumentRef(product="motor", document="clauses", version="1", sha256=SHA)


def terms(product: str, *, optional: bool = False) -> ProductTerms:
    return ProductTerms(
        product=product, product_version="1", optional=optional, covers=(), premium_fen=1, period_from=NOW,
        period_to=NOW, documents=(), points=(), lock=SHA,
    )  # fmt: skip


def proposal_view(**more: Any) -> proposal.ProposalView:
    party = Party(name=SEALED, id_type="id_card", id_number=SEALED, phone=SEALED, address=SEALED)
    told: dict[str, Any] = {
        "journey_id": "0" * 26, "proposal_no": "T1", "release": SHA, "channel_id": "c", "intermediary": None,
        "state": "open", "policyholder": party, "insured": None, "subject": {},
        "products": (terms("motor"), terms("extra", optional=True)), "chosen": ("motor",), "confirmed": (),
        "total_fen": 1, "expires_at": NOW,
    }  # fmt: skip
    return proposal.ProposalView(**{**told, **more})


def part(kind: Any, **more: Any) -> Any:
    return NOTHING_YET[kind].model_copy(update=more)


IDENTITY = {"recording_acknowledged": True, "consents": {"privacy": "given"}, "verified": True}
READ = disclosure.DocumentProgress(document=DOCUMENT, opened_at=NOW, confirmed_at=NOW, progress=None)
UNREAD = READ.model_copy(update={"confirmed_at": None})
FORM = signing.FormOffered(
    product="motor", form_no="F1", form_version="1",
    form=CommittedFile(commitment=SHA, blob=SHA, media_type="application/pdf", size=1), reviewed=True,
)  # fmt: skip
POINT = disclosure.PointShown(product="motor", point="drunk", sha256=SHA)


def parts(**more: Any) -> Parts:
    told: dict[str, Any] = {
        "proposal": proposal_view(confirmed=("motor",), chosen=("motor",)),
        "identity": part(identity.ViewIdentity, **IDENTITY),
        "disclosure": part(disclosure.ViewDisclosure, documents=(READ,)),
        "signing": part(signing.ViewSigning, forms=(FORM,), signed_at=NOW),
        "payment": part(payment.ViewPayment),
        "issuance": part(issuance.ViewIssuance),
    }
    return Parts(**{**told, **more})


def step(**more: Any) -> Step:
    return place_of(parts(**more), ("privacy",)).step


def test_every_page_in_its_order() -> None:
    def known(**kw: Any) -> Any:
        return part(identity.ViewIdentity, **{**IDENTITY, **kw})

    def told(**kw: Any) -> Any:
        return part(disclosure.ViewDisclosure, documents=(READ,), **kw)

    assert step(identity=part(identity.ViewIdentity)) is Step.RECORDING
    assert step(identity=known(consents={})) is Step.CONSENTS
    assert step(identity=known(consents={"privacy": "declined"})) is Step.CONSENTS
    assert step(identity=known(verified=False)) is Step.IDENTITY
    assert step(identity=known(reproof_required=True)) is Step.IDENTITY
    assert step(proposal=proposal_view()) is Step.TERMS
    assert step(disclosure=told(needs_open=("motor",))) is Step.PRODUCTS
    assert step(
        disclosure=told(needs_open=("motor",)),
        proposal=proposal_view(chosen=("motor", "extra"), confirmed=("motor", "extra")),
    ) is Step.NEEDS  # fmt: skip
    advice = disclosure.Advice(product="motor", advice=("covered_already",))
    assert step(disclosure=told(advice_open=(advice,))) is Step.NEEDS
    assert step(disclosure=told(questions_open=("motor",))) is Step.QUESTIONS
    assert step(disclosure=part(disclosure.ViewDisclosure, documents=(UNREAD,))) is Step.DOCUMENTS
    assert step(disclosure=told(points_open=(POINT,))) is Step.POINTS
    assert step(signing=part(signing.ViewSigning)) is Step.FORMS
    unseen = FORM.model_copy(update={"reviewed": False})
    assert step(signing=part(signing.ViewSigning, forms=(unseen,))) is Step.FORMS
    assert step(signing=part(signing.ViewSigning, forms=(FORM,))) is Step.SIGNATURE
    assert step() is Step.PAYMENT
    assert step(payment=part(payment.ViewPayment, state="paid")) is Step.POLICIES
    assert step(issuance=part(issuance.ViewIssuance, state="issued")) is Step.POLICIES


def test_what_is_over_is_over() -> None:
    for state in ("withdrawn", "expired"):
        assert step(proposal=proposal_view(state=state)) is Step.ENDED
    assert step(payment=part(payment.ViewPayment, state="refunded")) is Step.ENDED
    # A policy that exists is shown whatever else is said.
    issued = part(issuance.ViewIssuance, state="issued")
    assert step(issuance=issued, proposal=proposal_view(state="expired")) is Step.POLICIES


def test_who_is_needed_and_does_not_answer_is_waited_for() -> None:
    for missing in ("proposal", "identity", "disclosure", "signing", "payment"):
        assert step(**{missing: None}) is Step.WAIT
    assert step(issuance=None) is Step.PAYMENT


def test_the_choice_of_an_optional_product_can_be_passed_by() -> None:
    place = place_of(parts(disclosure=part(disclosure.ViewDisclosure, needs_open=("motor",))), ("privacy",))
    assert (place.step, place.page, place.then) == (Step.PRODUCTS, "P5", (Step.NEEDS,))


def test_I29_survey_and_app_follow_only_issued_policies() -> None:
    offered = {
        "survey": nps.SurveyView(state="invited"),
        "referral": appdownload.ReferralView(state="offered", url="https://app.test"),
    }
    paid = part(payment.ViewPayment, state="paid")
    assert place_of(parts(**offered, payment=paid), ()).then == ()
    issued = part(issuance.ViewIssuance, state="issued")
    assert place_of(parts(**offered, issuance=issued), ()).then == (Step.SURVEY, Step.APP)
    states: tuple[Literal["none", "withheld", "answered", "skipped"], ...] = ("none", "withheld", "answered", "skipped")
    for state in states:
        survey = nps.SurveyView(state=state)
        assert Step.SURVEY not in place_of(parts(issuance=issued, survey=survey), ()).then


def test_every_step_has_its_page() -> None:
    assert set(PAGES) == set(Step)


PERSONAL = st.text(alphabet=st.characters(min_codepoint=0x4E00, max_codepoint=0x4EFF) | st.sampled_from("0123456789X"))


@given(PERSONAL.filter(lambda text: len(text) >= 2))
def test_I24_a_mask_never_shows_the_whole(text: str) -> None:
    for mask in (masked_name, masked_phone, masked_text, masked_address):
        assert mask(text) != text
    shown = masked_number(text, head=1, tail=2)
    assert len(shown) == len(text)
    assert shown.count("*") >= len(text) / 2 or len(text) < 8


def test_masks_as_people_know_them() -> None:
    assert masked_phone("13812341234") == "138****1234"
    assert masked_name("欧阳小明") == "欧***"
    assert masked_number("110101199003078515", head=1, tail=2) == "1***************15"
    assert masked_text("LSVAU2180N2183294") == "LS*************94"
    assert masked_text("京A12345") == "京*****5"
    assert masked_address("北京市朝阳区建国路1号") == "北京市朝阳****"
