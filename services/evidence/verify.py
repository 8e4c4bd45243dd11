"""Judges an evidence pack, offline and without trusting whoever made it.

    python verify.py PACK.zip [--trust DIR] [--json]

One file; needs Python 3.11, ``cryptography`` and ``asn1crypto``, and shares no code with the program that made the
pack. ``DIR`` holds PEM certificates: self-signed ones are anchors, others help to build chains. Files whose name
begins with ``tsa`` anchor timestamp authorities, all others the insurer.

Exit status:
  0  proven under those anchors
  1  consistent, but the origin is unknown (always so without --trust), or the pack or the record says itself
     that something is wanting
  2  altered or malformed
The format of a pack is described in docs/evidence.md.
"""

# What is read here is a stranger's JSON and asn1crypto's objects, neither of which has types to speak of; each value
# is looked at where it is used.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import struct
import sys
import unicodedata
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asn1crypto import cms, core, tsp  # pyright: ignore[reportMissingTypeStubs]
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

FORMAT = 1
MAX_FILE = 1 << 30
MAX_MEMBERS = 20_000
MEMBER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
HEX = re.compile(r"[0-9a-f]{64}")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CLOCK_SKEW = timedelta(minutes=5)
"""How far the insurer's clock may be from the timestamp authority's."""
CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of two machines of the insurer's may differ."""
SUMS = ("total_fen", "fen")
ACTS = {
    "session_opened": "open-session",
    "recording_acknowledged": "acknowledge-recording",
    "mode_chosen": "choose-mode",
    "consent_given": "give-consent",
    "consent_declined": "decline-consent",
    "otp_sent": "send-otp",
    "otp_verified": "verify-otp",
    "real_name_checked": "check-real-name",
    "face_started": "start-face",
    "face_checked": "finish-face",
    "bank_card_checked": "check-bank-card",
    "help_requested": "request-help",
    "terms_confirmed": "confirm-terms",
    "product_chosen": "choose-product",
    "product_dropped": "drop-product",
    "document_opened": "open-document",
    "document_confirmed": "confirm-document",
    "needs_answered": "answer-needs",
    "continued_of_own_will": "continue-of-own-will",
    "questions_answered": "answer-questions",
    "point_acknowledged": "acknowledge-point",
    "form_reviewed": "review-form",
    "phrase_copied": "copy-phrase",
    "phrase_rejected": "copy-phrase",
    "ink_rejected": "sign-forms",
    "review_requested": "sign-forms",
    "forms_signed": "sign-forms",
    "order_placed": "place-order",
}
"""The customer's acts: each fact and the address its proof must have been made for."""
DOCUMENT = ("product", "document", "version", "sha256")
NOTICE = ("notice", "version", "sha256")
WORDS = {
    "recording_acknowledged": NOTICE,
    "mode_chosen": ("mode",),
    "consent_given": NOTICE,
    "consent_declined": NOTICE,
    "terms_confirmed": ("locks",),
    "product_chosen": ("product", "lock"),
    "product_dropped": ("product",),
    "document_opened": DOCUMENT,
    "document_confirmed": DOCUMENT,
    "continued_of_own_will": ("product",),
    "point_acknowledged": ("product", "point", "sha256"),
    "form_reviewed": ("product", "form_commitment"),
    "phrase_copied": ("phrase",),
    "phrase_rejected": ("phrase",),
    "review_requested": ("items", "declaration_sha256"),
    "forms_signed": ("items", "declaration_sha256"),
    "order_placed": ("total_fen", "locks"),
}
"""What the body of an act must say itself, and alike: otherwise the device did not sign it."""
WRITTEN = (
    *("attempt", "items", "declaration_sha256", "strokes", "image", "vector", "strokes_rendered_by"),
    *("ink_checks", "reading", "pen", "signed_at", "signatory", "proof"),
)
"""What a signature and the one that people were asked to look at must have alike."""
WRITTEN_IN_NO_BOX = re.compile(r"[\s·•・‧∙⋅˙･.．\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""What of a name is written in no box of its own."""
PHRASE_SHARE = 0.8
"""Of the characters of a copied phrase that must reach their limits."""
EVERY_PRODUCT = "*"

PLACES = (
    "chain.json",
    "head.json",
    "openings.json",
    "software.json",
    "report.pdf",
    "release/manifest.json",
)
FOLDERS = (
    "facts/",
    "views/",
    "timestamps/",
    "certificates/",
    "documents/",
    "forms/",
    "policies/",
    "signature/",
    "payer/",
    "proofs/",
    "files/",
)


class Altered(Exception):
    """The pack is not what was sealed, or was never a pack."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Altered(what)


@dataclass
class Findings:
    """What the pack proves, what it only says, what it leaves open, and why it may not count as proven."""

    proven: list[str] = field(default_factory=list)
    asserted: list[str] = field(default_factory=list)
    not_recorded: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def check(self, holds: bool, proven: str, doubt: str | None = None) -> None:
        """Something that follows from the facts, or does not."""
        if holds:
            self.proven.append(proven)
        else:
            self.doubts.append(doubt or f"NOT PROVEN: {proven}")


# -- bytes ----------------------------------------------------------------------------------------------------------


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_json(data: bytes) -> Any:
    """Strict: UTF-8, no name twice, no NaN."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        require(len(found) == len(pairs), "a name stands twice in a JSON object")
        return found

    def constant(_: str) -> Any:
        raise Altered("JSON with a number that is none")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Altered("a member is not JSON") from None


def read_canonical(data: bytes) -> dict[str, Any]:
    value = read_json(data)
    require(isinstance(value, dict) and canonical(value) == data, "a member is not in its one spelling")
    return value


def b64url(part: str) -> bytes:
    """Only the one spelling without padding or spare bits."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise Altered("not base64url") from None
    require(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == part, "base64url in another spelling")
    return data


def instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        raise Altered("not a time") from None
    require(moment.utcoffset() is not None, "a time without a zone")
    return moment


def open_archive(data: bytes) -> dict[str, bytes]:
    """The members of the one-spelling zip: built again from them, it must be the same bytes."""
    require(22 <= len(data) <= MAX_FILE, "not a pack")
    magic, disk, start, here, total, size, offset, comment = struct.unpack("<IHHHHIIH", data[-22:])
    require(magic == 0x06054B50 and disk == start == 0 and here == total and comment == 0, "not a pack")
    require(0 < total <= MAX_MEMBERS and offset + size + 22 == len(data), "not a pack")
    members: dict[str, bytes] = {}
    at = offset
    for _ in range(total):
        require(at + 46 <= offset + size and data[at : at + 4] == b"PK\x01\x02", "directory damaged")
        length, name_size, extra, note = struct.unpack("<IHHH", data[at + 24 : at + 34])
        local = struct.unpack("<I", data[at + 42 : at + 46])[0]
        require(extra == 0 and note == 0, "extra fields in the archive")
        try:
            name = data[at + 46 : at + 46 + name_size].decode("ascii")
        except UnicodeDecodeError:
            raise Altered("a member's name") from None
        require(len(name) <= 200 and MEMBER.fullmatch(name) is not None and name not in members, "a member's name")
        begins = local + 30 + name_size
        require(begins + length <= offset, "a member lies outside the archive")
        members[name] = data[begins : begins + length]
        at += 46 + name_size
    require(sum(len(m) for m in members.values()) <= len(data), "members overlap")
    require(build_archive(members) == data, "the archive is not in its one spelling")
    return members


def build_archive(members: dict[str, bytes]) -> bytes:
    body, directory = bytearray(), bytearray()
    for name in sorted(members):
        data, raw = members[name], name.encode("ascii")
        # Version 2.0, no flags, stored, 1980-01-01 00:00:00.
        common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0x21, zlib.crc32(data), len(data), len(data), len(raw), 0)
        directory += b"PK\x01\x02" + struct.pack("<H", 3 << 8 | 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, len(body)) + raw
        body += b"PK\x03\x04" + common + raw + data
    count = len(members)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + end)


# -- certificates ---------------------------------------------------------------------------------------------------

UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.CERTIFICATE_POLICIES,
}


@dataclass
class Trust:
    """Anchors by whom they speak for; ``given`` says whether there are any at all."""

    insurer: list[x509.Certificate] = field(default_factory=list)
    timestamps: list[x509.Certificate] = field(default_factory=list)
    helpers: list[x509.Certificate] = field(default_factory=list)
    given: bool = False

    @classmethod
    def read(cls, folder: Path | None) -> Trust:
        trust = cls(given=folder is not None)
        if folder is None:
            return trust
        for path in sorted(p for p in folder.iterdir() if p.suffix in {".pem", ".crt", ".cer"}):
            for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
                if not issued(certificate, certificate):
                    trust.helpers.append(certificate)
                elif path.name.lower().startswith("tsa"):
                    trust.timestamps.append(certificate)
                else:
                    trust.insurer.append(certificate)
        return trust

    def leads(self, leaf: x509.Certificate, along: list[x509.Certificate], at: datetime, *, stamp: bool) -> bool:
        """Whether ``leaf`` leads to an anchor for this purpose by certificates valid at ``at``."""
        anchors = self.timestamps if stamp else self.insurer
        try:
            if stamp != _is_for_stamps(leaf) or not _usable(leaf, at, ca=False):
                return False
            return self._climb(leaf, [*along, *self.helpers], anchors, at)
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm):
            return False

    def _climb(
        self,
        leaf: x509.Certificate,
        along: list[x509.Certificate],
        anchors: list[x509.Certificate],
        at: datetime,
    ) -> bool:
        """Level by level, each certificate once: certificates made to go in circles cannot keep us busy."""
        level, seen = [leaf], {leaf}
        for below in range(6):
            if any(certificate in anchors for certificate in level):
                return True
            above = {
                candidate
                for candidate in (*anchors, *along[:50])
                if candidate not in seen and any(issued(certificate, candidate) for certificate in level)
            }
            seen |= above
            level = [candidate for candidate in above if _usable(candidate, at, ca=True, below=below)]
        return False


def issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _usable(certificate: x509.Certificate, at: datetime, *, ca: bool, below: int = 0) -> bool:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        return False
    if any(e.critical and e.oid not in UNDERSTOOD for e in certificate.extensions):
        return False
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if not ca:
        return usage is None or usage.digital_signature or usage.content_commitment
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    deep_enough = basic.path_length is None or basic.path_length >= below
    return basic.ca and deep_enough and (usage is None or usage.key_cert_sign)


def _is_for_stamps(certificate: x509.Certificate) -> bool:
    """RFC 3161 §2.3: this purpose alone, and critical."""
    try:
        purposes = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE)
    except x509.ExtensionNotFound:
        return False
    return purposes.critical and list(purposes.value) == [ExtendedKeyUsageOID.TIME_STAMPING]  # type: ignore[call-overload]


# -- signatures -----------------------------------------------------------------------------------------------------


def es256(key: Any, signed: bytes, signature: bytes) -> bool:
    """``signature`` is r ‖ s (RFC 7518 §3.4)."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1" or len(signature) != 64:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


HASHES = {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}


@dataclass
class Cms:
    """A CMS signature that verifies: over what, by whom, with which certificates beside it."""

    content: bytes | None
    signer: x509.Certificate
    along: list[x509.Certificate]
    info: Any


def read_cms(der: bytes, detached: bytes | None, content_type: str) -> Cms:
    """Verifies the one signature of a SignedData (RFC 5652 §5.4, ESS signing certificate where present)."""
    try:
        parsed = cms.ContentInfo.load(der, strict=True)
        require(parsed["content_type"].native == "signed_data", "not a CMS signature")
        signed = parsed["content"]
        require(len(signed["signer_infos"]) == 1, "not exactly one signer")
        info = signed["signer_infos"][0]
        said = signed["encap_content_info"]["content_type"].native
        require(said == content_type, "a signature over something else")
        content = None
        if detached is None:
            content = bytes(signed["encap_content_info"]["content"].contents)
            detached = content
        certificates = [x509.load_der_x509_certificate(c.chosen.dump()) for c in signed["certificates"]]
        sid = info["sid"]
        require(sid.name == "issuer_and_serial_number", "a signer named in another way")
        serial, issuer = sid.chosen["serial_number"].native, sid.chosen["issuer"].dump()
        signer = next(
            (c for c in certificates if c.serial_number == serial and c.issuer.public_bytes() == issuer), None
        )
        require(signer is not None, "the signer's certificate is missing")
        assert signer is not None
        name = info["digest_algorithm"]["algorithm"].native
        require(name in HASHES, "a digest that is not allowed")
        attributes = {a["type"].native: a["values"] for a in info["signed_attrs"]}
        require(len(attributes) == len(info["signed_attrs"]), "an attribute stands twice")
        require(attributes["content_type"][0].native == content_type, "the content's type does not fit")
        digest = hashlib.new(name, detached).digest()
        require(attributes["message_digest"][0].native == digest, "a signature over other bytes")
        der_signer = certificate_der(signer)
        if "signing_certificate_v2" in attributes:
            named = attributes["signing_certificate_v2"][0]["certs"][0]
            by = named["hash_algorithm"]["algorithm"].native
            require(by in HASHES, "a digest that is not allowed")
            require(named["cert_hash"].native == hashlib.new(by, der_signer).digest(), "another signer is named")
        elif "signing_certificate" in attributes:
            named = attributes["signing_certificate"][0]["certs"][0]
            require(named["cert_hash"].native == hashlib.sha1(der_signer).digest(), "another signer is named")  # noqa: S324 - RFC 2634 names it
        elif content_type == "tst_info":
            raise Altered("the timestamp does not name its signer")
        _verify_cms(signer, info, info["signed_attrs"].untag().dump())
        return Cms(content, signer, certificates, info)
    except Altered:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise Altered("a CMS signature cannot be read") from None


def _verify_cms(signer: x509.Certificate, info: Any, signed: bytes) -> None:
    key, signature = signer.public_key(), info["signature"].native
    digest = HASHES[info["digest_algorithm"]["algorithm"].native]()
    kind = info["signature_algorithm"].signature_algo
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and kind == "ecdsa":
            key.verify(signature, signed, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey) and kind == "rsassa_pkcs1v15":
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        elif isinstance(key, rsa.RSAPublicKey) and kind == "rsassa_pss":
            key.verify(signature, signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        else:
            raise Altered("a signature of another kind")
    except InvalidSignature:
        raise Altered("a signature does not verify") from None


def certificate_der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


@dataclass
class Stamp:
    at: datetime
    authority: str
    trusted: bool
    signer: x509.Certificate
    along: list[x509.Certificate]


@dataclass
class Sealing:
    """One signature of a PDF that verifies; ``ends`` is up to where it covers the file."""

    cms: Cms
    stamp: Stamp | None
    at: datetime
    ends: int


def read_stamp(der: bytes, imprint: bytes, trust: Trust) -> Stamp:
    """An RFC 3161 token over the SHA-256 digest ``imprint``."""
    token = read_cms(der, None, "tst_info")
    assert token.content is not None
    try:
        info = tsp.TSTInfo.load(token.content, strict=True)
        said = info["message_imprint"]
        require(said["hash_algorithm"]["algorithm"].native == "sha256", "a timestamp over another kind of digest")
        require(said["hashed_message"].native == imprint, "a timestamp over something else")
        at: datetime = info["gen_time"].native
    except (ValueError, TypeError, KeyError):
        raise Altered("a timestamp cannot be read") from None
    trusted = trust.leads(token.signer, token.along, at, stamp=True)
    return Stamp(at, token.signer.subject.rfc4514_string(), trusted, token.signer, token.along)


# -- revisions of a PDF ---------------------------------------------------------------------------------------------

STATEMENT = "2.25.25334416048588037146387667380323456194"
"""Of the signed attribute by which the customer's signature says what it stands for (docs/evidence.md)."""
PDF_TOKEN = re.compile(
    rb"[\x00\t\n\f\r ]*(?:(?P<ref>(\d{1,10}) (\d{1,5}) R(?![^\x00\t\n\f\r \]/>]))|(?P<open><<|\[)|(?P<close>>>|\])"
    rb"|/(?P<name>[^\x00\t\n\f\r ()<>\[\]{}/%]*)|<(?P<hex>[0-9A-Fa-f\s]*)>"
    rb"|(?P<number>[+-]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20}))|(?P<word>true|false|null)"
    rb"|\((?P<text>(?:[^()\\]|\\.)*)\))",
    re.DOTALL,
)
PDF_DEEP = 40
SIGNATURE_KEYS = {
    *("/Type", "/Filter", "/SubFilter", "/Contents", "/ByteRange", "/M", "/Name", "/Reason", "/Reference"),
}


@dataclass(frozen=True)
class Ref:
    number: int
    generation: int


@dataclass(frozen=True)
class PdfObject:
    number: int
    value: Any
    stream: bytes | None
    ends: int


def pdf_value(data: bytes, at: int, deep: int = 0) -> tuple[Any, int]:
    """One value of ISO 32000-2 §7.3 and where it ends. Names are strings with their slash, strings bytes, whatever way
    they are written.
    """
    found = PDF_TOKEN.match(data, at)
    require(found is not None and deep < PDF_DEEP, "a PDF that cannot be read")
    assert found is not None
    at = found.end()
    if found["ref"]:
        return Ref(int(found[2]), int(found[3])), at
    if found["name"] is not None:
        return "/" + found["name"].decode("latin-1"), at
    if found["number"]:
        number = found["number"]
        return (float(number) if b"." in number else int(number)), at
    if found["word"]:
        return {b"true": True, b"false": False, b"null": None}[found["word"]], at
    if found["open"] is None:
        require(found["close"] is None, "a PDF that cannot be read")
        return pdf_string(found["hex"], found["text"]), at
    closing, held = (b">>" if found["open"] == b"<<" else b"]"), []
    while True:
        end = PDF_TOKEN.match(data, at)
        if end is not None and end["close"]:
            require(end["close"] == closing, "a PDF that cannot be read")
            break
        value, at = pdf_value(data, at, deep + 1)
        held.append(value)
    if closing == b"]":
        return held, end.end()
    names = held[::2]
    require(
        len(held) % 2 == 0 and all(isinstance(n, str) for n in names) and len(set(names)) == len(names),
        "a PDF that cannot be read",
    )
    return dict(zip(names, held[1::2], strict=True)), end.end()


def pdf_string(digits: bytes | None, text: bytes) -> bytes:
    r"""What it stands for (ISO 32000-2 §7.3.4): ``(zh-CN)``, ``(zh\055CN)`` and ``<7A682D434E>`` are the same."""
    if digits is not None:
        digits = b"".join(digits.split())
        return bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode())

    def meant(escape: re.Match[bytes]) -> bytes:
        if escape["octal"]:
            return bytes([int(escape["octal"], 8) & 0xFF])
        one = escape["one"] or b""
        return {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}.get(one, one)

    return re.sub(rb"\\(?:(?P<octal>[0-7]{1,3})|\r\n|(?P<one>[^\r\n])|[\r\n])", meant, text)


def pdf_object(data: bytes, at: int) -> PdfObject:
    head = re.compile(rb"(\d{1,10}) 0 obj\b").match(data, at)
    require(head is not None, "a PDF that cannot be read")
    assert head is not None
    value, end = pdf_value(data, head.end())
    stream = None
    begins = re.compile(rb"\s*stream\r?\n").match(data, end)
    if begins is not None:
        require(isinstance(value, dict) and isinstance(value.get("/Length"), int), "a PDF that cannot be read")
        end = begins.end() + value["/Length"]
        stream = data[begins.end() : end]
        after = re.compile(rb"\r?\n?endstream").match(data, end)
        require(after is not None, "a PDF that cannot be read")
        assert after is not None
        end = after.end()
    tail = re.compile(rb"\s*endobj\s*").match(data, end)
    require(tail is not None, "a PDF that cannot be read")
    assert tail is not None
    return PdfObject(int(head[1]), value, stream, tail.end())


class Revision:
    """A PDF up to the end of one revision: what its last table says, and all before it."""

    def __init__(self, data: bytes, before: Revision | None = None) -> None:
        tail = re.compile(rb"startxref\r?\n(\d{1,12})\r?\n%%EOF\r?\n?").search(data, max(0, len(data) - 64))
        require(tail is not None and tail.end() == len(data), "a PDF that cannot be read")
        assert tail is not None
        self.data, self.before, self.table = data, before, int(tail[1])
        self.places: dict[int, int] = {}
        at = self._entries(self.table)
        word = re.compile(rb"\s*trailer\s*").match(data, at)
        require(word is not None, "a PDF that cannot be read")
        assert word is not None
        self.trailer, at = pdf_value(data, word.end())
        require(isinstance(self.trailer, dict), "a PDF that cannot be read")
        require(not data[at : tail.start()].strip(), "a PDF that cannot be read")

    def _entries(self, at: int) -> int:
        head = re.compile(rb"xref\s+").match(self.data, at)
        require(head is not None, "a PDF that cannot be read")
        assert head is not None
        at = head.end()
        while (section := re.compile(rb"(\d{1,10}) (\d{1,7})\s*?\r?\n").match(self.data, at)) is not None:
            at = section.end()
            for number in range(int(section[1]), int(section[1]) + int(section[2])):
                entry = re.compile(rb"(\d{10}) (\d{5}) ([nf])(?: \r| \n|\r\n)").match(self.data, at)
                require(entry is not None, "a PDF that cannot be read")
                assert entry is not None
                at = entry.end()
                if entry[3] == b"n":
                    require(entry[2] == b"00000" and number not in self.places, "a PDF that cannot be read")
                    self.places[number] = int(entry[1])
        return at

    def get(self, what: Any) -> Any:
        """What a reference stands for in this revision; anything else as it is."""
        return self.object(what.number).value if isinstance(what, Ref) else what

    def object(self, number: int) -> PdfObject:
        revision: Revision | None = self
        while revision is not None:
            if number in revision.places:
                found = pdf_object(revision.data, revision.places[number])
                require(found.number == number, "a PDF that cannot be read")
                return found
            revision = revision.before
        raise Altered("a PDF that cannot be read")

    @property
    def root(self) -> dict[str, Any]:
        root = self.get(self.trailer.get("/Root"))
        require(isinstance(root, dict), "a PDF that cannot be read")
        return root

    def fields(self) -> dict[bytes, int]:
        """Name of each field of the form → its object."""
        form = self.get(self.root.get("/AcroForm"))
        require(isinstance(form, dict) and isinstance(form.get("/Fields"), list), "a PDF without a form")
        return {self.get(ref)["/T"]: ref.number for ref in form["/Fields"]}


def filled(before: Revision, pdf: bytes, field: bytes, what: str, *, proofs: bool) -> Revision:
    """The revision that follows ``before``, which may do one thing: sign the empty field ``field``.

    With ``proofs`` it may bring a document security store too. Everything it holds is looked at, so that nothing
    else can have been added, changed or hidden, whoever made it.
    """
    after = Revision(pdf, before)
    only = f"{what}: something was changed beside the signature"
    started, old, new = len(before.data), before.trailer, after.trailer
    require(set(new) <= {"/Info", "/Root", "/Size", "/ID", "/Prev"}, only)
    require(new.get("/Prev") == before.table and all(new.get(k) == old.get(k) for k in ("/Root", "/Info")), only)
    ends = started + len(pdf[started:]) - len(pdf[started:].lstrip())
    held: dict[int, PdfObject] = {}
    for number, place in sorted(after.places.items(), key=lambda entry: entry[1]):
        require(place == ends, only)
        held[number] = pdf_object(pdf, place)
        require(held[number].number == number, only)
        ends = held[number].ends
    require(ends == after.table, only)
    size = old["/Size"]
    root, form = new["/Root"].number, before.root["/AcroForm"].number
    widget = before.fields().get(field)
    require(widget is not None, f"{what} has no field for it")
    assert widget is not None
    require({n for n in held if n < size} <= {root, form, widget} and widget in held, only)
    allowed = {root: {"/DSS"} if proofs else {"/Perms", "/Extensions", "/Version"}, form: {"/SigFlags"}}
    for number, changes in allowed.items():
        was, now = before.get(Ref(number, 0)), after.get(Ref(number, 0))
        require(
            {k: v for k, v in was.items() if k not in changes} == {k: v for k, v in now.items() if k not in changes},
            only,
        )
    was, now = before.get(Ref(widget, 0)), held[widget].value
    require("/V" not in was and isinstance(now.get("/V"), Ref), f"{what}: the field was signed before")
    require(
        {k: v for k, v in was.items() if k != "/AP"} == {k: v for k, v in now.items() if k not in {"/AP", "/V"}}, only
    )
    look = now.get("/AP")
    require(isinstance(look, dict) and set(look) == {"/N"} and isinstance(look["/N"], Ref), only)
    expected = {now["/V"].number, look["/N"].number}
    require(set(after.get(now["/V"])) <= SIGNATURE_KEYS, only)
    store = after.root.get("/DSS")
    if proofs and isinstance(store, Ref):
        require(set(after.get(store)) <= {"/Type", "/Certs", "/OCSPs", "/CRLs"}, only)
        expected |= {store.number, *(ref.number for refs in after.get(store).values() for ref in refs)}
    require({n for n in held if n >= size} == expected, only)
    return after


@dataclass
class InForce:
    """What a document security store says of certificates (PAdES B-LT)."""

    certificates: list[x509.Certificate] = field(default_factory=list)
    answers: list[ocsp.OCSPResponse] = field(default_factory=list)
    lists: list[x509.CertificateRevocationList] = field(default_factory=list)

    @classmethod
    def read(cls, revision: Revision) -> InForce:
        store = revision.get(revision.root.get("/DSS"))
        if not isinstance(store, dict):
            return cls()

        def streams(key: str) -> list[bytes]:
            return [_plain(revision.object(ref.number)) for ref in store.get(key, [])]

        try:
            return cls(
                [x509.load_der_x509_certificate(der) for der in streams("/Certs")],
                [ocsp.load_der_ocsp_response(der) for der in streams("/OCSPs")],
                [x509.load_der_x509_crl(der) for der in streams("/CRLs")],
            )
        except (ValueError, x509.InvalidVersion, zlib.error):
            raise Altered("proofs that certificates were in force cannot be read") from None

    def chain(
        self, leaf: x509.Certificate, along: list[x509.Certificate]
    ) -> list[tuple[x509.Certificate, x509.Certificate]]:
        """Each certificate with its issuer, up to a root; nothing where it leads to none."""
        known = [*along, *self.certificates][:50]
        # Each is tried once: certificates made to go in circles cannot keep us busy.
        tried: set[x509.Certificate] = set()

        def climb(certificate: x509.Certificate) -> list[tuple[x509.Certificate, x509.Certificate]] | None:
            if issued(certificate, certificate):
                return []
            for above in known:
                if above not in tried and issued(certificate, above):
                    tried.add(above)
                    if (rest := climb(above)) is not None:
                        return [(certificate, above), *rest]
            return None

        return climb(leaf) or []

    def good(self, certificate: x509.Certificate, issuer: x509.Certificate, at: datetime) -> bool:
        """Whether its issuer said that it was in force about ``at``."""
        try:
            return any(self._answered(a, certificate, issuer, at) for a in self.answers) or any(
                self._listed(c, certificate, issuer, at) for c in self.lists
            )
        except (ValueError, TypeError, x509.ExtensionNotFound, x509.DuplicateExtension):
            return False
        except (InvalidSignature, UnsupportedAlgorithm):
            return False

    def _answered(
        self, answer: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate, at: datetime
    ) -> bool:
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return False
        algorithm = hashes.Hash(answer.hash_algorithm)
        algorithm.update(issuer.subject.public_bytes())
        same = answer.serial_number == certificate.serial_number and answer.issuer_name_hash == algorithm.finalize()
        if not same or answer.certificate_status is not ocsp.OCSPCertStatus.GOOD:
            return False
        begins, ends = answer.this_update_utc, answer.next_update_utc
        if ends is None or not begins - CLOCK_SKEW <= at <= ends + CLOCK_SKEW:
            return False
        signer = next((c for c in answer.certificates if _may_answer(c, issuer)), issuer)
        return _signed_by(signer, answer.signature, answer.tbs_response_bytes, answer.signature_hash_algorithm)

    def _listed(
        self,
        revoked: x509.CertificateRevocationList,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        at: datetime,
    ) -> bool:
        if revoked.issuer != issuer.subject or revoked.next_update_utc is None:
            return False
        if not revoked.last_update_utc - CLOCK_SKEW <= at <= revoked.next_update_utc + CLOCK_SKEW:
            return False
        key = issuer.public_key()
        return (
            isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
            and revoked.is_signature_valid(key)
            and revoked.get_revoked_certificate_by_serial_number(certificate.serial_number) is None
        )


def _may_answer(candidate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """RFC 6960 §4.2.2.2: appointed by the issuer itself."""
    try:
        purposes = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in purposes and issued(candidate, issuer)


def _signed_by(signer: x509.Certificate, signature: bytes, signed: bytes, algorithm: Any) -> bool:
    key = signer.public_key()
    if algorithm is None or algorithm.name not in HASHES:
        return False
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), algorithm)
    else:
        return False
    return True


def _plain(found: PdfObject) -> bytes:
    require(found.stream is not None, "a PDF that cannot be read")
    assert found.stream is not None
    packed = found.value.get("/Filter")
    require(packed in {None, "/FlateDecode"}, "a PDF that cannot be read")
    return found.stream if packed is None else zlib.decompressobj().decompress(found.stream, 1 << 24)


# -- the pack -------------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """One fact, or its view of one product, as the pack shows it."""

    index: int
    service: str
    name: str
    data: dict[str, Any]
    shown: str

    @property
    def at(self) -> datetime:
        return instant(self.data["at"])


class Pack:
    """One pack under judgement."""

    def __init__(self, data: bytes, trust: Trust) -> None:
        self.trust = trust
        self.found = Findings()
        self.members = open_archive(data)
        self.used = {"manifest.json", "manifest.jws"}
        self.facts: list[Said] = []
        self.links: list[str] = []
        self.heads: list[dict[str, int]] = []
        self.pruned = 0
        self.values: dict[str, bytes] = {}
        self.thumbprints: dict[int, str] = {}
        self.stamps: list[tuple[int, datetime]] = []
        """(count, time) of each timestamp."""

    def judge(self) -> None:
        self.manifest()
        self.chain()
        self.head()
        self.openings()
        self.anchors()
        self.proofs()
        self.published()
        self.reading()
        self.identity()
        self.signing()
        self.papers()
        self.money()
        self.rest()

    def member(self, name: str) -> bytes:
        require(name in self.members, f"{name} is missing")
        self.used.add(name)
        return self.members[name]

    def named(self, *names: str) -> list[Said]:
        return [fact for fact in self.facts if fact.name in names]

    def before(self, fact: Said, act: Said) -> bool:
        """Whether a fact was there when the customer signed. A signature people looked at is taken long after that:
        then what came before it was asked for is there, and what by the clock was made before it.
        """
        asked = [f.index for f in self.named("review_requested") if act_of(f.data) == act_of(act.data)]
        if not asked or fact.index < asked[0]:
            return fact.index < act.index
        return fact.index < act.index and fact.at <= instant(act.data["signed_at"]) + CLOCKS_APART

    def manifest(self) -> None:
        raw = self.member("manifest.json")
        manifest = read_canonical(raw)
        require(manifest.get("format") == FORMAT, "a format this verifier does not know")
        listed = manifest["members"]
        require(set(listed) == set(self.members) - {"manifest.json", "manifest.jws"}, "members added or removed")
        for name, entry in listed.items():
            require(name in PLACES or name.startswith(FOLDERS), f"a pack has no place for {name}")
            data = self.members[name]
            require(entry == {"sha256": sha256(data), "size": len(data)}, f"{name} was altered")
        self.journey_id: str = manifest["journey_id"]
        self.product: str | None = manifest["product"]
        self.policy_no: str | None = manifest["policy_no"]
        self.masked: bool = manifest["masked"]
        self.manifest_json = manifest
        self.jws(self.member("manifest.jws").decode("ascii", "replace"), raw, None, "the manifest")
        require((manifest["scope"] == "policy") == (self.product is not None), "the scope does not fit")
        for reason in manifest["reasons"]:
            self.found.doubts.append(f"the pack says of itself: {reason}")
        require(manifest["complete"] == (not manifest["reasons"]), "completeness does not fit its reasons")
        self.found.proven.append(f"{len(listed)} members are the bytes that were sealed")

    def jws(self, jws: str, payload: bytes, at: datetime | None, what: str) -> None:
        """A detached ES256 signature of evidence; its certificate lies in the pack under the hash it names."""
        header, middle, signature = jws.split(".") if jws.count(".") == 2 else ("", "", "")
        require(bool(header) and not middle, f"the signature of {what} is malformed")
        said = read_canonical(b64url(header))
        require(set(said) == {"alg", "kid"} and said["alg"] == "ES256", f"the signature of {what} is of another kind")
        require(isinstance(said["kid"], str) and HEX.fullmatch(said["kid"]) is not None, "a signer without name")
        pem = self.member(f"certificates/{said['kid']}.pem")
        require(sha256(pem) == said["kid"], "a certificate under another's name")
        try:
            certificates = x509.load_pem_x509_certificates(pem)
        except ValueError:
            raise Altered("a certificate cannot be read") from None
        raw = b64url(signature)
        require(int.from_bytes(raw[32:], "big") <= P256_ORDER // 2, f"the signature of {what} is respelt")
        signed = f"{header}.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}".encode()
        require(es256(certificates[0].public_key(), signed, raw), f"the signature of {what} does not verify")
        # The manifest carries no time of its own; its certificate is judged at the head's time, see ``head``.
        if at is not None and not self.trust.leads(certificates[0], certificates[1:], at, stamp=False):
            self.origin(f"{what}: the signer leads to no anchor given")

    def origin(self, what: str) -> None:
        line = f"origin unknown: {what}"
        if self.trust.given and line not in self.found.doubts:
            self.found.doubts.append(line)

    def chain(self) -> None:
        chain = read_canonical(self.member("chain.json"))
        require(chain["format"] == FORMAT and chain["journey_id"] == self.journey_id, "a chain of another journey")
        previous = hashlib.sha256(b"toubao-chain-v1" + self.journey_id.encode()).digest()
        heads: dict[str, int] = {}
        seen: set[str] = set()
        for index, place in enumerate(chain["entries"], 1):
            require(place["index"] == index, "the chain is not in order")
            service = place["source"].rpartition("/")[2]
            require(place["source"] == f"/services/{service}", "a fact from nowhere")
            heads = {**heads, service: heads.get(service, 0) + 1}
            require(place["sequence"] == heads[service], f"{service}: fact {heads[service]} is missing")
            leaf, views = self.entry(place, service, seen)
            root = hashlib.sha256(b"".join(views)).digest() if views else b""
            previous = hashlib.sha256(previous + leaf + root).digest()
            require(previous.hex() == place["link"], f"fact {index} does not fit the chain")
            self.links.append(previous.hex())
            self.heads.append(heads)
        require(bool(self.links), "an empty chain")
        self.found.proven.append(
            f"{len(self.links)} facts in one unbroken chain, none missing from any of {len(heads)} services"
        )
        if self.pruned:
            self.found.not_recorded.append(f"{self.pruned} facts concern other policies: only their hashes are here")

    def entry(self, place: dict[str, Any], service: str, seen: set[str]) -> tuple[bytes, list[bytes]]:
        """Leaf and views of one place in the chain, checked against what is shown of it."""
        leaf = bytes.fromhex(hexed(place["leaf"]))
        common = {"index", "source", "sequence", "leaf", "link", "shown"}
        match place["shown"]:
            case "fact":
                require(set(place) == common | {"attributes", "path", "salts"}, "an entry with other members")
                raw = self.member(place["path"])
                attributes = place["attributes"]
                require(hashlib.sha256(canonical(attributes) + b"\n" + raw).digest() == leaf, "a fact was altered")
                data = read_json(raw)
                keys = view_keys(data)
                require(sorted(place["salts"]) == list(keys), "views do not fit their fact")
                views = [
                    hashlib.sha256(bytes.fromhex(place["salts"][key]) + view_bytes(attributes, data, key)).digest()
                    for key in keys
                ]
            case "view":
                require(set(place) == common | {"path", "view", "salt", "views"}, "an entry with other members")
                require(place["view"] in {self.product, EVERY_PRODUCT}, "a view of another product")
                raw = self.member(place["path"])
                shown = read_canonical(raw)
                require(set(shown) == {"attributes", "product", "data"}, "a view with other members")
                require(shown["product"] == place["view"], "a view of another product")
                attributes, data = shown["attributes"], shown["data"]
                views = [bytes.fromhex(hexed(view)) for view in place["views"]]
                mine = hashlib.sha256(bytes.fromhex(place["salt"]) + raw).digest()
                require(views.count(mine) == 1, "a view was altered")
            case "leaf":
                require(set(place) == common | {"views"} and self.product is not None, "a fact is withheld")
                self.pruned += 1
                return leaf, [bytes.fromhex(hexed(view)) for view in place["views"]]
            case _:
                raise Altered("an entry of another kind")
        require(
            set(attributes) == {"specversion", "id", "source", "type", "subject", "time", "sequence", "dataschema"},
            "attributes with other members",
        )
        require(attributes["subject"] == self.journey_id, "a fact of another journey")
        require(attributes["source"] == place["source"], "a fact of another service")
        require(attributes["sequence"] == place["sequence"], "a fact out of its order")
        require(attributes["id"] not in seen, "a fact stands twice")
        seen.add(attributes["id"])
        kind = re.fullmatch(r"toubao\.([a-z]+)\.([a-z_]+)\.v[0-9]+", attributes["type"])
        require(kind is not None and kind[1] == service, "a fact of another kind")
        assert kind is not None
        folder = "facts" if place["shown"] == "fact" else "views"
        stem = f"{folder}/{place['index']:06d}-{service}-{kind[2]}.json"
        require(place["path"] == stem, "a fact under another's name")
        require(isinstance(data, dict), "a fact without data")
        require(instant(attributes["time"]) == instant(data["at"]), "a fact at another time")
        self.facts.append(Said(place["index"], service, kind[2], data, place["shown"]))
        return leaf, views

    def head(self) -> None:
        head = read_canonical(self.member("head.json"))
        require(head.pop("journey_id") == self.journey_id, "a head of another journey")
        require(head["count"] == len(self.links), "facts after the signed head, or missing before it")
        self.final = self.anchor(head, "the head")
        raw, manifest = self.member("manifest.json"), self.member("manifest.jws").decode("ascii", "replace")
        self.jws(manifest, raw, self.final, "the manifest")

    def anchor(self, said: dict[str, Any], what: str) -> datetime:
        """An attestation or anchored head: the link it names, its signature, its timestamp. Gives its time."""
        count = said["count"]
        require(isinstance(count, int) and 1 <= count <= len(self.links), f"{what}: a head outside the chain")
        require(said["head"] == self.links[count - 1], f"{what}: another head")
        require(said["heads"] == self.heads[count - 1], f"{what}: other heads")
        at = instant(said["at"])
        path = f"timestamps/{hexed(said['token'])}.tst"
        if path not in self.members:
            self.found.doubts.append(f"NOT PROVEN: {what} has no timestamp in the pack")
        else:
            token = self.member(path)
            require(sha256(token) == said["token"], "a timestamp under another's name")
            stamp = read_stamp(token, bytes.fromhex(said["head"]), self.trust)
            if not stamp.trusted:
                self.origin(f"{what}: the timestamp authority leads to no anchor given")
            self.found.check(
                abs(stamp.at - at) <= CLOCK_SKEW,
                f"{what}: {count} facts existed by {stamp.at.isoformat()} (RFC 3161)",
                f"NOT PROVEN: {what}: the insurer's clock and the timestamp differ by more than five minutes",
            )
            self.stamps.append((count, stamp.at))
            at = stamp.at
        signature = said.get("signature")
        if signature:
            payload = {name: said[name] for name in ("head", "count", "heads", "at")}
            self.jws(signature, canonical({"journey_id": self.journey_id, **payload}), at, what)
        else:
            self.found.asserted.append(f"{what}: without evidence's signature")
        return at

    def anchors(self) -> None:
        """Every head the record names, and that the acts that need one came after one."""
        gated = {"forms_signed", "order_placed", "policies_numbered"}
        for fact in self.facts:
            if fact.name == "head_anchored":
                require(fact.data["count"] < fact.index, "a head anchored before it was")
                self.anchor(fact.data, f"head anchored in fact {fact.index}")
            elif fact.name in gated:
                said = fact.data["attestation"]
                require(said["count"] < fact.index, "an attestation of what came later")
                self.anchor(said, f"the gate before {fact.name}")
        self.found.asserted.append("times between two timestamps are those of the server's clock")
        ordered = sorted(set(self.stamps))
        self.found.check(
            all(a[1] <= b[1] for a, b in pairwise(ordered)),
            "timestamps follow the order of the chain",
        )
        self.found.check(
            all(f.at <= at + CLOCK_SKEW for count, at in ordered for f in self.facts if f.index <= count),
            "no fact says a time later than the timestamp over it",
        )
        if self.named("policy_issued", "journey_issued"):
            done = {fact.name for fact in self.named(*gated)}
            self.found.check(done == gated, "signature, order and numbering each passed the gate")
        for service in {fact.service for fact in self.facts}:
            times = [fact.at for fact in self.facts if fact.service == service]
            late = all(a <= b + timedelta(seconds=5) for a, b in pairwise(times))
            if not late:
                self.found.doubts.append(f"NOT PROVEN: the times of {service} do not follow its order")

    def openings(self) -> None:
        listed = read_canonical(self.member("openings.json"))["openings"]
        commitments = {c["commitment"]: c for fact in self.facts for c in committed_in(fact.data)}
        for opening in listed:
            commitment = opening["commitment"]
            require(commitment in commitments, "an opening of nothing in the record")
            require(commitment not in self.values, "an opening stands twice")
            if "path" in opening:
                require(set(opening) == {"commitment", "random", "path"}, "an opening with other members")
                require(opening["path"] not in self.used, "one file opens two commitments")
                value = self.member(opening["path"])
            else:
                require(set(opening) == {"commitment", "random", "value"}, "an opening with other members")
                value = base64.b64decode(opening["value"], validate=True)
            random = bytes.fromhex(opening["random"])
            require(len(random) == 16 and sha256(random + value) == commitment, "an opening does not fit")
            size = commitments[commitment].get("size")
            require(size is None or size == len(value), "a file of another size")
            self.values[commitment] = value
        closed = len(commitments) - len(self.values)
        self.found.proven.append(f"{len(self.values)} values are the ones committed to")
        if closed:
            self.found.not_recorded.append(f"{closed} values are not opened in this pack")

    def value(self, committed: Any) -> bytes | None:
        return self.values.get(committed["commitment"]) if isinstance(committed, dict) else None

    def proofs(self) -> None:
        """Every act of the customer, by the key of the device that acted."""
        for fact in self.named("session_opened"):
            self.thumbprints[fact.data["attempt"]] = thumbprint(fact.data["device_key"])
            require(fact.data["thumbprint"] == thumbprint(fact.data["device_key"]), "a device under another's name")
        used: dict[str, tuple[str, set[str]]] = {}
        opened = count = good = 0
        for fact in self.facts:
            proof = fact.data.get("proof")
            if not isinstance(proof, dict) or "body" not in proof:
                if fact.name in ACTS:
                    self.found.doubts.append(
                        f"NOT PROVEN: {fact.name} (fact {fact.index}) carries no proof of the device"
                    )
                continue
            what = f"the proof of {fact.name} (fact {fact.index})"
            claims, key = dpop(proof["proof"]["jws"], what)
            require(claims.get("htm") == proof["proof"]["method"], f"{what}: another method")
            require(same_target(claims.get("htu"), proof["proof"]["url"]), f"{what}: another address")
            body = self.value(proof["body"])
            if body is not None:
                hashed = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
                require(claims.get("bh") == hashed, f"{what}: over another body")
                self.said_the_same(fact, body)
                opened += 1
            # By what was signed, not by ``jti``: a phone may give two proofs one name, and harms nobody by it.
            # One act may make several facts of its service, but none twice.
            service, names = used.setdefault(act_of(fact.data), (fact.service, set()))
            require(service == fact.service and fact.name not in names, f"{what}: used twice")
            names.add(fact.name)
            place = f"/v1/journeys/{self.journey_id}/{ACTS.get(fact.name, '')}"
            path = urlsplit(proof["proof"]["url"]).path
            if not (path == place if fact.name in ACTS else path.startswith(place)) or claims.get("htm") != "POST":
                self.found.doubts.append(f"NOT PROVEN: {what}: made for another act")
            if proof["attempt"] != fact.data.get("attempt", proof["attempt"]):
                self.found.doubts.append(f"NOT PROVEN: {what}: of another session than the fact says")
            known = self.thumbprints.get(proof["attempt"])
            if known is None:
                self.found.doubts.append(f"NOT PROVEN: {what}: no session of that device is on record")
            elif known != key:
                self.found.doubts.append(f"NOT PROVEN: {what}: made by another device")
            else:
                good += 1
            count += 1
        if count:
            self.found.proven.append(f"{good} acts carry the signature of the device's own key")
            self.found.proven.append(f"{opened} of them are shown word for word as the device signed them")
            if opened < count:
                self.found.asserted.append(
                    f"the device signed what the fact says: {count - opened} acts whose bodies are not opened"
                )
        else:
            self.found.not_recorded.append("acts of the customer")

    def said_the_same(self, fact: Said, body: bytes) -> None:
        """What the device signed and what the fact says under the same names."""
        try:
            said = json.loads(body or b"{}")
        except ValueError:
            raise Altered("a body that is not JSON") from None
        if not isinstance(said, dict):
            return
        flat = {**fact.data, **{k: v for n in ("document", "notice") for k, v in _members(fact.data.get(n)).items()}}
        for name in said.keys() & flat.keys() - {"at", "proof", "signatory"}:
            mine, theirs = as_read(said[name], flat[name]), flat[name]
            if type(mine) is not type(theirs) or (isinstance(theirs, dict) and "commitment" in theirs):
                continue  # the same name for another thing, or a value only committed to
            if mine != theirs:
                self.found.doubts.append(f"NOT PROVEN: fact {fact.index} says another {name} than the device signed")
        for name in WORDS.get(fact.name, ()):
            if said.get(name) is None or type(as_read(said[name], flat.get(name))) is not type(flat.get(name)):
                self.found.doubts.append(f"NOT PROVEN: the device signed no {name} for fact {fact.index}")

    def published(self) -> None:
        """Documents as published, against the hashes the record names."""
        opened = self.named("journey_opened")
        texts = {name for name in self.members if name.startswith("documents/")}
        for name in texts:
            require(name == f"documents/{sha256(self.member(name))}.md", "a document under another's name")
        if "release/manifest.json" in self.members:
            raw = self.member("release/manifest.json")
            require(bool(opened) and sha256(raw) == opened[0].data["release"], "another release")
            files = set(read_json(raw)["files"].values())
            for name in texts:
                self.found.check(
                    name[10:-3] in files, f"{name} belongs to the release", f"NOT PROVEN: {name} is of no release"
                )
        named = {_members(fact.data.get(kind)).get("sha256") for fact in self.facts for kind in ("document", "notice")}
        for name in texts:
            if name[10:-3] not in named:
                self.found.doubts.append(f"NOT PROVEN: {name} is named by no fact")
        if texts:
            self.found.proven.append(f"{len(texts)} published texts are the very bytes named in the record")

    def products(self) -> list[dict[str, Any]]:
        """The products that were bought, as offered; all offered ones while nothing is signed."""
        opened = self.named("journey_opened")
        offered = opened[0].data["products"] if opened else []
        signed = self.named("forms_signed")
        if not signed:
            return [p for p in offered if not p["optional"]]
        bought = {item["product"] for item in signed[-1].data["items"]}
        for product in offered:
            slug = product["product"]
            last = [f.name for f in self.named("product_chosen", "product_dropped") if f.data["product"] == slug][-1:]
            if product["optional"] and last == ["product_dropped"]:
                bought.discard(slug)
        return [p for p in offered if p["product"] in bought]

    def published_minimum(self) -> dict[str, tuple[int, int]]:
        """Milliseconds and paragraphs by document hash, from the release; empty where it is not in the pack."""
        if "release/manifest.json" not in self.members:
            return {}
        release = read_json(self.member("release/manifest.json"))
        return {
            d["sha256"]: (d["minimum_dwell_seconds"] * 1000, sum(b["kind"] != "heading" for b in d["blocks"]))
            for product in release["products"].values()
            for d in product["documents"]
        }

    def reading(self) -> None:
        signed = self.named("forms_signed")
        wanted = [d for product in self.products() for d in product["documents"]]
        confirmed = self.named("document_confirmed")
        if signed:
            confirmed = [f for f in confirmed if f.data["attempt"] == signed[-1].data["attempt"]]
        if not wanted and not confirmed:
            self.found.not_recorded.append("reading")
            return
        published = self.published_minimum()
        if not published:
            self.found.asserted.append("minimum reading times are those of the release (not in this pack)")
        for document in wanted:
            title = f"{document['product']}/{document['document']} {document['version']}"
            facts = [f for f in confirmed if f.data["document"] == document]
            if not facts:
                if signed:
                    self.found.doubts.append(f"NOT PROVEN: {title} was confirmed as read")
                else:
                    self.found.not_recorded.append(f"reading of {title}")
                continue
            data = facts[-1].data
            opened, ended, at = instant(data["opened_at"]), instant(data["end_reached_at"]), facts[-1].at
            on_screen = (at - opened) / timedelta(milliseconds=1)
            doubts = [
                (data["dwell_scale"] == 1, "the minimum time was shortened (dwell_scale is not 1)"),
                (data["dwell_ms"] >= data["minimum_dwell_ms"], "read for less than the minimum"),
                (data["dwell_ms"] <= on_screen + 1, "read for longer than it was open"),
                (opened <= ended <= at, "the end was not reached in between"),
                (data["paragraphs_seen"] >= data["paragraphs_total"], "not every paragraph was seen"),
                (not signed or self.before(facts[-1], signed[-1]), "confirmed after the signature"),
                (
                    any(
                        f.data["document"] == document and f.index < facts[-1].index
                        for f in self.named("document_opened")
                    ),
                    "never opened",
                ),
                (f"documents/{document['sha256']}.md" in self.members, "its text is not in the pack"),
                (
                    not published
                    or published.get(document["sha256"]) == (data["minimum_dwell_ms"], data["paragraphs_total"]),
                    "the release asks for another time or number of paragraphs",
                ),
            ]
            wrong = [why for holds, why in doubts if not holds]
            if wrong:
                self.found.doubts.append(f"reading NOT PROVEN: {title}: {'; '.join(wrong)}")
            else:
                self.found.proven.append(f"read: {title}, {data['dwell_ms'] / 1000:.0f} s by the server's clock")
        for product in self.products():
            shown = {
                f.data["point"]
                for f in self.named("point_acknowledged")
                if f.data["product"] == product["product"]
                and signed
                and self.before(f, signed[-1])
                and f.data["proof"]["attempt"] == signed[-1].data["attempt"]
            }
            if signed and product["points"]:
                self.found.check(set(product["points"]) <= shown, f"{product['product']}: every key point acknowledged")

    def identity(self) -> None:
        verified, signed = self.named("identity_verified"), self.named("forms_signed")
        if not verified:
            self.found.not_recorded.append("identity")
            if signed:
                self.found.doubts.append("NOT PROVEN: identity was verified before the signature")
            return
        self.found.asserted.append(
            f"identity was verified by {verified[-1].data['method']}: the platform's own answer is not in the pack"
        )
        if signed:
            at, attempt = instant(signed[-1].data["signed_at"]), signed[-1].data["attempt"]
            before = [
                f
                for f in verified
                if f.index < signed[-1].index
                and f.data["attempt"] == attempt
                and f.at <= at <= instant(f.data["valid_until"]) + self.looked_at(f.at, signed[-1])
            ]
            self.found.check(bool(before), "identity was on record before the signature and still valid")
            self.consents(signed[-1])
        self.person(verified[-1])

    def looked_at(self, since: datetime, act: Said) -> timedelta:
        """How long between ``since`` and the customer's act people looked at earlier writings: no clock ran then."""
        until, asked, waited = instant(act.data["signed_at"]), dict[int, datetime](), timedelta(0)
        for fact in self.facts:
            if fact.index < act.index and fact.name == "review_requested":
                asked[fact.data["review_no"]] = fact.at
            elif fact.index < act.index and fact.name == "review_closed":
                begun = asked.pop(fact.data["review_no"], until)
                waited += max(min(fact.at, until) - max(begun, since), timedelta(0))
        return waited

    def consents(self, act: Said) -> None:
        told = [f for f in self.named("recording_acknowledged") if self.before(f, act)]
        self.found.check(bool(told), "the customer was told of the recording before the signature")
        last: dict[str, Said] = {}
        for fact in self.named("consent_given", "consent_declined"):
            last[fact.data["notice"]["notice"]] = fact
        for notice, fact in last.items():
            word = "given by an act of its own" if fact.name == "consent_given" else "declined or withdrawn"
            self.found.proven.append(f"consent {notice} {fact.data['notice']['version']}: {word}")

    def person(self, verified: Said) -> None:
        """That the one who was verified is the policyholder, and by the checks the method needs."""
        attempt, method = verified.data["attempt"], verified.data["method"]
        done = [
            f
            for f in self.named("real_name_checked", "face_checked", "bank_card_checked")
            if f.index < verified.index
            and f.data["proof"]["attempt"] == attempt
            and (f.data.get("matched") or f.data.get("passed"))
        ]
        needed = {"real_name_checked", {"face": "face_checked", "bank_card": "bank_card_checked"}.get(method, method)}
        self.found.check(needed <= {f.name for f in done}, f"identity by {method}: each check it needs is on record")
        named = [f for f in done if f.name == "real_name_checked"]
        opened = self.named("journey_opened")
        if not named or not opened:
            return
        holder = opened[0].data["policyholder"]
        body = self.value(named[-1].data["proof"]["body"])
        name, number = self.value(holder["name"]), self.value(holder["id_number"])
        if body is None or name is None or number is None:
            self.found.asserted.append("the person verified is the policyholder (not opened)")
            return
        typed = json.loads(body)  # As the gateway read it: of a name given twice the last counts.
        self.found.check(
            spelled(typed.get("name")) == spelled(name.decode())
            and eighteen(typed.get("id_number")) == eighteen(number.decode()),
            "name and ID number verified are the policyholder's",
        )

    def signing(self) -> None:
        signed = self.named("forms_signed")
        if not signed:
            self.found.not_recorded.append("signature")
            return
        act = signed[-1]
        items = act.data["items"]
        prepared = {f.data["product"]: f for f in self.named("form_prepared") if self.before(f, act)}
        confirmed = {f.data["document"]["sha256"] for f in self.named("document_confirmed") if self.before(f, act)}
        for product in self.products():
            slug = product["product"]
            mine = [item for item in items if item["product"] == slug]
            forms = {item["hash"] for item in mine if item["kind"] == "form"}
            form = prepared.get(slug)
            self.found.check(
                form is not None and forms == {form.data["form"]["commitment"]},
                f"{slug}: the signature covers the application form as it was prepared",
            )
            reviewed = [f for f in self.named("form_reviewed") if f.data["product"] == slug and self.before(f, act)]
            self.found.check(
                bool(reviewed) and reviewed[-1].data["form_commitment"] in forms, f"{slug}: that form was reviewed"
            )
            texts = {item["hash"] for item in mine if item["kind"] == "document"}
            named = {document["sha256"] for document in product["documents"]}
            self.found.check(
                named <= texts and named <= confirmed, f"{slug}: the signature covers every document that was read"
            )
            agreed = [f for f in self.named("terms_confirmed", "product_chosen") if self.before(f, act)]
            if product["optional"]:
                ticked = [f for f in agreed if f.name == "product_chosen" and f.data["product"] == slug]
                self.found.check(bool(ticked), f"{slug}: the customer ticked it")
            else:
                mine = [f for f in agreed if f.name == "terms_confirmed" and slug in f.data["locks"]]
                self.found.check(bool(mine), f"{slug}: the customer confirmed its terms before the signature")
        self.legibility(act)
        self.copied(act)
        if self.value(act.data["image"]) is not None:
            self.found.proven.append("strokes and image of the handwriting are the ones in the record")
        self.found.asserted.append("image and vector were drawn from the strokes by " + act.data["strokes_rendered_by"])

    def copied(self, act: Said) -> None:
        """The declaration: copied by hand where the product demands it, else confirmed as its hash in the act says."""
        written = [
            f for f in self.named("phrase_copied") if f.data["attempt"] == act.data["attempt"] and self.before(f, act)
        ]
        for product in self.products():
            slug = product["product"]
            mine = [f for f in written if slug in f.data.get("products", [])]
            if not mine:
                self.found.asserted.append(f"{slug}: its declaration was shown as signed, and copying it not demanded")
                continue
            phrases = len({f.data["phrase"] for f in mine})
            self.found.check(
                all(phrase_passed(f.data) for f in mine),
                f"{slug}: the declaration was copied by hand, {phrases} phrases, before the signature",
            )
            self.found.asserted.append(f"{slug}: the words of these phrases, and that they are its whole declaration")

    def legibility(self, act: Said) -> None:
        """That the name can be read: by the check, character by character, or by two people."""
        verdict, reading = act.data["legibility"], act.data.get("reading")
        if verdict == "not_judged" and reading is None:
            self.found.not_recorded.append("legibility of the handwriting (not judged)")
            return
        # The same act, put on record before as one that could not be taken, or not at once.
        held_back = [f for f in self.named("ink_rejected", "review_requested") if act_of(f.data) == act_of(act.data)]
        if verdict == "pass":
            said: dict[str, Any] = reading or {"outcome": None, "characters": [], "read_by": "nobody"}
            self.found.check(
                said["outcome"] == "pass"
                and self.every_box(said["characters"])
                and all(c["ok"] and c["score"] is not None and c["score"] >= c["limit"] for c in said["characters"])
                and all(check["ok"] for check in act.data["ink_checks"])
                and not held_back,
                "the check of legibility passed every character of the name",
            )
            self.found.asserted.append(f"how well the handwriting reads was measured by {said['read_by']}")
            return
        number = act.data.get("review_no")
        of_it = [f for f in self.facts if f.index < act.index and f.data.get("review_no") == number]
        asked = [f for f in of_it if f.name == "review_requested"]
        decided = [f for f in of_it if f.name == "review_decided" and asked and f.index > asked[0].index]
        self.found.check(
            verdict == "manual"
            and len(asked) == 1
            and held_back == asked
            and all(asked[0].data.get(what) == act.data.get(what) for what in WRITTEN)
            and all(f.data["finding"] == "legible" for f in decided)
            and len({f.data["reviewer"] for f in decided}) >= 2
            and not any(f.name == "review_closed" for f in of_it),
            "two members of staff found the handwriting legible, before it was taken",
        )
        self.found.asserted.append("who they are: the insurer's staff sign in at its own gateway")

    def every_box(self, characters: list[dict[str, Any]]) -> bool:
        """Whether it speaks of each character of the name, in order, and of nothing else."""
        opened = self.named("journey_opened")
        name = self.value(opened[0].data["policyholder"]["name"]) if opened else None
        boxes = len(characters)
        if name is not None:
            boxes = len(WRITTEN_IN_NO_BOX.sub("", unicodedata.normalize("NFC", name.decode())))
        return boxes > 0 and [c["box"] for c in characters] == [*range(boxes)]

    def papers(self) -> None:
        """Sealed forms and policies: their own signatures, and the form seen inside the form sealed."""
        signed = self.named("forms_signed")
        for fact in self.named("form_sealed"):
            slug = fact.data["product"]
            first = [f for f in self.named("form_prepared") if f.data["product"] == slug and f.index < fact.index]
            require(
                bool(first) and first[-1].data["form"]["commitment"] == fact.data["first_revision"],
                f"{slug}: sealed from another form",
            )
            pdf, seen = self.value(fact.data["form"]), self.value(first[-1].data["form"])
            if pdf is None or seen is None:
                self.found.not_recorded.append(f"{slug}: the form itself (not opened)")
                continue
            require(
                pdf.startswith(seen) and len(pdf) > len(seen), f"{slug}: the sealed form is another than the one seen"
            )
            self.found.proven.append(f"{slug}: the form seen is byte for byte the beginning of the form sealed")
            sealings = self.pdf(pdf, f"form {fact.data['form_no']}")
            if fact.data.get("certificate") is not None:
                self.signed_form(fact, pdf, seen, sealings)
            else:
                self.found.not_recorded.append(
                    f"{slug}: a certificate of the customer's own (the insurer's seal alone)"
                )
        sealed = {f.data["product"] for f in self.named("form_sealed")}
        if signed and (missing := {p["product"] for p in self.products()} - sealed):
            self.found.not_recorded.append(f"sealed forms of {', '.join(sorted(missing))}")
        for fact in self.named("policy_issued"):
            pdf = self.value(fact.data["policy"])
            number = fact.data["policy_no"]
            sold = [p for p in self.products() if p["product"] == fact.data["product"]]
            self.found.check(bool(signed) and bool(sold), f"policy {number}: for a product that was signed for")
            if sold:
                self.found.check(
                    all(instant(fact.data[key]) == instant(sold[0][key]) for key in ("period_from", "period_to")),
                    f"policy {number}: for the period offered",
                )
            numbered = [
                p for f in self.named("policies_numbered") for p in f.data["policies"] if p["policy_no"] == number
            ]
            self.found.check(
                [(p["product"], p["lock"]) for p in numbered] == [(fact.data["product"], fact.data["lock"])],
                f"policy {number} bears the number drawn for {fact.data['product']}",
            )
            if pdf is None:
                self.found.not_recorded.append(f"policy {number} itself (not opened)")
            else:
                self.pdf(pdf, f"policy {number}")
        if self.policy_no is not None:
            issued = [f for f in self.named("policy_issued") if f.data["policy_no"] == self.policy_no]
            require(len(issued) == 1 and issued[0].data["product"] == self.product, "the policy is not in the pack")
        for fact in self.named("policies_numbered"):
            drawn = {p["product"] for p in fact.data["policies"]}
            self.found.check(
                drawn <= {p["product"] for p in self.products()}, "numbers were drawn only for what was signed for"
            )
        if not self.named("policy_issued"):
            self.found.not_recorded.append("policies")

    def pdf(self, pdf: bytes, what: str) -> list[Sealing]:
        """Every signature of a PDF: its byte range, its digest, its certificate, its timestamp."""
        ranges = [
            [int(n) for n in m.groups()]
            for m in re.finditer(rb"/ByteRange\s*\[\s*(\d{1,12})\s+(\d{1,12})\s+(\d{1,12})\s+(\d{1,12})\s*\]", pdf)
        ]
        require(bool(ranges) and pdf.count(b"/ByteRange") == len(ranges), f"{what} carries no signature")
        last = ranges[-1]
        require(last[2] + last[3] == len(pdf), f"{what}: bytes after the signature")
        sealings: list[Sealing] = []
        for start, length, begins, rest in ranges:
            require(start == 0 and length < begins and begins + rest <= len(pdf), f"{what}: a hole in the signature")
            gap = pdf[length:begins]
            require(
                re.fullmatch(rb"<[0-9A-Fa-f]+>", gap) is not None and len(gap) % 2 == 0,
                f"{what}: a hole in the signature",
            )
            held = bytes.fromhex(gap[1:-1].decode())
            try:
                der = core.Asn1Value.load(held).dump()
            except ValueError:
                raise Altered(f"{what}: the signature cannot be read") from None
            require(not held[len(der) :].strip(b"\0"), f"{what}: something hidden behind the signature")
            signature = read_cms(der, pdf[:length] + pdf[begins : begins + rest], "data")
            try:
                tokens = [
                    a["values"][0].dump()
                    for a in signature.info["unsigned_attrs"] or []
                    if a["type"].native == "signature_time_stamp_token"
                ]
            except (ValueError, TypeError, KeyError, IndexError):
                raise Altered(f"{what}: what is beside the signature cannot be read") from None
            stamp = None
            if not tokens:
                self.found.doubts.append(f"NOT PROVEN: {what}: its signature has no timestamp")
            else:
                over = hashlib.sha256(signature.info["signature"].native).digest()
                stamp = read_stamp(tokens[0], over, self.trust)
                if not stamp.trusted:
                    self.origin(f"{what}: the timestamp authority leads to no anchor given")
            at = self.final if stamp is None else stamp.at
            if not self.trust.leads(signature.signer, signature.along, at, stamp=False):
                self.origin(f"{what}: the signer leads to no anchor given")
            # Of the last one alone: those before it cover what was there when they were made.
            whole = "sealed whole" if begins + rest == len(pdf) else "signed"
            name = signature.signer.subject.rfc4514_string()
            self.found.proven.append(f"{what}: {whole} by {name}, {at.isoformat()}")
            sealings.append(Sealing(signature, stamp, at, begins + rest))
        return sealings

    def signed_form(self, fact: Said, pdf: bytes, seen: bytes, sealings: list[Sealing]) -> None:
        """A form signed by its customer and sealed by the insurer: that and nothing else happened to it, the
        certificate is of this person and this act, and every certificate was in force.
        """
        what = f"form {fact.data['form_no']}"
        require(len(sealings) == 2, f"{what} is not signed once and sealed once")
        customer, insurer = sealings
        first = filled(Revision(seen), pdf[: customer.ends], b"signature", what, proofs=False)
        last = filled(first, pdf, b"seal", what, proofs=True)
        self.bound(first, b"signature", customer, "/DocMDP", 2, what)
        self.bound(last, b"seal", insurer, "/FieldMDP", 1, what)
        perms = first.root.get("/Perms")
        require(
            isinstance(perms, dict) and perms.get("/DocMDP") == first.get(Ref(first.fields()[b"signature"], 0))["/V"],
            f"{what}: the customer's signature does not certify it",
        )
        self.found.proven.append(
            f"{what}: between what was seen and the seal nothing was done but signing and sealing it"
        )
        self.one_time(fact, seen, customer, what)
        store = InForce.read(last)
        for sealing, whose in ((customer, "the customer's"), (insurer, "the insurer's")):
            signers = [(sealing.cms.signer, sealing.cms.along)]
            if sealing.stamp is not None:
                signers.append((sealing.stamp.signer, sealing.stamp.along))
            chains = [store.chain(signer, along) for signer, along in signers]
            self.found.check(
                all(chains) and all(store.good(c, by, sealing.at) for chain in chains for c, by in chain),
                f"{what}: {whose} certificate, the timestamp authority's and those above them were in force",
            )

    def bound(self, revision: Revision, name: bytes, sealing: Sealing, method: str, allowed: int, what: str) -> None:
        """The field's value is that very signature, and it forbids what it should."""
        signature = revision.get(revision.get(Ref(revision.fields()[name], 0))["/V"])
        require(sum(signature["/ByteRange"][2:]) == sealing.ends, f"{what}: a field shows another signature")
        try:
            transforms = {r["/TransformMethod"]: r["/TransformParams"] for r in signature["/Reference"]}
            asked = transforms[method]
        except (KeyError, TypeError):
            raise Altered(f"{what}: a signature that forbids nothing") from None
        require(
            asked.get("/P") == allowed and (method == "/DocMDP" or asked.get("/Action") == "/All"),
            f"{what}: a signature that forbids too little",
        )

    def one_time(self, fact: Said, seen: bytes, customer: Sealing, what: str) -> None:
        acts = [f for f in self.named("forms_signed") if f.index < fact.index]
        require(bool(acts), f"{what} was signed before anybody signed")
        act = acts[-1].data
        certificate = customer.cms.signer
        require(sha256(certificate_der(certificate)) == fact.data["certificate"], f"{what}: another certificate")
        said = {a.oid: a.value for a in certificate.subject}
        proof = sha256(act["proof"]["proof"]["jws"].encode())
        require(said.get(NameOID.SERIAL_NUMBER) == proof, f"{what}: a certificate for another act")
        opened = self.named("journey_opened")
        name = self.value(opened[0].data["policyholder"]["name"]) if opened else None
        if name is not None:
            require(said.get(NameOID.COMMON_NAME) == name.decode(), f"{what}: a certificate of somebody else")
        attributes = {a["type"].native: a["values"] for a in customer.cms.info["signed_attrs"]}
        stated = attributes.get(STATEMENT)
        require(stated is not None and len(stated) == 1, f"{what}: the signature does not say what it stands for")
        assert stated is not None
        statement = read_canonical(bytes(core.OctetString.load(stated[0].dump(), strict=True).native))
        expected: dict[str, Any] = {
            "format": 1,
            "act": proof,
            "preview": sha256(seen),
            "form": fact.data["first_revision"],
            "strokes": act["strokes"]["commitment"],
            "legibility": act["legibility"],
            "checks": sha256(canonical(act["ink_checks"])),
        }
        if "reading" in act:
            expected |= {
                "format": 2,
                "reading": sha256(canonical(act["reading"])),
                "pen": sha256(canonical(act["pen"])),
            }
        require(statement == expected, f"{what}: the customer's signature stands for something else")
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        self.found.check(
            lifetime <= timedelta(days=1),
            f"{what}: the customer's certificate was made for this act alone, and stands for the form seen, "
            "the strokes and the verdict on them",
        )
        self.found.asserted.append(f"{what}: the key of the customer's certificate was destroyed after the act")

    def money(self) -> None:
        opened, orders, paid = self.named("journey_opened"), self.named("order_placed"), self.named("payment_confirmed")
        self.locks(opened)
        if not paid:
            self.found.not_recorded.append("payment")
            return
        payment = paid[-1]
        order = next((f for f in reversed(orders) if f.data["order_no"] == payment.data["order_no"]), None)
        if order is None or order.index > payment.index:
            self.found.doubts.append("NOT PROVEN: the payment was ordered")
            return
        lines = payment.data["lines"]
        self.found.check(lines == order.data["lines"], "what was paid is what was ordered, to the fen")
        signed = self.named("forms_signed")
        self.found.check(bool(signed) and signed[-1].index < order.index, "payment was ordered after the signature")
        self.found.check(
            {line["product"] for line in lines} <= {p["product"] for p in self.products()},
            "nothing was paid for that was not signed for",
        )
        for fact in self.named("refunded"):
            self.found.proven.append(f"on record: money went back for order {fact.data['order_no']}")
        if "total_fen" in payment.data:
            total = sum(line["fen"] for line in lines)
            self.found.check(
                total == payment.data["total_fen"] == order.data["total_fen"], f"the lines add up to {total} fen"
            )
        for product in self.products():
            due = {"premium": product["premium_fen"], **{tax["kind"]: tax["fen"] for tax in product["taxes"]}}
            mine = amounts(lines, product["product"])
            self.found.check(due == mine, f"{product['product']}: premium and taxes as offered were paid")
        for fact in self.named("policy_issued"):
            mine = amounts(lines, fact.data["product"])
            self.found.check(
                fact.data["premium_fen"] == mine.get("premium")
                and fact.data["taxes_fen"] == sum(fen for kind, fen in mine.items() if kind != "premium"),
                f"policy {fact.data['policy_no']}: issued for what was paid",
            )
            self.found.check(payment.index < fact.index, f"policy {fact.data['policy_no']}: issued after the payment")
        if opened:
            self.payer(opened[0], order)
        receipt = self.value(payment.data.get("receipt"))
        if receipt is None:
            self.found.asserted.append("the channel's receipt is not opened")
        else:
            self.receipt(receipt, payment)

    def locks(self, opened: list[Said]) -> None:
        """The terms each product was bought on, from offer to policy (one hash)."""
        if not opened:
            return
        data = opened[0].data
        for product in self.products():
            slug = product["product"]
            self.found.check(terms_lock(data, product) == product["lock"], f"{slug}: the lock is that of its terms")
            given = [
                f.data["locks"].get(slug) for f in self.named("terms_confirmed", "order_placed", "payment_confirmed")
            ]
            given += [
                f.data["lock"]
                for f in self.named("product_chosen", "form_prepared", "policy_issued")
                if f.data["product"] == slug
            ]
            given += [
                p["lock"] for f in self.named("policies_numbered") for p in f.data["policies"] if p["product"] == slug
            ]
            attempts = [lock for lock in given if lock is not None]
            if attempts:
                self.found.check(
                    set(attempts) == {product["lock"]}, f"{slug}: the same terms from confirmation to policy"
                )

    def payer(self, opened: Said, order: Said) -> None:
        holder = opened.data["policyholder"]
        for mine, theirs, word in (("payer_name", "name", "name"), ("payer_id_number", "id_number", "ID number")):
            payer, owner = order.data[mine], holder[theirs]
            if payer["commitment"] == owner["commitment"]:
                self.found.proven.append(f"the order asked for the policyholder's own {word}")
            elif (a := self.value(payer)) is not None and (b := self.value(owner)) is not None:
                self.found.check(a == b, f"the order asked for the policyholder's own {word}")
            else:
                self.found.asserted.append(f"the payer's {word} is the policyholder's (not opened)")

        self.found.asserted.append("the account that paid is held by whom the order asked for: the channel compares it")

    def receipt(self, raw: bytes, payment: Said) -> None:
        try:
            said = json.loads(raw)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            self.found.asserted.append("the channel's receipt (not JSON)")
            return
        amount = said.get("amount")
        total = amount.get("total") if isinstance(amount, dict) else None
        if "transaction_id" in said:
            self.found.check(
                said["transaction_id"] == payment.data["transaction_id"], "the channel's receipt names the transaction"
            )
        if "out_trade_no" in said:
            self.found.check(said["out_trade_no"] == payment.data["order_no"], "the channel's receipt names the order")
        if "trade_state" in said:
            self.found.check(said["trade_state"] == "SUCCESS", "the channel's receipt says paid")
        if total is not None and "total_fen" in payment.data:
            self.found.check(total == payment.data["total_fen"], "the channel's receipt names the same sum")
        self.found.asserted.append("the receipt is the channel's own (it came under the channel's signature, not kept)")

    def rest(self) -> None:
        """Members that say nothing to a program, and members that should not be there."""
        software = read_canonical(self.member("software.json"))
        self.found.asserted.append(f"made by chain {software.get('chain')}; mechanism as described in software.json")
        self.found.asserted.append("report.pdf is a summary for people; only the facts count")
        self.member("report.pdf") if "report.pdf" in self.members else self.found.doubts.append("no report")
        refusals = self.named("refused", "ink_rejected", "phrase_rejected")
        self.found.proven.append(f"{len(refusals)} refusals are on record")
        self.found.not_recorded.append("revocation of certificates (not looked up offline)")
        idle = set(self.members) - self.used
        # A document or certificate may be there for a fact that is no longer the last word.
        require(all(name.startswith(("timestamps/", "certificates/")) for name in idle), "a member nothing refers to")


def as_read(said: Any, recorded: Any) -> Any:
    """What a phone sent as 1.0 or "1" is recorded as the number 1."""
    if isinstance(said, str | float) and isinstance(recorded, int):
        try:
            return recorded if float(said) == recorded else said
        except ValueError:
            return said
    return said


def amounts(lines: list[dict[str, Any]], product: str) -> dict[str, int]:
    """What was paid for one product, by kind; a kind that stands twice adds up."""
    found: dict[str, int] = {}
    for line in lines:
        if line["product"] == product:
            found[line["kind"]] = found.get(line["kind"], 0) + line["fen"]
    return found


def spelled(text: Any) -> str:
    """A name or number as it is compared: one width, no spaces, capitals, one kind of middle dot."""
    one_width = "".join(unicodedata.normalize("NFKC", str(text)).split()).upper()
    return re.sub("[•‧∙⋅・●.]", "·", one_width)


def eighteen(text: Any) -> str:
    """An ID number without what 15 old digits lack: the century and the check digit (GB 11643-1999)."""
    number = spelled(text)
    return number[:6] + number[8:17] if len(number) == 18 and number[6:8] == "19" else number


def hexed(text: Any) -> str:
    require(isinstance(text, str) and HEX.fullmatch(text) is not None, "not a hash")
    return text


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def act_of(data: dict[str, Any]) -> str:
    """What the device signed for the act of a fact, without the signature itself, which can be respelt."""
    return str(_members(_members(data.get("proof")).get("proof")).get("jws")).rpartition(".")[0]


def committed_in(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        if "commitment" in value and "blob" in value:
            return [value]
        return [c for member in value.values() for c in committed_in(member)]
    if isinstance(value, list):
        return [c for member in value for c in committed_in(member)]
    return []


def terms_lock(opened: dict[str, Any], product: dict[str, Any]) -> str:
    def party(who: dict[str, Any]) -> dict[str, Any]:
        values = {key: who[key]["commitment"] for key in ("name", "id_number", "phone", "address")}
        return {"id_type": who["id_type"], **values}

    def commitments(values: dict[str, Any]) -> dict[str, Any]:
        return {key: value["commitment"] for key, value in values.items()}

    return sha256(
        canonical(
            {
                "policyholder": party(opened["policyholder"]),
                "insured": None if opened["insured"] is None else party(opened["insured"]),
                "subject": commitments(opened["subject"]),
                "product": product["product"],
                "product_version": product["product_version"],
                "covers": [[c["cover"], c["sum_fen"], c["premium_fen"]] for c in product["covers"]],
                "premium_fen": product["premium_fen"],
                "taxes": [[t["kind"], t["fen"]] for t in product["taxes"]],
                "period": [instant(product[key]).isoformat() for key in ("period_from", "period_to")],
                "fields": commitments(product["fields"]),
            }
        )
    )


# -- views: what a fact says of one product (docs/evidence.md) --------------------------------------------------------


def phrase_passed(copied: dict[str, Any]) -> bool:
    """Its ink was handwriting, and enough of its characters reach their limits; where the reader knew none of them
    (``manual``) the ink alone decided.
    """
    reading = copied["reading"]
    read = reading["characters"]
    good = [c["score"] is not None and c["score"] >= c["limit"] for c in read]
    if [c["ok"] for c in read] != good or not all(check["ok"] for check in copied["checks"]):
        return False
    if reading["outcome"] == "manual":
        return not read
    return reading["outcome"] == "pass" and bool(read) and sum(good) >= PHRASE_SHARE * len(read)


def products_in(value: Any) -> set[str]:
    if isinstance(value, list):
        return {p for member in value for p in products_in(member)}
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, member in value.items():
        if key == "product" and isinstance(member, str):
            found.add(member)
        elif key == "locks" and isinstance(member, dict):
            found |= set(member)
        else:
            if key == "products" and isinstance(member, list):
                found |= {name for name in member if isinstance(name, str)}
            found |= products_in(member)
    return found


def view_keys(data: dict[str, Any]) -> list[str]:
    products = products_in(data)
    if len(products) > 1:
        return sorted(products)
    return [EVERY_PRODUCT] if not products and any(name in data for name in SUMS) else []


def view_bytes(attributes: dict[str, Any], data: dict[str, Any], product: str) -> bytes:
    def foreign(value: Any) -> bool:
        return isinstance(value, dict) and value.get("product", product) != product

    def names(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)

    def only(value: Any) -> Any:
        if isinstance(value, list):
            return [only(member) for member in value if not foreign(member)]
        if not isinstance(value, dict):
            return value
        kept: dict[str, Any] = {}
        for key, member in value.items():
            if key == "locks" and isinstance(member, dict):
                kept[key] = {p: lock for p, lock in member.items() if p == product}
            elif key in {"products", "policies"} and names(member):
                order = value.get("products", [])
                kept[key] = [name for name, of in zip(member, order, strict=False) if of == product]
            elif not foreign(member):
                kept[key] = only(member)
        return kept

    shown = {} if foreign(data) else {key: value for key, value in only(data).items() if key not in SUMS}
    return canonical({"attributes": attributes, "product": product, "data": shown})


# -- proofs of possession (RFC 9449) ----------------------------------------------------------------------------------


def thumbprint(jwk: dict[str, Any]) -> str:
    raw = canonical({"crv": "P-256", "kty": "EC", "x": jwk["x"], "y": jwk["y"]})
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()


def dpop(jws: str, what: str) -> tuple[dict[str, Any], str]:
    """Claims and key thumbprint of a proof whose signature holds."""
    parts = jws.split(".")
    require(len(parts) == 3, f"{what} is malformed")
    header, claims = read_json(b64url(parts[0])), read_json(b64url(parts[1]))
    require(isinstance(header, dict) and isinstance(claims, dict), f"{what} is malformed")
    require(header.get("typ") == "dpop+jwt" and header.get("alg") == "ES256", f"{what} is of another kind")
    jwk: dict[str, Any] = _members(header.get("jwk"))
    require(jwk.get("kty") == "EC" and jwk.get("crv") == "P-256", f"{what} has no key")
    require("d" not in jwk, f"{what} gives its private key away")
    try:
        x, y = (int.from_bytes(b64url(jwk[n]), "big") for n in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except (ValueError, KeyError, TypeError):
        raise Altered(f"{what} has no key") from None
    require(es256(key, f"{parts[0]}.{parts[1]}".encode(), b64url(parts[2])), f"{what} does not verify")
    return claims, thumbprint(jwk)


def same_target(claimed: Any, url: str) -> bool:
    """Query and fragment do not count (RFC 9449 §4.3), nor how one address is spelled (RFC 3986 §6.2.2, §6.2.3)."""

    def octet(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if re.fullmatch(r"[A-Za-z0-9._~-]", character) else escape[0].upper()

    def normal(address: str) -> tuple[str, str | None, int | None, str]:
        parts = urlsplit(address)
        port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
        return parts.scheme, parts.hostname, port, re.sub("%([0-9A-Fa-f]{2})", octet, parts.path) or "/"

    try:
        return isinstance(claimed, str) and normal(claimed) == normal(url)
    except ValueError:
        return False


# -- verdict ----------------------------------------------------------------------------------------------------------


def judge(data: bytes, trust: Trust) -> tuple[int, Findings]:
    """Exit status and findings. Whatever cannot be read as a pack is malformed."""
    try:
        pack = Pack(data, trust)
        pack.judge()
    except Altered as altered:
        return 2, Findings(doubts=[f"ALTERED OR MALFORMED: {altered}"])
    except Exception as error:  # noqa: BLE001 - a pack made to break a reader is malformed, not a crash
        return 2, Findings(doubts=[f"ALTERED OR MALFORMED: {type(error).__name__}"])
    if not trust.given:
        pack.found.doubts.insert(0, "origin unknown: no --trust given")
    return (1 if pack.found.doubts else 0), pack.found


VERDICTS = {
    0: "PROVEN under the anchors given",
    1: "CONSISTENT, BUT NOT PROVEN",
    2: "ALTERED OR MALFORMED",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="verify.py", description="Judges an evidence pack, offline.")
    parser.add_argument("pack", type=Path)
    parser.add_argument("--trust", type=Path, metavar="DIR", help="PEM certificates of insurer and authorities")
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    options = parser.parse_args(arguments)
    try:
        trust = Trust.read(options.trust)
        if options.pack.stat().st_size > MAX_FILE:
            raise Altered("larger than a pack may be")
        data = options.pack.read_bytes()
    except Altered as altered:
        print(f"{VERDICTS[2]}: {altered}")
        return 2
    except (OSError, ValueError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2
    status, found = judge(data, trust)
    if options.json:
        print(json.dumps({"status": status, "verdict": VERDICTS[status], **vars(found)}, ensure_ascii=False, indent=1))
        return status
    print(VERDICTS[status])
    for title, lines in (
        ("Why not proven", found.doubts),
        ("Proven" if options.trust else "Consistent within the pack", found.proven),
        ("Asserted", found.asserted),
        ("Not recorded here", found.not_recorded),
    ):
        if lines:
            print(f"\n{title}:")
            for line in lines:
                print(f"  - {line}")
    return status


if __name__ == "__main__":
    sys.exit(main())
