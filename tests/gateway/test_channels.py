"""What channels, staff, outside parties and the public may ask."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from argon2 import PasswordHasher

from contracts.commands import appdownload, evidence, identity, issuance, nps, payment, proposal
from contracts.problems import FieldFault, Refuse
from gateway.credentials import Credentials, CredentialsError, key_hash, main, new_key
from gateway.passwords import password_hash
from gateway.public import PAGES
from servicekit.runner import new_ulid
from tests.gateway.doorway import SALESPEOPLE, SHA, Doorway

BODY = {"policyholder": {"name": "王小明"}, "subject": {}, "products": []}


def keyed(at: Doorway, who: str, key: str | None = None) -> dict[str, str]:
    return {**at.bearer(who), "Idempotency-Key": key or new_ulid()}


def keyed_as(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Idempotency-Key": new_ulid()}


# -- channels ----------------------------------------------------------------------------------------------


async def test_a_proposal_is_sealed_under_a_journey_of_its_own(at: Doorway) -> None:
    raw = json.dumps(BODY, ensure_ascii=False).encode()
    got = await at.call("POST", "/v1/proposals", body=raw, headers=keyed(at, "harbour_motors", "my-key-01"))
    assert got.status == 201
    assert got.json["link"].startswith(f"{at.base}/j#{got.json['journey_id']}.")
    assert got.headers["location"].endswith(got.json["journey_id"])
    (submitted,) = at.heard(proposal.SubmitProposal)
    assert (submitted.channel_id, submitted.command_id, submitted.intermediary) == (
        "harbour_motors",
        "my-key-01",
        "滨海汽车",
    )
    assert "王小明" not in submitted.model_dump_json()
    assert await at.under.vault.open(submitted.journey_id, submitted.body) == raw


async def test_faults_of_a_proposal_are_named_by_field(at: Doorway) -> None:
    fault = FieldFault(pointer="/policyholder/phone", code="format", detail="手机号须为 11 位。")
    at.refuse(proposal.SubmitProposal, "invalid_fields", errors=(fault,))
    got = await at.call("POST", "/v1/proposals", body=BODY, headers=keyed(at, "harbour_motors"))
    assert (got.status, got.json["errors"]) == (422, [fault.model_dump()])
    for bad, code in ((b"[]", "invalid_fields"), (b"{", "malformed"), (b"\xff", "malformed")):
        assert (await at.call("POST", "/v1/proposals", body=bad, headers=keyed(at, "harbour_motors"))).code == code
    keyless = await at.call("POST", "/v1/proposals", body=BODY, headers=at.bearer("harbour_motors"))
    assert keyless.code == "idempotency_key_missing"


@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer x", "Basic Og==", "Bearer " + "x" * 600, "DPoP x", "Bearer é"]
)
async def test_no_key_no_answer(at: Doorway, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for method, path in (("GET", "/v1/proposals"), ("GET", "/v1/events"), ("GET", "/v1/staff/nps")):
        got = await at.call(method, path, headers=headers)
        assert got.status == 401
        assert got.code in {"credentials_missing", "credentials_invalid"}
        assert "www-authenticate" in got.headers
    assert not at.heard(proposal.ListProposals)


async def test_staff_and_channel_keys_open_only_their_own_doors(at: Doorway) -> None:
    assert (await at.call("GET", "/v1/proposals", headers=at.bearer("legal"))).code == "credentials_invalid"
    assert (await at.call("GET", "/v1/staff/nps", headers=at.bearer("harbour_motors"))).code == "credentials_invalid"


async def test_another_channels_journey_is_as_unknown_as_none(at: Doorway) -> None:
    theirs = await at.journey()

    def own(command: Any) -> Any:
        if command.channel_id != "harbour_motors":
            raise Refuse("not_yours")
        return proposal.WithdrawProposal.reply()

    at.play(proposal.WithdrawProposal, own)
    at.play(proposal.ResendLink, own)
    for verb, body in (("withdraw", {}), ("resend-link", None)):
        mine = await at.call("POST", f"/v1/proposals/{theirs}/{verb}", body=body, headers=keyed(at, "harbour_motors"))
        assert mine.status == 200
        answers = [
            await at.call("POST", f"/v1/proposals/{which}/{verb}", body=body, headers=keyed(at, "north_agency"))
            for which in (theirs, new_ulid(), "nonsense")
        ]
        assert {(got.status, got.code) for got in answers} == {(404, "not_yours")}
        shown = [{k: v for k, v in got.json.items() if k != "trace_id"} for got in answers]
        assert shown[0] == shown[1] == shown[2]


async def test_a_channel_lists_only_its_own(at: Doorway) -> None:
    at.play(proposal.ListProposals, lambda _: proposal.ProposalStates(proposals=()))
    got = await at.call("GET", f"/v1/proposals?limit=5&after={'0' * 26}", headers=at.bearer("north_agency"))
    assert got.json == {"proposals": []}
    (query,) = at.heard(proposal.ListProposals)
    assert (query.channel_id, query.limit) == ("north_agency", 5)


# -- salespeople -------------------------------------------------------------------------------------------


def index_of(at: Doorway, who: str) -> str:
    return at.under.vault.blind_index("phone", SALESPEOPLE[who][2])


async def test_a_salesperson_who_signed_in_is_put_into_the_proposal(at: Doorway) -> None:
    headers = {**await at.signed_in("anna"), "Idempotency-Key": "my-key-01"}
    for _ in range(2):
        got = await at.call("POST", "/v1/proposals", body=BODY, headers=headers)
        assert got.status == 201
        assert got.json["link"].startswith(f"{at.base}/j#")
    first, again = at.heard(proposal.SubmitProposal)
    assert (first.channel_id, first.intermediary) == ("harbour_motors", "滨海汽车")
    opened = [await at.under.vault.open(each.journey_id, each.body) for each in (first, again)]
    assert opened[0] == opened[1], "a retry is the same"
    anna = {"name": "安娜", "licence_no": "LICENCE-anna", "phone": "13900002222"}
    assert json.loads(opened[0]) == {**BODY, "salesperson": anna}


@pytest.mark.parametrize("forged", [None, {}, {"name": "贝拉", "licence_no": "LICENCE-bela", "phone": "13900003333"}])
async def test_nobody_who_signed_in_sells_as_somebody_else(at: Doorway, forged: Any) -> None:
    headers = keyed_as(await at.signed_in("anna"))
    got = await at.call("POST", "/v1/proposals", body={**BODY, "salesperson": forged}, headers=headers)
    assert (got.status, got.code) == (422, "invalid_fields")
    assert [fault["pointer"] for fault in got.json["errors"]] == ["/salesperson"]
    twice = b'{"salesperson": {}, "subject": {}, "salesperson": null}'
    assert (await at.call("POST", "/v1/proposals", body=twice, headers=headers)).code == "malformed"
    assert not at.heard(proposal.SubmitProposal)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"[]", "invalid_fields"), (b"{", "malformed"), (b"\xff", "malformed"), (b"[" * 60_000, "malformed"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, None), (b'{"a": "\\ud800"}', None), (b'{"a": NaN}', "malformed"),
    ],
)  # fmt: skip
async def test_whatever_a_session_submits_is_sealed_or_refused(at: Doorway, raw: bytes, code: str | None) -> None:
    got = await at.call("POST", "/v1/proposals", body=raw, headers=keyed_as(await at.signed_in("anna")))
    assert got.status == 201 if code is None else got.code == code


async def test_a_salesperson_lists_their_own_or_the_channels(at: Doorway) -> None:
    journey_id = await at.journey()
    state = proposal.ProposalState(
        journey_id=journey_id, proposal_no="T1", channel_reference=None, state="open", products=("x",),
        opened_at=at.clock(), expires_at=at.clock(),
    )  # fmt: skip
    at.play(proposal.ListProposals, lambda _: proposal.ProposalStates(proposals=(state,)))
    anna = await at.signed_in("anna")
    got = await at.call("GET", "/v1/proposals", headers=anna)
    assert set(got.json["proposals"][0]) == {
        "journey_id", "proposal_no", "channel_reference", "state", "products", "opened_at", "expires_at",
    }  # fmt: skip
    await at.call("GET", "/v1/proposals?mine=false&order=newest", headers=anna)
    await at.call("GET", f"/v1/proposals?mine=true&order=newest&after={journey_id}", headers=anna)
    await at.call("GET", "/v1/proposals?mine=true", headers=at.bearer("harbour_motors"))
    asked = [(q.seller, q.order, q.journey_id, q.channel_id) for q in at.heard(proposal.ListProposals)]
    mine = index_of(at, "anna")
    assert asked == [
        (mine, "oldest", "0" * 26, "harbour_motors"),
        (None, "newest", "Z" * 26, "harbour_motors"),
        (mine, "newest", journey_id, "harbour_motors"),
        (None, "oldest", "0" * 26, "harbour_motors"),
    ]
    for wrong in ("order=best", "mine=perhaps", "after=x", "limit=0"):
        assert (await at.call("GET", f"/v1/proposals?{wrong}", headers=anna)).code == "invalid_fields"


async def test_a_salesperson_acts_on_their_own_and_no_other_channels(at: Doorway) -> None:
    journey_id = await at.journey()
    anna = index_of(at, "anna")

    def own(request: Any) -> Any:
        if (request.channel_id, request.seller) not in {("harbour_motors", anna), ("harbour_motors", None)}:
            raise Refuse("not_yours")
        if isinstance(request, proposal.ShowLink):
            return proposal.LinkShown(link=f"{at.base}/j#{request.journey_id}.x", expires_at=at.clock())
        return request.reply()

    for kind in (proposal.ShowLink, proposal.WithdrawProposal, proposal.ResendLink):
        at.play(kind, own)
    asked = (("GET", "link", None), ("POST", "resend-link", None), ("POST", "withdraw", {"reason": "wrong_data"}))
    for who, status in (("anna", 200), ("bela", 404), ("chen", 404)):
        headers = await at.signed_in(who)
        for method, verb, body in asked:
            path = f"/v1/proposals/{journey_id}/{verb}"
            got = await at.call(method, path, body=body, headers=keyed_as(headers))
            assert got.status == status, (who, verb)
            assert status == 200 or got.code == "not_yours"
        for unknown in (new_ulid(), "nonsense"):
            got = await at.call("GET", f"/v1/proposals/{unknown}/link", headers=headers)
            assert got.code == "not_yours"
    by_key = await at.call("GET", f"/v1/proposals/{journey_id}/link", headers=at.bearer("harbour_motors"))
    assert set(by_key.json) == {"link", "expires_at"}
    other = await at.call("GET", f"/v1/proposals/{journey_id}/link", headers=at.bearer("north_agency"))
    assert other.code == "not_yours"


async def test_the_catalogue_is_of_the_release_new_journeys_open_on(at: Doorway) -> None:
    at.play(proposal.NameRelease, lambda _: proposal.ReleaseNamed(release=at.release.hash))
    got = await at.call("GET", "/v1/products", headers=await at.signed_in("anna"))
    assert got.status == 200
    assert got.json["release"] == at.release.hash
    assert [each["product"] for each in got.json["products"]] == list(at.release.products)
    for told in got.json["products"]:
        product = at.release.products[told["product"]]
        known = product.model_dump(mode="json")
        assert set(told) == {
            "product", "name", "marketing_name", "summary", "optional", "subject", "parties", "covers", "taxes",
            "premium", "period", "fields",
        }  # fmt: skip
        assert all(told[key] == known[key] for key in set(told) - {"product"})
        assert got.json["insurer"] == {"name": product.insurer.name, "hotline": product.insurer.hotline}
    assert (await at.call("GET", "/v1/products", headers=at.bearer("north_agency"))).json == got.json
    at.play(proposal.NameRelease, lambda _: proposal.ReleaseNamed(release="0" * 64))
    missing = await at.call("GET", "/v1/products", headers=at.bearer("north_agency"))
    assert (missing.status, missing.code) == (503, "unavailable")


# -- keys --------------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_kept_as_hashes(tmp_path: Path) -> None:
    asked = ["--into", str(tmp_path), "--channel", "harbour=滨海", "--staff", "clerk=service", "--staff", "law=legal"]
    main(asked)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    main(asked)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    key = (tmp_path / "keys" / "harbour.key").read_text().strip()
    assert (tmp_path / "keys" / "harbour.key").stat().st_mode & 0o777 == 0o600
    assert key.startswith("tb_channel_")
    known = Credentials.load(tmp_path / "channels.yaml", tmp_path / "staff.yaml")
    channel = known.channel(key)
    assert channel is not None
    assert (channel.channel_id, channel.intermediary) == ("harbour", "滨海")
    assert known.member(key) is None
    assert key not in (tmp_path / "channels.yaml").read_text()
    for wrong in (
        ["--staff", "x=king"], ["--salesperson", "harbour/x=名"], ["--salesperson", "nowhere/x=名字,A-01,13900000001"],
        ["--salesperson", "harbour/x=名字,A-01,12"], ["--salesperson", "harbour/clerk=名字,A-01,13900000001"],
        ["--staff", "x=legal", "--staff", "x=audit"], ["--channel", "a b=c"],
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["--into", str(tmp_path), *wrong])
    assert (tmp_path / "channels.yaml").read_bytes() == before[tmp_path / "channels.yaml"]
    assert (tmp_path / "staff.yaml").read_bytes() == before[tmp_path / "staff.yaml"]


def test_passwords_of_people_are_made_once_and_kept_as_hashes(tmp_path: Path) -> None:
    asked = ["--into", str(tmp_path), "--channel", "harbour=滨海", "--staff", "clerk=service,小林"]
    asked += ["--salesperson", "harbour/anna=安娜,A-0001,13900002222"]
    main(asked)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    main(asked)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    known = Credentials.load(tmp_path / "channels.yaml", tmp_path / "staff.yaml")
    channel, anna = known.sellers["anna"]
    assert (channel.channel_id, anna.name, anna.phone) == ("harbour", "安娜", "13900002222")
    assert known.members["clerk"].name == "小林"
    for name, held in (("anna", anna.password_hash), ("clerk", known.members["clerk"].password_hash)):
        file = tmp_path / "keys" / f"{name}.password"
        assert file.stat().st_mode & 0o777 == 0o600
        password = file.read_text().strip()
        assert re.fullmatch(r"([a-z2-9]{4}-){3}[a-z2-9]{4}", password)
        assert held is not None
        assert PasswordHasher().verify(held, password)
        assert password not in (tmp_path / "channels.yaml").read_text() + (tmp_path / "staff.yaml").read_text()


def test_a_forgotten_password_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    asked = ["--into", str(tmp_path), "--channel", "harbour=滨海", "--staff", "clerk=service"]
    main([*asked, "--salesperson", "harbour/anna=安娜,A-0001,13900002222"])

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = files()
    main(["--into", str(tmp_path), "--new-password", "anna"])
    assert {name for name, data in files().items() if data != before[name]} == {"anna.password", "channels.yaml"}
    _, anna = Credentials.load(tmp_path / "channels.yaml", None).sellers["anna"]
    assert PasswordHasher().verify(anna.password_hash, files()["anna.password"].strip())
    assert (tmp_path / "keys" / "anna.password").stat().st_mode & 0o777 == 0o600
    with pytest.raises(SystemExit):
        main(["--into", str(tmp_path), "--new-password", "nobody"])


def test_files_of_an_older_version_get_what_they_lack(tmp_path: Path) -> None:
    key = {name: new_key("staff" if name == "clerk" else "channel") for name in ("harbour", "clerk")}
    old_channel = {
        "channel_id": "harbour",
        "name": "滨海",
        "intermediary": None,
        "key_hashes": [key_hash(key["harbour"])],
    }
    old_member = {"staff_id": "clerk", "roles": ["service", "audit"], "key_hashes": [key_hash(key["clerk"])]}
    (tmp_path / "channels.yaml").write_text(yaml.safe_dump({"channels": [old_channel]}))
    (tmp_path / "staff.yaml").write_text(yaml.safe_dump({"staff": [old_member]}))
    (tmp_path / "channels.yaml").chmod(0o640)
    main([
        "--into", str(tmp_path), "--channel", "harbour=Another", "--channel", "north=北方", "--staff", "clerk=legal",
        "--salesperson", "harbour/anna=安娜,A-0001,13900002222",
    ])  # fmt: skip
    known = Credentials.load(tmp_path / "channels.yaml", tmp_path / "staff.yaml")
    harbour, clerk = known.channel(key["harbour"]), known.member(key["clerk"])
    assert harbour is not None
    assert clerk is not None
    assert (harbour.name, harbour.intermediary, harbour.salespeople[0].name) == ("滨海", None, "安娜")
    assert clerk.roles == {"service", "audit"}
    assert clerk.password_hash is not None
    assert not (tmp_path / "keys" / "harbour.key").exists(), "a key nobody knows is not made"
    north = known.channel((tmp_path / "keys" / "north.key").read_text().strip())
    assert north is not None
    assert (tmp_path / "channels.yaml").stat().st_mode & 0o777 == 0o640


def test_two_people_are_never_taken_for_one(tmp_path: Path) -> None:
    anna = {
        "salesperson_id": "anna", "name": "安娜", "licence_no": "A-0001", "phone": "13900002222",
        "password_hash": password_hash("x"),
    }  # fmt: skip
    for other in ({"phone": "13900003333"}, {"salesperson_id": "bela"}):
        channels = [
            {"channel_id": c, "name": c, "key_hashes": [key_hash(c)], "salespeople": [{**anna, **more}]}
            for c, more in (("a", {}), ("b", other))
        ]
        (tmp_path / "channels.yaml").write_text(yaml.safe_dump({"channels": channels}))
        with pytest.raises(CredentialsError):
            Credentials.load(tmp_path / "channels.yaml", None)
    for held in ("$2b$12$abcdefghijklmnopqrstuv", "", "secret"):
        member = {"staff_id": "x", "roles": ["audit"], "password_hash": held}
        (tmp_path / "staff.yaml").write_text(yaml.safe_dump({"staff": [member]}))
        with pytest.raises(CredentialsError):
            Credentials.load(None, tmp_path / "staff.yaml")
    (tmp_path / "staff.yaml").write_text(yaml.safe_dump({"staff": [{"staff_id": "x", "roles": ["audit"]}]}))
    with pytest.raises(CredentialsError):
        Credentials.load(None, tmp_path / "staff.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "channels: [{channel_id: 'a b', name: n, key_hashes: []}]", "{", "[]", "channels: 7",
        yaml.safe_dump({"channels": [{"channel_id": "a", "name": "n", "key_hashes": [SHA]}] * 2}),
        yaml.safe_dump({"channels": [{"channel_id": c, "name": "n", "key_hashes": [SHA]} for c in "ab"]}),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_without_a_quote(tmp_path: Path, text: str) -> None:
    (tmp_path / "channels.yaml").write_text(text)
    with pytest.raises(CredentialsError) as told:
        Credentials.load(tmp_path / "channels.yaml", None)
    assert SHA not in str(told.value)
    with pytest.raises(CredentialsError):
        Credentials.load(tmp_path / "missing.yaml", None)


def test_two_keys_are_good_while_one_replaces_the_other(tmp_path: Path) -> None:
    old, new = new_key("channel"), new_key("channel")
    entry = {"channel_id": "a", "name": "n", "key_hashes": [key_hash(old), key_hash(new)]}
    (tmp_path / "channels.yaml").write_text(yaml.safe_dump({"channels": [entry]}))
    known = Credentials.load(tmp_path / "channels.yaml", None)
    assert known.channel(old) is known.channel(new) is not None
    assert known.channel("\ud800") is None


# -- staff -------------------------------------------------------------------------------------------------


async def pack_of(at: Doorway, journey_id: str) -> None:
    sealed = await at.under.vault.seal_file(journey_id, b"PK the pack", "application/zip")
    at.play(
        evidence.BuildPack,
        lambda _: evidence.Pack(
            commitment=sealed.commitment, blob=sealed.blob, size=11, file_name="evidence-T1.zip", complete=True
        ),
    )


async def test_a_pack_comes_by_a_one_time_address(at: Doorway) -> None:
    journey_id = await at.journey()
    await pack_of(at, journey_id)
    wanted = {"journey_id": journey_id, "reason": "投诉 2026-17"}
    got = await at.call("POST", "/v1/staff/packs", body=wanted, headers=keyed(at, "audit"))
    assert (got.status, got.json["complete"], got.json["size"]) == (201, True, 11)
    path = got.json["url"].removeprefix(at.base)
    file = await at.call("GET", path)
    assert (file.body, file.headers["content-type"]) == (b"PK the pack", "application/zip")
    assert (await at.call("GET", path)).code == "download_expired"
    assert at.heard(evidence.BuildPack)[0].masked is True


async def test_I24_unmasking_is_a_right_and_on_record_with_its_reason(at: Doorway) -> None:
    journey_id = await at.journey()
    await pack_of(at, journey_id)
    wanted = {"journey_id": journey_id, "masked": False, "reason": "法院调取 (2026) 京01民终17号"}
    refused = await at.call("POST", "/v1/staff/packs", body=wanted, headers=keyed(at, "audit"))
    assert (refused.status, refused.code) == (403, "role_missing")
    nameless = await at.call("POST", "/v1/staff/packs", body={**wanted, "reason": ""}, headers=keyed(at, "legal"))
    assert nameless.code == "invalid_fields"
    assert not at.heard(evidence.BuildPack)

    got = await at.call("POST", "/v1/staff/packs", body=wanted, headers=keyed(at, "legal"))
    assert got.status == 201
    assert at.heard(evidence.BuildPack)[0].masked is False
    log = (await at.call("GET", "/v1/staff/unmaskings", headers=at.bearer("audit"))).json
    (entry,) = log["unmaskings"]
    assert (entry["staff_id"], entry["journey_id"], entry["reason"]) == ("one_of_legal", journey_id, wanted["reason"])
    after = (await at.call("GET", f"/v1/staff/unmaskings?after={log['next']}", headers=at.bearer("audit"))).json
    assert after["unmaskings"] == []
    assert (await at.call("GET", "/v1/staff/unmaskings", headers=at.bearer("legal"))).code == "role_missing"


async def test_I24_what_cannot_be_logged_is_not_shown(at: Doorway, monkeypatch: pytest.MonkeyPatch) -> None:
    from servicekit.store import StoreUnavailable

    journey_id = await at.journey()
    await pack_of(at, journey_id)

    def broken(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("full")

    monkeypatch.setattr(at.under.store, "collection", broken)
    wanted = {"journey_id": journey_id, "masked": False, "reason": "court order"}
    got = await at.call("POST", "/v1/staff/packs", body=wanted, headers=keyed(at, "legal"))
    assert (got.status, got.code) == (503, "unavailable")
    assert not at.heard(evidence.BuildPack)


async def test_a_customer_is_found_by_blind_index_alone(at: Doorway) -> None:
    at.play(identity.FindCustomers, lambda _: identity.Customers(customers=()))
    for kind, typed, meant in (
        ("phone", " 138 0013 8000", "13800138000"),
        ("id_number", "11010119900307851x", "11010119900307851X"),
        ("id_number", "110101900307851", "110101199003078515"),
        ("name", "迪丽热巴.迪力木拉提", "迪丽热巴·迪力木拉提"),
    ):
        sought = {"kind": kind, "value": typed}
        got = await at.call("POST", "/v1/staff/customers", body=sought, headers=at.bearer("service"))
        assert got.json == {"customers": []}
        asked = at.heard(identity.FindCustomers)[-1]
        assert asked.index == at.under.vault.blind_index(kind, meant)
        assert meant not in asked.model_dump_json()
    refused = await at.call("POST", "/v1/staff/customers", body=sought, headers=at.bearer("audit"))
    assert refused.code == "role_missing"


async def test_refund_scores_referrals_gaps(at: Doorway) -> None:
    journey_id = await at.journey()
    at.play(payment.RefundOrder, lambda _: payment.RefundOrder.reply())
    body = {"journey_id": journey_id, "order_no": "O1"}
    assert (await at.call("POST", "/v1/staff/refunds", body=body, headers=keyed(at, "service"))).status == 200
    assert at.heard(payment.RefundOrder)[0].reason == "staff_request"
    assert (await at.call("POST", "/v1/staff/refunds", body=body, headers=keyed(at, "audit"))).code == "role_missing"
    at.play(nps.ScoreReport, lambda _: nps.Scores(scores=()))
    scored = await at.call("GET", "/v1/staff/nps?since=2026-11-01T00:00:00Z&product=x", headers=at.bearer("audit"))
    assert scored.json == {"scores": []}
    assert at.heard(nps.ScoreReport)[0].product == "x"
    at.play(issuance.ListGaps, lambda _: issuance.Gaps(serials=(3,)))
    gaps = await at.call("GET", "/v1/staff/gaps?line=PDAA&year=2026", headers=at.bearer("audit"))
    assert gaps.json == {"serials": [3]}
    assert (await at.call("GET", "/v1/staff/gaps?line=x&year=1", headers=at.bearer("audit"))).status == 422
    at.play(
        appdownload.ReferralReport,
        lambda _: appdownload.ReferralCounts(offered=1, click=1, install=0, register_=0, login=0),
    )
    assert (await at.call("GET", "/v1/staff/referrals", headers=at.bearer("audit"))).json["click"] == 1


# -- outside parties ---------------------------------------------------------------------------------------


async def test_a_payment_notification_is_passed_on_byte_for_byte(at: Doorway) -> None:
    at.play(payment.TakeNotification, lambda _: payment.NotificationTaken(status=401, body='{"code":"FAIL"}'))
    raw = b'{ "id" : "1",\n "x":"\xe4\xb8\xad" }'
    headers = {"Wechatpay-Signature": "s", "Wechatpay-Timestamp": "1", "Cookie": "private", "X-Else": "1"}
    got = await at.call("POST", "/v1/callbacks/wechat", body=raw, headers=headers)
    assert (got.status, got.json) == (401, {"code": "FAIL"})
    (taken,) = at.heard(payment.TakeNotification)
    assert base64.b64decode(taken.body_base64) == raw
    assert taken.headers == {
        "wechatpay-signature": "s", "wechatpay-timestamp": "1", "content-type": "application/json",
    }  # fmt: skip
    at.play(payment.TakeNotification, lambda _: payment.NotificationTaken(status=204, body=""))
    assert (await at.call("POST", "/v1/callbacks/wechat", body=raw)).status == 204


def webhook(
    at: Doorway, body: bytes, *, id: str = "msg_1", at_time: float = 0, secret: bytes | None = None
) -> dict[str, str]:
    held = secret or base64.b64decode((at.folder / "app.whsec").read_text().strip().removeprefix("whsec_"))
    timestamp = str(int(at.clock().timestamp() + at_time))
    digest = hmac.new(held, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1,AAAA v1," + base64.b64encode(digest).decode()
    return {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature}


async def test_the_apps_report_is_taken_once(at: Doorway) -> None:
    at.play(appdownload.TakeReport, lambda _: appdownload.TakeReport.reply())
    body = json.dumps(
        {"type": "app.click", "timestamp": "x", "data": {"token": "T" * 20, "step": "click", "occurred_at": "y"}}
    ).encode()
    for _ in range(2):
        assert (await at.call("POST", "/v1/callbacks/app", body=body, headers=webhook(at, body))).status == 204
    (report,) = at.heard(appdownload.TakeReport)
    assert (report.token, report.step) == ("T" * 20, "click")

    changed = body.replace(b"click", b"login")
    for headers, code in (
        (webhook(at, body), "notification_invalid"),
        (webhook(at, changed, secret=b"another"), "notification_invalid"),
        (webhook(at, changed, at_time=-400), "notification_stale"),
        (webhook(at, changed, at_time=400), "notification_stale"),
        ({}, "notification_invalid"),
    ):
        got = await at.call("POST", "/v1/callbacks/app", body=changed, headers=headers)
        assert (got.status, got.code) == (401, code)
    assert len(at.heard(appdownload.TakeReport)) == 1


async def test_a_report_that_could_not_be_taken_comes_again(at: Doorway) -> None:
    at.refuse(appdownload.TakeReport, "unavailable")
    body = json.dumps({"type": "app.click", "data": {"token": "T" * 20, "step": "click"}}).encode()
    assert (await at.call("POST", "/v1/callbacks/app", body=body, headers=webhook(at, body))).status == 503
    at.play(appdownload.TakeReport, lambda _: appdownload.TakeReport.reply())
    assert (await at.call("POST", "/v1/callbacks/app", body=body, headers=webhook(at, body))).status == 204


# -- the public --------------------------------------------------------------------------------------------


async def test_I27_a_human_is_one_request_away_for_anybody(at: Doorway) -> None:
    got = await at.call("GET", "/v1/help")
    assert (got.status, got.json) == (200, {"hotline": "955XX", "hours": "每天 8:00–22:00"})
    journey_id = await at.journey()
    assert (await at.get(f"/v1/journeys/{journey_id}")).json["hotline"] == "955XX"
    at.play(identity.RequestHelp, lambda _: identity.HelpOffered(hotline="955XX", hours="x"))
    asked = await at.act(journey_id, "request-help", {"step": "documents"})
    assert asked.json["hotline"] == "955XX"
    for page in ("/j", "/verify"):
        assert "955XX" in (await at.call("GET", page)).body.decode()


async def test_a_policy_is_checked_by_number_and_code_or_by_file(at: Doorway) -> None:
    at.play(
        issuance.VerifyPolicy,
        lambda q: issuance.Verification(outcome="authentic", policy_no=q.policy_no or "P1", issued_at=at.clock()),
    )
    got = await at.call("POST", "/v1/verify", body={"policy_no": "P1", "code": "C1"})
    assert got.json["outcome"] == "authentic"
    assert (await at.call("POST", "/v1/verify", body={"file_sha256": SHA})).status == 200
    for wrong in ({}, {"policy_no": "P1"}, {"file_sha256": "x"}, {"policy_no": "P1", "code": "C1", "more": 1}):
        assert (await at.call("POST", "/v1/verify", body=wrong)).code == "invalid_fields"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = await at.call("POST", "/v1/verify", body=b"policy_no=%3Cb%3EP1&code=C1", headers=form)
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;b&gt;P1" in page.body.decode()
    assert "<b>P1" not in page.body.decode()
    assert (await at.call("POST", "/v1/verify", body=b"%ff%fe=&", headers=form)).status in {400, 422}


async def test_opening_the_link_changes_nothing(at: Doorway) -> None:
    got = await at.call("GET", "/j")
    assert got.status == 200
    assert not at.asked
    assert (await at.call("HEAD", "/j")).status == 200
    assert not at.asked
    assert (await at.call("POST", "/j", body={})).status == 405


async def test_pages_load_nothing_from_others(at: Doorway) -> None:
    for path in PAGES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""(?:src|href|action|url)\s*[=(]\s*["']?(?:https?:)?//""", text), path.name
        assert "style=" not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"\bon[a-z]+=", text)
    for name, media in (("plain.css", "text/css"), ("verify.js", "text/javascript")):
        got = await at.call("GET", f"/static/{name}")
        assert got.headers["content-type"].startswith(media)
    for name in ("verify.html", "..%2fapp.py", "nothing"):
        assert (await at.call("GET", f"/static/{name}")).status == 404


async def test_requests_run_beside_each_other(at: Doorway) -> None:
    journey_id = await at.journey()
    answers = await asyncio.gather(*(at.get(f"/v1/journeys/{journey_id}") for _ in range(20)))
    assert {got.status for got in answers} == {200}
