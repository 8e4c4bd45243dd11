"""CMS signatures (RFC 5652) as a PAdES baseline signature has them (ETSI EN 319 142-1): one signer, ECDSA on P-256 with
SHA-256, detached, with a timestamp.

Encoded here, since out of a library's objects the same takes ten times as long; what does not change with the
signature is encoded once a key. Whatever reads PDFs reads the result: pyHanko, OpenSSL, poppler.
"""

# asn1crypto and pyHanko say little of their types; what leaves this module is typed.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.sign.general import as_signing_certificate_v2


def _oid(dotted: str) -> bytes:
    return core.ObjectIdentifier(dotted).dump()


STATEMENT: Final = "2.25.25334416048588037146387667380323456194"
"""Of the signed attribute that holds a statement: an OCTET STRING. The number is a UUID of our own, as anybody may take
one (ITU-T X.667).
"""
_SIGNED_DATA = _oid("1.2.840.113549.1.7.2")
_DATA = _oid("1.2.840.113549.1.7.1")
_CONTENT_TYPE = _oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = _oid("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE = _oid("1.2.840.113549.1.9.16.2.47")
_TIMESTAMP = _oid("1.2.840.113549.1.9.16.2.14")
_STATEMENT = _oid(STATEMENT)

_INTEGER, _OCTETS, _SEQUENCE, _SET = 0x02, 0x04, 0x30, 0x31
_IMPLICIT_0, _IMPLICIT_1 = 0xA0, 0xA1


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


_SHA256 = _der(_SEQUENCE, _oid("2.16.840.1.101.3.4.2.1"))
_ECDSA_SHA256 = _der(_SEQUENCE, _oid("1.2.840.10045.4.3.2"))


def _attribute(oid: bytes, value: bytes) -> bytes:
    return _der(_SEQUENCE, oid, _der(_SET, value))


class SignedData:
    """What one key's signatures have in common."""

    def __init__(self, chain: Sequence[x509.Certificate]) -> None:
        """``chain``: the signer's certificate, then those above it; a root is not put in."""
        first = chain[0]
        kept = [first, *(c for c in chain[1:] if c.issuer != c.subject)]
        ders = [certificate.public_bytes(Encoding.DER) for certificate in kept]
        named = as_signing_certificate_v2(asn1_x509.Certificate.load(ders[0])).dump()
        serial = core.Integer(first.serial_number).dump()
        self._fixed = (_attribute(_CONTENT_TYPE, _DATA), _attribute(_SIGNING_CERTIFICATE, named))
        self._signer = _der(_SEQUENCE, first.issuer.public_bytes(), serial)
        # A SET OF in DER is sorted (X.690 §11.6).
        self._certificates = _der(_IMPLICIT_0, *sorted(ders))
        self.fixed_bytes = len(self._certificates) + len(self._signer) + sum(map(len, self._fixed))

    def attributes(self, digest: bytes, statement: bytes | None = None) -> bytes:
        """Signed attributes over a document's SHA-256 digest, as they are signed: a SET, DER."""
        attributes = [*self._fixed, _attribute(_MESSAGE_DIGEST, _der(_OCTETS, digest))]
        if statement is not None:
            attributes.append(_attribute(_STATEMENT, _der(_OCTETS, statement)))
        return _der(_SET, *sorted(attributes))

    def finished(self, attributes: bytes, signature: bytes, token: bytes) -> bytes:
        """ContentInfo, DER, of a signature over ``attributes`` and the timestamp over that signature."""
        one = _der(_INTEGER, b"\x01")
        signer = _der(
            _SEQUENCE,
            one,
            self._signer,
            _SHA256,
            # The same attributes, tagged as a part (RFC 5652 §5.4).
            bytes((_IMPLICIT_0,)) + attributes[1:],
            _ECDSA_SHA256,
            _der(_OCTETS, signature),
            _der(_IMPLICIT_1, _attribute(_TIMESTAMP, token)),
        )
        content = _der(
            _SEQUENCE, one, _der(_SET, _SHA256), _der(_SEQUENCE, _DATA), self._certificates, _der(_SET, signer)
        )
        return _der(_SEQUENCE, _SIGNED_DATA, _der(_IMPLICIT_0, content))
