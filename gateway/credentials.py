"""Keys of programs and passwords of people: made here, kept as hashes.

    python -m gateway.credentials --into DIR --channel ID=NAME … --staff ID=ROLE[,NAME] …
                                  --salesperson CHANNEL/ID=NAME,LICENCE,PHONE …

makes what is missing and leaves what exists: ``DIR/channels.yaml``, ``DIR/staff.yaml`` and, for whoever is to use
them, ``DIR/keys/<id>.key`` and ``DIR/keys/<id>.password`` (mode 0600). ``--new-password ID`` replaces a password.
A key has 256 random bits, so a plain SHA-256 hides it; a password may one day be a person's own choice, so argon2id
does.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from contracts.commands import proposal
from contracts.values import Contract, Sha256, Token
from gateway.passwords import PasswordHash, new_password, password_hash

Role = Literal["service", "audit", "legal"]


class CredentialsError(ValueError):
    """A file of channels or staff that cannot be used; the text names the file and the key, never a hash."""


class Salesperson(proposal.Salesperson):
    """Somebody who sells for a channel and signs in by ``salesperson_id``."""

    salesperson_id: Token
    password_hash: PasswordHash


class Channel(Contract):
    """Who may submit proposals and hear of its own policies."""

    channel_id: Token
    name: Annotated[str, Field(min_length=1, max_length=100)]
    intermediary: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The name customers see beside the insurer's (I31); none when the insurer sells directly."""
    key_hashes: Annotated[tuple[Sha256, ...], Field(min_length=1)]
    """SHA-256 of each API key that is valid; two while one is being replaced."""
    salespeople: tuple[Salesperson, ...] = ()


class StaffMember(Contract):
    """Somebody of the insurer. ``service`` helps customers, ``audit`` looks, ``legal`` may see what is masked."""

    staff_id: Token
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """As shown; none: the id is."""
    roles: Annotated[frozenset[Role], Field(min_length=1)]
    key_hashes: tuple[Sha256, ...] = ()
    """Of programs that act for them."""
    password_hash: PasswordHash | None = None

    @model_validator(mode="after")
    def _some_way_in(self) -> Self:
        if not self.key_hashes and self.password_hash is None:
            raise ValueError("neither a key nor a password")
        return self


class _ChannelsFile(Contract):
    channels: tuple[Channel, ...] = ()


class _StaffFile(Contract):
    staff: tuple[StaffMember, ...] = ()


F = TypeVar("F", _ChannelsFile, _StaffFile)
K = TypeVar("K", Channel, StaffMember)


class Credentials:
    """Who a key belongs to, and who signs in by which name."""

    def __init__(self, channels: Sequence[Channel] = (), staff: Sequence[StaffMember] = ()) -> None:
        self.channels = tuple(channels)
        self.staff = tuple(staff)
        self.members = {member.staff_id: member for member in self.staff}
        self.sellers = {who.salesperson_id: (channel, who) for channel in self.channels for who in channel.salespeople}
        """The channel and account of every salesperson by id."""

    @classmethod
    def load(cls, channels_file: Path | None, staff_file: Path | None) -> Credentials:
        """Raises ``CredentialsError``."""
        channels = () if channels_file is None else _read(channels_file, _ChannelsFile).channels
        staff = () if staff_file is None else _read(staff_file, _StaffFile).staff
        return cls(channels, staff).checked()

    def checked(self) -> Self:
        """Raises ``CredentialsError`` where one name or key stands for two."""
        people = [who for channel in self.channels for who in channel.salespeople]
        for each in (
            [channel.channel_id for channel in self.channels],
            # One name, one person, at whatever door.
            [*(member.staff_id for member in self.staff), *(who.salesperson_id for who in people)],
        ):
            if len(set(each)) != len(each):
                raise CredentialsError("an id is used twice")
        # What they sold is found by the phone.
        if len({who.phone for who in people}) != len(people):
            raise CredentialsError("two salespeople share a phone")
        hashes = [h for owner in (*self.channels, *self.staff) for h in owner.key_hashes]
        if len(set(hashes)) != len(hashes):
            raise CredentialsError("two owners share a key")
        return self

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
    return _valid(path, _raw(path), kind)


def _raw(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise CredentialsError(f"{path.name}: {error.strerror}") from None
    except yaml.YAMLError:
        raise CredentialsError(f"{path.name}: not YAML") from None


def _valid(path: Path, data: object, kind: type[F]) -> F:
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise CredentialsError(f"{path.name}: {where or 'file'}: not as it must be") from None


# -- making them -------------------------------------------------------------------------------------------


class Wanted(Contract):
    """Somebody who shall be in the files; what the files say of them already stands."""

    id: Token
    told: dict[str, Any]
    """What an entry made anew says beside the id, a key and a password."""
    channel_id: str | None = None
    """Of a salesperson."""


Entry = dict[str, Any]


def make(
    into: Path,
    channels: Sequence[Wanted] = (),
    staff: Sequence[Wanted] = (),
    salespeople: Sequence[Wanted] = (),
    *,
    new_passwords: Sequence[str] = (),
) -> None:
    """Makes entries, keys and passwords that are missing; what exists is kept, but for ``new_passwords``. Idempotent
    without those.

    Raises ``CredentialsError`` and leaves the files as they were when what would come of it cannot be used.
    """
    asked = [one.id for one in (*channels, *staff, *salespeople)]
    if len(set(asked)) != len(asked):
        raise CredentialsError("an id is used twice")
    keys = into / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    channels_file, staff_file = into / "channels.yaml", into / "staff.yaml"
    all_channels, all_staff = _entries(channels_file, _ChannelsFile), _entries(staff_file, _StaffFile)
    before = copy.deepcopy((all_channels, all_staff))

    for one in channels:
        entry = _entry(all_channels, "channel_id", one)
        if not entry.get("key_hashes"):
            entry["key_hashes"] = [key_hash(_secret(keys / f"{one.id}.key", new_key("channel")))]
    for one in staff:
        entry = _entry(all_staff, "staff_id", one)
        if "key_hashes" not in entry:
            entry["key_hashes"] = [key_hash(_secret(keys / f"{one.id}.key", new_key("staff")))]
        _give_password(entry, keys / f"{one.id}.password")
    for one in salespeople:
        channel = next((each for each in all_channels if each.get("channel_id") == one.channel_id), None)
        if channel is None:
            raise CredentialsError(f"no channel {one.channel_id}")
        entry = _entry(channel.setdefault("salespeople", []), "salesperson_id", one)
        _give_password(entry, keys / f"{one.id}.password")
    people = {str(entry["staff_id"]): entry for entry in all_staff}
    people |= {str(who["salesperson_id"]): who for each in all_channels for who in each.get("salespeople", [])}
    for name in new_passwords:
        if name not in people:
            raise CredentialsError(f"nobody is called {name}")
        path = keys / f"{name}.password"
        path.unlink(missing_ok=True)
        people[name].pop("password_hash", None)
        _give_password(people[name], path)

    Credentials(
        _valid(channels_file, {"channels": all_channels}, _ChannelsFile).channels,
        _valid(staff_file, {"staff": all_staff}, _StaffFile).staff,
    ).checked()
    for path, name, entries, old in (
        (channels_file, "channels", all_channels, before[0]),
        (staff_file, "staff", all_staff, before[1]),
    ):
        if entries != old:
            _write(path, yaml.safe_dump({name: entries}, allow_unicode=True, sort_keys=False))


def _entries(path: Path, kind: type[F]) -> list[Entry]:
    """As they stand in the file: none when there is no file."""
    if not path.exists():
        return []
    data = _raw(path)
    _valid(path, data, kind)
    found: list[Entry] = []
    for entries in cast("dict[str, list[Entry]]", data).values():
        found += entries
    return found


def _entry(entries: list[Entry], id_field: str, one: Wanted) -> Entry:
    found = next((entry for entry in entries if entry.get(id_field) == one.id), None)
    if found is None:
        found = {id_field: one.id, **one.told}
        entries.append(found)
    return found


def _give_password(entry: Entry, path: Path) -> None:
    if entry.get("password_hash") is None:
        entry["password_hash"] = password_hash(_secret(path, new_password()))


def _secret(path: Path, fresh: str) -> str:
    """What the file holds; a file made with ``fresh`` when there is none."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(fresh + "\n", encoding="ascii")
    return path.read_text(encoding="utf-8").strip()


def _write(path: Path, text: str) -> None:
    """Whole or not at all, as readable as it was."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    if path.exists():
        fresh.chmod(path.stat().st_mode & 0o777)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.credentials", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--channel", action="append", default=[], metavar="ID=NAME", type=_channel)
    parser.add_argument("--staff", action="append", default=[], metavar="ID=ROLE[,NAME]", type=_member)
    parser.add_argument(
        "--salesperson", action="append", default=[], metavar="CHANNEL/ID=NAME,LICENCE,PHONE", type=_salesperson
    )
    parser.add_argument("--new-password", action="append", default=[], metavar="ID")
    asked = parser.parse_args(arguments)
    try:
        make(asked.into, asked.channel, asked.staff, asked.salesperson, new_passwords=asked.new_password)
    except CredentialsError as error:
        parser.exit(1, f"{error}\n")


def _channel(text: str) -> Wanted:
    channel_id, _, name = text.partition("=")
    name = name or channel_id
    return Wanted(id=channel_id, told={"name": name, "intermediary": name})


def _member(text: str) -> Wanted:
    staff_id, _, rest = text.partition("=")
    role, _, name = rest.partition(",")
    role_of: TypeAdapter[Role] = TypeAdapter(Role)
    return Wanted(id=staff_id, told={**({"name": name} if name else {}), "roles": [role_of.validate_python(role)]})


def _salesperson(text: str) -> Wanted:
    who, _, rest = text.partition("=")
    channel_id, _, salesperson_id = who.partition("/")
    name, licence_no, phone = rest.split(",")
    return Wanted(
        id=salesperson_id,
        told={"name": name, "licence_no": licence_no, "phone": phone},
        channel_id=channel_id,
    )


if __name__ == "__main__":
    main()
