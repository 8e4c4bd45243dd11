"""Content-addressed bytes: what is put once under its SHA-256 and never changes.

Files by default. Whoever puts personal bytes seals them first (``servicekit.vault``): a blob is readable by
all who may read the folder.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import ClassVar, Protocol

from servicekit.store.document import StoreUnavailable

_SHA256 = re.compile(r"[0-9a-f]{64}")

_lasting: set[Path] = set()
"""Folders this process knows to be on disk."""


class BlobError(Exception):
    """A blob cannot be given. ``transient``: whether asking again may help."""

    transient: ClassVar[bool] = False


class BlobMissing(BlobError):
    """Nothing is kept under this hash."""


class BlobDamaged(BlobError):
    """What is kept under this hash has another one."""


class BlobsUnavailable(BlobError, StoreUnavailable):
    """The disk is full or does not answer. Nothing was kept in part; whoever asked is told as of any store."""

    transient = True


class Blobs(Protocol):
    """Hashes are SHA-256 in lower-case hex; anything else raises ValueError. Raises BlobsUnavailable."""

    async def put(self, data: bytes) -> str:
        """Keep ``data``; returns its hash once it is on disk. Putting it again changes nothing."""
        ...

    async def get(self, sha256: str) -> bytes:
        """The bytes, checked against their hash. Raises BlobMissing or BlobDamaged."""
        ...

    async def exists(self, sha256: str) -> bool: ...

    async def delete(self, sha256: str) -> None:
        """Remove the blob; removing what isn't there is no error."""
        ...


class FileBlobs:
    """Blobs as files: ``<root>/ab/cd/abcd…``. Any number of processes may share the folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._arriving = root / "arriving"
        self._arriving.mkdir(parents=True, exist_ok=True)

    async def put(self, data: bytes) -> str:
        return await asyncio.to_thread(self._put, data)

    async def get(self, sha256: str) -> bytes:
        return await asyncio.to_thread(self._get, sha256)

    async def exists(self, sha256: str) -> bool:
        return await asyncio.to_thread(self._path(sha256).is_file)

    async def delete(self, sha256: str) -> None:
        await asyncio.to_thread(self._path(sha256).unlink, missing_ok=True)

    def _path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ValueError("a blob is named by its SHA-256 in hex")
        return self._root / sha256[:2] / sha256[2:4] / sha256

    def _put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        # The same bytes on disk already: nothing to do. Other bytes under this name are damage, and mended.
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                sync_folder(path.parent)  # whoever put it may not have come that far
                return sha256
        with disk_trouble():
            make_folder(path.parent, self._root)
            write_whole(path, data, self._arriving)
        return sha256

    def _get(self, sha256: str) -> bytes:
        try:
            with disk_trouble():
                data = self._path(sha256).read_bytes()
        except FileNotFoundError:
            raise BlobMissing(sha256) from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BlobDamaged(sha256)
        return data


@contextlib.contextmanager
def disk_trouble() -> Generator[None]:
    """What a disk refuses (ENOSPC, EDQUOT, EIO, EROFS, ...) as BlobsUnavailable; there or not there stays as it is."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise BlobsUnavailable(errno.errorcode.get(error.errno or 0, "disk")) from error


def write_whole(path: Path, data: bytes, arriving: Path, *, fresh: bool = False) -> None:
    """Write a file so that it is never seen in part, and return once it is on disk.

    ``arriving`` is a folder of the same file system. With ``fresh`` an existing file is left alone and
    FileExistsError raised; else it is replaced.
    """
    temporary = arriving / secrets.token_hex(16)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder(folder: Path, root: Path) -> None:
    """Make ``folder`` below ``root`` such that it is still there after a power cut."""
    if folder in _lasting and folder.is_dir():
        return
    # Also when it is there already: another process may have made it a moment ago and got no further.
    folder.mkdir(parents=True, exist_ok=True)
    parent = folder
    while parent != root:
        parent = parent.parent
        sync_folder(parent)
    _lasting.add(folder)


def sync_folder(folder: Path) -> None:
    """Names are on disk only once their folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
