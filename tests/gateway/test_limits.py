"""The table of limits, by a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.acts import act_types
from gateway.limits import LIMITS, MAX_BODY, Buckets, Limit, body_limit, keys_of, source_of

ONE = (Limit("one", "address", 3, 30),)


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_a_steady_trickle() -> None:
    clock = Seconds()
    buckets = Buckets(clock, table=ONE)
    for left in (2, 1, 0):
        verdict = buckets.take("GET", "/", {"address": "a"})
        assert verdict is not None
        assert (verdict.granted, verdict.remaining) == (True, left)
    refused = buckets.take("GET", "/", {"address": "a"})
    assert refused is not None
    assert not refused.granted
    assert refused.headers()["Retry-After"] == "10"
    clock.now = 10.0
    again = buckets.take("GET", "/", {"address": "a"})
    assert again is not None
    assert again.granted


def test_one_address_does_not_use_up_another() -> None:
    buckets = Buckets(Seconds(), table=ONE)
    for _ in range(4):
        buckets.take("GET", "/", {"address": "a"})
    verdict = buckets.take("GET", "/", {"address": "b"})
    assert verdict is not None
    assert verdict.granted


def test_a_refused_request_takes_from_no_bucket() -> None:
    clock = Seconds()
    table = (Limit("wide", "address", 10, 10), Limit("narrow", "journey", 1, 1000))
    buckets = Buckets(clock, table=table)
    for _ in range(50):
        buckets.take("GET", "/", {"address": "a", "journey": "j"})
    verdict = buckets.take("GET", "/", {"address": "a"})
    assert verdict is not None
    assert verdict.remaining == 8


@given(st.lists(st.floats(min_value=0, max_value=20), max_size=80))
def test_no_window_grants_more_than_burst_and_refill(pauses: list[float]) -> None:
    clock = Seconds()
    buckets = Buckets(clock, table=ONE)
    granted = 0
    for pause in pauses:
        clock.now += pause
        verdict = buckets.take("GET", "/", {"address": "a"})
        assert verdict is not None
        granted += verdict.granted
    assert granted <= 3 + clock.now * 3 / 30 + 1e-6


def test_the_table_covers_what_it_names() -> None:
    for limit in LIMITS:
        if "journeys" in limit.path and "(" in limit.path and limit.name != "journey":
            verbs = limit.path.rpartition("(")[2].rstrip(")").split("|")
        elif limit.path.startswith("/v1/journeys/[^/]+/") and limit.method == "POST":
            verbs = [limit.path.rpartition("/")[2]]
        else:
            continue
        for verb in verbs:
            assert verb in act_types(), limit.name
    covering = [limit.name for limit in LIMITS if limit.covers("POST", "/v1/journeys/x/send-otp")]
    assert covering == ["otp", "journey", "address"]
    assert [lim.name for lim in LIMITS if lim.covers("POST", "/v1/verify")] == ["verify", "address"]
    for verb in ("choose-mode", "drop-product"):
        assert "to_and_fro" in [lim.name for lim in LIMITS if lim.covers("POST", f"/v1/journeys/x/{verb}")]
    pages = "/v1/journeys/x/forms/motor/pages/1"
    assert [lim.name for lim in LIMITS if lim.covers("GET", pages)] == ["pictures", "journey", "address"]
    assert len({limit.name for limit in LIMITS}) == len(LIMITS)


def test_who_may_choose_among_many_addresses_counts_once() -> None:
    one = source_of(("2001:db8:1:2::1", 1))
    assert one == source_of(("2001:db8:1:2:ffff::9", 2))
    assert one != source_of(("2001:db8:1:3::1", 1))
    assert source_of(("192.0.2.1", 1)) == source_of(("::ffff:192.0.2.1", 1)) == "192.0.2.1"
    assert source_of(("fe80::1%eth0", 1)) == source_of(("fe80::2%eth0", 1))
    assert [source_of(odd) for odd in (None, ("testclient", 1), ("", 1))] == ["unknown", "testclient", ""]


def test_bodies() -> None:
    assert body_limit("/v1/journeys/x/sign-forms") == 2 * 1024 * 1024
    assert body_limit("/v1/journeys/x/give-consent") == MAX_BODY
    assert body_limit("/v1/proposals/x/withdraw") == MAX_BODY


def test_keys_hold_no_credential() -> None:
    keys = keys_of("/v1/journeys/J/policies", "10.0.0.1", "DPoP secret-token")
    assert keys["journey"] == "J 10.0.0.1"
    assert "secret" not in keys["credential"]
    assert len(keys_of("/v1/journeys/" + "x" * 9000, "a", None)["journey"]) < 100
