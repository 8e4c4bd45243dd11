from collections.abc import Callable
from pathlib import Path

import pkcs11
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11.exceptions import NoSuchKey, PKCS11Error

from servicekit.documents.keys import MEMORY, HeldKey, Key, KeyGone, one_time_key, open_key
from tests.softhsm import imported, token


def key_file(folder: Path, curve: ec.EllipticCurve | None = None) -> Path:
    path = folder / "key.pem"
    path.write_bytes(
        ec.generate_private_key(curve or ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def of_file(folder: Path) -> Key:
    return open_key(str(key_file(folder)))


def of_token(folder: Path) -> Key:
    # One label a test: the token lives as long as the process.
    return open_key(imported(key_file(folder), folder.name, folder.name.encode().hex()[:32]))


def verified(key: Key, signature: bytes, data: bytes) -> None:
    key.public.verify(signature, data, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("opened", [of_file, of_token])
def test_a_key_signs_wherever_it_is_kept(opened: Callable[[Path], Key], tmp_path: Path) -> None:
    key = opened(tmp_path)
    for data in (b"", b"x", b"y" * 100_000):
        signature = key.sign(data)
        verified(key, signature, data)
        with pytest.raises(InvalidSignature):
            verified(key, signature, data + b"!")


def test_file_and_token_hold_the_same_key(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    assert open_key(str(path)).public == open_key(imported(path, "the-same", "5a")).public


@pytest.mark.parametrize("where", [MEMORY, "token"])
def test_a_one_time_key_is_gone_when_the_act_is_over(where: str) -> None:
    where = token() if where else MEMORY
    with one_time_key(where) as key, one_time_key(where) as other:
        assert key.public != other.public
        verified(key, key.sign(b"act"), b"act")
    with pytest.raises(KeyGone):
        key.sign(b"later")


@pytest.mark.parametrize("where", [MEMORY, "token"])
def test_it_is_gone_when_the_act_fails_too(where: str) -> None:
    kept: list[Key] = []

    def act() -> None:
        with one_time_key(token() if where else MEMORY) as key:
            kept.append(key)
            raise RuntimeError("act")

    with pytest.raises(RuntimeError, match="act"):
        act()
    with pytest.raises(KeyGone):
        kept[0].sign(b"later")


def test_a_one_time_key_in_a_token_is_never_written_down_or_given_out() -> None:
    where = token()
    module = pkcs11.lib(where.split("module-path=")[1].split("&")[0])
    label = where.split("token=")[1].split("?")[0]

    def written_down() -> int:
        with module.get_token(token_label=label).open(user_pin=None) as session:
            return len(list(session.get_objects({pkcs11.Attribute.TOKEN: True})))

    before = written_down()
    with one_time_key(where) as key:
        assert written_down() == before
        secret = key._private  # type: ignore[attr-defined]
        with pytest.raises(PKCS11Error):
            secret[pkcs11.Attribute.VALUE]


def test_a_key_held_in_memory_keeps_no_number_behind() -> None:
    with one_time_key() as key:
        assert isinstance(key, HeldKey)
    assert key._key is None


def test_only_p256(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="P-256"):
        open_key(str(key_file(tmp_path, ec.SECP384R1())))


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        "pkcs11:token=a",
        "pkcs11:object=a?module-path=/m.so",
        "pkcs11:token=a?module-path=/m.so&pin-value=1234",
        "pkcs11:token=a;slot-id=1?module-path=/m.so",
    ],
)
def test_a_uri_that_says_too_little_or_holds_a_secret_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="PKCS#11 URI") as refused:
        open_key(uri)
    assert "1234" not in str(refused.value)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_key(str(tmp_path / "none.pem"))
    with pytest.raises(NoSuchKey):
        open_key(token().replace("?", ";object=nobody?"))
