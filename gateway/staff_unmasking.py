"""Personal values in full, and files that show them: a right of its own, with a reason, on record first (I24)."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from contracts.problems import Refuse
from contracts.values import Contract, Slug
from gateway.downloads import DownloadLink
from gateway.edge import edge_of, idempotency_key, json_answer, json_of, staff_of
from gateway.journey import downloads_of
from gateway.openapi import IDEMPOTENCY_KEY, STAFF, body_of, problems
from gateway.staff import MAY, Reason, put_on_record
from gateway.staff_journeys import (
    WHO,
    Labelled,
    PersonShown,
    filed_of,
    opened_people,
    product_name,
    release_of,
)

TITLES: Final = {"form": "投保单", "policy": "保单"}


class UnmaskWanted(Contract):
    reason: Reason


class Unmasked(Contract):
    policyholder: PersonShown
    insured: PersonShown | None
    subject: tuple[Labelled, ...]


class FileWanted(Contract):
    kind: Literal["form", "policy"]
    product: Slug
    reason: Reason


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1/staff/journeys/{journey_id}", tags=["staff"])
    refusals = (
        *WHO,
        "cross_site",
        "idempotency_key_missing",
        "journey_unknown",
        "evidence_incomplete",
        "invalid_fields",
        "unsupported_media_type",
    )

    def described(body: type[Contract]) -> dict[str, Any]:
        return {
            "openapi_extra": {"security": STAFF, "requestBody": body_of(body), "parameters": [IDEMPOTENCY_KEY]},
        }

    @routes.post(
        "/unmask",
        operation_id="unmask_journey",
        summary="Who and what, in full. On record before anything is shown (I24).",
        response_model=Unmasked,
        responses=problems(*refusals),
        **described(UnmaskWanted),
    )
    async def unmask_journey(request: Request, journey_id: str) -> Response:
        edge, member = edge_of(request), await staff_of(request, *MAY["unmask"])
        idempotency_key(request)
        wanted = await json_of(request, UnmaskWanted)
        filed = await filed_of(edge, await edge.known(journey_id))
        await put_on_record(edge, member, journey_id, "values", wanted.reason)
        release = release_of(edge, filed.row.release)
        people = await opened_people(edge, filed)
        return json_answer(Unmasked(**people.full(release)))

    @routes.post(
        "/files",
        operation_id="take_journey_file",
        summary="A form or policy by a one-time address. On record first (I24).",
        status_code=201,
        response_model=DownloadLink,
        responses=problems(*refusals, "not_found"),
        **described(FileWanted),
    )
    async def take_journey_file(request: Request, journey_id: str) -> Response:
        edge, member = edge_of(request), await staff_of(request, *MAY["unmask"])
        idempotency_key(request)
        wanted = await json_of(request, FileWanted)
        filed = await filed_of(edge, await edge.known(journey_id))
        kept = next((k for k in filed.files if (k.kind, k.product) == (wanted.kind, wanted.product)), None)
        if kept is None:
            raise Refuse("not_found")
        await put_on_record(
            edge,
            member,
            journey_id,
            "file",
            wanted.reason,
            policy_no=kept.number if kept.kind == "policy" else None,
            form_no=kept.number if kept.kind == "form" else None,
        )
        name = product_name(release_of(edge, filed.row.release), kept.product)
        link = await downloads_of(request).offer(
            journey_id,
            kept.file,
            media_type=kept.file.media_type,
            file_name=f"{TITLES[kept.kind]}-{name}-{kept.number}.pdf",
        )
        return json_answer(link, 201)

    return routes
