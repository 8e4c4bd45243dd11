"""One reading of a JSON body, and pointers that repeat nobody's input."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from contracts.problems import Refuse, pointer
from servicekit.bodies import read_body


class Wish(BaseModel):
    what: str
    of: dict[str, int] = {}


AMBIGUOUS = [
    b'{"what":"a","what":"b"}',
    b'{"what":"a","\\u0077hat":"b"}',
    b'{"what":"a","of":{"x":1,"x":2}}',
    b'{"what":"a","of":{"x":NaN}}',
    b'{"what":"a"}{"what":"b"}',
    b'\xef\xbb\xbf{"what":"a"}',
    '{"what":"a"}'.encode("utf-16"),
    b'{"what":"\xff"}',
    b'{"what":"\\ud800"}',
    b'{"what":' * 100_000,
    b'{"what":' + b"9" * 5000 + b"}",
    b"{",
]


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_what_two_readers_may_read_differently_is_no_body(body: bytes) -> None:
    with pytest.raises(Refuse) as caught:
        read_body(Wish, body)
    assert caught.value.code == "malformed"


def test_a_body_is_read_once_and_an_empty_one_is_an_empty_object() -> None:
    assert read_body(Wish, b'{"what":"a","of":{"x":1}}') == Wish(what="a", of={"x": 1})
    with pytest.raises(Refuse) as caught:
        read_body(Wish, b"")
    assert [(fault.pointer, fault.code) for fault in caught.value.problem.errors] == [("/what", "missing")]


@pytest.mark.parametrize(
    "name", ["王小明", "13800138000", "wang_13800138000", "a b", "x@example.com", "\u202ea", "x" * 65]
)
def test_a_name_that_is_somebodys_input_does_not_come_back(name: str) -> None:
    with pytest.raises(Refuse) as caught:
        read_body(Wish, ('{"what":"a","of":{"' + name + '":"none"}}').encode())
    assert [fault.pointer for fault in caught.value.problem.errors] == ["/of/?"]


def test_a_programs_name_comes_back_escaped() -> None:
    assert pointer("products", 0, "a/b", "~", "covers_2") == "/products/0/a~1b/~0/covers_2"
