"""Personal data (DESIGN §4): values sealed under their journey's own key, and commitments that may travel.

A fact carries ``SHA-256(16 random bytes ‖ value)`` and the hash of a sealed blob, never the value. Who has
the journey's key can open the blob; who is shown the random bytes and the value can check the commitment; who
has neither learns nothing, also not by trying every ID number. Destroying the key makes the values unreadable
for good, while chains and signatures, which cover commitments only, stay whole.

On disk, below the keys folder, ``ab/<journey id>.key`` is one line of text::

    TK1 <id of the master key> <nonce, hex> <AES-256-GCM of the journey key under it, hex>

with ``toubao key ‖ NUL ‖ journey id`` as associated data; ``ab`` are the last two characters of the id.
``<journey id>.shredded`` says that the key was destroyed, and forbids making another.

A sealed blob is ``TB1 ‖ length of key id (1 byte) ‖ key id ‖ nonce (12) ‖ AES-256-GCM(journey key, 16 random
bytes ‖ value)`` with the journey id as associated data. The key id names the journey key, so that it stays
true when the master key is changed.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from contracts.values import Committed, CommittedFile
from servicekit.blobs import BlobDamaged, BlobMissing, Blobs, disk_trouble, make_folder, sync_folder, write_whole
from servicekit.sealed import Sealed

__all__ = ["MasterKeys", "Sealed", "Shredded", "Unopenable", "Vault"]

RANDOM_BYTES = 16
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
BLOB_MAGIC = b"TB1"
KEY_MAGIC = "TK1"

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INDEX = "blind-index"
"""The key of the blind indexes lies among the journey keys under this name: it outlives every master key."""

Random = Callable[[int], bytes]


class Unopenable(Exception):
    """A sealed value cannot be opened. ``reason`` is one of the slugs below and holds nothing personal.

    ``blob_missing``, ``blob_damaged``, ``malformed``, ``no_key`` (none was ever made), ``other_key``,
    ``master_key_missing``, ``key_damaged``, ``tampered`` (the cipher's tag), ``commitment`` (opens, but to
    something else than was committed to).
    """

    transient: ClassVar[bool] = False

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Shredded(Unopenable):
    """The journey's key was destroyed on purpose: nobody can open its values any more, nor seal new ones."""

    def __init__(self) -> None:
        super().__init__("shredded")


class MasterKeys:
    """The keys that wrap journey keys. The last one wraps; the others still unwrap.

    A key's id is derived from the key itself, so that no two files can give one name to different keys.
    """

    def __init__(self, keys: list[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("a master key has 32 bytes")
        self._keys = {key_id(key): key for key in keys}
        self.current = key_id(keys[-1])

    @classmethod
    def load(cls, path: Path) -> "MasterKeys":
        """From a file with one key a line, 64 hex digits; to change the key, append a line and re-wrap.

        Raises ValueError without quoting the file.
        """
        try:
            return cls([bytes.fromhex(line) for line in path.read_text("ascii").split()])
        except ValueError:
            raise ValueError(f"{path.name}: a master key is 64 hex digits on a line of its own") from None

    @classmethod
    def create(cls, path: Path, random: Random = secrets.token_bytes) -> "MasterKeys":
        """Load the file, having made it with one new key if there was none. Safe against a second maker."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                write_whole(path, random(KEY_BYTES).hex().encode() + b"\n", path.parent, fresh=True)
        return cls.load(path)

    def wrap(self, name: str, key: bytes, nonce: bytes) -> str:
        wrapped = AESGCM(self._keys[self.current]).encrypt(nonce, key, _wrapping(name))
        return f"{KEY_MAGIC} {self.current} {nonce.hex()} {wrapped.hex()}\n"

    def unwrap(self, name: str, line: str) -> bytes:
        """Raises Unopenable: ``key_damaged`` or ``master_key_missing``."""
        try:
            magic, master, nonce, wrapped = line.split()
            sealed = bytes.fromhex(nonce), bytes.fromhex(wrapped)
            if magic != KEY_MAGIC or len(sealed[0]) != NONCE_BYTES:
                raise Unopenable("key_damaged")
        except ValueError:
            raise Unopenable("key_damaged") from None
        if master not in self._keys:
            raise Unopenable("master_key_missing")
        try:
            return AESGCM(self._keys[master]).decrypt(*sealed, _wrapping(name))
        except InvalidTag:
            raise Unopenable("key_damaged") from None


def key_id(key: bytes) -> str:
    """A short name of a key that says nothing about it."""
    return hashlib.sha256(b"toubao key id\0" + key).hexdigest()[:16]


def _wrapping(name: str) -> bytes:
    return b"toubao key\0" + name.encode()


class Vault:
    """Seals and opens. Any number of processes may share the keys folder; ``random(n)`` gives n bytes.

    Raises OSError or ValueError when the file of master keys cannot be read; ``MasterKeys.create`` makes one.
    """

    def __init__(
        self,
        blobs: Blobs,
        keys: Path,
        master_key_file: Path,
        *,
        random: Random = secrets.token_bytes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        cached: int = 1024,
    ) -> None:
        self._blobs = blobs
        self._keys = keys
        self._arriving = keys / "arriving"
        self._arriving.mkdir(parents=True, exist_ok=True)
        self._masters = MasterKeys.load(master_key_file)
        self._random = random
        self._now = now
        self._cached = cached
        self._unwrapped: OrderedDict[str, bytes] = OrderedDict()
        self._cache_lock = threading.Lock()

    # --- values ---

    async def holds(self, journey_id: str) -> bool:
        """Whether the journey has a key: false for one nobody made, or whose key was destroyed."""
        path = self._path(_checked(journey_id))
        return await asyncio.to_thread(lambda: path.exists() and not path.with_suffix(".shredded").exists())

    async def seal(self, journey_id: str, value: bytes | str) -> Committed:
        """Seal a value under the journey's key, which is made when it is the first. Raises Shredded."""
        commitment, blob = await self._seal(journey_id, value.encode() if isinstance(value, str) else value)
        return Committed(commitment=commitment, blob=blob)

    async def seal_file(self, journey_id: str, data: bytes, media_type: str) -> CommittedFile:
        commitment, blob = await self._seal(journey_id, data)
        return CommittedFile(commitment=commitment, blob=blob, media_type=media_type, size=len(data))

    async def open(self, journey_id: str, committed: Committed) -> bytes:
        """The value, proven to be the one committed to. Raises Unopenable or Shredded."""
        return (await self.opening(journey_id, committed))[1]

    async def open_text(self, journey_id: str, committed: Committed) -> str:
        return (await self.open(journey_id, committed)).decode()

    async def opening(self, journey_id: str, committed: Committed) -> tuple[bytes, bytes]:
        """(random bytes, value): what lets anybody check the commitment. Raises Unopenable or Shredded."""
        if self._shredded(_checked(journey_id)).exists():
            raise Shredded
        try:
            sealed = await self._blobs.get(committed.blob)
        except BlobMissing:
            raise Unopenable("blob_missing") from None
        except BlobDamaged:
            raise Unopenable("blob_damaged") from None
        plain = await asyncio.to_thread(self._decrypt, journey_id, sealed)
        if not hmac.compare_digest(hashlib.sha256(plain).hexdigest(), committed.commitment):
            raise Unopenable("commitment")
        return plain[:RANDOM_BYTES], plain[RANDOM_BYTES:]

    def blind_index(self, kind: str, value: str) -> str:
        """What a value of this kind (``id_number``, ``phone``, …) can be looked up by: 64 hex digits.

        HMAC-SHA256 under a key of the kind's own. The value counts without case, outer spaces and width of
        its characters. One vault, one index: it stays when the master key changes.
        """
        normal = unicodedata.normalize("NFKC", value).strip().upper()
        of_kind = hmac.digest(self._key(_INDEX, make=True), b"toubao blind index\0" + kind.encode(), "sha256")
        return hmac.new(of_kind, normal.encode(), "sha256").hexdigest()

    # --- keys ---

    async def shred(self, journey_id: str) -> None:
        """Destroy the journey's key for good; doing it again is no error.

        The note that it is gone is on disk before the key goes, so that no crash in between lets a new one be
        made. Copies of the keys folder in backups are wrapped keys still: their retention must end, too.
        """
        await asyncio.to_thread(self._shred, _checked(journey_id))

    async def rewrap(self, journey_id: str) -> bool:
        """Wrap the journey's key by the current master key; False if there is no key or it was so already."""
        return await asyncio.to_thread(self._rewrap, _checked(journey_id))

    async def rewrap_all(self) -> int:
        """Re-wrap every key, the blind index's included; returns how many it changed.

        Afterwards the older master keys can go.
        """

        def all_of_them() -> int:
            return sum(self._rewrap(path.stem) for path in sorted(self._keys.glob("??/*.key")))

        return await asyncio.to_thread(all_of_them)

    # --- inside ---

    async def _seal(self, journey_id: str, value: bytes) -> tuple[str, str]:
        _checked(journey_id)

        def encrypt() -> tuple[str, bytes]:
            key = self._key(journey_id, make=True)
            plain = self._random(RANDOM_BYTES) + value
            nonce = self._random(NONCE_BYTES)
            sealed = _header(key) + nonce + AESGCM(key).encrypt(nonce, plain, journey_id.encode())
            return hashlib.sha256(plain).hexdigest(), sealed

        commitment, sealed = await asyncio.to_thread(encrypt)
        return commitment, await self._blobs.put(sealed)

    def _decrypt(self, journey_id: str, sealed: bytes) -> bytes:
        if len(sealed) < len(BLOB_MAGIC) + 1 or not sealed.startswith(BLOB_MAGIC):
            raise Unopenable("malformed")
        start = len(BLOB_MAGIC) + 1 + sealed[len(BLOB_MAGIC)]
        if len(sealed) < start + NONCE_BYTES + RANDOM_BYTES + TAG_BYTES:
            raise Unopenable("malformed")
        key = self._key(journey_id, make=False)
        if sealed[:start] != _header(key):
            raise Unopenable("other_key")
        nonce, body = sealed[start : start + NONCE_BYTES], sealed[start + NONCE_BYTES :]
        try:
            return AESGCM(key).decrypt(nonce, body, journey_id.encode())
        except InvalidTag:
            raise Unopenable("tampered") from None

    def _path(self, name: str) -> Path:
        return self._keys / name[-2:].rjust(2, "_") / f"{name}.key"

    def _shredded(self, name: str) -> Path:
        return self._path(name).with_suffix(".shredded")

    @contextmanager
    def _changing(self) -> Generator[None]:
        """One change at a time to the keys folder, over all processes; the system frees it if one dies.

        Raises BlobsUnavailable when the disk takes no change.
        """
        with disk_trouble():
            descriptor = os.open(self._keys / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _key(self, name: str, *, make: bool) -> bytes:
        # Also a key at hand is not used once another process has shredded it.
        if self._shredded(name).exists():
            self._forget(name)
            raise Shredded
        with self._cache_lock:
            if name in self._unwrapped:
                self._unwrapped.move_to_end(name)
                return self._unwrapped[name]
        line = self._line(name)
        if line is None:
            if not make:
                raise Unopenable("no_key")
            line = self._make(name)
        try:
            key = self._masters.unwrap(name, line)
        except Unopenable:
            if self._shredded(name).exists():  # read while it was being overwritten
                raise Shredded from None
            raise
        with self._cache_lock:
            self._unwrapped[name] = key
            while len(self._unwrapped) > self._cached:
                self._unwrapped.popitem(last=False)
        return key

    def _line(self, name: str) -> str | None:
        try:
            return self._path(name).read_bytes().decode("ascii", "replace")
        except FileNotFoundError:
            return None

    def _make(self, name: str) -> str:
        line = self._masters.wrap(name, self._random(KEY_BYTES), self._random(NONCE_BYTES))
        path = self._path(name)
        with self._changing():
            if self._shredded(name).exists():
                raise Shredded
            make_folder(path.parent, self._keys)
            # Should the lock not hold (some network file systems), the file itself still has one maker.
            with contextlib.suppress(FileExistsError):
                write_whole(path, line.encode(), self._arriving, fresh=True)
            return self._line(name) or ""

    def _rewrap(self, name: str) -> bool:
        with self._changing():
            line = self._line(name)
            if line is None or self._shredded(name).exists() or line.split()[1:2] == [self._masters.current]:
                return False
            key = self._masters.unwrap(name, line)
            again = self._masters.wrap(name, key, self._random(NONCE_BYTES))
            write_whole(self._path(name), again.encode(), self._arriving)
            return True

    def _shred(self, name: str) -> None:
        path = self._path(name)
        with self._changing():
            make_folder(path.parent, self._keys)
            if not self._shredded(name).exists():
                note = self._now().astimezone(UTC).isoformat(timespec="seconds") + "\n"
                write_whole(self._shredded(name), note.encode(), self._arriving)
            with contextlib.suppress(FileNotFoundError):
                with path.open("r+b") as file:  # where the disk writes in place, nothing is left to recover
                    file.write(bytes(path.stat().st_size))
                    file.flush()
                    os.fsync(file.fileno())
                path.unlink()
                sync_folder(path.parent)
        self._forget(name)

    def _forget(self, name: str) -> None:
        with self._cache_lock:
            self._unwrapped.pop(name, None)


def _header(key: bytes) -> bytes:
    name = key_id(key).encode()
    return BLOB_MAGIC + bytes([len(name)]) + name


def _checked(journey_id: str) -> str:
    if not _ID.fullmatch(journey_id) or journey_id == _INDEX:
        raise ValueError("not an id a key can be kept under")
    return journey_id
