"""The record itself: complete, in order, unaltered, anchored outside before anything was issued; nothing left over."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.faults.checker import seals
from tests.faults.checker.chain import Broken, attributes, canonical, chain_of
from tests.faults.checker.stores import AFTERCARE, RECORDING, Fact, Json, moment
from tests.faults.checker.verdict import Complaint, of_all, of_each
from tests.faults.checker.world import Journey, World

LISTENS = {
    "proposal": ("identity", "signing", "payment", "issuance"),
    "identity": ("proposal", "signing", "payment", "issuance"),
    "disclosure": ("proposal", "identity", "signing"),
    "signing": ("proposal", "identity", "disclosure"),
    "payment": ("proposal", "identity", "disclosure", "signing", "issuance"),
    "issuance": ("proposal", "identity", "disclosure", "signing", "payment"),
    "evidence": tuple(service for service in RECORDING if service != "evidence"),
}
"""Who listens to whom (docs/architecture.md)."""
ATTESTED = ("signing.forms_signed", "payment.order_placed", "issuance.policies_numbered")
RESTS_ON = {
    "signing.forms_signed": ("proposal", "identity", "disclosure", "signing"),
    "payment.order_placed": ("proposal", "identity", "disclosure", "signing"),
    "issuance.policies_numbered": ("proposal", "identity", "disclosure", "signing", "payment"),
}


@of_each("I19", "every service's facts gap-free, the chain holds each of them as it was, anchored before issuance")
def complete_trace(journey: Journey) -> Iterator[str]:
    for service in RECORDING:
        facts = journey.world.stores.facts(service, journey.id)
        if [fact.sequence for fact in facts] != list(range(1, len(facts) + 1)):
            yield f"{service} has a gap in its sequence"
        if strangers := [fact for fact in facts if (fact.service, fact.subject) != (service, journey.id)]:
            yield f"{service} keeps {len(strangers)} facts that are not its own"
    if twice := [one for one, times in Counter(fact.id for fact in journey.all).items() if times > 1]:
        yield f"{len(twice)} facts share an id"
    try:
        chain = chain_of(journey)
    except Broken as broken:
        yield f"the chain is broken: {broken}"
        return
    chained = {(entry["source"], entry["sequence"]): entry for entry in chain}
    if len(chained) != len(chain):
        yield "the chain holds a fact twice"
    for fact in journey.all:
        entry = chained.pop((fact.source, fact.sequence), None)
        if entry is None:
            yield f"the chain lacks {fact.name} {fact.sequence}"
        elif (entry["data"], attributes(journey.id, entry)) != (fact.raw, _attributes(fact)):
            yield f"{fact.name} {fact.sequence} is not in the chain as its service keeps it"
    if chained:
        yield f"the chain holds {len(chained)} facts no service has"
    for numbered in journey.facts("issuance.policies_numbered"):
        attested = numbered.data["attestation"]["count"]
        if not any(anchor.data["count"] == attested for anchor in journey.facts("evidence.head_anchored")):
            yield "policies were numbered on a head that was never anchored"
        paid = journey.first("payment.payment_confirmed")
        if paid is None or not journey.within(numbered.data["attestation"]["heads"], paid):
            yield "policies were numbered before the payment was anchored"


def _attributes(fact: Fact) -> Json:
    return {
        "specversion": "1.0", "id": fact.id, "source": fact.source, "type": fact.type, "subject": fact.subject,
        "time": fact.time, "sequence": fact.sequence, "dataschema": fact.dataschema,
    }  # fmt: skip


@of_each(
    "I33",
    "no signature, order or policy number without evidence's signed and timestamped word on all it rests on",
    when=lambda journey: any(journey.facts(name) for name in ATTESTED),
)
def fails_closed(journey: Journey) -> Iterator[str]:
    try:
        chain = chain_of(journey)
    except Broken:
        return  # said under I19
    place = {(entry["source"], entry["sequence"]): entry["index"] for entry in chain}
    anchors = {anchor.data["head"]: anchor for anchor in journey.facts("evidence.head_anchored")}
    for fact in (fact for name in ATTESTED for fact in journey.facts(name)):
        given = fact.data["attestation"]
        if not 1 <= given["count"] <= len(chain) or chain[given["count"] - 1]["link"] != given["head"]:
            yield f"{fact.name} rests on a head the chain never had"
            continue
        if (index := place.get((fact.source, fact.sequence))) is not None and index <= given["count"]:
            yield f"{fact.name} is older than the head it rests on"
        if given["heads"] != dict(Counter(entry["source"].rpartition("/")[2] for entry in chain[: given["count"]])):
            yield f"{fact.name} rests on heads that are not those of its place in the chain"
        if missing := [service for service in RESTS_ON[fact.name] if not given["heads"].get(service)]:
            yield f"{fact.name} was attested without anything of {', '.join(missing)}"
        anchor = anchors.get(given["head"])
        if anchor is None or any(anchor.data[name] != given[name] for name in ("count", "heads", "token", "signature")):
            yield f"{fact.name} rests on an attestation evidence has no record of"
        yield from (f"{fact.name}: {why}" for why in _attestation(journey, given))


def _attestation(journey: Journey, given: Json) -> Iterator[str]:
    world = journey.world
    kid = json.loads(seals.b64(given["signature"].split(".")[0]))["kid"]
    chain = world.blob(kid)
    said = {"journey_id": journey.id, **{name: given[name] for name in ("head", "count", "heads", "at")}}
    if chain is None or hashlib.sha256(chain).hexdigest() != kid:
        yield "the certificates of the attestation's signer are not kept"
    else:
        try:
            seals.detached(given["signature"], canonical(said), chain)
        except ValueError as error:
            yield f"the attestation is not evidence's word: {error}"
    token = world.blob(given["token"])
    if token is None:
        yield "the attestation's timestamp is not kept"
        return
    try:
        seals.timestamp(token, bytes.fromhex(given["head"]))
    except ValueError as error:
        yield f"the attestation's timestamp is of no use: {error}"


@of_each(
    "I20", "every notice, document and product a fact speaks of is kept as it was published", when=lambda j: j.opened
)
def published_kept(journey: Journey) -> Iterator[str]:
    release = journey.opened["release"]
    if not journey.release:
        yield "the release of the journey is missing or altered"
        return
    shown = {document["sha256"] for terms in journey.terms.values() for document in terms["documents"]}
    for fact in journey.all:
        for name in ("notice", "document"):
            if isinstance(fact.data.get(name), dict):
                shown.add(fact.data[name]["sha256"])
    for sha256 in sorted(shown):
        if not journey.world.published(release, sha256):
            yield f"a text shown is not kept as it was: {sha256}"
    for product, terms in journey.terms.items():
        manifest = journey.release["products"].get(product)
        if manifest is None or manifest["version"] != terms["product_version"]:
            yield f"{product} is not offered as it was published"
            continue
        wanted = {(d["code"], d["version"], d["sha256"]) for d in manifest["documents"] if d["mandatory"]}
        if wanted != {(d["document"], d["version"], d["sha256"]) for d in terms["documents"]}:
            yield f"{product} is not offered with the documents it was published with"


@of_all("I21", "a pack holds the chain as it is kept, and every file its manifest names")
def packs_hold(world: World, checked: set[str]) -> Iterator[Complaint]:
    known = {journey.id: journey for journey in world.journeys}
    for path in world.packs:
        with zipfile.ZipFile(path) as pack:
            try:
                manifest = json.loads(pack.read("manifest.json"))
                journey_id = manifest["journey_id"]
                checked.add(journey_id)
                yield from ((journey_id, what) for what in _pack(pack, manifest, known[journey_id]))
            except (KeyError, ValueError, zipfile.BadZipFile) as error:
                yield path.stem, f"the pack cannot be read: {type(error).__name__} {error}"


def _pack(pack: zipfile.ZipFile, manifest: Json, journey: Journey) -> Iterator[str]:
    files: Json = manifest["members"]
    for name in pack.namelist():
        if name in ("manifest.json", "manifest.jws"):
            continue
        said = files.get(name)
        if said is None or hashlib.sha256(pack.read(name)).hexdigest() != said["sha256"]:
            yield f"{name} is not what the manifest says"
    if missing := set(files) - set(pack.namelist()):
        yield f"the pack lacks {', '.join(sorted(missing)[:3])}"
    kept = chain_of(journey)
    for packed in json.loads(pack.read("chain.json"))["entries"]:
        index = packed["index"]
        if index > len(kept) or kept[index - 1]["link"] != packed["link"]:
            yield f"fact {index} of the pack is not the one that is kept"


@of_each(
    "I22",
    "each policy is kept for the years its contract's length demands after its end",
    when=lambda journey: journey.facts("issuance.policy_issued"),
)
def retained(journey: Journey) -> Iterator[str]:
    for fact in journey.facts("issuance.policy_issued"):
        begins, ends = moment(fact.data["period_from"]), moment(fact.data["period_to"])
        years = 5 if (ends - begins).days <= 366 else 10
        kept = moment(fact.data["retain_until"])
        if kept < ends.replace(year=ends.year + years):
            yield f"{fact.data['product']} is kept until {kept.date()} only"


# -- nothing left over ---------------------------------------------------------------------------------------------


@of_all("outbox", "no fact waits for the bus", settles=True)
def outbox_empty(world: World, checked: set[str]) -> Iterator[Complaint]:
    for service in (*RECORDING, *AFTERCARE):
        for document in world.stores.of(service, "journeys").values():
            checked.add(document.id)
            if document.pending:
                yield document.id, f"{document.pending} facts of {service} were never published"


@of_each("heard", "every service has heard all it listens to", settles=True)
def everything_heard(journey: Journey) -> Iterator[str]:
    for listener, sources in LISTENS.items():
        document = journey.document(listener)
        heard: dict[str, int] = {} if document is None else document.state["heard"]
        for source in sources:
            said = len(journey.world.stores.facts(source, journey.id))
            if heard.get(source, 0) != said:
                yield f"{listener} has heard {heard.get(source, 0)} of {said} facts of {source}"


@of_all("dead", "no message was given up")
def nothing_dead(world: World, checked: set[str]) -> Iterator[Complaint]:
    messages = world.witness.get("messages")
    if messages is None:
        return
    checked.update(journey.id for journey in world.journeys)
    if messages.get("DEAD"):
        yield "", f"{messages['DEAD']} messages lie in the stream of dead letters"


TOLD = (
    "product", "policy_no", "premium_fen", "taxes_fen", "period_from", "period_to", "channel_id", "channel_reference",
    "proposal_no",
)  # fmt: skip


@of_all("partners", "the channel was told of each policy and each finished journey once, as they were issued")
def partners_told(world: World, checked: set[str]) -> Iterator[Complaint]:
    told = world.witness.get("events")
    if told is None:
        return
    policies: Counter[tuple[Any, ...]] = Counter()
    finished: Counter[str] = Counter()
    for event in told:
        data = event["data"]
        if ".policy_issued." in event["type"]:
            policies[data["journey_id"], *(data[name] for name in TOLD)] += 1
        else:
            finished[data["journey_id"]] += 1
    for journey in world.journeys:
        for fact in journey.facts("issuance.policy_issued"):
            checked.add(journey.id)
            key = (journey.id, *(fact.data[name] for name in TOLD))
            if (times := policies.pop(key, 0)) != 1:
                yield journey.id, f"the channel was told {times} times of the policy of {fact.data['product']}"
        if (times := finished.pop(journey.id, 0)) != (wanted := len(journey.facts("issuance.journey_issued"))):
            yield journey.id, f"the channel was told {times} times that all is issued, {wanted} times it was"
    for journey_id in {key[0] for key in policies} | set(finished):
        yield journey_id, "the channel was told of policies nobody issued"


@of_each("register", "the staff's list stands on the chain and shows the policies there are", settles=True)
def register_follows(journey: Journey) -> Iterator[str]:
    kept = journey.world.stores.of("evidence", "register").get(journey.id)
    if kept is None:
        yield "the staff's list lacks the journey"
        return
    place, head = kept.state["place"], kept.state["head"]
    entries = journey.world.entries.get(journey.id, ())
    if not any((entry["index"], entry["link"]) == (place, head) for entry in entries):
        yield "the staff's list stands on no chain that is kept"
    issued = {
        (fact.data["policy_no"], fact.data["product"], fact.data["premium_fen"])
        for fact in journey.facts("issuance.policy_issued")
    }
    listed = {(p["policy_no"], p["product"], p["premium_fen"]) for p in kept.state["row"]["policies"]}
    if listed != issued or (kept.fields["stage"] == "issued") != bool(journey.facts("issuance.journey_issued")):
        yield "the staff's list shows other policies than there are"


@of_each("sms", "each message came to one end, and what is said to be sent was taken by the provider once",
         when=lambda journey: journey.facts("notify.message_queued"), settles=True)  # fmt: skip
def messages_sent(journey: Journey) -> Iterator[str]:
    sent = Counter(fact.data["message_id"] for fact in journey.facts("notify.message_sent"))
    failed = Counter(fact.data["message_id"] for fact in journey.facts("notify.message_failed"))
    queued = Counter(fact.data["message_id"] for fact in journey.facts("notify.message_queued"))
    if queued != sent + failed:
        yield "a message came to no end, or to two"
    taken = journey.world.ledger.of("sms")
    if lost := [message for message in sent if message not in taken]:
        yield f"{len(lost)} messages said to be sent were never taken by the provider"


RULES = (
    register_follows,
    messages_sent,
    complete_trace,
    published_kept,
    packs_hold,
    retained,
    fails_closed,
    outbox_empty,
    everything_heard,
    nothing_dead,
    partners_told,
)
