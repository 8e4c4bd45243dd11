"""Signatures that two people look at: does it read as the name? They decide that and nothing else (I11)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from contracts.commands import signing
from contracts.commands.proposal import ProposalView, ViewProposal
from contracts.facts import signing as facts
from contracts.problems import KINDS
from contracts.values import Contract, Instant, JourneyId, Slug, Token
from gateway.edge import edge_of, idempotency_key, json_answer, json_of, staff_of
from gateway.openapi import IDEMPOTENCY_KEY, STAFF, body_of, problems
from gateway.staff import MAY, put_on_record
from gateway.staff_journeys import WHO

REASON: Final = "人工核对签名"
"""What stands in the record of who saw a name in full: whoever looks here looks for that (I24)."""
SAID: Final = {"handwriting_unknown_character": "姓名中有系统不认识的字。"}
"""Reasons that are no refusal."""


class ReviewWaiting(Contract):
    journey_id: JourneyId
    review_no: int
    requested_at: Instant
    reason: Slug
    said: str
    """The reason in words."""
    tries: int
    found_legible: int
    mine: bool
    """The asker has looked at it; somebody else must."""


class ReviewQueue(Contract):
    """Longest waiting first."""

    reviews: tuple[ReviewWaiting, ...]


class CharacterShown(Contract):
    character: str
    score: float | None
    limit: float
    ok: bool


class TryShown(Contract):
    at: Instant
    reason: Slug
    said: str
    box: int | None
    """From 1; none: the whole name."""
    characters: tuple[CharacterShown, ...]
    """What the check made of each; empty where it was not asked."""
    pen: tuple[facts.PenMeasure, ...]


class LegibleBy(Contract):
    staff_id: Token
    at: Instant


class ReviewShown(Contract):
    """Everything to decide by, and nothing else of the journey."""

    journey_id: JourneyId
    review_no: int
    requested_at: Instant
    characters: tuple[str, ...]
    """The name as it stands on the ID, one a box."""
    writing: signing.Handwriting
    """Stroke by stroke with the time of every point, to be replayed."""
    svg: str
    """The name as it would stand on the form, drawn from the strokes."""
    checks: tuple[facts.InkCheck, ...]
    tries: tuple[TryShown, ...]
    """All of the journey, oldest first, this one last."""
    legible_by: tuple[LegibleBy, ...]
    mine: bool


class Finding(Contract):
    review_no: Annotated[int, Field(ge=1)]
    finding: facts.Finding


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1/staff/reviews", tags=["staff"])
    described: dict[str, Any] = {"openapi_extra": {"security": STAFF}}

    @routes.get(
        "",
        operation_id="list_reviews",
        summary="Signatures that wait for people, longest first.",
        response_model=ReviewQueue,
        responses=problems(*WHO),
        **described,
    )
    async def list_reviews(request: Request) -> Response:
        edge, member = edge_of(request), await staff_of(request, *MAY["review_handwriting"])
        found, _ = await edge.ask(signing.ListReviews(), signing.ReviewList)
        waiting = tuple(
            ReviewWaiting(
                journey_id=each.journey_id,
                review_no=each.review_no,
                requested_at=each.requested_at,
                reason=each.reason,
                said=_said(each.reason),
                tries=each.tries,
                found_legible=len(each.reviewers),
                mine=member.staff_id in each.reviewers,
            )
            for each in found.reviews
        )
        return json_answer(ReviewQueue(reviews=waiting))

    @routes.get(
        "/{journey_id}",
        operation_id="read_review",
        summary="One signature: strokes, picture and what was found before. Who looks is on record (I24).",
        response_model=ReviewShown,
        responses=problems(*WHO, "journey_unknown", "review_over"),
        **described,
    )
    async def read_review(request: Request, journey_id: str) -> Response:
        edge, member = edge_of(request), await staff_of(request, *MAY["review_handwriting"])
        journey_id = await edge.known(journey_id)
        (review, _), (proposal, _) = await asyncio.gather(
            edge.ask(signing.ViewReview(journey_id=journey_id), signing.Review),
            edge.ask(ViewProposal(journey_id=journey_id), ProposalView),
        )
        await put_on_record(edge, member, journey_id, "review", REASON)
        requested, vault = review.requested, edge.ground.vault
        name, strokes, svg = await asyncio.gather(
            vault.open_text(journey_id, proposal.policyholder.name),
            vault.open(journey_id, requested.strokes),
            vault.open(journey_id, requested.vector),
        )
        characters = tuple(signing.written_characters(name))
        return json_answer(
            ReviewShown(
                journey_id=journey_id,
                review_no=requested.review_no,
                requested_at=requested.at,
                characters=characters,
                writing=signing.Handwriting.model_validate_json(strokes),
                svg=svg.decode(),
                checks=requested.ink_checks,
                tries=tuple(_shown(each, characters) for each in review.tries),
                legible_by=tuple(LegibleBy(staff_id=each.reviewer, at=each.at) for each in review.decisions),
                mine=any(each.reviewer == member.staff_id for each in review.decisions),
            )
        )

    @routes.post(
        "/{journey_id}/decide",
        operation_id="decide_review",
        summary="What one of two people finds. Both legible: signed; one not: the customer writes again.",
        response_model=signing.ReviewDecision,
        responses=problems(
            *WHO,
            "cross_site",
            "idempotency_key_missing",
            "idempotency_key_reused",
            "journey_unknown",
            "review_over",
            "review_decided",
            "malformed",
            "invalid_fields",
            "unsupported_media_type",
        ),
        openapi_extra={"security": STAFF, "requestBody": body_of(Finding), "parameters": [IDEMPOTENCY_KEY]},
    )
    async def decide_review(request: Request, journey_id: str) -> Response:
        edge, member = edge_of(request), await staff_of(request, *MAY["review_handwriting"])
        command_id = idempotency_key(request)
        found = await json_of(request, Finding)
        command = signing.DecideReview(
            command_id=command_id,
            journey_id=await edge.known(journey_id),
            review_no=found.review_no,
            reviewer=member.staff_id,
            finding=found.finding,
        )
        decision, _ = await edge.ask(command, signing.ReviewDecision)
        return json_answer(decision)

    return routes


def _said(reason: str) -> str:
    return SAID[reason] if reason in SAID else KINDS[reason].title


def _shown(each: signing.Try, characters: tuple[str, ...]) -> TryShown:
    read = () if each.reading is None else each.reading.characters
    return TryShown(
        at=each.at,
        reason=each.reason,
        said=_said(each.reason),
        box=None if each.box is None else each.box + 1,
        characters=tuple(
            CharacterShown(character=characters[one.box], score=one.score, limit=one.limit, ok=one.ok) for one in read
        ),
        pen=each.pen,
    )
