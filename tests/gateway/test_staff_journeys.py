"""The staff page's list, search and file: who may look, what is masked, what is on record before it is shown (I24)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from contracts.commands import evidence
from contracts.facts import proposal as facts
from contracts.problems import Refuse
from gateway.masking import masked_party
from gateway.staff_journeys import UNREADABLE
from servicekit.runner import new_ulid
from tests.gateway.doorway import SHA, Doorway

ROLES = ("service", "audit", "legal")
REASON = "法院调取 (2026) 京01民终17号"


def registered(journey_id: str, opened: facts.JourneyOpened, **more: Any) -> evidence.RegisteredJourney:
    told: dict[str, Any] = {
        "journey_id": journey_id,
        "proposal_no": opened.proposal_no,
        "channel_id": "harbour_motors",
        "release": opened.release,
        "products": tuple(terms.product for terms in opened.products),
        "state": "signed",
        "step": "payment",
        "opened_at": opened.at,
        "last_at": opened.at + timedelta(minutes=5),
        "attempts": 1,
        "refusals": 2,
        "policy_nos": (),
    }
    return evidence.RegisteredJourney(**{**told, **more})


async def file_of(at: Doorway, *, events: int = 3) -> str:
    """A journey whose file evidence shows."""
    journey_id = await at.journey()
    opened = at.opened[journey_id]
    form = await at.sealed_pdf(journey_id, b"%PDF a form")
    policy = await at.sealed_pdf(journey_id)
    document = opened.products[0].documents[0]
    title = at.release.document(document.sha256).title

    def filed(query: evidence.ViewFile) -> evidence.JourneyFile:
        if query.journey_id != journey_id:
            raise Refuse("journey_unknown")
        slug = opened.products[0].product
        return evidence.JourneyFile(
            row=registered(journey_id, opened),
            policyholder=opened.policyholder,
            insured=opened.insured,
            subject=opened.subject,
            products=opened.products,
            chain=evidence.ChainView(count=events, head=SHA, heads={}, anchored=1),
            documents=(
                evidence.ServedDocument(
                    product=slug,
                    document=document.document,
                    title=title,
                    kind="clauses",
                    version=document.version,
                    sha256=document.sha256,
                ),
            ),
            files=(
                evidence.KeptFile(kind="form", product=slug, number="F1", file=form),
                evidence.KeptFile(kind="policy", product=slug, number="P1", file=policy),
            ),
        )

    def told(query: evidence.ViewTimeline) -> evidence.Timeline:
        page = range(query.after + 1, min(query.after + 1 + query.limit, events + 1))
        return evidence.Timeline(
            events=tuple(
                evidence.TimelineEvent(
                    index=index, at=at.clock(), service="notify", service_name="短信", fact="message_sent",
                    words="短信已交给运营商", code=None, since_ms=None if index == 1 else 5, attempt=None,
                )
                for index in page
            ),
            count=events,
        )  # fmt: skip

    at.play(evidence.ViewFile, filed)
    at.play(evidence.ViewTimeline, told)
    return journey_id


async def personal(at: Doorway, journey_id: str) -> set[str]:
    """Every personal value of the journey, in full."""
    opened = at.opened[journey_id]
    values = [getattr(opened.policyholder, key) for key in ("name", "id_number", "phone", "address")]
    return {await at.under.vault.open_text(journey_id, value) for value in values}


def keyed(at: Doorway, who: str) -> dict[str, str]:
    return {**at.bearer(who), "Idempotency-Key": new_ulid()}


async def unmaskings(at: Doorway) -> list[dict[str, Any]]:
    return (await at.call("GET", "/v1/staff/unmaskings", headers=at.bearer("audit"))).json["unmaskings"]


# -- the list and the search -------------------------------------------------------------------------------


async def test_the_list_goes_by_state_step_and_channel_with_names(at: Doorway) -> None:
    journey_id = await at.journey()
    opened = at.opened[journey_id]
    listed = evidence.RegisteredJourneys(journeys=(registered(journey_id, opened),), next=journey_id)
    at.play(evidence.ListJourneys, lambda _: listed)
    query = f"state=signed&step=payment&channel_id=harbour_motors&before={'7' * 26}&limit=7"
    for role in ROLES:
        got = await at.call("GET", f"/v1/staff/journeys?{query}", headers=at.bearer(role))
        assert got.status == 200
        assert got.headers["cache-control"] == "no-store"
        assert got.json["next"] == journey_id
        (row,) = got.json["journeys"]
        assert (row["journey_id"], row["channel_name"], row["step"]) == (journey_id, "harbour_motors", "payment")
        assert [each["name"] for each in row["products"]] == [
            at.release.products[terms.product].name for terms in opened.products
        ]
    asked = at.heard(evidence.ListJourneys)[0]
    assert asked == evidence.ListJourneys(
        state="signed", step="payment", channel_id="harbour_motors", before="7" * 26, limit=7
    )


async def test_a_channel_or_release_that_is_gone_goes_by_its_own_name(at: Doorway) -> None:
    journey_id = await at.journey()
    row = registered(journey_id, at.opened[journey_id], channel_id="gone_away", release=SHA, products=("cattle",))
    at.play(evidence.ListJourneys, lambda _: evidence.RegisteredJourneys(journeys=(row,), next=None))
    (shown,) = (await at.call("GET", "/v1/staff/journeys", headers=at.bearer("audit"))).json["journeys"]
    assert (shown["channel_name"], shown["products"]) == ("gone_away", [{"product": "cattle", "name": "cattle"}])


@pytest.mark.parametrize(
    "query",
    [
        "state=lost",
        "step=walking",
        "channel_id=a%20b",
        "before=x",
        "limit=0",
        "limit=101",
        "limit=x",
        "before=" + "0" * 27,
    ],
)
async def test_bad_filters_are_refused(at: Doorway, query: str) -> None:
    got = await at.call("GET", f"/v1/staff/journeys?{query}", headers=at.bearer("audit"))
    assert (got.status, got.code) == (422, "invalid_fields")
    assert not at.heard(evidence.ListJourneys)


async def test_each_kind_of_search_and_nothing_personal_on_the_bus(
    at: Doorway, caplog: pytest.LogCaptureFixture
) -> None:
    at.play(evidence.FindJourneys, lambda _: evidence.RegisteredJourneys(journeys=(), next=None))
    phone = at.under.vault.blind_index("phone", "13800138000")
    for kind, typed, key in (
        ("proposal_no", " tb2026１", "TB20261"),
        ("policy_no", "PDAA 2026-1", "PDAA2026-1"),
        ("phone", " 138 0013 8000", phone),
        ("phone", "１３８００１３８０００", phone),
    ):
        body = {"kind": kind, "value": typed}
        got = await at.call("POST", "/v1/staff/journeys/search", body=body, headers=at.bearer("service"))
        assert got.json == {"journeys": [], "next": None}
        assert at.heard(evidence.FindJourneys)[-1] == evidence.FindJourneys(kind=kind, key=key)  # type: ignore[arg-type]
    assert not any("13800138000" in request.model_dump_json() for request in at.asked)
    assert "13800138000" not in caplog.text
    before = len(at.heard(evidence.FindJourneys))
    for bad in (
        {"kind": "name", "value": "王小明"}, {"kind": "phone", "value": ""}, {"kind": "phone"},
        {"kind": "phone", "value": "1" * 61}, {"kind": "phone", "value": "1", "all": True},
        {"kind": "phone", "value": 7},
    ):  # fmt: skip
        got = await at.call("POST", "/v1/staff/journeys/search", body=bad, headers=at.bearer("service"))
        assert (got.status, got.code) == (422, "invalid_fields"), bad
        assert "王小明" not in got.body.decode()
    nothing = {"kind": "phone", "value": "  "}
    got = await at.call("POST", "/v1/staff/journeys/search", body=nothing, headers=at.bearer("service"))
    assert got.json["journeys"] == []
    assert len(at.heard(evidence.FindJourneys)) == before


async def test_the_channels_by_name(at: Doorway) -> None:
    got = await at.call("GET", "/v1/staff/channels", headers=at.bearer("service"))
    assert got.json == {"channels": [{"channel_id": c, "name": c} for c in ("harbour_motors", "north_agency")]}


# -- who may not -------------------------------------------------------------------------------------------


async def test_nobody_else_gets_in(at: Doorway) -> None:
    journey_id = await file_of(at)
    reads = (
        "/v1/staff/journeys", f"/v1/staff/journeys/{journey_id}", f"/v1/staff/journeys/{journey_id}/documents/{SHA}",
        "/v1/staff/live", "/v1/staff/channels", "/v1/staff/stream",
    )  # fmt: skip
    acts = ("/v1/staff/journeys/search", *(f"/v1/staff/journeys/{journey_id}/{verb}" for verb in ("unmask", "files")))
    calls = [("GET", path) for path in reads] + [("POST", path) for path in acts]
    strangers = {
        "nobody": {},
        "channel": at.bearer("harbour_motors"),
        "wrong": {"Authorization": "Bearer tb_staff_x"},
    }
    for method, path in calls:
        customer = at.proven(method, path)
        for name, headers in {**strangers, "customer": customer}.items():
            body = {"reason": REASON} if method == "POST" else None
            got = await at.call(method, path, body=body, headers={**headers, "Idempotency-Key": new_ulid()})
            assert got.status == 401, (name, path)
            assert got.code in {"credentials_missing", "credentials_invalid"}
    assert not at.asked or {type(request).__module__ for request in at.asked} <= {"contracts.commands.identity"}


async def test_people_who_signed_in_may_what_their_role_may_and_only_from_our_own_page(at: Doorway) -> None:
    journey_id = await file_of(at)
    path = f"/v1/staff/journeys/{journey_id}"
    key = {"Idempotency-Key": new_ulid()}
    audit, legal, seller = [await at.signed_in(who) for who in ("audit", "legal", "anna")]
    assert (await at.call("GET", path, headers=audit)).status == 200
    assert (await at.call("GET", path, headers=seller)).code == "credentials_invalid"
    body = {"reason": REASON}
    assert (await at.call("POST", f"{path}/unmask", body=body, headers={**audit, **key})).code == "role_missing"
    elsewhere = {**legal, **key, "Sec-Fetch-Site": "cross-site"}
    assert (await at.call("POST", f"{path}/unmask", body=body, headers=elsewhere)).code == "cross_site"
    assert await unmaskings(at) == []
    assert (await at.call("POST", f"{path}/unmask", body=body, headers={**legal, **key})).status == 200
    assert len(await unmaskings(at)) == 1


async def test_I24_only_the_legal_role_unmasks_or_takes_files(at: Doorway) -> None:
    journey_id = await file_of(at)
    slug = at.opened[journey_id].products[0].product
    for role in ("service", "audit"):
        for verb, body in (("unmask", {}), ("files", {"kind": "form", "product": slug})):
            path = f"/v1/staff/journeys/{journey_id}/{verb}"
            got = await at.call("POST", path, body={**body, "reason": REASON}, headers=keyed(at, role))
            assert (got.status, got.code) == (403, "role_missing")
    assert await unmaskings(at) == []
    assert not at.heard(evidence.ViewFile)


# -- one journey's file ------------------------------------------------------------------------------------


async def test_I24_a_file_is_masked_for_every_role(at: Doorway, caplog: pytest.LogCaptureFixture) -> None:
    journey_id = await file_of(at)
    for role in ROLES:
        got = await at.call("GET", f"/v1/staff/journeys/{journey_id}", headers=at.bearer(role))
        assert got.status == 200
        assert not any(value in got.body.decode() for value in await personal(at, journey_id))
    file = got.json
    opened = at.opened[journey_id]
    assert file["policyholder"]["name"] == "王**"
    assert file["policyholder"]["phone"][3:7] == "****"
    assert file["policyholder"]["id_type"] == "id_card"
    labels = {rule.label for terms in opened.products for rule in at.release.products[terms.product].subject.fields}
    assert {row["label"] for row in file["subject"]} <= labels
    assert len(file["subject"]) == len(opened.subject)
    for code in ("vin", "plate", "owner"):
        if code in opened.subject:
            value = await at.under.vault.open_text(journey_id, opened.subject[code])
            assert value not in got.body.decode()
    assert file["chain"] == {"count": 3, "head": SHA, "anchored": 1}
    assert [(kept["kind"], kept["number"]) for kept in file["files"]] == [("form", "F1"), ("policy", "P1")]
    assert "blob" not in got.body.decode()
    assert [event["index"] for event in file["timeline"]] == [1, 2, 3]
    assert not any(value in caplog.text for value in await personal(at, journey_id))


async def test_a_long_timeline_is_whole(at: Doorway) -> None:
    journey_id = await file_of(at, events=1203)
    got = await at.call("GET", f"/v1/staff/journeys/{journey_id}", headers=at.bearer("audit"))
    assert [event["index"] for event in got.json["timeline"]] == list(range(1, 1204))
    assert [query.after for query in at.heard(evidence.ViewTimeline)] == [0, 500, 1000]


async def test_a_journey_nobody_knows_or_whose_evidence_is_damaged(at: Doorway) -> None:
    await file_of(at)
    for unknown in (new_ulid(), "nonsense", "%2e%2e"):
        got = await at.call("GET", f"/v1/staff/journeys/{unknown}", headers=at.bearer("audit"))
        assert (got.status, got.code) in {(404, "journey_unknown"), (404, "not_found")}
    at.refuse(evidence.ViewFile, "evidence_incomplete", damaged=3)
    got = await at.call("GET", f"/v1/staff/journeys/{new_ulid()}", headers=at.bearer("audit"))
    assert (got.status, got.code) == (503, "evidence_incomplete")


async def test_a_shredded_journey_still_has_its_file_without_its_persons(at: Doorway) -> None:
    journey_id = await file_of(at)
    await at.under.vault.shred(journey_id)
    got = await at.call("GET", f"/v1/staff/journeys/{journey_id}", headers=at.bearer("audit"))
    assert got.status == 200
    assert set(got.json["policyholder"].values()) == {"id_card", UNREADABLE}
    assert UNREADABLE in {row["text"] for row in got.json["subject"]}
    path = f"/v1/staff/journeys/{journey_id}/unmask"
    got = await at.call("POST", path, body={"reason": REASON}, headers=keyed(at, "legal"))
    assert (got.status, got.code) == (404, "journey_unknown")
    assert await unmaskings(at) == []


async def test_the_text_as_it_was_served(at: Doorway) -> None:
    journey_id = await file_of(at)
    base = f"/v1/staff/journeys/{journey_id}/documents"
    document = at.opened[journey_id].products[0].documents[0]
    got = await at.call("GET", f"{base}/{document.sha256}", headers=at.bearer("service"))
    assert (got.json["sha256"], got.json["version"]) == (document.sha256, document.version)
    assert got.json["intermediary"] == "滨海汽车"
    assert got.json["blocks"]
    notice = at.release.notices["recording"].document
    got = await at.call("GET", f"{base}/{notice.sha256}", headers=at.bearer("service"))
    assert got.json["document"] == notice.title
    for bad in (SHA, "x"):
        assert (await at.call("GET", f"{base}/{bad}", headers=at.bearer("service"))).code == "document_unknown"


# -- in full -----------------------------------------------------------------------------------------------


async def test_I24_unmasking_shows_all_and_is_on_record(at: Doorway) -> None:
    journey_id = await file_of(at)
    path = f"/v1/staff/journeys/{journey_id}/unmask"
    got = await at.call("POST", path, body={"reason": REASON}, headers=keyed(at, "legal"))
    assert got.status == 200
    assert got.headers["cache-control"] == "no-store"
    shown = got.json["policyholder"]
    assert await personal(at, journey_id) == {shown[key] for key in ("name", "id_number", "phone", "address")}
    (entry,) = await unmaskings(at)
    assert (entry["staff_id"], entry["journey_id"], entry["scope"], entry["reason"]) == (
        "one_of_legal", journey_id, "values", REASON,
    )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {}, {"reason": "abc"}, {"reason": "x" * 201}, {"reason": REASON, "quietly": True}, {"reason": "    "},
        {"reason": " \u3000\u00a0 ab"}, {"reason": "\u200b" * 8}, {"reason": "\0" * 8}, {"reason": REASON + "\u202e"},
    ],
)  # fmt: skip
async def test_I24_without_a_reason_nothing_is_opened(at: Doorway, body: dict[str, Any]) -> None:
    journey_id = await file_of(at)
    got = await at.call("POST", f"/v1/staff/journeys/{journey_id}/unmask", body=body, headers=keyed(at, "legal"))
    assert (got.status, got.code) == (422, "invalid_fields")
    keyless = await at.call(
        "POST", f"/v1/staff/journeys/{journey_id}/unmask", body={"reason": REASON}, headers=at.bearer("legal")
    )
    assert keyless.code == "idempotency_key_missing"
    assert await unmaskings(at) == []


async def test_I24_what_cannot_be_put_on_record_is_not_opened(at: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    from servicekit.store import StoreUnavailable

    journey_id = await file_of(at)
    slug = at.opened[journey_id].products[0].product
    opened: list[Any] = []

    def broken(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("full")

    async def watched(*asked: Any) -> str:
        opened.append(asked)
        return ""

    monkeypatch.setattr(at.under.store, "collection", broken)
    monkeypatch.setattr(at.under.vault, "open_text", watched)
    for verb, body in (("unmask", {}), ("files", {"kind": "policy", "product": slug})):
        path = f"/v1/staff/journeys/{journey_id}/{verb}"
        got = await at.call("POST", path, body={**body, "reason": REASON}, headers=keyed(at, "legal"))
        assert (got.status, got.code) == (503, "unavailable")
        assert "url" not in got.json
    assert opened == []


async def test_I24_a_file_comes_once_and_is_on_record(at: Doorway) -> None:
    journey_id = await file_of(at)
    slug = at.opened[journey_id].products[0].product
    path = f"/v1/staff/journeys/{journey_id}/files"
    for kind, number, data in (("form", "F1", b"%PDF a form"), ("policy", "P1", b"%PDF-1.7 a policy")):
        body = {"kind": kind, "product": slug, "reason": REASON}
        got = await at.call("POST", path, body=body, headers=keyed(at, "legal"))
        assert got.status == 201
        assert number in got.json["file_name"]
        address = got.json["url"].removeprefix(at.base)
        assert (await at.call("GET", address)).body == data
        assert (await at.call("GET", address)).code == "download_expired"
        entry = (await unmaskings(at))[-1]
        assert (entry["scope"], entry["policy_no"] or entry["form_no"], entry["reason"]) == ("file", number, REASON)
    for bad, code in (
        ({"kind": "form", "product": "cattle", "reason": REASON}, "not_found"),
        ({"kind": "ink", "product": slug, "reason": REASON}, "invalid_fields"),
        ({"kind": "form", "product": "../x", "reason": REASON}, "invalid_fields"),
        ({"kind": "form", "product": slug}, "invalid_fields"),
    ):
        assert (await at.call("POST", path, body=bad, headers=keyed(at, "legal"))).code == code
    assert len(await unmaskings(at)) == 2


async def test_old_records_of_unmasking_are_read_beside_new_ones(at: Doorway) -> None:
    from servicekit.store import Document

    old = {
        "at": at.clock().isoformat(), "staff_id": "one", "journey_id": new_ulid(), "scope": "journey",
        "policy_no": None, "reason": REASON,
    }  # fmt: skip
    await at.under.store.collection("unmaskings").save(Document(new_ulid(), state=old))
    (entry,) = await unmaskings(at)
    assert (entry["scope"], entry["form_no"]) == ("journey", None)


def test_a_masked_person_keeps_only_the_kind_of_document() -> None:
    whole = {
        "name": "欧阳若兰", "id_type": "id_card", "id_number": "11010519491231002X", "phone": "13800138000",
        "address": "北京市朝阳区示范路1号",
    }  # fmt: skip
    masked = masked_party(whole)
    assert masked["id_type"] == "id_card"
    assert not any(value in json.dumps(masked, ensure_ascii=False) for key, value in whole.items() if key != "id_type")
