"""What the insurer's own people may do: packs, refunds, looking customers up, the survey's figures.

None of it touches a step of a journey (I13). Whoever unmasks says why, and that is on record before anything is
handed out (I24).
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator, Field, StringConstraints
from starlette.responses import Response

from contracts.commands.appdownload import ReferralCounts, ReferralReport
from contracts.commands.base import Done
from contracts.commands.evidence import BuildPack, Pack
from contracts.commands.identity import Customers, FindCustomers
from contracts.commands.issuance import Gaps, ListGaps
from contracts.commands.nps import ScoreReport, Scores
from contracts.commands.payment import RefundOrder
from contracts.problems import Refuse
from contracts.values import Committed, Contract, Instant, JourneyId, Token
from gateway.credentials import Role, StaffMember
from gateway.downloads import DownloadLink
from gateway.edge import Edge, edge_of, idempotency_key, json_answer, json_of, staff_of
from gateway.journey import downloads_of
from gateway.openapi import IDEMPOTENCY_KEY, STAFF, body_of, problems
from products.party_check import id_check_character, unfit_character
from servicekit.store import Cursor, Document

MAY: Final[dict[str, tuple[Role, ...]]] = {
    "read_journeys": ("service", "audit", "legal"),
    "build_pack": ("audit", "legal"),
    "unmask": ("legal",),
    "read_unmaskings": ("audit",),
    "find_customers": ("service", "legal"),
    "refund": ("service",),
    "read_scores": ("service", "audit"),
    "read_gaps": ("audit",),
    "review_handwriting": ("service", "legal"),
}
"""Who may do what, in one table."""


def _readable(text: str) -> str:
    if unfit_character(text):
        raise ValueError("holds what cannot be seen")
    return text


Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=4, max_length=200), AfterValidator(_readable)
]
"""Why somebody wants to see what is masked: for whoever audits it, so it is something that can be read."""


class PackWanted(Contract):
    journey_id: JourneyId
    scope: Literal["journey", "policy"] = "journey"
    policy_no: Annotated[str, Field(max_length=40)] | None = None
    masked: bool = True
    """False shows personal values in full: a right of its own, and on record (I24)."""
    reason: Reason


class PackLink(DownloadLink):
    complete: bool
    size: int


class CustomerSought(Contract):
    """One value, looked up by its blind index: it is neither kept nor logged."""

    kind: Literal["name", "phone", "id_number"]
    value: Annotated[str, Field(min_length=1, max_length=60)]


class RefundWanted(Contract):
    journey_id: JourneyId
    order_no: Token


Looked = Literal["journey", "policy", "values", "file", "review"]
"""At a pack of the journey or of a policy, the values on the page, a file, or a signature."""


class Unmasking(Contract):
    """Who saw personal values in full, of which journey, and why (I24)."""

    at: Instant
    staff_id: Token
    journey_id: JourneyId
    scope: Looked
    policy_no: str | None
    form_no: str | None = None
    reason: str


class Unmaskings(Contract):
    unmaskings: tuple[Unmasking, ...]
    next: str


def router() -> APIRouter:
    routes = APIRouter(prefix="/v1/staff", tags=["staff"])
    who = ("credentials_missing", "credentials_invalid", "role_missing")

    def described(body: type[Contract] | None = None, *, keyed: bool = False) -> dict[str, Any]:
        more: dict[str, Any] = {"security": STAFF}
        if body is not None:
            more["requestBody"] = body_of(body)
        if keyed:
            more["parameters"] = [IDEMPOTENCY_KEY]
        return {"openapi_extra": more}

    @routes.post(
        "/packs",
        operation_id="build_pack",
        summary="The sealed evidence of a journey or of one policy, by a one-time address.",
        status_code=201,
        response_model=PackLink,
        responses=problems(
            *who,
            "idempotency_key_missing",
            "journey_unknown",
            "evidence_incomplete",
            "invalid_fields",
            "unsupported_media_type",
        ),
        **described(PackWanted, keyed=True),
    )
    async def build_pack(request: Request) -> Response:
        edge, member = edge_of(request), await staff_of(request, *MAY["build_pack"])
        command_id = idempotency_key(request)
        wanted = await json_of(request, PackWanted)
        if not wanted.masked and not member.roles & set(MAY["unmask"]):
            raise Refuse("role_missing")
        await edge.known(wanted.journey_id)
        if not wanted.masked:
            await put_on_record(
                edge, member, wanted.journey_id, wanted.scope, wanted.reason, policy_no=wanted.policy_no
            )
        command = BuildPack(
            command_id=command_id,
            journey_id=wanted.journey_id,
            scope=wanted.scope,
            policy_no=wanted.policy_no,
            masked=wanted.masked,
            reason=wanted.reason,
        )
        pack, _ = await edge.ask(command, Pack, timeout=60)
        link = await downloads_of(request).offer(
            wanted.journey_id,
            Committed(commitment=pack.commitment, blob=pack.blob),
            media_type="application/zip",
            file_name=pack.file_name,
        )
        return json_answer(PackLink(**link.model_dump(), complete=pack.complete, size=pack.size), 201)

    @routes.get(
        "/unmaskings",
        operation_id="read_unmaskings",
        summary="Who saw personal values in full, and why, oldest first (I24).",
        response_model=Unmaskings,
        responses=problems(*who, "invalid_fields"),
        **described(),
    )
    async def read_unmaskings(
        request: Request,
        after: Annotated[str, Query(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")] = "0" * 26,
        limit: Annotated[int, Query(ge=1, le=100)] = 50,
    ) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["read_unmaskings"])
        found = await edge.ground.store.collection("unmaskings").find(after=Cursor(after), limit=limit)
        listed = tuple(Unmasking.model_validate(document.state) for document in found)
        return json_answer(Unmaskings(unmaskings=listed, next=found[-1].id if found else after))

    @routes.post(
        "/customers",
        operation_id="find_customers",
        summary="The insurer's customers by name, phone or ID number, for renewal.",
        response_model=Customers,
        responses=problems(*who, "invalid_fields", "unsupported_media_type"),
        **described(CustomerSought),
    )
    async def find_customers(request: Request) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["find_customers"])
        sought = await json_of(request, CustomerSought)
        index = edge.ground.vault.blind_index(sought.kind, normal(sought.kind, sought.value))
        found, _ = await edge.ask(FindCustomers(kind=sought.kind, index=index), Customers)
        return json_answer(found)

    @routes.post(
        "/refunds",
        operation_id="refund",
        summary="Gives an order's money back.",
        response_model=Done,
        responses=problems(
            *who,
            "idempotency_key_missing",
            "journey_unknown",
            "nothing_to_refund",
            "invalid_fields",
            "unsupported_media_type",
        ),
        **described(RefundWanted, keyed=True),
    )
    async def refund(request: Request) -> Response:
        edge = edge_of(request)
        await staff_of(request, *MAY["refund"])
        command_id = idempotency_key(request)
        wanted = await json_of(request, RefundWanted)
        await edge.known(wanted.journey_id)
        command = RefundOrder(command_id=command_id, journey_id=wanted.journey_id, order_no=wanted.order_no)
        reply, _ = await edge.ask(command, Done, timeout=15)
        return json_answer(reply)

    @routes.get(
        "/nps",
        operation_id="read_scores",
        summary="Net promoter scores with their number and error, by channel and product.",
        response_model=Scores,
        responses=problems(*who, "invalid_fields"),
        **described(),
    )
    async def read_scores(
        request: Request,
        since: Instant | None = None,
        channel_id: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = None,
        product: Annotated[str, Query(pattern=r"^[a-z][a-z0-9_]{0,63}$")] | None = None,
    ) -> Response:
        await staff_of(request, *MAY["read_scores"])
        report = ScoreReport(since=since, channel_id=channel_id, product=product)
        scores, _ = await edge_of(request).ask(report, Scores)
        return json_answer(scores)

    @routes.get(
        "/referrals",
        operation_id="read_referrals",
        summary="How many customers came how far with the insurer's app.",
        response_model=ReferralCounts,
        responses=problems(*who),
        **described(),
    )
    async def read_referrals(request: Request) -> Response:
        await staff_of(request, *MAY["read_scores"])
        counts, _ = await edge_of(request).ask(ReferralReport(), ReferralCounts)
        return json_answer(counts)

    @routes.get(
        "/gaps",
        operation_id="read_gaps",
        summary="Serial numbers of policies drawn and never used.",
        response_model=Gaps,
        responses=problems(*who, "invalid_fields"),
        **described(),
    )
    async def read_gaps(
        request: Request,
        line: Annotated[str, Query(pattern=r"^[A-Z0-9]{4}$")],
        year: Annotated[int, Query(ge=2020, le=2200)],
    ) -> Response:
        await staff_of(request, *MAY["read_gaps"])
        gaps, _ = await edge_of(request).ask(ListGaps(line=line, year=year), Gaps)
        return json_answer(gaps)

    return routes


def normal(kind: str, value: str) -> str:
    """As identity writes what it indexes: NFKC, no spaces, Latin letters in upper case, one kind of middle dot;
    15 old digits of an ID number become 18 (GB 11643-1999).
    """
    text = "".join(unicodedata.normalize("NFKC", value).split()).upper()
    if kind == "name":
        for dot in "•‧∙⋅・●.":
            text = text.replace(dot, "·")
    if kind == "id_number" and len(text) == 15 and text.isascii() and text.isdigit():
        seventeen = f"{text[:6]}19{text[6:]}"
        text = seventeen + id_check_character(seventeen)
    return text


async def put_on_record(
    edge: Edge,
    member: StaffMember,
    journey_id: str,
    scope: Looked,
    reason: str,
    *,
    policy_no: str | None = None,
    form_no: str | None = None,
) -> None:
    """Before anything is shown: what can't be logged isn't shown."""
    unmasking = Unmasking(
        at=edge.ground.now(),
        staff_id=member.staff_id,
        journey_id=journey_id,
        scope=scope,
        policy_no=policy_no,
        form_no=form_no,
        reason=reason,
    )
    unmaskings = edge.ground.store.collection("unmaskings")
    await unmaskings.save(Document(edge.ground.new_id(), state=unmasking.model_dump(mode="json")))
