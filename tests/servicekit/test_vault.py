import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.values import Committed, CommittedFile
from servicekit.blobs import BlobsUnavailable, FileBlobs
from servicekit.vault import MasterKeys, Shredded, Unopenable, Vault

ROOT = Path(__file__).resolve().parents[2]
JOURNEY = "01JNX4Z9Q2V7K8M3T5W6Y0ABCD"
OTHER = "01JNX4Z9Q2V7K8M3T5W6Y0ABCE"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Vault]:
    """A vault as another process would open it."""
    MasterKeys.create(tmp_path / "master.key")

    def one(**named: object) -> Vault:
        return Vault(FileBlobs(tmp_path / "blobs"), tmp_path / "keys", tmp_path / "master.key", **named)  # type: ignore[arg-type]

    return one


@pytest.fixture
def vault(make: Callable[..., Vault]) -> Vault:
    return make()


def key_file(tmp_path: Path, journey: str = JOURNEY) -> Path:
    return tmp_path / "keys" / journey[-2:] / f"{journey}.key"


def blob_file(tmp_path: Path, committed: Committed) -> Path:
    return tmp_path / "blobs" / committed.blob[:2] / committed.blob[2:4] / committed.blob


def everything_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# --- sealing and opening ---


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=300) | st.text(st.characters(codec="utf-8"), max_size=60))
def test_what_was_sealed_opens_and_its_commitment_checks(make: Callable[..., Vault], value: bytes | str) -> None:
    async def round_trip() -> None:
        committed = await make().seal(JOURNEY, value)
        vault = make()
        raw = value.encode() if isinstance(value, str) else value
        assert await vault.open(JOURNEY, committed) == raw
        if isinstance(value, str):
            assert await vault.open_text(JOURNEY, committed) == value
        salt, opened = await vault.opening(JOURNEY, committed)
        assert len(salt) == 16
        assert hashlib.sha256(salt + opened).hexdigest() == committed.commitment

    asyncio.run(round_trip())


async def test_a_file_carries_its_type_and_size(vault: Vault) -> None:
    committed = await vault.seal_file(JOURNEY, b"%PDF-" * 100_000, "application/pdf")
    assert isinstance(committed, CommittedFile)
    assert (committed.media_type, committed.size) == ("application/pdf", 500_000)
    assert await vault.open(JOURNEY, committed) == b"%PDF-" * 100_000


async def test_I24_nothing_personal_is_on_disk_or_in_what_travels(vault: Vault, tmp_path: Path) -> None:
    value = "11010519491231002X"
    committed = await vault.seal(JOURNEY, value)
    assert value.encode() not in everything_below(tmp_path)
    assert value not in committed.model_dump_json()


async def test_the_same_value_never_looks_the_same(vault: Vault) -> None:
    sealed = [await vault.seal(journey, "李雷") for journey in (JOURNEY, JOURNEY, OTHER)]
    assert len({each.commitment for each in sealed}) == len({each.blob for each in sealed}) == 3


async def test_the_format_of_a_sealed_blob_is_as_written(make: Callable[..., Vault], tmp_path: Path) -> None:
    drawn: list[bytes] = []

    def random(count: int) -> bytes:
        drawn.append(bytes([len(drawn) + 1]) * count)
        return drawn[-1]

    committed = await make(random=random).seal(JOURNEY, b"value")
    journey_key, _wrapping_nonce, salt, nonce = drawn
    assert [len(each) for each in drawn] == [32, 12, 16, 12]
    assert committed.commitment == hashlib.sha256(salt + b"value").hexdigest()
    sealed = blob_file(tmp_path, committed).read_bytes()
    length = sealed[3]
    name, rest = sealed[4 : 4 + length], sealed[4 + length :]
    assert sealed[:3] == b"TB1"
    assert name == hashlib.sha256(b"toubao key id\0" + journey_key).hexdigest()[:16].encode()
    assert rest[:12] == nonce
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    assert AESGCM(journey_key).decrypt(nonce, rest[12:], JOURNEY.encode()) == salt + b"value"
    assert (key_file(tmp_path).stat().st_mode & 0o077) == 0


# --- what must not open ---


async def test_every_byte_of_a_sealed_blob_matters(vault: Vault, tmp_path: Path) -> None:
    """With the hash made to fit, so that it is the seal that notices, not the blob store."""
    committed = await vault.seal(JOURNEY, b"value")
    sealed = blob_file(tmp_path, committed).read_bytes()
    blobs = FileBlobs(tmp_path / "blobs")
    reasons: set[str] = set()
    for place in range(len(sealed)):
        for change in (0x01, 0x80):
            altered = sealed[:place] + bytes([sealed[place] ^ change]) + sealed[place + 1 :]
            with pytest.raises(Unopenable) as refused:
                await vault.open(JOURNEY, committed.model_copy(update={"blob": await blobs.put(altered)}))
            reasons.add(refused.value.reason)
    assert reasons == {"malformed", "other_key", "tampered"}
    for length in (0, 3, 4, 20, len(sealed) - 1):
        with pytest.raises(Unopenable):
            await vault.open(JOURNEY, committed.model_copy(update={"blob": await blobs.put(sealed[:length])}))
    with pytest.raises(Unopenable):
        await vault.open(JOURNEY, committed.model_copy(update={"blob": await blobs.put(sealed + b"\0")}))


async def test_a_blob_altered_in_place_or_gone_does_not_open(vault: Vault, tmp_path: Path) -> None:
    committed = await vault.seal(JOURNEY, b"value")
    path = blob_file(tmp_path, committed)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(Unopenable, match="blob_damaged"):
        await vault.open(JOURNEY, committed)
    path.unlink()
    with pytest.raises(Unopenable, match="blob_missing"):
        await vault.open(JOURNEY, committed)


async def test_another_value_than_committed_to_does_not_open(vault: Vault) -> None:
    one, two = await vault.seal(JOURNEY, b"one"), await vault.seal(JOURNEY, b"two")
    with pytest.raises(Unopenable, match="commitment"):
        await vault.open(JOURNEY, Committed(commitment=one.commitment, blob=two.blob))


async def test_another_journeys_key_cannot_open(vault: Vault, tmp_path: Path) -> None:
    committed = await vault.seal(JOURNEY, b"value")
    with pytest.raises(Unopenable, match="no_key"):
        await vault.open(OTHER, committed)
    assert not key_file(tmp_path, OTHER).exists()  # asking makes no key
    await vault.seal(OTHER, b"value")
    with pytest.raises(Unopenable, match="other_key"):
        await vault.open(OTHER, committed)


async def test_a_key_file_under_another_journeys_name_is_no_key(
    vault: Vault, make: Callable[..., Vault], tmp_path: Path
) -> None:
    committed = await vault.seal(JOURNEY, b"value")
    key_file(tmp_path, OTHER).parent.mkdir()
    key_file(tmp_path, OTHER).write_bytes(key_file(tmp_path).read_bytes())
    with pytest.raises(Unopenable, match="key_damaged"):
        await make().open(OTHER, committed)


@pytest.mark.parametrize("text", [b"", b"TK1", b"TK1 a b c\n", b"\0" * 100, b"\xff" * 10, b"TK1 a aa aa aa"])
async def test_a_damaged_key_file_is_told(make: Callable[..., Vault], tmp_path: Path, text: bytes) -> None:
    committed = await make().seal(JOURNEY, b"value")
    key_file(tmp_path).write_bytes(text)
    with pytest.raises(Unopenable, match="key_damaged"):
        await make().open(JOURNEY, committed)
    with pytest.raises(Unopenable, match="key_damaged"):
        await make().seal(JOURNEY, b"more")  # and never replaced by a new key


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b", "x" * 65, "a\n", "blind-index", "投保"])
async def test_a_hostile_id_never_becomes_a_path(vault: Vault, name: str) -> None:
    committed = await vault.seal(JOURNEY, b"value")
    for call in (vault.seal(name, b""), vault.open(name, committed), vault.shred(name), vault.rewrap(name)):
        with pytest.raises(ValueError):
            await call


# --- master keys ---


async def test_rotation_of_the_master_key(vault: Vault, make: Callable[..., Vault], tmp_path: Path) -> None:
    master = tmp_path / "master.key"
    old = master.read_text()
    committed = {journey: await vault.seal(journey, journey) for journey in (JOURNEY, OTHER)}
    index = vault.blind_index("phone", "13800000000")
    master.write_text(old + "ab" * 32 + "\n")

    both = make()
    assert await both.open_text(JOURNEY, committed[JOURNEY]) == JOURNEY
    assert await both.rewrap(JOURNEY)
    assert not await both.rewrap(JOURNEY)
    assert not await both.rewrap("nobody")
    assert await both.rewrap_all() == 2  # the other journey's and the blind index's
    assert await both.rewrap_all() == 0

    master.write_text("ab" * 32 + "\n")
    new = make()
    for journey, each in committed.items():
        assert await new.open_text(journey, each) == journey
    assert new.blind_index("phone", "13800000000") == index
    master.write_text(old)
    with pytest.raises(Unopenable, match="master_key_missing"):
        await make().open(JOURNEY, committed[JOURNEY])


def test_master_keys_are_read_strictly_and_never_quoted(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    for text in ("", "\n", "ab" * 31, "ab" * 33, "zz" * 32, "ab" * 32 + "\nabcdef12"):
        path.write_text(text)
        with pytest.raises(ValueError) as refused:
            MasterKeys.load(path)
        assert "ab" * 8 not in str(refused.value)
    with pytest.raises(FileNotFoundError):
        MasterKeys.load(tmp_path / "none")


def test_a_master_key_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    made = MasterKeys.create(tmp_path / "etc" / "master.key")
    assert MasterKeys.create(tmp_path / "etc" / "master.key").current == made.current
    assert (tmp_path / "etc" / "master.key").stat().st_mode & 0o077 == 0


# --- shredding ---


async def test_shredded_is_for_good(vault: Vault, make: Callable[..., Vault], tmp_path: Path) -> None:
    when = datetime(2030, 1, 1, tzinfo=UTC)
    committed, others = await vault.seal(JOURNEY, b"value"), await vault.seal(OTHER, b"other")
    second = make()
    assert await second.open(JOURNEY, committed) == b"value"  # has the key at hand
    await make(now=lambda: when).shred(JOURNEY)
    await vault.shred(JOURNEY)
    for each in (vault, second, make()):
        with pytest.raises(Shredded):
            await each.open(JOURNEY, committed)
        with pytest.raises(Shredded):
            await each.seal(JOURNEY, b"again")
        assert not await each.rewrap(JOURNEY)
        assert await each.open(OTHER, others) == b"other"
    assert not key_file(tmp_path).exists()
    assert key_file(tmp_path).with_suffix(".shredded").read_text() == "2030-01-01T00:00:00+00:00\n"


async def test_a_key_brought_back_after_shredding_is_not_used(vault: Vault, tmp_path: Path) -> None:
    committed = await vault.seal(JOURNEY, b"value")
    copy = key_file(tmp_path).read_bytes()
    await vault.shred(JOURNEY)
    key_file(tmp_path).write_bytes(copy)
    with pytest.raises(Shredded):
        await vault.open(JOURNEY, committed)
    await vault.shred(JOURNEY)
    assert not key_file(tmp_path).exists()


async def test_a_journey_without_a_key_can_be_shredded(vault: Vault) -> None:
    await vault.shred(JOURNEY)
    with pytest.raises(Shredded):
        await vault.seal(JOURNEY, b"value")


async def test_a_key_a_full_disk_does_not_take_is_made_when_there_is_room_again(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(BlobsUnavailable):
            await vault.seal("01ARZ3NDEKTSV4RRFFQ69G5FAV", "张伟")
    committed = await vault.seal("01ARZ3NDEKTSV4RRFFQ69G5FAV", "张伟")
    assert await vault.open_text("01ARZ3NDEKTSV4RRFFQ69G5FAV", committed) == "张伟"


SHRED_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from servicekit.blobs import FileBlobs
from servicekit.vault import Vault
folder, left = Path(sys.argv[1]), int(sys.argv[2])
vault = Vault(FileBlobs(folder / "blobs"), folder / "keys", folder / "master.key")
fsync = os.fsync
def counted(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = counted
asyncio.run(vault.shred(sys.argv[3]))
"""


async def test_killed_while_shredding_no_new_key_is_ever_made(
    vault: Vault, make: Callable[..., Vault], tmp_path: Path
) -> None:
    died = 0
    for steps in range(1, 9):
        journey = f"J{steps}"
        committed = await vault.seal(journey, b"value")
        before = key_file(tmp_path, journey).read_bytes()
        code = await run(SHRED_AND_DIE, str(tmp_path), str(steps), journey)
        died += code == -signal.SIGKILL
        if key_file(tmp_path, journey).with_suffix(".shredded").exists():
            with pytest.raises(Shredded):
                await make().seal(journey, b"again")
        else:  # died before it began: as if never asked
            assert key_file(tmp_path, journey).read_bytes() == before
            assert await make().open(journey, committed) == b"value"
        await make().shred(journey)
        assert not key_file(tmp_path, journey).exists()
    assert 3 <= died < 8


# --- many processes ---

SEAL = """
import asyncio, sys
from pathlib import Path
from servicekit.blobs import FileBlobs
from servicekit.vault import MasterKeys, Vault
folder = Path(sys.argv[1])
MasterKeys.create(folder / "master.key")
vault = Vault(FileBlobs(folder / "blobs"), folder / "keys", folder / "master.key")
sys.stdin.readline()
async def main():
    for each in range(30):
        committed = await vault.seal(f"J{each}", b"value")
        print(f"J{each}", committed.commitment, committed.blob)
    print("index", vault.blind_index("phone", "1"), "-")
asyncio.run(main())
"""


async def run(program: str, *arguments: str) -> int:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, check=False
    )
    return done.returncode


async def test_processes_that_start_together_agree_on_every_key(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    racers = [
        subprocess.Popen(  # noqa: ASYNC220 - all four must be there before any begins
            [sys.executable, "-c", SEAL, str(tmp_path)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate()[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    vault = Vault(FileBlobs(tmp_path / "blobs"), tmp_path / "keys", tmp_path / "master.key")
    indexes: set[str] = set()
    for line in "".join(said).splitlines():
        journey, commitment, blob = line.split()
        if journey == "index":
            indexes.add(commitment)
        else:
            assert await vault.open(journey, Committed(commitment=commitment, blob=blob)) == b"value"
    assert indexes == {vault.blind_index("phone", "1")}
    assert list((tmp_path / "keys" / "arriving").iterdir()) == []


async def test_tasks_that_start_together_agree_on_the_key(make: Callable[..., Vault]) -> None:
    vaults = [make() for _ in range(4)]
    sealed = await asyncio.gather(*(vaults[each % 4].seal(JOURNEY, str(each)) for each in range(40)))
    assert [await make().open_text(JOURNEY, each) for each in sealed] == [str(each) for each in range(40)]


async def test_keys_at_hand_are_few(make: Callable[..., Vault]) -> None:
    vault = make(cached=3)
    sealed = {f"J{each}": await vault.seal(f"J{each}", str(each)) for each in range(10)}
    assert len(vault._unwrapped) == 3
    for journey, each in sealed.items():
        assert await vault.open_text(journey, each) == journey[1:]


# --- blind index ---


def test_the_blind_index_finds_a_value_however_it_is_written(vault: Vault, make: Callable[..., Vault]) -> None:
    index = vault.blind_index("id_number", "11010519491231002X")
    for written in (" 11010519491231002x\n", "１１０１０５１９４９１２３１００２Ｘ", "11010519491231002X"):
        assert make().blind_index("id_number", written) == index
    assert len(index) == 64


def test_the_blind_index_tells_kinds_values_and_vaults_apart(vault: Vault, tmp_path: Path) -> None:
    MasterKeys.create(tmp_path / "other.key")
    other = Vault(FileBlobs(tmp_path / "blobs"), tmp_path / "keys2", tmp_path / "other.key")
    found = [
        vault.blind_index("phone", "13800000000"),
        vault.blind_index("phone", "13800000001"),
        vault.blind_index("id_number", "13800000000"),
        vault.blind_index("phone1", "3800000000"),
        other.blind_index("phone", "13800000000"),
    ]
    assert len(set(found)) == 5
    assert hashlib.sha256(b"13800000000").hexdigest() not in found
