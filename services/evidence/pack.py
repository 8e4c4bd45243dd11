"""The evidence pack of a journey or of one policy (format: docs/evidence.md).

What is shown: of a journey every fact; of one policy the facts of the journey as a whole and of its own product,
of facts that speak of several products only its own view, of the rest nothing but their hashes. What is opened:
without masking every personal value except card numbers and one-time codes; masked only what says nothing about
the person.
"""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal, cast

from contracts.values import Attestation, Committed, canonical_json, sha256_hex
from products import Release, ReleaseError
from servicekit.blobs import BlobDamaged, BlobMissing, Blobs
from servicekit.vault import Unopenable, Vault
from services.evidence.archive import archive
from services.evidence.chain import EVERY_PRODUCT, Entry, products_in
from services.evidence.signature import EvidenceKey

FORMAT: Final = 1

NEVER_OPENED: Final = frozenset({"session_opened", "otp_verified", "bank_card_checked"})
"""Their bodies hold the link's secret, a one-time code and a card number: nobody needs those to judge the journey."""

MASKED_BODIES: Final = frozenset(
    {
        "recording_acknowledged",
        "mode_chosen",
        "consent_given",
        "consent_declined",
        "terms_confirmed",
        "product_chosen",
        "product_dropped",
        "document_opened",
        "document_confirmed",
        "point_acknowledged",
        "continued_of_own_will",
        "form_reviewed",
        "order_placed",
    }
)
"""Facts whose act's body names documents, terms and products and nothing of the person."""

_SUFFIX: Final = {
    "application/pdf": "pdf",
    "application/json": "json",
    "image/png": "png",
    "image/svg+xml": "svg",
}

Shown = Literal["fact", "view", "leaf"]


@dataclass(frozen=True)
class Exhibit:
    """One fact as a pack shows it. ``data`` is the fact, or its view of one product."""

    entry: Entry
    shown: Shown
    data: dict[str, Any]
    view: str | None = None

    @property
    def name(self) -> str:
        return self.entry.type.split(".")[2]

    @property
    def stem(self) -> str:
        return f"{self.entry.index:06d}-{self.entry.service}-{self.name}"


@dataclass
class Contents:
    """A pack being put together: its members, what was opened, and what is wanting."""

    members: dict[str, bytes] = field(default_factory=dict[str, bytes])
    values: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Opened values by commitment."""
    openings: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    reasons: set[str] = field(default_factory=set[str])


@dataclass(frozen=True)
class Scope:
    """What a pack is about. ``product`` and ``policy_no`` only for the pack of one policy."""

    journey_id: str
    masked: bool
    product: str | None = None
    policy_no: str | None = None

    @property
    def kind(self) -> Literal["journey", "policy"]:
        return "journey" if self.product is None else "policy"

    @property
    def file_name(self) -> str:
        return f"{self.policy_no or self.journey_id}-evidence{'-masked' if self.masked else ''}.zip"


def exhibits(entries: Sequence[Entry], product: str | None) -> list[Exhibit]:
    """What a pack shows of each fact; ``product`` none shows everything."""
    return [_exhibit(entry, product) for entry in entries]


def _exhibit(entry: Entry, product: str | None) -> Exhibit:
    data = entry.content()
    if product is None:
        return Exhibit(entry, "fact", data)
    if entry.salts:
        key = product if product in entry.salts else EVERY_PRODUCT
        if key not in entry.salts:
            return Exhibit(entry, "leaf", {})
        return Exhibit(entry, "view", cast("dict[str, Any]", json.loads(entry.view(key))["data"]), key)
    return Exhibit(entry, "fact", data) if products_in(data) <= {product} else Exhibit(entry, "leaf", {})


def chain_json(scope: Scope, shown: Sequence[Exhibit]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "journey_id": scope.journey_id,
        "entries": [_place(exhibit) for exhibit in shown],
    }


def _place(exhibit: Exhibit) -> dict[str, Any]:
    entry = exhibit.entry
    place: dict[str, Any] = {
        "index": entry.index,
        "source": entry.source,
        "sequence": entry.sequence,
        "leaf": entry.leaf,
        "link": entry.link,
        "shown": exhibit.shown,
    }
    match exhibit.shown:
        case "fact":
            place |= {"attributes": entry.attributes(), "path": f"facts/{exhibit.stem}.json", "salts": entry.salts}
        case "view":
            assert exhibit.view is not None
            views = entry.views()
            place |= {
                "path": f"views/{exhibit.stem}.json",
                "view": exhibit.view,
                "salt": entry.salts[exhibit.view],
                "views": [*views.values()],
            }
        case "leaf":
            place |= {"views": [*entry.views().values()]}
    return place


def committed_in(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every committed value of a fact, with the names that lead to it."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        if {"commitment", "blob"} <= members.keys():
            yield at, members
        else:
            for key, member in members.items():
                yield from committed_in(member, (*at, key))
    elif isinstance(value, list):
        for number, member in enumerate(cast("list[Any]", value)):
            yield from committed_in(member, (*at, str(number)))


def may_open(scope: Scope, exhibit: Exhibit, at: tuple[str, ...]) -> bool:
    """Whether this pack may show what a commitment hides."""
    if exhibit.name == "message_queued" and at == ("values",):
        return False  # a one-time code, or the link that opens the journey
    body = at[-2:] == ("proof", "body")
    if body and (exhibit.name in NEVER_OPENED or exhibit.shown == "view"):
        return False  # a body of several products would show the others
    if body and scope.product is not None and exhibit.name == "ink_rejected":
        return False  # the fact names no product, its body all of them
    if scope.masked:
        return body and exhibit.name in MASKED_BODIES
    # The channel's receipt names the sum of the whole order.
    return not (exhibit.shown == "view" and at == ("receipt",))


def member_for(exhibit: Exhibit, at: tuple[str, ...], media_type: str | None) -> str | None:
    """Where an opened value lies; none for a short one that stands in ``openings.json``."""
    index, name, data = f"{exhibit.entry.index:06d}", exhibit.name, exhibit.data
    suffix = _SUFFIX.get(media_type or "", "bin")
    match name, at:
        case ("form_prepared", ("form",)):
            return f"forms/{data['product']}-{index}-first-revision.pdf"
        case ("form_sealed", ("form",)):
            return f"forms/{data['product']}-{index}-sealed.pdf"
        case ("policy_issued", ("policy",)):
            return f"policies/{data['policy_no']}.pdf"
        case (_, ("strokes" | "image" | "vector" as part,)):
            return f"signature/{index}-{part}.{suffix}"
        case ("payment_confirmed", ("receipt",)):
            return f"payer/{index}-receipt.json"
        case (_, (*_, "proof", "body")):
            return f"proofs/{index}-body.json"
        case _ if media_type is not None:
            return f"files/{index}-{'-'.join(at)}.{suffix}"
        case _:
            return None


class Packer:
    """Puts packs together from what evidence holds."""

    def __init__(self, vault: Vault, blobs: Blobs, key: EvidenceKey) -> None:
        self._vault = vault
        self._blobs = blobs
        self._key = key

    async def contents(
        self, scope: Scope, anchor: Attestation, shown: Sequence[Exhibit], release: Release | None
    ) -> Contents:
        """Everything but report, manifest and signature. What cannot be had is named in ``reasons``."""
        made = Contents()
        for exhibit in shown:
            if exhibit.shown == "leaf":
                continue
            if exhibit.shown == "fact":
                made.members[f"facts/{exhibit.stem}.json"] = exhibit.entry.data.encode()
            elif exhibit.view is not None:
                made.members[f"views/{exhibit.stem}.json"] = exhibit.entry.view(exhibit.view)
            for at, committed in committed_in(exhibit.data):
                if may_open(scope, exhibit, at):
                    await self._open(scope.journey_id, made, exhibit, at, committed)
            for sha256 in _documents(exhibit):
                self._document(made, release, sha256)
        head = anchor.model_dump(mode="json")
        anchors = [head, *(a for exhibit in shown if (a := _anchored(exhibit)) is not None)]
        for said in anchors:
            await self._blob(made, f"timestamps/{said['token']}.tst", said["token"], "timestamp_missing")
            if said.get("signature"):
                kid = _kid(said["signature"])
                await self._blob(made, f"certificates/{kid}.pem", kid, "certificate_missing")
        made.members[f"certificates/{self._key.kid}.pem"] = self._key.chain
        made.members["chain.json"] = canonical_json(chain_json(scope, shown))
        made.members["head.json"] = canonical_json({"journey_id": scope.journey_id, **head})
        unique = {o["commitment"]: o for o in made.openings}
        made.members["openings.json"] = canonical_json({"openings": [unique[c] for c in sorted(unique)]})
        made.members["software.json"] = canonical_json(software())
        if scope.product is None and release is not None:
            made.members["release/manifest.json"] = _release_manifest(release)
        return made

    def seal(self, scope: Scope, made: Contents) -> tuple[bytes, bytes]:
        """The pack's bytes and its manifest's."""
        manifest = canonical_json(
            {
                "format": FORMAT,
                "journey_id": scope.journey_id,
                "scope": scope.kind,
                "product": scope.product,
                "policy_no": scope.policy_no,
                "masked": scope.masked,
                "complete": not made.reasons,
                "reasons": sorted(made.reasons),
                "members": {
                    name: {"sha256": sha256_hex(data), "size": len(data)} for name, data in made.members.items()
                },
            }
        )
        signed = {"manifest.json": manifest, "manifest.jws": self._key.sign(manifest).encode()}
        return archive(made.members | signed), manifest

    async def _open(
        self, journey_id: str, made: Contents, exhibit: Exhibit, at: tuple[str, ...], committed: Mapping[str, Any]
    ) -> None:
        commitment = committed["commitment"]
        if commitment in made.values:
            return
        try:
            random, value = await self._vault.opening(
                journey_id, Committed(commitment=commitment, blob=committed["blob"])
            )
        except Unopenable as error:
            made.reasons.add(f"value_closed:{exhibit.stem}:{'.'.join(at)}:{error.reason}")
            return
        made.values[commitment] = value
        opening = {"commitment": commitment, "random": random.hex()}
        path = member_for(exhibit, at, committed.get("media_type"))
        if path is None:
            opening["value"] = base64.b64encode(value).decode()
        else:
            made.members[path] = value
            opening["path"] = path
        made.openings.append(opening)

    def _document(self, made: Contents, release: Release | None, sha256: str) -> None:
        path = f"documents/{sha256}.md"
        if path in made.members:
            return
        try:
            if release is None:
                raise ReleaseError("no release")
            made.members[path] = release.source(sha256)
        except ReleaseError:
            made.reasons.add(f"document_missing:{sha256}")

    async def _blob(self, made: Contents, path: str, sha256: str, wanting: str) -> None:
        if path in made.members:
            return
        try:
            made.members[path] = await self._blobs.get(sha256)
        except (BlobMissing, BlobDamaged, ValueError):
            made.reasons.add(f"{wanting}:{sha256}")


def _documents(exhibit: Exhibit) -> Iterator[str]:
    """The published texts this fact rests on, by hash."""
    match exhibit.name:
        case "document_opened" | "document_confirmed":
            yield exhibit.data["document"]["sha256"]
        case "recording_acknowledged" | "consent_given" | "consent_declined":
            yield exhibit.data["notice"]["sha256"]
        case _:
            return


def _anchored(exhibit: Exhibit) -> dict[str, Any] | None:
    if exhibit.name == "head_anchored":
        return exhibit.data
    said = exhibit.data.get("attestation")
    return cast("dict[str, Any]", said) if isinstance(said, dict) else None


def _kid(signature: str) -> str:
    header = signature.split(".", 1)[0]
    try:
        return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])
    except (ValueError, KeyError, TypeError):
        return "unreadable"


def _release_manifest(release: Release) -> bytes:
    from products.loader import Manifest

    return canonical_json(
        Manifest(products=dict(release.products), notices=dict(release.notices), files=dict(release.files)).model_dump(
            mode="json"
        )
    )


def software() -> dict[str, Any]:
    """What made the pack and how the record came about (docs/evidence.md, mechanism)."""
    used = ("cryptography", "asn1crypto", "pydantic", "nats-py", "pyhanko", "weasyprint")
    return {
        "chain": "toubao-chain-v1",
        "pack": FORMAT,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in used},
        "mechanism": (Path(__file__).parent / "mechanism.txt").read_text("utf-8"),
    }
