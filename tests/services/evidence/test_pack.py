"""Packs, as evidence makes them and as the verifier judges them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.commands.evidence import BuildPack, Pack
from contracts.facts.disclosure import DocumentConfirmed, PointAcknowledged
from contracts.facts.identity import IdentityVerified, RealNameChecked, RecordingAcknowledged
from contracts.facts.issuance import NumberedPolicy, PoliciesNumbered, PolicyIssued
from contracts.facts.payment import OrderPlaced, PaymentConfirmed
from contracts.facts.proposal import ProductChosen, ProductDropped, TermsConfirmed
from contracts.facts.signing import FormReviewed, FormsSigned
from contracts.problems import Refuse
from contracts.values import ActProof, Committed, PremiumLine, sha256_hex
from deploy.simulator.device import Device
from products import Release
from products.publish import PRODUCTS as FOLDER
from products.publish import publish
from servicekit.documents.render import RenderFailed
from servicekit.proof import verify_proof
from servicekit.runner import new_ulid
from services.evidence import verify
from services.evidence.archive import archive
from services.evidence.service import Evidence
from services.evidence.signature import EvidenceKey
from services.evidence.timestamps import Authorities
from tests.desk import Clock, Desk, desk
from tests.nats_server import NatsServer
from tests.servicekit.documents.prepared import fonts_folder
from tests.services.evidence.journey import PERSON, PRODUCTS, Journey
from tests.services.evidence.parties import Parties, make_parties, stamping
from tests.services.signing.finishing import finishing

VERIFIER = Path(verify.__file__)


@asynccontextmanager
async def evidence(tmp: Path, nats: NatsServer, parties: Parties, tsa: str) -> AsyncIterator[tuple[Desk, Release]]:
    clock = Clock(datetime.now(UTC) - timedelta(seconds=120))
    settings: dict[str, Any] = parties.settings(tsa) | {"fonts_dir": fonts_folder()}
    async with desk(Evidence, tmp, nats, clock=clock, play_evidence=False, **settings) as at:
        yield at, publish(FOLDER, tmp / "releases")


async def export(at: Desk, journey: str, **asked: Any) -> tuple[bytes, Pack]:
    command = BuildPack(command_id=new_ulid(), journey_id=journey, **({"masked": False, "reason": "法院调取"} | asked))
    pack: Pack = await at.ask(command)
    data = await at.vault.open(journey, Committed(commitment=pack.commitment, blob=pack.blob))
    return data, pack


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def judged(data: bytes, parties: Parties | None) -> tuple[int, verify.Findings]:
    return verify.judge(data, verify.Trust.read(parties.trust if parties else None))


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory, nats: NatsServer, parties: Parties) -> dict[str, bytes]:
    """One journey, exported in every way: made once, judged by many tests."""
    return asyncio.run(exported(tmp_path_factory.mktemp("packs"), nats, parties))


async def exported(folder: Path, nats: NatsServer, parties: Parties) -> dict[str, bytes]:
    # Of the same roots: the authorities' files lie elsewhere, as running them changes the addresses in certificates.
    roots = Path(shutil.copytree(parties.root, folder / "authorities"))
    async with (
        stamping(parties) as tsa,
        evidence(folder, nats, parties, tsa) as (at, release),
        finishing(roots) as office,
    ):
        journey = Journey(at, release, parties, tsa, office=office)
        await journey.pass_through()
        made = {"journey": await export(at, journey.id), "masked": await export(at, journey.id, masked=True)}
        for slug, number in journey.numbers.items():
            made[slug] = await export(at, journey.id, scope="policy", policy_no=number)
        made["policy masked"] = await export(
            at, journey.id, scope="policy", policy_no=journey.numbers[PRODUCTS[0]], masked=True
        )
        with pytest.raises(Refuse) as refused:
            await export(at, journey.id, scope="policy", policy_no="PNOT")
        assert refused.value.code == "policy_unknown"
        assert all(pack.complete for _, pack in made.values())
        return {name: data for name, (data, _) in made.items()}


async def test_I21_a_whole_journey_is_exported_and_proven(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Journey(at, release, parties, tsa)
        await journey.pass_through()
        data, pack = await export(at, journey.id)
        assert pack.complete, json.loads(members(data)["manifest.json"])["reasons"]
        (tmp_path / "pack.zip").write_bytes(data)
        status, found = judged(data, parties)
        assert (status, found.doubts) == (0, [])
        assert judged(data, None)[0] == 1
        # As a stranger would run it, from anywhere, with nothing of ours on the path.
        said = subprocess.run(
            [sys.executable, "-I", str(VERIFIER), str(tmp_path / "pack.zip"), "--trust", str(parties.trust)],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert said.returncode == 0, said.stdout + said.stderr
        again, _ = await export(at, journey.id, reason="再次导出")
        assert again == data
        assert sum(f.type() == "toubao.evidence.pack_exported.v1" for f in await at.made(journey.id)) == 2

        async def too_slow(*_: Any) -> bytes:
            raise RenderFailed("deadline passed")

        at.service._reporter.report = too_slow
        with pytest.raises(Refuse) as refused:
            await export(at, journey.id)
        assert refused.value.code == "unavailable", "a report that is late today is drawn tomorrow"


@pytest.mark.parametrize("name", ["journey", "masked", *PRODUCTS, "policy masked"])
def test_I21_every_kind_of_pack_is_proven(packs: dict[str, bytes], parties: Parties, name: str) -> None:
    status, found = judged(packs[name], parties)
    assert (status, found.doubts) == (0, [])
    assert judged(packs[name], None)[0] == 1


def test_I24_a_masked_pack_shows_nothing_of_the_person(packs: dict[str, bytes]) -> None:
    for name in ("masked", "policy masked"):
        shown = members(packs[name])
        assert not [m for m in shown if m.startswith(("forms/", "policies/", "signature/", "payer/"))]
        for value in (*PERSON.values(), "京Q7K3D5", "6222020200112233445"):
            assert not [m for m, data in shown.items() if value.encode() in data]
    everything = members(packs["journey"])
    assert [m for m, data in everything.items() if PERSON["name"].encode() in data]
    assert not [m for m, data in everything.items() if b"6222020200112233445" in data]


@pytest.mark.parametrize(("mine", "other"), [PRODUCTS, PRODUCTS[::-1]])
def test_I21_the_pack_of_one_policy_shows_nothing_of_another(packs: dict[str, bytes], mine: str, other: str) -> None:
    shown, whole = members(packs[mine]), members(packs["journey"])
    texts = {n for n in whole if n.startswith("documents/")} - {n for n in shown if n.startswith("documents/")}
    assert len(texts) >= 3
    secrets = [other, f"PSF2026-{other[:5]}", *(n[10:-3] for n in texts), "143345"]
    chain = {m["path"]: m for m in json.loads(whole["chain.json"])["entries"]}
    secrets += [path for path in chain if other in path]
    for secret in secrets:
        assert not [n for n, data in shown.items() if secret.encode() in data or secret in n], secret
    # What speaks of both is there as its own view.
    assert any(n.startswith("views/") and n.endswith("forms_signed.json") for n in shown)
    text = subprocess.run(
        ["pdftotext", "-", "-"], input=shown["report.pdf"], capture_output=True, timeout=30, check=True
    ).stdout.decode()
    titles = {PRODUCTS[0]: "机动车交通事故责任强制保险", PRODUCTS[1]: "驾乘人员意外伤害保险"}
    assert titles[mine] in text.replace("\n", "")
    assert titles[other] not in text.replace("\n", "")


def changed(byte: int) -> int:
    return byte ^ 0x01


def test_I21_any_byte_of_the_container_changed_in_any_way_is_altered() -> None:
    """Exhaustive on a small archive: every byte, every other value."""
    small = archive({"manifest.json": b"{}", "manifest.jws": b"a..b", "facts/1.json": b"[1]"})
    assert verify.open_archive(small)["facts/1.json"] == b"[1]"
    assert verify.build_archive(verify.open_archive(small)) == small
    spoilt = bytearray(small)
    for position, right in enumerate(small):
        for wrong in {*range(256)} - {right}:
            spoilt[position] = wrong
            with pytest.raises((verify.Altered, ValueError, verify.struct.error)):
                verify.open_archive(bytes(spoilt))
        spoilt[position] = right


@pytest.mark.parametrize(("name", "step"), [("journey", 4999), ("policy masked", 199)])
def test_I21_any_byte_changed_is_altered(packs: dict[str, bytes], parties: Parties, name: str, step: int) -> None:
    """First and last byte of every member, and every so many bytes of the whole."""
    data = packs[name]
    trust = verify.Trust.read(parties.trust)
    positions = set(range(0, len(data), step)) | set(range(len(data) - 22, len(data)))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        for info in file.infolist():
            body = info.header_offset + 30 + len(info.filename)
            positions |= {info.header_offset, body - 1, body, body + info.file_size - 1}
    spoilt = bytearray(data)
    for position in sorted(positions):
        spoilt[position] = changed(spoilt[position])
        assert verify.judge(bytes(spoilt), trust)[0] == 2, position
        spoilt[position] = changed(spoilt[position])
    assert bytes(spoilt) == data


def test_I21_any_member_changed_in_a_well_formed_archive_is_altered(packs: dict[str, bytes], parties: Parties) -> None:
    trust = verify.Trust.read(parties.trust)
    for name in ("journey", PRODUCTS[1]):
        whole = members(packs[name])
        for member, content in whole.items():
            for position in {0, len(content) // 2, len(content) - 1}:
                bad = bytes(changed(b) if i == position else b for i, b in enumerate(content))
                assert verify.judge(verify.build_archive(whole | {member: bad}), trust)[0] == 2, member
            removed = {n: d for n, d in whole.items() if n != member}
            assert verify.judge(verify.build_archive(removed), trust)[0] == 2, member
            renamed = removed | {member + "x": content}
            assert verify.judge(verify.build_archive(renamed), trust)[0] == 2, member
        for extra in ("facts/000099-x-y.json", "note.txt", "certificates/more.pem", "documents/a.md"):
            assert verify.judge(verify.build_archive(whole | {extra: b"{}"}), trust)[0] == 2, extra


def test_I21_bytes_around_and_between_are_altered(packs: dict[str, bytes], parties: Parties) -> None:
    data = packs["masked"]
    for bad in (b"x" + data, data + b"x", data[:-1], data[1:], b"", b"PK", data[:-2] + b"\x01\x00x", data * 2):
        assert judged(bad, parties)[0] == 2
    # Written by another hand: compressed, dated, or with a directory that hides a member.
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", kind) as file:
            for name, content in members(data).items():
                file.writestr(name, content)
        assert judged(out.getvalue(), parties)[0] == 2
    for name in ("../facts/x", "/x", "facts//x", "facts/./x", "a\\b", "", "facts/", "x" * 300):
        assert judged(verify.build_archive(members(data) | {name: b""}), parties)[0] == 2


def test_what_was_never_a_pack_is_malformed_and_said_in_a_sentence(tmp_path: Path) -> None:
    def zipped(name: str, data: bytes, *, mode: int = 0o100644, kind: int = zipfile.ZIP_STORED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", kind) as file:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, data, kind)
        return out.getvalue()

    bomb = zipped("manifest.json", bytes(50_000_000), kind=zipfile.ZIP_DEFLATED)
    jws = {"manifest.jws": b"a..b"}
    hostile = {
        "empty": b"",
        "text": b"PK? no. " * 100,
        "bomb": bomb,
        "nested": zipped("manifest.json", bomb),
        "symlink": zipped("manifest.json", b"/etc/passwd", mode=0o120777),
        "upwards": zipped("../../manifest.json", b"{}"),
        "deep": verify.build_archive({"manifest.json": b"[" * 200_000, **jws}),
        "list": verify.build_archive({"manifest.json": b"[]", **jws}),
        "number": verify.build_archive({"manifest.json": b'{"format":' + b"9" * 5000 + b"}", **jws}),
        "surrogate": verify.build_archive({"manifest.json": b'{"format":"\\ud800"}', **jws}),
        "bare": verify.build_archive({"manifest.json": b'{"format":1}', **jws}),
    }
    for name, data in hostile.items():
        (tmp_path / name).write_bytes(data)
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            assert verify.main([str(tmp_path / name)]) == 2, name
        assert len(said.getvalue()) > 20, name
        assert "Traceback" not in said.getvalue()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(verify.MAX_FILE + 1)
    for gone in ("huge", "missing", "."):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            assert verify.main([str(tmp_path / gone)]) == 2


def test_a_signature_respelt_is_altered(packs: dict[str, bytes], parties: Parties) -> None:
    """The other ``s`` verifies too: it must not make a second pack of the first."""
    whole = members(packs["masked"])
    header, _, signature = whole["manifest.jws"].decode().split(".")
    raw = verify.b64url(signature)
    s = verify.P256_ORDER - int.from_bytes(raw[32:], "big")
    other = base64.urlsafe_b64encode(raw[:32] + s.to_bytes(32, "big")).rstrip(b"=").decode()
    bad = whole | {"manifest.jws": f"{header}..{other}".encode()}
    assert judged(verify.build_archive(bad), parties)[0] == 2


def test_a_pack_resealed_by_a_stranger_is_of_unknown_origin(
    packs: dict[str, bytes], parties: Parties, tmp_path: Path
) -> None:
    others = make_parties(tmp_path / "others")
    assert judged(packs["journey"], others)[0] == 1
    # A timestamp root cannot vouch for the insurer, nor the other way round.
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "tsa-root.pem").write_bytes((parties.trust / "insurer-root.pem").read_bytes())
    (swapped / "insurer-root.pem").write_bytes((parties.trust / "tsa-root.pem").read_bytes())
    assert verify.judge(packs["journey"], verify.Trust.read(swapped))[0] == 1


def reseal(whole: dict[str, bytes], parties: Parties, **manifest: Any) -> bytes:
    """What an insurer who cheats could do: change members and sign anew with the real key."""
    key = EvidenceKey.load(parties.root / "keys" / "evidence.key.pem", parties.root / "certs" / "evidence.chain.pem")
    said = json.loads(whole["manifest.json"]) | manifest
    rest = {n: d for n, d in whole.items() if n not in {"manifest.json", "manifest.jws"}}
    said["members"] = {n: {"sha256": verify.sha256(d), "size": len(d)} for n, d in rest.items()}
    raw = verify.canonical(said)
    return verify.build_archive(rest | {"manifest.json": raw, "manifest.jws": key.sign(raw).encode()})


def test_I19_the_insurer_itself_cannot_change_a_fact(packs: dict[str, bytes], parties: Parties) -> None:
    whole = members(packs["journey"])
    assert judged(reseal(whole, parties), parties)[0] == 0
    path = next(n for n in whole if "document_confirmed" in n)
    fact = json.loads(whole[path])
    longer = json.dumps({**fact, "dwell_ms": fact["dwell_ms"] + 60_000}, separators=(",", ":")).encode()
    assert judged(reseal(whole | {path: longer}, parties), parties)[0] == 2
    # Nor with a chain computed anew: the head's signature and timestamp are over the old one.
    chain = json.loads(whole["chain.json"])
    previous = verify.hashlib.sha256(b"toubao-chain-v1" + chain["journey_id"].encode()).digest()
    for place in chain["entries"]:
        if place["path"] == path:
            line = verify.canonical(place["attributes"]) + b"\n" + longer
            place["leaf"] = verify.sha256(line)
        data = json.loads(whole[place["path"]] if place["path"] != path else longer)
        views = b"".join(
            verify.hashlib.sha256(
                bytes.fromhex(place["salts"][k]) + verify.view_bytes(place["attributes"], data, k)
            ).digest()
            for k in sorted(place["salts"])
        )
        root = verify.hashlib.sha256(views).digest() if views else b""
        previous = verify.hashlib.sha256(previous + bytes.fromhex(place["leaf"]) + root).digest()
        place["link"] = previous.hex()
    forged = whole | {path: longer, "chain.json": verify.canonical(chain)}
    assert judged(reseal(forged, parties), parties)[0] == 2


@pytest.mark.parametrize("how", ["gap", "swap", "twice", "withheld", "cut"])
def test_I19_facts_missing_swapped_or_repeated_are_altered(packs: dict[str, bytes], parties: Parties, how: str) -> None:
    whole = members(packs["journey"])
    chain = json.loads(whole["chain.json"])
    entries = chain["entries"]
    match how:
        case "gap":
            gone = entries.pop(5)
            whole = {n: d for n, d in whole.items() if n != gone["path"]}
        case "swap":
            entries[5], entries[6] = entries[6], entries[5]
        case "twice":
            entries.insert(6, entries[5])
        case "withheld":
            place = entries[5]
            whole = {n: d for n, d in whole.items() if n != place["path"]}
            entries[5] = {k: place[k] for k in ("index", "source", "sequence", "leaf", "link")}
            entries[5] |= {"shown": "leaf", "views": []}
        case _:
            whole = {n: d for n, d in whole.items() if n != entries[-1]["path"]}
            entries.pop()
    whole["chain.json"] = verify.canonical(chain)
    assert judged(reseal(whole, parties), parties)[0] == 2


def test_a_pack_that_says_it_is_incomplete_is_not_proven(packs: dict[str, bytes], parties: Parties) -> None:
    whole = members(packs["journey"])
    said = reseal(whole, parties, complete=False, reasons=["document_missing:x"])
    assert judged(said, parties)[0] == 1
    assert judged(reseal(whole, parties, complete=False), parties)[0] == 2


async def test_I3_a_shortened_minimum_is_reported_as_not_proven(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Journey(at, release, parties, tsa, dwell_scale=0.01)
        await journey.pass_through()
        data, _ = await export(at, journey.id)
        status, found = judged(data, parties)
        assert status == 1
        assert all("reading NOT PROVEN" in doubt for doubt in found.doubts)
        assert len(found.doubts) == 8


async def test_I19_without_a_timestamp_now_the_pack_reaches_to_the_last_and_says_so(
    tmp_path: Path, nats: NatsServer, parties: Parties
) -> None:
    async with stamping(parties) as tsa, evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Journey(at, release, parties, tsa)
        await journey.pass_through()
        at.service._authorities = Authorities((), [], at.service._session, 1)  # type: ignore[attr-defined]
        data, pack = await export(at, journey.id)
        assert not pack.complete
        status, found = judged(data, parties)
        assert status == 1
        assert "the pack says of itself: facts_after_the_last_timestamp" in found.doubts


async def test_I21_a_lost_blob_makes_the_pack_incomplete(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Journey(at, release, parties, tsa)
        await journey.pass_through()
        signed = next(f for f in journey.facts if isinstance(f, FormsSigned))
        await at.service.blobs.delete(signed.strokes.blob)
        await at.service.blobs.delete(signed.attestation.token)
        data, pack = await export(at, journey.id)
        assert not pack.complete
        status, found = judged(data, parties)
        assert status == 1
        assert any("blob_missing" in doubt for doubt in found.doubts)
        assert any("timestamp_missing" in doubt for doubt in found.doubts)


def test_timestamps_and_signatures_agree_with_other_programs(
    packs: dict[str, bytes], parties: Parties, tmp_path: Path
) -> None:
    whole = members(packs["journey"])
    head = json.loads(whole["head.json"])
    token = tmp_path / "head.tst"
    token.write_bytes(whole[f"timestamps/{head['token']}.tst"])
    checked = subprocess.run(
        [
            *("openssl", "ts", "-verify", "-digest", head["head"], "-in", str(token), "-token_in"),
            *("-CAfile", str(parties.trust / "tsa-root.pem"), "-untrusted", str(parties.trust / "tsa-chain.pem")),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "Verification: OK" in checked.stdout + checked.stderr
    for name in (n for n in whole if n.startswith("policies/") or n.endswith("sealed.pdf")):
        paper = tmp_path / "paper.pdf"
        paper.write_bytes(whole[name])
        said = subprocess.run(
            ["pdfsig", "-nocert", str(paper)], check=False, capture_output=True, text=True, timeout=30
        ).stdout
        assert "Signature is Valid" in said
        assert "Total document signed" in said


# -- a record that is whole, and yet does not prove ------------------------------------------------------------------


async def test_what_the_facts_do_not_bear_out_is_not_proven(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Spoilt(at, release, parties, tsa)
        await journey.pass_through()
        data, pack = await export(at, journey.id)
        assert pack.complete
        status, found = judged(data, parties)
        assert status == 1, found.doubts
        for doubt in (
            "read for less than the minimum",
            "not every paragraph was seen",
            "identity was on record before the signature",
            "the order asked for the policyholder's own ID number",
            "what was paid is what was ordered",
            "the same terms from confirmation to policy",
            "the signature covers every document that was read",
            "made by another device",
            "says another total_fen than the device signed",
            "issued for what was paid",
        ):
            assert [line for line in found.doubts if doubt in line and "NOT PROVEN" in line], doubt


class Spoilt(Journey):
    """A journey of services that made one mistake, attested all the same."""

    async def tell(self, fact: Any) -> None:
        change: dict[str, Any] = {}
        match fact:
            case DocumentConfirmed():
                change = {"dwell_ms": fact.minimum_dwell_ms - 1, "paragraphs_seen": fact.paragraphs_total - 1}
            case IdentityVerified():
                change = {"valid_until": fact.at}
            case OrderPlaced():
                change = {
                    "payer_id_number": await self.at.vault.seal(self.id, "110105194912310000"),
                    "proof": await self.proof({"total_fen": 1}, "place-order"),
                }
            case PaymentConfirmed():
                first = fact.lines[0]
                change = {"lines": (first.model_copy(update={"fen": first.fen + 1}), *fact.lines[1:])}
            case PolicyIssued():
                change = {"lock": "9" * 64, "premium_fen": fact.premium_fen + 7}
            case FormsSigned():
                mine, self.at.device = self.at.device, Device()
                change = {"items": fact.items[:-1], "proof": await self.proof({}, "sign-forms")}
                self.at.device = mine
            case _:
                pass
        await super().tell(fact.model_copy(update=change))


async def test_acts_that_are_not_the_customers_own_are_not_proven(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Pretended(at, release, parties, tsa)
        await journey.pass_through()
        data, pack = await export(at, journey.id)
        assert pack.complete
        status, found = judged(data, parties)
        assert status == 1, found.doubts
        for doubt in (
            "the customer was told of the recording before the signature",
            "name and ID number verified are the policyholder's",
            "driver_passenger_accident: the customer ticked it",
            "no fact says a time later than the timestamp over it",
            "the release asks for another time or number of paragraphs",
            "the proof of point_acknowledged: made for another act",
            "the proof of form_reviewed: made for another act",
            "the device signed no items",
            "nothing was paid for that was not signed for",
            "the channel's receipt names the order",
            "numbers were drawn only for what was signed for",
            "for the period offered",
        ):
            lines = [re.sub(r" \(fact \d+\)", "", line) for line in found.doubts if "NOT PROVEN" in line]
            assert [line for line in lines if doubt in line], (doubt, lines)


class Pretended(Journey):
    """A journey in which services claim acts the customer's device did not make, attested all the same."""

    async def tell(self, fact: Any) -> None:
        change: dict[str, Any] = {}
        ghost = "household_contents"
        match fact:
            case RecordingAcknowledged() | ProductChosen():
                return
            case RealNameChecked():
                somebody = {"name": "别人", "id_number": PERSON["id_number"]}
                change = {"proof": await self.proof(somebody, "check-real-name")}
            case TermsConfirmed():
                change = {"at": fact.at + timedelta(hours=2)}
            case DocumentConfirmed():
                change = {"dwell_ms": 1100, "minimum_dwell_ms": 1000}
            case PointAcknowledged():
                said = {"product": fact.product, "point": fact.point, "sha256": fact.sha256}
                change = {"proof": await self.proof(said, "show-point")}
            case FormReviewed():
                said = {"product": fact.product, "form_commitment": fact.form_commitment}
                mine, self.id = self.id, new_ulid()
                proof = await self.proof(said, "review-form")
                self.id = mine
                body = await self.at.vault.seal(self.id, json.dumps(said))
                change = {"proof": proof.model_copy(update={"body": body})}
            case FormsSigned():
                change = {"proof": await self.proof({"declaration_sha256": "3" * 64}, "sign-forms")}
            case OrderPlaced() | PaymentConfirmed():
                line = PremiumLine(product=ghost, kind="premium", fen=1)
                change = {"lines": (*fact.lines, line), "total_fen": fact.total_fen + 1}
                if isinstance(fact, PaymentConfirmed):
                    receipt = {"out_trade_no": "O2", "amount": {"total": fact.total_fen + 1}}
                    change["receipt"] = await self.at.vault.seal(self.id, json.dumps(receipt))
            case PoliciesNumbered():
                more = NumberedPolicy(product=ghost, policy_no="PSF2026-ghost", lock="9" * 64)
                change = {"policies": (*fact.policies, more)}
            case PolicyIssued():
                change = {"period_to": fact.period_to + timedelta(days=1)}
            case _:
                pass
        await super().tell(fact.model_copy(update=change))


async def test_I5_an_optional_product_removed_after_the_signature_leaves_the_others_proven(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Journey(at, release, parties, tsa)
        await journey.open()
        await journey.read()
        await journey.sign()
        kept, dropped = PRODUCTS
        await journey.tell(
            ProductDropped(
                at=journey.now(), product=dropped, proof=await journey.proof({"product": dropped}, "drop-product")
            )
        )
        del journey.terms_of[dropped], journey.locks[dropped]
        await journey.pay()
        await journey.issue()
        for asked in ({}, {"scope": "policy", "policy_no": journey.numbers[kept]}):
            data, _ = await export(at, journey.id, **asked)
            status, found = judged(data, parties)
            assert (status, found.doubts) == (0, [])


async def test_a_customer_who_spells_things_their_own_way_spoils_no_evidence(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    """Whatever the gateway takes, the verifier must take: or the customer decides whether there is proof."""

    class Playful(Journey):
        async def proof(self, body: dict[str, Any], verb: str) -> ActProof:
            made = await super().proof(body, verb)
            raw = json.dumps(body)
            if "total_fen" in body:
                raw = raw.replace(f'"total_fen": {body["total_fen"]}', f'"total_fen": "{body["total_fen"]}"')
            if "name" in body:
                raw = '{"name": "x",' + raw[1:]
            spelled = made.proof.url.replace("http:", "HTTP:").replace("-", "%2d") + "?a=b#c"
            jws = self.at.device.proof("POST", spelled, raw.encode(), nonce=new_ulid(), jti="always-the-same")
            verify_proof(jws, method="POST", url=made.proof.url, body_sha256=sha256_hex(raw.encode()))
            return made.model_copy(
                update={
                    "proof": made.proof.model_copy(update={"jws": jws}),
                    "body": await self.at.vault.seal(self.id, raw),
                }
            )

    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        journey = Playful(at, release, parties, tsa)
        await journey.pass_through()
        data, _ = await export(at, journey.id)
        status, found = judged(data, parties)
        assert (status, found.doubts) == (0, [])


async def test_a_proof_that_does_not_verify_is_altered(
    tmp_path: Path, nats: NatsServer, parties: Parties, tsa: str
) -> None:
    class Broken(Journey):
        last: ActProof | None = None
        spoil = ""

        async def proof(self, body: dict[str, Any], verb: str) -> ActProof:
            made = await super().proof(body, verb)
            if verb != "place-order":
                self.last = made
                return made
            match self.spoil:
                case "url":
                    proof = made.proof.model_copy(update={"url": made.proof.url + "x"})
                    return made.model_copy(update={"proof": proof})
                case "signature":
                    head, claims, signature = made.proof.jws.split(".")
                    proof = made.proof.model_copy(update={"jws": f"{head}.{claims}.{signature[::-1]}"})
                    return made.model_copy(update={"proof": proof})
                case "hash":
                    return made.model_copy(update={"body": await self.at.vault.seal(self.id, b'{"other":1}')})
                case _:
                    assert self.last is not None
                    return self.last

    async with evidence(tmp_path, nats, parties, tsa) as (at, release):
        for spoil, said in (
            ("url", "another address"),
            ("signature", ""),
            ("hash", "over another body"),
            ("replayed", "used twice"),
        ):
            journey = Broken(at, release, parties, tsa)
            journey.spoil = spoil
            await journey.pass_through()
            data, _ = await export(at, journey.id)
            status, found = judged(data, parties)
            assert status == 2, spoil
            assert said in found.doubts[0]
