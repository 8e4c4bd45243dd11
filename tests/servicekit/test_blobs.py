import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servicekit.blobs import BlobDamaged, BlobMissing, BlobsUnavailable, FileBlobs
from servicekit.store import StoreUnavailable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


def path_of(root: Path, sha256: str) -> Path:
    return root / "blobs" / sha256[:2] / sha256[2:4] / sha256


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=4096))
def test_what_was_put_is_got_under_its_hash(blobs: FileBlobs, data: bytes) -> None:
    async def round_trip() -> None:
        sha256 = await blobs.put(data)
        assert sha256 == hashlib.sha256(data).hexdigest()
        assert await blobs.get(sha256) == data
        assert await blobs.exists(sha256)

    asyncio.run(round_trip())


async def test_putting_again_leaves_the_file_as_it_is(blobs: FileBlobs, tmp_path: Path) -> None:
    sha256 = await blobs.put(b"policy")
    before = path_of(tmp_path, sha256).stat()
    assert await blobs.put(b"policy") == sha256
    after = path_of(tmp_path, sha256).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_many_at_once_put_the_same(blobs: FileBlobs, tmp_path: Path) -> None:
    other = FileBlobs(tmp_path / "blobs")
    data = os.urandom(200_000)
    names = await asyncio.gather(*((blobs, other)[each % 2].put(data) for each in range(20)))
    assert len(set(names)) == 1
    assert await blobs.get(names[0]) == data
    assert list((tmp_path / "blobs" / "arriving").iterdir()) == []


async def test_a_blob_is_missing_before_it_is_put_and_after_it_is_deleted(blobs: FileBlobs) -> None:
    sha256 = hashlib.sha256(b"x").hexdigest()
    for _ in range(2):
        with pytest.raises(BlobMissing):
            await blobs.get(sha256)
        assert not await blobs.exists(sha256)
        await blobs.put(b"x")
        await blobs.delete(sha256)
        await blobs.delete(sha256)


@pytest.mark.parametrize("damage", [b"", b"policX", b"policy and more"])
async def test_a_damaged_blob_is_not_given_and_mended_by_putting_it_again(
    blobs: FileBlobs, tmp_path: Path, damage: bytes
) -> None:
    sha256 = await blobs.put(b"policy")
    path_of(tmp_path, sha256).write_bytes(damage)
    with pytest.raises(BlobDamaged):
        await blobs.get(sha256)
    await blobs.put(b"policy")
    assert await blobs.get(sha256) == b"policy"


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "/" + "a" * 63]
)
async def test_what_is_no_hash_never_becomes_a_path(blobs: FileBlobs, name: str) -> None:
    for call in (blobs.get, blobs.exists, blobs.delete):
        with pytest.raises(ValueError):
            await call(name)


async def test_a_put_that_fails_leaves_nothing_and_may_be_tried_again(
    blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BlobsUnavailable, match="ENOSPC") as caught:
        await blobs.put(b"policy")
    assert isinstance(caught.value, StoreUnavailable)
    monkeypatch.undo()
    assert not await blobs.exists(hashlib.sha256(b"policy").hexdigest())
    assert list((tmp_path / "blobs" / "arriving").iterdir()) == []
    await blobs.put(b"policy")


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from servicekit.blobs import FileBlobs
step, left = sys.argv[2], 1
def crash(name, call):
    def stand_in(*rest, **named):
        if step == "before " + name: os.kill(os.getpid(), signal.SIGKILL)
        result = call(*rest, **named)
        if step == "after " + name: os.kill(os.getpid(), signal.SIGKILL)
        return result
    return stand_in
blobs = FileBlobs(Path(sys.argv[1]))
Path.mkdir = crash("mkdir", Path.mkdir)
os.open = crash("open", os.open)
os.fsync = crash("fsync", os.fsync)
Path.replace = crash("replace", Path.replace)
asyncio.run(blobs.put(b"policy" * 1000))
"""


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("step", ["mkdir", "open", "fsync", "replace"])
async def test_killed_at_a_step_there_is_the_whole_blob_or_none(tmp_path: Path, side: str, step: str) -> None:
    data = b"policy" * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, str(tmp_path / "blobs"), f"{side} {step}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    blobs = FileBlobs(tmp_path / "blobs")
    if await blobs.exists(sha256):
        assert await blobs.get(sha256) == data
    else:
        assert (side, step) != ("after", "replace")
    assert await blobs.put(data) == sha256
    assert await blobs.get(sha256) == data
