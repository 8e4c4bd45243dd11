"""What the customer's page reads."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from contracts.commands import appdownload, identity, issuance, nps, payment, proposal, signing
from servicekit.runner import new_ulid
from tests.gateway.doorway import NOTHING_YET, Doorway


async def issued(at: Doorway, journey_id: str, pdf: bytes = b"%PDF-1.7 a policy") -> None:
    policy = issuance.IssuedPolicy(
        product="motor_commercial",
        policy_no="PDAA202611000000011",
        policy=await at.sealed_pdf(journey_id, pdf),
        issued_at=at.clock(),
    )
    at.play(issuance.ViewIssuance, lambda _: issuance.IssuanceView(state="issued", policies=(policy,)))


async def test_the_view_is_put_together_from_every_service(at: Doorway) -> None:
    journey_id = await at.journey()
    got = await at.get(f"/v1/journeys/{journey_id}")
    assert got.status == 200
    view = got.json
    assert view["place"] == {"step": "recording", "page": "P1", "then": []}
    assert view["intermediary"] == "滨海汽车销售有限公司"
    assert view["unavailable"] == []
    assert {notice["notice"] for notice in view["notices"]} == set(at.release.notices)
    cards = {card["product"]: card for card in view["card"]["products"]}
    assert set(cards) == {"motor_compulsory", "motor_commercial", "driver_passenger_accident"}
    assert cards["motor_commercial"]["filing_number"]
    assert cards["motor_commercial"]["needs_questions"]
    assert cards["motor_compulsory"]["total_fen"] == 66500 + 42000
    assert view["card"]["total_fen"] == 66500 + 42000 + 260000
    heads = dict(part.split("=") for part in got.headers["journey-heads"].split(","))
    assert heads["proposal"] == heads["identity"] == "7"
    assert got.headers["dpop-nonce"] == "nonce"
    assert got.headers["cache-control"] == "no-store"


async def test_I4_nothing_optional_is_ticked_and_the_price_stands_with_and_without(at: Doorway) -> None:
    view = (await at.get(f"/v1/journeys/{await at.journey()}")).json
    extra = next(card for card in view["card"]["products"] if card["optional"])
    assert extra["chosen"] is False
    assert view["card"]["totals"] == {extra["product"]: view["card"]["total_fen"] + 20000}


async def test_I24_personal_values_are_masked_until_identity_is_proven(at: Doorway) -> None:
    journey_id = await at.journey()
    secrets = (at.who.name, at.who.id_number, at.who.phone, at.who.address)
    for reveal, verified, shown in ((True, False, False), (False, True, False), (True, True, True)):
        at.verified = verified
        got = await at.get(f"/v1/journeys/{journey_id}?reveal={str(reveal).lower()}")
        assert got.json["card"]["revealed"] is shown
        for secret in secrets:
            assert (secret in got.body.decode()) is shown
    at.verified = False
    hidden = (await at.get(f"/v1/journeys/{journey_id}")).body.decode()
    assert at.who.phone[:3] + "****" + at.who.phone[-4:] in hidden
    assert "王**" in hidden


async def test_a_service_that_is_away_leaves_a_gap_that_is_named(at: Doorway) -> None:
    journey_id = await at.journey()

    async def never(_: Any) -> Any:
        await asyncio.Event().wait()

    at.play(payment.ViewPayment, never)
    at.refuse(signing.ViewSigning, "unavailable")
    got = await at.get(f"/v1/journeys/{journey_id}")
    assert got.status == 200
    assert got.json["unavailable"] == ["payment", "signing"]
    assert got.json["payment"] is None
    assert got.json["place"]["step"] == "recording"


async def test_without_the_proposal_there_is_nothing_to_show(at: Doorway) -> None:
    journey_id = await at.journey()
    at.refuse(proposal.ViewProposal, "journey_unknown")
    assert (await at.get(f"/v1/journeys/{journey_id}")).code == "journey_unknown"


async def test_polling_costs_little_while_nothing_changes(at: Doorway) -> None:
    path = f"/v1/journeys/{await at.journey()}"
    first = await at.get(path)
    again = await at.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["dpop-nonce"] == "nonce"
    at.play(
        identity.ViewIdentity,
        lambda _: NOTHING_YET[identity.ViewIdentity].model_copy(update={"recording_acknowledged": True}),
    )
    changed = await at.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status, changed.json["place"]["step"]) == (200, "consents")


async def test_merely_looking_moves_no_clock(at: Doorway) -> None:
    journey_id = await at.journey()
    await at.get(f"/v1/journeys/{journey_id}")
    (judged,) = at.heard(identity.JudgeProof)
    assert (judged.purpose, judged.moving) == ("identity", False)
    assert judged.body_sha256 == hashlib.sha256(b"").hexdigest()


async def test_a_proof_for_another_page_is_refused(at: Doorway) -> None:
    journey_id = await at.journey()
    path = f"/v1/journeys/{journey_id}/policies"
    got = await at.call("GET", path, headers=at.proven("GET", f"/v1/journeys/{journey_id}"))
    assert (got.status, got.code) == (401, "proof_url")
    assert got.headers["dpop-nonce"] == "nonce"
    stale = await at.call(
        "GET", path, headers=at.proven("GET", path) | {"DPoP": at.device.proof("GET", at.base + path)}
    )
    assert stale.code == "use_dpop_nonce"
    assert stale.headers["www-authenticate"].startswith('DPoP error="use_dpop_nonce"')


async def test_I31_every_text_names_insurer_intermediary_filing_hotline_and_complaints(at: Doorway) -> None:
    journey_id = await at.journey()
    document = at.release.products["motor_commercial"].documents[0]
    text = (await at.get(f"/v1/journeys/{journey_id}/documents/{document.sha256}")).json
    assert text["insurer"] == "中安财产保险股份有限公司"
    assert text["intermediary"] == "滨海汽车销售有限公司"
    for part in ("filing_number", "clause_code", "hotline", "complaint", "version"):
        assert text[part], part
    assert text["sha256"] == document.sha256
    assert [block["id"] for block in text["blocks"]] == [block.id for block in document.blocks]
    notice = (await at.get(f"/v1/journeys/{journey_id}/notices/privacy")).json
    assert notice["text"]["insurer"] == "中安财产保险股份有限公司"
    assert notice["act"] == "consent"


async def test_only_documents_of_this_journey_can_be_read(at: Doorway) -> None:
    journey_id = await at.journey(extra=False)
    foreign = at.release.products["driver_passenger_accident"].documents[0].sha256
    for sha256 in (foreign, "a" * 64, "x", "..x"):
        got = await at.get(f"/v1/journeys/{journey_id}/documents/{sha256}")
        assert got.code in {"document_unknown", "proof_url"}, sha256
    assert (await at.get(f"/v1/journeys/{journey_id}/notices/nothing")).code == "document_unknown"


async def test_a_form_is_the_very_bytes_and_only_for_the_proven(at: Doorway) -> None:
    journey_id = await at.journey()
    form = signing.FormOffered(
        product="motor_commercial", form_no="F1", form_version="1", form=await at.sealed_pdf(journey_id, b"%PDF form")
    )
    view = NOTHING_YET[signing.ViewSigning].model_copy(update={"forms": (form,)})
    at.play(signing.ViewSigning, lambda _: view)
    path = f"/v1/journeys/{journey_id}/forms/motor_commercial"
    got = await at.get(path)
    assert (got.status, got.body, got.headers["content-type"]) == (200, b"%PDF form", "application/pdf")
    assert (await at.get(f"{path}?revision=sealed")).code == "forms_not_prepared"
    assert (await at.get(f"/v1/journeys/{journey_id}/forms/other")).code == "forms_not_prepared"
    at.verified = False
    assert (await at.get(path)).code == "identity_missing"


async def test_no_policy_before_it_is_issued(at: Doorway) -> None:
    journey_id = await at.journey()
    got = await at.get(f"/v1/journeys/{journey_id}/policies")
    assert (got.status, got.code, got.headers["retry-after"]) == (409, "policies_not_ready", "2")
    assert got.headers["dpop-nonce"] == "nonce"


async def test_a_policy_downloads_once(at: Doorway) -> None:
    journey_id = await at.journey()
    await issued(at, journey_id)
    listed = (await at.get(f"/v1/journeys/{journey_id}/policies")).json
    (policy,) = listed["policies"]
    link = await at.act(journey_id, f"policies/{policy['policy_no']}/download")
    assert link.status == 201
    url = link.json["url"]
    assert url.startswith(f"{at.base}/v1/downloads/")
    assert journey_id not in url
    token = url.rpartition("/")[2]
    stored = await at.under.store.collection("downloads").find()
    assert token not in json.dumps([[d.id, d.state] for d in stored])

    first, second = await asyncio.gather(*(at.call("GET", url.removeprefix(at.base)) for _ in range(2)))
    good, late = sorted((first, second), key=lambda got: got.status)
    assert (good.status, good.body) == (200, b"%PDF-1.7 a policy")
    assert (late.status, late.code) == (410, "download_expired")
    assert good.headers["cache-control"] == "no-store"
    said = good.headers["content-disposition"]
    assert said.startswith('attachment; filename="PDAA202611000000011.pdf"')
    assert "filename*=UTF-8''%E6" in said


async def test_a_download_lasts_a_minute(at: Doorway) -> None:
    journey_id = await at.journey()
    await issued(at, journey_id)
    url = (await at.act(journey_id, "policies/PDAA202611000000011/download")).json["url"].removeprefix(at.base)
    at.clock.pass_by(seconds=61)
    assert (await at.call("GET", url)).code == "download_expired"
    assert (await at.call("GET", "/v1/downloads/" + "x" * 43)).code == "not_found"
    at.clock.pass_by(hours=2)
    await at.act(journey_id, "policies/PDAA202611000000011/download")
    assert len(await at.under.store.collection("downloads").find()) == 1


async def test_a_download_is_for_the_proven_and_of_this_journey(at: Doorway) -> None:
    journey_id = await at.journey()
    await issued(at, journey_id)
    assert (await at.act(journey_id, "policies/PDAA2026110000000NO/download")).code == "policy_unknown"
    at.verified = False
    assert (await at.act(journey_id, "policies/PDAA202611000000011/download")).code == "identity_missing"


async def test_I29_survey_and_app_only_after_issuance_and_never_needed(at: Doorway) -> None:
    journey_id = await at.journey()
    at.play(nps.ViewSurvey, lambda _: nps.SurveyView(state="invited"))
    at.play(appdownload.ViewReferral, lambda _: appdownload.ReferralView(state="offered", url="https://app.test/a"))
    before = (await at.get(f"/v1/journeys/{journey_id}")).json
    assert (before["survey"], before["referral"], before["place"]["then"]) == (None, None, [])
    assert (await at.get(f"/v1/journeys/{journey_id}/survey")).json == {"state": "none"}
    assert (await at.get(f"/v1/journeys/{journey_id}/app")).json == {"state": "none", "url": None}
    assert not at.heard(nps.ViewSurvey)

    await issued(at, journey_id)
    after = (await at.get(f"/v1/journeys/{journey_id}")).json
    assert after["place"] == {"step": "policies", "page": "P13", "then": ["survey", "app"]}
    assert (await at.get(f"/v1/journeys/{journey_id}/survey")).json == {"state": "invited"}

    # Neither answers: the policy is there all the same.
    at.refuse(nps.ViewSurvey, "unavailable")
    at.refuse(appdownload.ViewReferral, "unavailable")
    assert (await at.get(f"/v1/journeys/{journey_id}")).json["place"]["step"] == "policies"
    assert (await at.act(journey_id, "policies/PDAA202611000000011/download")).status == 201


async def test_the_gateway_keeps_nothing_of_a_journey(at: Doorway) -> None:
    journey_id = await at.journey()
    await at.get(f"/v1/journeys/{journey_id}")
    await at.act(journey_id, "acknowledge-recording", {"notice": "recording", "version": "1", "sha256": "a" * 64})
    for name in ("downloads", "unmaskings", "app_reports"):
        assert not await at.under.store.collection(name).find()
    kept = b"".join(path.read_bytes() for path in (at.folder / "data").rglob("*") if path.is_file())
    assert journey_id.encode() not in kept


async def test_a_journey_whose_key_is_destroyed_is_unknown(at: Doorway) -> None:
    journey_id = await at.journey()
    await at.under.vault.shred(journey_id)
    assert (await at.get(f"/v1/journeys/{journey_id}")).code == "journey_unknown"
    assert (await at.get(f"/v1/journeys/{new_ulid()}")).code == "journey_unknown"
