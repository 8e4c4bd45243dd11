"""Keys of channels and staff: made here, kept as hashes, compared in constant time.

    python -m gateway.credentials --into DIR --channel ID=NAME … --staff NAME=ROLE …

makes what is missing and leaves what exists: ``DIR/channels.yaml``, ``DIR/staff.yaml`` and, for whoever is to use
them, ``DIR/keys/<name>.key`` (mode 0600). A key has 256 random bits, so a plain SHA-256 hides it.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from contracts.values import Contract, Sha256, Token

Role = Literal["service", "audit", "legal"]


class CredentialsError(ValueError):
    """A file of channels or staff that cannot be used; the text names the file and the key, never a hash."""


class Channel(Contract):
    """Who may submit proposals and hear of its own policies."""

    channel_id: Token
    name: Annotated[str, Field(min_length=1, max_length=100)]
    intermediary: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The name customers see beside the insurer's (I31); none when the insurer sells directly."""
    key_hashes: Annotated[tuple[Sha256, ...], Field(min_length=1)]
    """SHA-256 of each API key that is valid; two while one is being replaced."""


class StaffMember(Contract):
    """Somebody of the insurer. ``service`` helps customers, ``audit`` looks, ``legal`` may see what is masked."""

    staff_id: Token
    roles: Annotated[frozenset[Role], Field(min_length=1)]
    key_hashes: Annotated[tuple[Sha256, ...], Field(min_length=1)]


class _ChannelsFile(Contract):
    channels: tuple[Channel, ...] = ()


class _StaffFile(Contract):
    staff: tuple[StaffMember, ...] = ()


F = TypeVar("F", _ChannelsFile, _StaffFile)
K = TypeVar("K", Channel, StaffMember)


class Credentials:
    """Who a key belongs to."""

    def __init__(self, channels: Sequence[Channel] = (), staff: Sequence[StaffMember] = ()) -> None:
        self.channels = tuple(channels)
        self.staff = tuple(staff)

    @classmethod
    def load(cls, channels_file: Path | None, staff_file: Path | None) -> Credentials:
        """Raises ``CredentialsError``."""
        channels = () if channels_file is None else _read(channels_file, _ChannelsFile).channels
        staff = () if staff_file is None else _read(staff_file, _StaffFile).staff
        ids = [channel.channel_id for channel in channels], [member.staff_id for member in staff]
        if any(len(set(each)) != len(each) for each in ids):
            raise CredentialsError("an id is used twice")
        hashes = [h for owner in (*channels, *staff) for h in owner.key_hashes]
        if len(set(hashes)) != len(hashes):
            raise CredentialsError("two owners share a key")
        return cls(channels, staff)

    def channel(self, key: str) -> Channel | None:
        return _owner(self.channels, key)

    def member(self, key: str) -> StaffMember | None:
        return _owner(self.staff, key)


def _owner(owners: tuple[K, ...], key: str) -> K | None:
    """Looks at every hash whatever it finds, so that the time taken tells nothing."""
    digest = key_hash(key)
    found: K | None = None
    for owner in owners:
        for known in owner.key_hashes:
            if hmac.compare_digest(known, digest):
                found = owner
    return found


def key_hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def new_key(kind: Literal["channel", "staff"]) -> str:
    """Begins with what it is, so that one left in the wrong place is recognised."""
    return f"tb_{kind}_{secrets.token_urlsafe(32)}"


def _read(path: Path, kind: type[F]) -> F:
    try:
        data: object = yaml.safe_load(path.read_bytes())
        return TypeAdapter(kind).validate_python(data)
    except OSError as error:
        raise CredentialsError(f"{path.name}: {error.strerror}") from None
    except yaml.YAMLError:
        raise CredentialsError(f"{path.name}: not YAML") from None
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise CredentialsError(f"{path.name}: {where or 'file'}: not as it must be") from None


def make(into: Path, channels: Sequence[tuple[str, str]], staff: Sequence[tuple[str, Role]]) -> None:
    """Makes keys and files that are missing; keys that exist are kept. Idempotent."""
    keys = into / "keys"
    keys.mkdir(parents=True, exist_ok=True)

    def key_of(name: str, kind: Literal["channel", "staff"]) -> str:
        path = keys / f"{name}.key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(new_key(kind) + "\n", encoding="ascii")
        return path.read_text(encoding="ascii").strip()

    told: dict[str, list[dict[str, Any]]] = {
        "channels": [
            {
                "channel_id": owner,
                "name": name,
                "intermediary": name,
                "key_hashes": [key_hash(key_of(owner, "channel"))],
            }
            for owner, name in channels
        ],
        "staff": [
            {"staff_id": owner, "roles": [role], "key_hashes": [key_hash(key_of(owner, "staff"))]}
            for owner, role in staff
        ],
    }
    for name, entries in told.items():
        path = into / f"{name}.yaml"
        if entries and not path.exists():
            fresh = path.with_suffix(".new")
            fresh.write_text(yaml.safe_dump({name: entries}, allow_unicode=True, sort_keys=False), encoding="utf-8")
            fresh.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.credentials", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--channel", action="append", default=[], metavar="ID=NAME")
    parser.add_argument("--staff", action="append", default=[], metavar="NAME=ROLE")
    asked = parser.parse_args(arguments)
    role_of: TypeAdapter[Role] = TypeAdapter(Role)
    channels: list[tuple[str, str]] = []
    staff: list[tuple[str, Role]] = []
    for one in cast("list[str]", asked.channel):
        name, _, title = one.partition("=")
        channels.append((name, title or name))
    for one in cast("list[str]", asked.staff):
        name, _, role = one.partition("=")
        staff.append((name, role_of.validate_python(role)))
    make(asked.into, channels, staff)


if __name__ == "__main__":
    main()
