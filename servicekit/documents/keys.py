"""Keys that sign, wherever they are kept: a file, a hardware module (PKCS#11), or memory for one act.

A key is named by where it is: the path of a PEM file, or a PKCS#11 URI (RFC 7512) such as
``pkcs11:token=toubao;object=application?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin``. What signs
sees a ``Key`` and never learns which. All are P-256.
"""

# python-pkcs11 is a compiled module without types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

MEMORY = ""
"""Where ``one_time_key`` makes a key that is kept nowhere else."""


class KeyGone(RuntimeError):
    """The key was destroyed."""


class Key(Protocol):
    """A private P-256 key that can be used and not be seen."""

    @property
    def public(self) -> ec.EllipticCurvePublicKey: ...

    def sign(self, data: bytes) -> bytes:
        """ECDSA over SHA-256, DER. Raises ``KeyGone``."""
        ...


class HeldKey:
    """A key held in this process, loaded once: loading it for each signature costs more than the signature."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        """The caller keeps no other reference to a key that is to be destroyed."""
        self._key: ec.EllipticCurvePrivateKey | None = key
        self._public = key.public_key()

    @classmethod
    def read(cls, pem: bytes, password: bytes | None = None) -> HeldKey:
        """Raises ValueError where it is no P-256 key."""
        key = serialization.load_pem_private_key(pem, password)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the key is not a P-256 key")  # noqa: TRY004  the value, not its type, is wrong
        return cls(key)

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        if self._key is None:
            raise KeyGone
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def destroy(self) -> None:
        """OpenSSL overwrites the number when its last holder lets go (BN_clear_free), and this is the only one."""
        self._key = None


class TokenKey:
    """A key inside a PKCS#11 module. The module hashes nothing: what goes in is the digest."""

    def __init__(self, session: _Session, private: Any, public: ec.EllipticCurvePublicKey) -> None:
        self._session = session
        self._private: Any = private
        self._public = public

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        from pkcs11 import Mechanism

        digest = hashlib.sha256(data).digest()
        with self._session.lock:
            if self._private is None:
                raise KeyGone
            raw: bytes = self._private.sign(digest, mechanism=Mechanism.ECDSA)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def destroy(self) -> None:
        with self._session.lock:
            if self._private is not None:
                self._private.destroy()
                self._private = None


@dataclass(frozen=True)
class _Session:
    """One login to one token. PKCS#11 allows one operation at a time in it."""

    session: Any
    lock: threading.Lock


@cache
def _session(module: str, token: str, pin_source: str) -> _Session:
    import pkcs11

    pin = Path(pin_source).read_text("utf-8").strip() if pin_source else None
    found = pkcs11.lib(module).get_token(token_label=token)
    return _Session(found.open(rw=True, user_pin=pin), threading.Lock())


@dataclass(frozen=True)
class _Place:
    """What a PKCS#11 URI says."""

    module: str
    token: str
    object: str
    pin_source: str

    @classmethod
    def read(cls, uri: str) -> _Place:
        """Raises ValueError where the URI names no module or token, or something unknown."""
        path, _, query = uri.removeprefix("pkcs11:").partition("?")
        said = {name: unquote(value) for name, _, value in (part.partition("=") for part in path.split(";"))}
        said |= dict(parse_qsl(query, strict_parsing=True) if query else ())
        unknown = said.keys() - {"token", "object", "module-path", "pin-source"}
        if unknown or not said.get("token") or not said.get("module-path"):
            raise ValueError("a PKCS#11 URI needs token and module-path, and may have object and pin-source")
        pin_source = said.get("pin-source", "").removeprefix("file:")
        return cls(said["module-path"], said["token"], said.get("object", ""), pin_source)

    @property
    def session(self) -> _Session:
        return _session(self.module, self.token, self.pin_source)


def open_key(where: str) -> Key:
    """The key at a path or PKCS#11 URI.

    Raises ValueError for what is no P-256 key or no such URI, OSError for a file that cannot be read, and the
    module's own errors (``pkcs11.exceptions``).
    """
    if not where.startswith("pkcs11:"):
        return HeldKey.read(Path(where).read_bytes())
    from pkcs11 import Attribute, KeyType, ObjectClass

    place = _Place.read(where)
    held = place.session
    with held.lock:
        private = held.session.get_key(object_class=ObjectClass.PRIVATE_KEY, key_type=KeyType.EC, label=place.object)
        public = held.session.get_key(object_class=ObjectClass.PUBLIC_KEY, key_type=KeyType.EC, label=place.object)
        return TokenKey(held, private, _point(public[Attribute.EC_POINT]))


@contextmanager
def one_time_key(where: str = MEMORY) -> Generator[Key]:
    """A new key that is destroyed when the block ends, however it ends.

    In memory, or inside the token a PKCS#11 URI names: then as an object of the session, which the module never
    writes down and never gives out.
    """
    made = HeldKey(ec.generate_private_key(ec.SECP256R1())) if where == MEMORY else _made_in_token(where)
    try:
        yield made
    finally:
        made.destroy()


def _made_in_token(where: str) -> TokenKey:
    from pkcs11 import Attribute, KeyType
    from pkcs11.util.ec import encode_named_curve_parameters

    held = _Place.read(where).session
    with held.lock:
        curve = held.session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
        )
        public, private = curve.generate_keypair(
            store=False, private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        )
        return TokenKey(held, private, _point(public[Attribute.EC_POINT]))


def _point(encoded: bytes) -> ec.EllipticCurvePublicKey:
    """PKCS#11 wraps the point in an OCTET STRING."""
    from asn1crypto.core import OctetString

    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), OctetString.load(encoded).native)
