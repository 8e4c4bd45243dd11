"""What the customer's page reads: the composite view, texts, forms, policies, the event stream."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from contracts.commands import appdownload, disclosure, identity, issuance, nps, payment, proposal, signing
from contracts.commands.base import Query as BusQuery
from contracts.commands.identity import Judgement
from contracts.commands.issuance import IssuanceView, IssuedPolicy
from contracts.commands.proposal import ProposalView
from contracts.problems import Refuse
from contracts.values import Contract, Fen, Heads, Instant, JourneyId, Sha256, Slug
from gateway.card import Card, card_of
from gateway.customer import heads_of, judged, merged, told, verified
from gateway.downloads import DownloadLink, Downloads
from gateway.edge import Edge, edge_of, idempotency_key, json_answer
from gateway.openapi import ANSWER_HEADERS, CUSTOMER, EVENT_STREAM, IDEMPOTENCY_KEY, JOURNEY_HEADS, problems
from gateway.pictures import MEDIA_TYPE, Pictures
from gateway.samples import Samples
from gateway.steps import Parts, Place, place_of
from gateway.stream import Stream
from products import Document, DocumentKind, Notice, Product, Release
from products.loader import ReleaseError
from products.model import Span
from servicekit.bus import BusUnavailable

log = logging.getLogger(__name__)

VIEW_SECONDS: Final = 3.0
"""One deadline for all who are asked; who is late is left out."""

PartT = TypeVar("PartT", bound=Contract)


class NoticeListed(Contract):
    notice: Slug
    version: str
    sha256: Sha256
    title: str
    stage: Literal["entry", "identity", "payment"]
    act: Literal["acknowledge", "consent"]
    required: bool
    ask: str


class JourneyView(Contract):
    """Everything a page needs, asked from the services now; nothing of it is kept here."""

    journey_id: JourneyId
    place: Place
    proposal_no: str
    state: str
    release: Sha256
    intermediary: str | None
    insurer: str
    expires_at: Instant
    hotline: str
    card: Card
    notices: tuple[NoticeListed, ...]
    identity: identity.IdentityView | None
    disclosure: disclosure.DisclosureView | None
    signing: signing.SigningView | None
    payment: payment.PaymentView | None
    issuance: IssuanceView | None
    survey: nps.SurveyView | None
    """Only after issuance (I29)."""
    referral: appdownload.ReferralView | None
    """Only after issuance, never needed for anything (I29)."""
    unavailable: tuple[str, ...] = ()
    """Services that did not answer in time: their part is null and may be asked for again."""


class Paragraph(Contract):
    """One heading or paragraph. ``conspicuous``: what limits or excludes cover, shown in bold."""

    id: str
    kind: str
    level: int
    number: int | None
    exclusion: str | None
    conspicuous: bool
    text: str
    spans: tuple[Span, ...]
    """The text in its parts: a page needs no markup to show what is bold."""
    html: str


class Text(Contract):
    """A published text with what must stand above it (I31)."""

    product: str | None
    document: str
    kind: DocumentKind
    version: str
    sha256: Sha256
    clause_code: str
    filing_number: str | None
    insurer: str
    intermediary: str | None
    hotline: str
    complaint: str
    characters: int
    minimum_dwell_seconds: int
    blocks: tuple[Paragraph, ...]
    html: str


class NoticeText(Contract):
    notice: Slug
    stage: Literal["entry", "identity", "payment"]
    act: Literal["acknowledge", "consent"]
    required: bool
    ask: str
    text: Text


class Pad(Contract):
    """Where the name is written: one box a character, with what was drawn so far."""

    characters: tuple[str, ...]
    """In the order of the name as it stands on the ID; what is written in no box (the dot in a name) is left out."""
    draft: signing.Handwriting | None
    """The strokes this device has saved in this session."""
    samples: tuple[str | None, ...] = ()
    """Once one box at a time is shown: each character printed, as the path of an SVG in a square of 1000 units."""


class PolicyListed(Contract):
    product: Slug
    name: str
    policy_no: str
    issued_at: Instant
    premium_fen: Fen
    size: int


class PolicyList(Contract):
    policies: tuple[PolicyListed, ...]


class Asked:
    """The services' views of one journey, gathered under one deadline."""

    def __init__(self, edge: Edge, journey_id: str) -> None:
        self._edge = edge
        self._journey_id = journey_id
        self._deadline = asyncio.get_running_loop().time() + VIEW_SECONDS
        self.heads: Heads = {}
        self.unavailable: list[str] = []

    async def view(self, query: type[BusQuery], reply: type[PartT]) -> PartT | None:
        """None when the service does not answer in time. Raises ``Refuse`` as it does."""
        left = self._deadline - asyncio.get_running_loop().time()
        try:
            found, sequence = await self._edge.ask(query(journey_id=self._journey_id), reply, timeout=max(0.05, left))
        except BusUnavailable:
            self.unavailable.append(query.service)
            return None
        except Refuse as refusal:
            if refusal.code not in {"journey_unknown", "unavailable", "internal"}:
                raise
            # One that has not heard of the journey yet has nothing to show.
            if query.service == "proposal":
                raise
            self.unavailable.append(query.service)
            return None
        self.heads = merged(self.heads, (query.service, sequence))
        return found

    async def parts(self) -> Parts:
        async with asyncio.TaskGroup() as group:
            of_proposal = group.create_task(self.view(proposal.ViewProposal, ProposalView))
            of_identity = group.create_task(self.view(identity.ViewIdentity, identity.IdentityView))
            of_disclosure = group.create_task(self.view(disclosure.ViewDisclosure, disclosure.DisclosureView))
            of_signing = group.create_task(self.view(signing.ViewSigning, signing.SigningView))
            of_payment = group.create_task(self.view(payment.ViewPayment, payment.PaymentView))
            of_issuance = group.create_task(self.view(issuance.ViewIssuance, IssuanceView))
        issued = of_issuance.result()
        survey: nps.SurveyView | None = None
        referral: appdownload.ReferralView | None = None
        if issued is not None and issued.state == "issued":
            # Not before: survey and app appear only after issuance (I29).
            survey, referral = await asyncio.gather(
                self.view(nps.ViewSurvey, nps.SurveyView), self.view(appdownload.ViewReferral, appdownload.ReferralView)
            )
        return Parts(
            proposal=of_proposal.result(),
            identity=of_identity.result(),
            disclosure=of_disclosure.result(),
            signing=of_signing.result(),
            payment=of_payment.result(),
            issuance=issued,
            survey=survey,
            referral=referral,
        )


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1/journeys/{journey_id}", tags=["journey"])
    common = (
        "credentials_missing", "use_dpop_nonce", "proof_signature", "session_expired", "not_the_customer",
        "journey_unknown",
    )  # fmt: skip
    customer: dict[str, Any] = {"openapi_extra": {"security": CUSTOMER, "parameters": [JOURNEY_HEADS]}}
    ok: dict[int | str, dict[str, Any]] = {200: {"description": "OK", "headers": ANSWER_HEADERS}}

    @routes.get(
        "",
        operation_id="view_journey",
        summary="The whole journey: step, card, and each service's part.",
        response_model=JourneyView,
        responses={
            **ok,
            304: {"description": "As the page has it (If-None-Match)."},
            **problems(*common, "invalid_fields"),
        },
        **customer,
    )
    async def view_journey(
        request: Request,
        journey_id: str,
        reveal: Annotated[bool, Query(description="Show personal values in full, once identity is proven.")] = False,
    ) -> Response:
        edge = edge_of(request)
        # A page that merely looks again shows nobody at work.
        judgement = await judged(request, journey_id, "view", purpose="identity", moving=False)
        asked = Asked(edge, journey_id)
        view = await journey_view(edge, asked, reveal=reveal and judgement.verified)
        body = view.model_dump_json().encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if etag in [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]:
            answer = Response(status_code=304)
        else:
            answer = Response(body, media_type="application/json")
        answer.headers["ETag"] = etag
        answer.headers["Cache-Control"] = "no-store"
        return told(answer, nonce=judgement.nonce, heads=merged(heads_of(request), *asked.heads.items()))

    @routes.get(
        "/notices/{notice}",
        operation_id="read_notice",
        summary="A notice or consent text of the journey's release.",
        response_model=NoticeText,
        responses={**ok, **problems(*common, "document_unknown")},
        **customer,
    )
    async def read_notice(request: Request, journey_id: str, notice: str) -> Response:
        edge = edge_of(request)
        judgement = await judged(request, journey_id, "notices", purpose="identity")
        view, release = await _release(edge, journey_id)
        found = release.notices.get(notice)
        if found is None:
            raise Refuse("document_unknown")
        text = NoticeText(
            notice=notice,
            stage=found.stage,
            act=found.act,
            required=found.required,
            ask=found.ask,
            text=notice_text(found, view.intermediary),
        )
        return _json(text, judgement)

    @routes.get(
        "/documents/{sha256}",
        operation_id="read_document",
        summary="A document of a product of this journey, as published.",
        response_model=Text,
        responses={**ok, **problems(*common, "reproof_required", "document_unknown")},
        **customer,
    )
    async def read_document(request: Request, journey_id: str, sha256: str) -> Response:
        edge = edge_of(request)
        judgement = await judged(request, journey_id, "documents")
        view, release = await _release(edge, journey_id)
        for terms in view.products:
            product = release.products[terms.product]
            for document in product.documents:
                if document.sha256 == sha256:
                    return _json(document_text(product, document, view.intermediary), judgement)
        raise Refuse("document_unknown")

    @routes.get(
        "/forms/{product}",
        operation_id="read_form",
        summary="The application form of one product: the very bytes that are signed.",
        response_class=Response,
        responses={
            200: {
                "description": "The form.",
                "headers": ANSWER_HEADERS,
                "content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}},
            },
            **problems(*common, "identity_missing", "reproof_required", "forms_not_prepared", "invalid_fields"),
        },
        **customer,
    )
    async def read_form(
        request: Request,
        journey_id: str,
        product: str,
        revision: Annotated[Literal["preview", "sealed"], Query()] = "preview",
    ) -> Response:
        edge = edge_of(request)
        judgement = await verified(request, journey_id, "forms")
        form = await _form(edge, journey_id, product, revision)
        data = await edge.ground.vault.open(journey_id, form.form)
        answer = Response(data, media_type=form.form.media_type)
        answer.headers["Content-Disposition"] = f'inline; filename="{form.form_no}.pdf"'
        answer.headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
        answer.headers["Cache-Control"] = "no-store"
        return told(answer, nonce=judgement.nonce)

    @routes.get(
        "/forms/{product}/pages/{number}",
        operation_id="read_form_page",
        summary="One page of the form as a picture, drawn from the very bytes that are signed.",
        response_class=Response,
        responses={
            200: {
                "description": "The page; the header `Form-Pages` says how many there are.",
                "headers": {**ANSWER_HEADERS, "Form-Pages": {"schema": {"type": "integer"}}},
                "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            },
            **problems(
                *common,
                "not_found",
                "identity_missing",
                "reproof_required",
                "forms_not_prepared",
                "invalid_fields",
            ),
        },
        **customer,
    )
    async def read_form_page(
        request: Request,
        journey_id: str,
        product: str,
        number: Annotated[int, Path(ge=1, le=99)],
        revision: Annotated[Literal["preview", "sealed"], Query()] = "preview",
    ) -> Response:
        edge = edge_of(request)
        judgement = await verified(request, journey_id, "forms")
        form = await _form(edge, journey_id, product, revision)
        picture = await pictures_of(request).page(await edge.ground.vault.open(journey_id, form.form), number)
        answer = Response(picture.data, media_type=MEDIA_TYPE)
        answer.headers["Form-Pages"] = str(picture.pages)
        answer.headers["Cache-Control"] = "no-store"
        return told(answer, nonce=judgement.nonce)

    @routes.get(
        "/pad",
        operation_id="read_pad",
        summary="The boxes of the name to be written, and the strokes drawn so far.",
        response_model=Pad,
        responses={**ok, **problems(*common, "identity_missing", "reproof_required")},
        **customer,
    )
    async def read_pad(request: Request, journey_id: str) -> Response:
        edge = edge_of(request)
        judgement = await verified(request, journey_id, "pad")
        view, _ = await edge.ask(proposal.ViewProposal(journey_id=journey_id), ProposalView)
        signed, _ = await edge.ask(signing.ViewSigning(journey_id=journey_id), signing.SigningView)
        name = await edge.ground.vault.open_text(journey_id, view.policyholder.name)
        draft: signing.Handwriting | None = None
        if signed.draft is not None:
            saved = await edge.ground.vault.open(journey_id, signed.draft)
            draft = signing.Handwriting.model_validate_json(saved)
        characters = tuple(signing.written_characters(name))
        samples = await samples_of(request).of(characters) if signed.one_by_one else ()
        return _json(Pad(characters=characters, draft=draft, samples=samples), judgement)

    @routes.get(
        "/policies",
        operation_id="list_policies",
        summary="The policies, once sealed and timestamped.",
        response_model=PolicyList,
        responses={**ok, **problems(*common, "policies_not_ready")},
        **customer,
    )
    async def list_policies(request: Request, journey_id: str) -> Response:
        edge = edge_of(request)
        judgement = await judged(request, journey_id, "policies")
        issued = await _issued(edge, journey_id)
        view, release = await _release(edge, journey_id)
        premiums = {terms.product: terms.premium_fen for terms in view.products}
        listed = PolicyList(
            policies=tuple(
                PolicyListed(
                    product=policy.product,
                    name=release.products[policy.product].name,
                    policy_no=policy.policy_no,
                    issued_at=policy.issued_at,
                    premium_fen=premiums.get(policy.product, 0),
                    size=policy.policy.size,
                )
                for policy in issued
            )
        )
        return _json(listed, judgement)

    @routes.post(
        "/policies/{policy_no}/download",
        operation_id="offer_download",
        summary="An address that gives the policy once, within a minute. Needs no app (I29).",
        response_model=DownloadLink,
        status_code=201,
        responses={
            201: {"description": "Works once.", "headers": ANSWER_HEADERS},
            **problems(
                *common,
                "idempotency_key_missing",
                "invalid_fields",
                "identity_missing",
                "policies_not_ready",
                "policy_unknown",
            ),
        },
        openapi_extra={"security": CUSTOMER, "parameters": [IDEMPOTENCY_KEY]},
    )
    async def offer_download(request: Request, journey_id: str, policy_no: str) -> Response:
        edge = edge_of(request)
        idempotency_key(request)
        judgement = await verified(request, journey_id, "download", body=await request.body())
        policy = next((p for p in await _issued(edge, journey_id) if p.policy_no == policy_no), None)
        if policy is None:
            raise Refuse("policy_unknown")
        _, release = await _release(edge, journey_id)
        link = await downloads_of(request).offer(
            journey_id,
            policy.policy,
            media_type=policy.policy.media_type,
            file_name=f"{release.products[policy.product].name}-{policy.policy_no}.pdf",
        )
        answer = json_answer(link, 201)
        return told(answer, nonce=judgement.nonce)

    @routes.get(
        "/survey",
        operation_id="view_survey",
        summary="The survey; there is one only after issuance (I29).",
        response_model=nps.SurveyView,
        responses={**ok, **problems(*common)},
        **customer,
    )
    async def view_survey(request: Request, journey_id: str) -> Response:
        edge = edge_of(request)
        judgement = await judged(request, journey_id, "survey")
        view = nps.SurveyView(state="none")
        if await _is_issued(edge, journey_id):
            view, _ = await edge.ask(nps.ViewSurvey(journey_id=journey_id), nps.SurveyView)
        return _json(view, judgement)

    @routes.get(
        "/app",
        operation_id="view_referral",
        summary="The link to the insurer's app; there is one only after issuance (I29).",
        response_model=appdownload.ReferralView,
        responses={**ok, **problems(*common)},
        **customer,
    )
    async def view_referral(request: Request, journey_id: str) -> Response:
        edge = edge_of(request)
        judgement = await judged(request, journey_id, "app")
        view = appdownload.ReferralView(state="none", url=None)
        if await _is_issued(edge, journey_id):
            view, _ = await edge.ask(appdownload.ViewReferral(journey_id=journey_id), appdownload.ReferralView)
        return _json(view, judgement)

    @routes.get(
        "/stream",
        operation_id="stream_journey",
        summary="Names of facts as they happen (SSE, read by fetch). Look at the view for what is so.",
        response_class=Response,
        responses={
            200: {
                "description": "Events `look`, `fact` (service, fact, sequence) and `end`.",
                "headers": ANSWER_HEADERS,
                "content": EVENT_STREAM,
            },
            **problems(*common),
        },
        **customer,
    )
    async def stream_journey(request: Request, journey_id: str) -> Response:
        judgement = await judged(request, journey_id, "stream", purpose="identity", moving=False)
        return told(Stream(edge_of(request), journey_id), nonce=judgement.nonce)

    return routes


async def journey_view(edge: Edge, asked: Asked, *, reveal: bool) -> JourneyView:
    """Raises ``Refuse("unavailable")`` when the proposal does not answer: without it there is nothing to show."""
    parts = await asked.parts()
    view = parts.proposal
    if view is None:
        raise Refuse("unavailable", retry_after=2)
    release = edge.releases.get(view.release)
    insurer = next(iter(release.products.values())).insurer
    notices = tuple(_listed(code, notice) for code, notice in release.notices.items())
    entrance = [n.notice for n in notices if n.stage == "entry" and n.act == "consent" and n.required]
    return JourneyView(
        journey_id=view.journey_id,
        place=place_of(parts, entrance),
        proposal_no=view.proposal_no,
        state=view.state,
        release=view.release,
        intermediary=view.intermediary,
        insurer=insurer.name,
        expires_at=view.expires_at,
        hotline=insurer.hotline,
        card=await card_of(view, release, edge.ground.vault, reveal=reveal),
        notices=notices,
        identity=parts.identity,
        disclosure=parts.disclosure,
        signing=parts.signing,
        payment=parts.payment,
        issuance=parts.issuance,
        survey=parts.survey,
        referral=parts.referral,
        unavailable=tuple(sorted(asked.unavailable)),
    )


async def _form(
    edge: Edge, journey_id: str, product: str, revision: Literal["preview", "sealed"]
) -> signing.FormOffered:
    """Raises ``Refuse("forms_not_prepared")``."""
    view, _ = await edge.ask(signing.ViewSigning(journey_id=journey_id), signing.SigningView)
    offered = view.sealed if revision == "sealed" else view.forms
    form = next((form for form in offered if form.product == product), None)
    if form is None:
        raise Refuse("forms_not_prepared")
    return form


def samples_of(request: Request) -> Samples:
    return request.app.state.samples


def pictures_of(request: Request) -> Pictures:
    found: Pictures = request.app.state.pictures
    return found


def downloads_of(request: Request) -> Downloads:
    found: Downloads = request.app.state.downloads
    return found


async def _release(edge: Edge, journey_id: str) -> tuple[ProposalView, Release]:
    view, _ = await edge.ask(proposal.ViewProposal(journey_id=journey_id), ProposalView)
    try:
        return view, edge.releases.get(view.release)
    except ReleaseError:
        log.exception("release missing", extra={"release": view.release})
        raise Refuse("unavailable", retry_after=5) from None


async def _issued(edge: Edge, journey_id: str) -> tuple[IssuedPolicy, ...]:
    """Policies that exist: each is a fact only after seal and timestamp. Raises ``Refuse("policies_not_ready")``."""
    view, _ = await edge.ask(issuance.ViewIssuance(journey_id=journey_id), IssuanceView)
    if not view.policies:
        raise Refuse("policies_not_ready", retry_after=2)
    return view.policies


async def _is_issued(edge: Edge, journey_id: str) -> bool:
    view, _ = await edge.ask(issuance.ViewIssuance(journey_id=journey_id), IssuanceView)
    return view.state == "issued"


def _json(view: Contract, judgement: Judgement) -> Response:
    return told(json_answer(view), nonce=judgement.nonce)


def _listed(code: str, notice: Notice) -> NoticeListed:
    return NoticeListed(
        notice=code,
        version=notice.document.version,
        sha256=notice.document.sha256,
        title=notice.document.title,
        stage=notice.stage,
        act=notice.act,
        required=notice.required,
        ask=notice.ask,
    )


def notice_text(notice: Notice, intermediary: str | None) -> Text:
    insurer = notice.insurer
    return _text(
        notice.document,
        product=None,
        filing_number=None,
        insurer=insurer.name,
        intermediary=intermediary,
        hotline=insurer.hotline,
        complaint=insurer.complaint,
    )


def document_text(product: Product, document: Document, intermediary: str | None) -> Text:
    header = product.header(document, intermediary)
    return _text(
        document,
        product=header.product,
        filing_number=header.filing_number,
        insurer=header.insurer,
        intermediary=header.intermediary,
        hotline=header.hotline,
        complaint=header.complaint,
    )


def _text(
    document: Document,
    *,
    product: str | None,
    filing_number: str | None,
    insurer: str,
    intermediary: str | None,
    hotline: str,
    complaint: str,
) -> Text:
    return Text(
        product=product,
        document=document.title,
        kind=document.kind,
        version=document.version,
        sha256=document.sha256,
        clause_code=document.clause_code,
        filing_number=filing_number,
        insurer=insurer,
        intermediary=intermediary,
        hotline=hotline,
        complaint=complaint,
        characters=document.characters,
        minimum_dwell_seconds=document.minimum_dwell_seconds,
        blocks=tuple(
            Paragraph(
                id=block.id,
                kind=block.kind,
                level=block.level,
                number=block.number,
                exclusion=block.exclusion,
                conspicuous=block.conspicuous,
                text=block.text,
                spans=block.spans,
                html=block.html(),
            )
            for block in document.blocks
        ),
        html=document.html(),
    )


__all__ = ["Asked", "JourneyView", "Text", "document_text", "downloads_of", "journey_view", "notice_text", "router"]
