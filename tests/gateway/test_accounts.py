"""Accounts by a clock of the test's own: passwords, sessions, and what guessing meets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher, extract_parameters

from contracts.problems import Refuse
from contracts.values import sha256_hex
from gateway import passwords
from gateway.accounts import IDLE, LONGEST, Accounts, Door, SalesSession, StaffSession
from gateway.credentials import Channel, Credentials, Role, Salesperson, StaffMember
from gateway.passwords import Verifier, new_password, password_hash, stand_in
from servicekit.store import Store
from servicekit.store.sqlite import SqliteStore
from tests.desk import Clock

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct-horse"
HASH = CHEAP.hash(PASSWORD)
HOME = "192.0.2.1"


def known(*, password: str = HASH, roles: frozenset[Role] = frozenset({"audit"})) -> Credentials:
    anna = Salesperson(
        salesperson_id="anna", name="安娜", licence_no="A-0001", phone="13900002222", password_hash=password
    )
    channel = Channel(channel_id="harbour", name="滨海", key_hashes=("a" * 64,), salespeople=(anna,))
    staff = (
        StaffMember(staff_id="clerk", name="小林", roles=roles, password_hash=password),
        StaffMember(staff_id="robot", roles=roles, key_hashes=("b" * 64,)),
    )
    return Credentials((channel,), staff)


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class At:
    def __init__(self, store: Store) -> None:
        self.store, self.clock, self.seconds = store, Clock(), Seconds()
        self.accounts = self.opened(known())

    def opened(self, credentials: Credentials, verifier: Verifier | None = None) -> Accounts:
        """As a gateway that starts on the same store."""
        return Accounts(credentials, self.store, self.clock, seconds=self.seconds, verifier=verifier)

    async def token(self, door: Door = "sales", name: str = "anna") -> str:
        return (await self.accounts.sign_in(door, name, PASSWORD, address=HOME))[1]

    async def refused(self, door: Door, name: str, password: str, *, address: str = HOME) -> Refuse:
        with pytest.raises(Refuse) as told:
            await self.accounts.sign_in(door, name, password, address=address)
        return told.value


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[At]:
    store = SqliteStore(tmp_path / "gateway.sqlite")
    yield At(store)
    await store.close()


# -- passwords ---------------------------------------------------------------------------------------------


def test_a_password_is_kept_by_argon2id_alone() -> None:
    password = new_password()
    kept = password_hash(password)
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert password not in kept
    assert kept != password_hash(password), "salted"
    assert len({new_password() for _ in range(100)}) == 100


async def test_what_is_typed_must_be_the_very_password() -> None:
    verifier = Verifier()
    assert await verifier.holds(HASH, PASSWORD)
    for typed in ("", "Correct-horse", PASSWORD + "\0", PASSWORD + " ", "\ud800", "密" * 200):
        assert not await verifier.holds(HASH, typed)


def test_nobodys_hash_costs_what_everybodys_do() -> None:
    assert extract_parameters(stand_in([HASH])) == extract_parameters(HASH)
    assert extract_parameters(stand_in([])) == extract_parameters(password_hash("x"))


async def test_an_unknown_name_is_hashed_like_a_known_one(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def noted(kept: str, _: str) -> bool:
        hashed.append(kept)
        return False

    monkeypatch.setattr(passwords, "_holds", noted)
    for name in ("anna", "nobody", "clerk"):
        assert (await at.refused("sales", name, PASSWORD)).code == "sign_in_failed"
    assert [extract_parameters(kept) for kept in hashed] == [extract_parameters(HASH)] * 3


async def test_the_loop_goes_on_and_little_is_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many guess, and right after a start: two at once, a few waiting, the rest told to come again."""
    go, lock = threading.Event(), threading.Lock()
    running = most = 0

    def slow(_kept: str, _typed: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(10)
        with lock:
            running -= 1
        return False

    monkeypatch.setattr(passwords, "_holds", slow)
    verifier = Verifier(at_once=2, waiting=3)
    began = [asyncio.create_task(verifier.holds(HASH, "x")) for _ in range(9)]
    done, pending = await asyncio.wait(began, timeout=0.5)
    assert (len(done), len(pending)) == (4, 5)
    for refused in done:
        error = refused.exception()
        assert isinstance(error, Refuse)
        assert (error.code, error.problem.retry_after) == ("unavailable", 2)
    # Who goes away makes no room while the work goes on.
    impatient = next(iter(pending))
    impatient.cancel()
    await asyncio.wait([impatient])
    go.set()
    assert await asyncio.gather(*(pending - {impatient})) == [False] * 4
    assert most == 2
    assert not await verifier.holds(HASH, "x"), "there is room again"


# -- sessions ----------------------------------------------------------------------------------------------


async def test_each_door_knows_its_own(at: At) -> None:
    session = await at.accounts.session(await at.token())
    assert isinstance(session, SalesSession)
    assert (session.salesperson.name, session.channel.channel_id) == ("安娜", "harbour")
    session = await at.accounts.session(await at.token("staff", "clerk"))
    assert isinstance(session, StaffSession)
    assert session.member.staff_id == "clerk"
    assert (await at.refused("staff", "anna", PASSWORD)).code == "sign_in_failed"
    assert (await at.refused("sales", "clerk", PASSWORD)).code == "sign_in_failed"
    for typed in ("", PASSWORD, "None"):
        assert (await at.refused("staff", "robot", typed)).code == "sign_in_failed", "a key is no password"


async def test_only_the_tokens_hash_is_kept(at: At, tmp_path: Path) -> None:
    token = await at.token()
    assert len(token) == 43
    (kept,) = await at.store.collection("sign_ins").find()
    assert kept.id == sha256_hex(token.encode())
    assert token not in str(kept)
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert token.encode() not in raw
    assert PASSWORD.encode() not in raw


async def test_a_session_ends_by_itself(at: At) -> None:
    token = await at.token()
    for _ in range(3):
        at.clock.now += IDLE - timedelta(seconds=1)
        assert await at.accounts.session(token) is not None
    at.clock.now += IDLE
    assert await at.accounts.session(token) is None
    token, began = await at.token(), at.clock.now
    while at.clock.now < began + LONGEST:
        assert await at.accounts.session(token) is not None
        at.clock.pass_by(minutes=20)
    assert await at.accounts.session(token) is None, "however busy"
    assert await at.store.collection("sign_ins").count() == 0


async def test_signing_out_is_for_good_and_for_one(at: At) -> None:
    mine, other = await at.token(), await at.token()
    for _ in range(2):
        await at.accounts.sign_out(mine)
    assert await at.accounts.session(mine) is None
    assert await at.accounts.session(other) is not None
    for forged in ("", "x", "A" * 43, other[:-1], sha256_hex(other.encode()), other + "\n"):
        assert await at.accounts.session(forged) is None
        await at.accounts.sign_out(forged)
    assert await at.accounts.session(other) is not None


async def test_a_request_beside_the_sign_out_brings_nothing_back(at: At) -> None:
    token = await at.token()
    at.clock.pass_by(minutes=5)
    await asyncio.gather(*(at.accounts.session(token) for _ in range(8)), at.accounts.sign_out(token))
    assert await at.accounts.session(token) is None


async def test_sessions_outlive_a_restart_but_not_their_password_or_account(at: At) -> None:
    token, staff = await at.token(), await at.token("staff", "clerk")
    again = at.opened(known(roles=frozenset({"legal"})))
    session = await again.session(staff)
    assert isinstance(session, StaffSession)
    assert session.member.roles == {"legal"}, "roles are those of today"
    assert await again.session(token) is not None
    assert await at.opened(known(password=CHEAP.hash(PASSWORD))).session(token) is None
    assert await at.opened(Credentials()).session(staff) is None


async def test_what_is_over_is_cleared_away(at: At) -> None:
    await at.token()
    at.clock.now += LONGEST
    await at.token()
    assert await at.store.collection("sign_ins").count() == 1


# -- guessing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anna", "nobody"])
async def test_a_name_is_guessed_at_ten_times_and_then_has_rest(at: At, name: str) -> None:
    for _ in range(10):
        assert (await at.refused("sales", name, "guess")).code == "sign_in_failed"
    refused = await at.refused("sales", name, PASSWORD)
    assert (refused.code, refused.problem.retry_after) == ("sign_in_attempts", 60)
    assert (await at.refused("staff", "clerk", "guess")).code == "sign_in_failed", "others are not kept out"
    at.seconds.now += 60
    assert (await at.refused("sales", name, "guess")).code == "sign_in_failed"
    assert (await at.refused("sales", name, "guess")).code == "sign_in_attempts"


async def test_who_guesses_at_a_colleagues_name_keeps_only_themselves_out(at: At) -> None:
    for _ in range(50):
        await at.refused("sales", "anna", "guess", address="198.51.100.7")
    assert (await at.refused("sales", "anna", PASSWORD, address="198.51.100.7")).code == "sign_in_attempts"
    assert await at.token()


async def test_many_addresses_together_do_not_guess_on_and_on(at: At) -> None:
    for number in range(100):
        guess = await at.refused("sales", "anna", "guess", address=f"198.51.100.{number}")
        assert guess.code == "sign_in_failed"
    assert (await at.refused("sales", "anna", PASSWORD)).code == "sign_in_attempts"


async def test_guesses_that_are_refused_cost_no_hashing(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(10):
        await at.refused("sales", "anna", "guess")

    def never(*_: str) -> bool:
        raise AssertionError("hashed")

    monkeypatch.setattr(passwords, "_holds", never)
    assert (await at.refused("sales", "anna", "guess")).code == "sign_in_attempts"


async def test_an_accounts_requests_are_limited_like_a_keys(at: At) -> None:
    first, second = [await at.accounts.session(await at.token()) for _ in range(2)]
    assert first is not None
    assert second is not None
    path = "/v1/proposals/x/resend-link"
    for _ in range(15):
        at.accounts.grant("POST", path, first)
        at.accounts.grant("POST", path, second)
    with pytest.raises(Refuse) as refused:
        at.accounts.grant("POST", path, second)
    assert refused.value.code == "too_many_requests"
    at.accounts.grant("GET", "/v1/proposals", first)


async def test_what_is_typed_as_a_name_is_not_remembered(at: At) -> None:
    """People type passwords where names belong."""
    await at.refused("sales", "my-password-1", "anna")
    assert at.accounts._buckets._buckets
    assert "my-password-1" not in repr(at.accounts._buckets._buckets)
