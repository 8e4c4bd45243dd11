"""What a process keeps in hand is never taken for more than it is."""

from __future__ import annotations

from servicekit.recent import Recent
from servicekit.store import Document


def test_a_later_version_is_not_pushed_out_by_an_earlier_reading() -> None:
    recent: Recent[str] = Recent()
    recent.put(Document("a", version=2), "second")
    assert recent.put(Document("a", version=1), "first").state == "second"
    known = recent.get("a")
    assert known is not None
    assert (known.document.version, known.state) == (2, "second")


def test_the_longest_unused_go_first() -> None:
    recent: Recent[str] = Recent(kept=2)
    recent.put(Document("a", version=1), "a")
    recent.put(Document("b", version=1), "b")
    recent.get("a")
    recent.put(Document("c", version=1), "c")
    assert recent.get("b") is None
    assert recent.get("a") is not None
    assert recent.get("c") is not None


def test_how_far_the_bus_is_only_grows() -> None:
    recent: Recent[str] = Recent()
    recent.put(Document("a", version=1, published=0), "a")
    recent.published("a", 3)
    recent.published("a", 2)
    recent.published("nobody", 1)
    known = recent.get("a")
    assert known is not None
    assert known.document.published == 3


def test_what_is_forgotten_is_read_anew() -> None:
    recent: Recent[str] = Recent()
    recent.put(Document("a", version=5), "a")
    recent.forget("a")
    recent.forget("a")
    assert recent.get("a") is None
    assert recent.put(Document("a", version=4), "older").state == "older"
