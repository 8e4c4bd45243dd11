"""Signatures, by the standards alone: ES256 proofs and attestations (RFC 7515), CMS (RFC 5652), timestamps (RFC 3161),
signatures in PDFs (ISO 32000-2 §12.8). Each function raises ``Unsound`` and says why.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from asn1crypto import cms, tsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.faults.checker.stores import Json

BYTE_RANGE = re.compile(rb"/ByteRange\s*\[\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*\]")
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


class Unsound(ValueError):
    """A signature that does not hold."""


def b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def proof(jws: str) -> tuple[Json, str]:
    """Claims of a device's proof and the RFC 7638 thumbprint of the key that made it."""
    head, body, signature = jws.split(".")
    jwk = json.loads(b64(head))["jwk"]
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(b64(jwk["x"]), "big"), int.from_bytes(b64(jwk["y"]), "big"), ec.SECP256R1()
    )
    _es256(numbers.public_key(), f"{head}.{body}".encode(), b64(signature))
    members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, sort_keys=True, separators=(",", ":"))
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
    return json.loads(b64(body)), thumbprint


def detached(jws: str, payload: bytes, chain: bytes) -> None:
    """A detached signature over ``payload`` by the first certificate of a PEM chain."""
    head, _, signature = jws.split(".")
    key = x509.load_pem_x509_certificates(chain)[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Unsound("not an EC key")
    signed = f"{head}.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}"
    _es256(key, signed.encode(), b64(signature))


def _es256(key: ec.EllipticCurvePublicKey, signed: bytes, signature: bytes) -> None:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Unsound("the signature does not hold") from None


def timestamp(token: bytes, imprint: bytes) -> x509.Certificate:
    """An RFC 3161 token over ``imprint``; the certificate of who gave it."""
    signed = cms.ContentInfo.load(token)["content"]
    content: Any = signed["encap_content_info"]["content"].parsed
    said: Any = content.native if isinstance(content, tsp.TSTInfo) else None
    if said is None or said["message_imprint"]["hashed_message"] != imprint:
        raise Unsound("the timestamp is over something else")
    return _cms(signed, content.dump())


def signed_pdf(pdf: bytes) -> list[x509.Certificate]:
    """Who signed the file, each signature sound over the bytes it names, timestamped, the last over all but itself."""
    signers: list[x509.Certificate] = []
    last = 0
    for found in BYTE_RANGE.finditer(pdf):
        start, length, behind, rest = (int(number) for number in found.groups())
        last = max(last, behind + rest)
        covered = pdf[start : start + length] + pdf[behind : behind + rest]
        contents = pdf[start + length : behind]
        der = bytes.fromhex(contents.strip(b"<>").decode())
        signed = cms.ContentInfo.load(der)["content"]  # the padding behind it is ignored
        if isinstance(signed["encap_content_info"]["content"].native, bytes | dict):
            # A document timestamp: a token over the bytes.
            content = signed["encap_content_info"]["content"].parsed
            algorithm = content["message_imprint"]["hash_algorithm"]["algorithm"].native
            if content["message_imprint"]["hashed_message"].native != hashlib.new(algorithm, covered).digest():
                raise Unsound("the document timestamp is over something else")
            _cms(signed, content.dump())
            continue
        signers.append(_cms(signed, covered))
        _signature_timestamp(signed)
    if not signers:
        raise Unsound("nobody signed it")
    if last != len(pdf):
        raise Unsound("something was added behind the last signature")
    return signers


def _signature_timestamp(signed: Any) -> None:
    info = signed["signer_infos"][0]
    for attribute in info["unsigned_attrs"] or ():
        if attribute["type"].native == "signature_time_stamp_token":
            token = attribute["values"][0].dump()
            inner = cms.ContentInfo.load(token)["content"]["encap_content_info"]["content"].parsed
            algorithm = inner["message_imprint"]["hash_algorithm"]["algorithm"].native
            timestamp(token, hashlib.new(algorithm, info["signature"].native).digest())
            return
    raise Unsound("the signature has no timestamp")


def _cms(signed: Any, content: bytes) -> x509.Certificate:
    """One signer's signature over its attributes, which name the digest of ``content``."""
    info = signed["signer_infos"][0]
    algorithm = info["digest_algorithm"]["algorithm"].native
    digest = hashlib.new(algorithm, content).digest()
    named = [a["values"][0].native for a in info["signed_attrs"] if a["type"].native == "message_digest"]
    if named != [digest]:
        raise Unsound("the bytes are not those that were signed")
    attributes = b"\x31" + info["signed_attrs"].dump()[1:]
    sid = info["sid"].chosen
    for each in signed["certificates"]:
        certificate = x509.load_der_x509_certificate(each.chosen.dump())
        if certificate.serial_number == sid["serial_number"].native:
            break
    else:
        raise Unsound("the signer's certificate is missing")
    key, method = certificate.public_key(), HASHES[algorithm]
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(info["signature"].native, attributes, ec.ECDSA(method))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(info["signature"].native, attributes, padding.PKCS1v15(), method)
        else:
            raise Unsound("a key of a kind nobody uses here")
    except InvalidSignature:
        raise Unsound("the signature does not hold") from None
    return certificate
