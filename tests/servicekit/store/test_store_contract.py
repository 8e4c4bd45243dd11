"""What every store must do, whichever backend it has."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servicekit.store import (
    Cursor,
    Document,
    FactsLost,
    Store,
    StoredFact,
    StoreUnavailable,
    VersionConflict,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def fact(sequence: int, data: str = "{}", **changed: Any) -> StoredFact:
    made = StoredFact(
        id=f"01J{sequence:023d}",
        source="signing",
        type="signed.v1",
        subject="journey.01J.signing.signed",
        time="2026-03-01T12:00:00.123456Z",
        sequence=sequence,
        dataschema="toubao:signed.v1",
        data=data,
    )
    return replace(made, **changed)


def full() -> Document:
    return Document(
        id="01JNX0000000000000000000A1",
        state={
            "stage": "signed",
            "fen": 10**30,
            "yes": True,
            "no": False,
            "none": None,
            "deep": [{"a": [1.0, 1]}],
        },
        facts=(fact(1, '{"a":1}'), fact(2, traceparent="00-ab-cd-01")),
        published=1,
        replies=({"id": "k1", "reply": {"ok": True}},),
        refusals={"terms_changed": 3},
        due=NOON,
        fields={"channel": "c1", "number": 7},
    )


# --- saving and loading ---


async def test_what_was_saved_is_loaded_again(open_again: Callable[[], Store]) -> None:
    saved = await open_again().collection("journeys", ("channel",)).save(full())
    assert saved == replace(full(), version=1)
    loaded = await open_again().collection("journeys", ("channel",)).get(full().id)
    assert loaded == saved
    # Equality would take 1 for True: look at the JSON, too.
    assert loaded is not None
    assert json.dumps(loaded.state) == json.dumps(full().state)
    assert loaded.replies == full().replies
    assert loaded.due == NOON


async def test_what_was_never_saved_is_none(store: Store) -> None:
    assert await store.collection("journeys").get("nobody") is None


async def test_a_known_document_is_given_back_while_its_version_stands(store: Store) -> None:
    journeys = store.collection("journeys")
    known = await journeys.save(Document("a", state={"n": 1}))
    assert await journeys.get("a", known) is known
    later = await journeys.save(replace(known, state={"n": 2}))
    assert await journeys.get("a", known) == later
    await journeys.delete("a")
    assert await journeys.get("a", later) is None


async def test_a_save_raises_the_version_by_one_and_leaves_the_given_document_alone(store: Store) -> None:
    journeys = store.collection("journeys")
    first = Document("a", state={"n": 1})
    second = await journeys.save(first)
    third = await journeys.save(replace(second, state={"n": 2}))
    assert (first.version, second.version, third.version) == (0, 1, 2)
    assert await journeys.get("a") == third


async def test_a_lost_update_is_refused(store: Store) -> None:
    journeys = store.collection("journeys")
    mine = await journeys.save(Document("a", state={"n": 0}))
    theirs = await journeys.get("a")
    assert theirs is not None
    await journeys.save(replace(theirs, state={"n": 1}))
    with pytest.raises(VersionConflict):
        await journeys.save(replace(mine, state={"n": 2}))
    kept = await journeys.get("a")
    assert kept is not None
    assert kept.state == {"n": 1}


async def test_a_duplicate_insert_is_refused(store: Store) -> None:
    journeys = store.collection("journeys")
    await journeys.save(Document("a", state={"first": True}))
    with pytest.raises(VersionConflict):
        await journeys.save(Document("a", state={"first": False}))
    kept = await journeys.get("a")
    assert kept is not None
    assert kept.state == {"first": True}


@pytest.mark.parametrize("version", [1, 7])
async def test_a_document_that_is_gone_is_not_brought_back(store: Store, version: int) -> None:
    journeys = store.collection("journeys")
    with pytest.raises(VersionConflict):
        await journeys.save(Document("a", version=version))
    assert await journeys.get("a") is None


async def test_a_deleted_document_is_gone_and_deleting_again_is_no_error(store: Store) -> None:
    journeys = store.collection("journeys")
    saved = await journeys.save(Document("a"))
    await journeys.delete("a")
    await journeys.delete("a")
    assert await journeys.get("a") is None
    with pytest.raises(VersionConflict):
        await journeys.save(saved)


async def test_collections_are_apart(store: Store) -> None:
    await store.collection("journeys").save(Document("a", state={"in": "journeys"}))
    await store.collection("heartbeats").save(Document("a", state={"in": "heartbeats"}))
    kept = await store.collection("journeys").get("a")
    assert kept is not None
    assert kept.state == {"in": "journeys"}


# --- facts ---


async def test_facts_keep_their_order_and_their_bytes(store: Store) -> None:
    journeys = store.collection("journeys")
    # Spaces, escapes and key order of the text must survive: it is hashed.
    texts = [
        '{"b": 1,"a":\t2}',
        '{"x":"\\u6295\\u4fdd"}',
        '{"x":"投保𬭚🖋"}',
        '{"nul":"\\u0000"}',
        "1.50",
        '{"a":1,"a":2}',
    ]
    document = Document("a")
    for sequence, text in enumerate(texts, 1):
        document = await journeys.save(replace(document, facts=(*document.facts, fact(sequence, text))))
    kept = await journeys.get("a")
    assert kept is not None
    assert [each.data for each in kept.facts] == texts
    assert [each.sequence for each in kept.facts] == list(range(1, len(texts) + 1))
    assert kept.facts == document.facts


async def test_a_save_cannot_take_facts_back(store: Store) -> None:
    journeys = store.collection("journeys")
    saved = await journeys.save(Document("a", facts=(fact(1), fact(2))))
    with pytest.raises(FactsLost):
        await journeys.save(replace(saved, facts=(fact(1),)))
    with pytest.raises(VersionConflict):
        await journeys.save(replace(saved, version=9, facts=(fact(1),)))
    assert await journeys.get("a") == saved


async def test_pending_is_what_is_not_published_and_can_be_found(store: Store) -> None:
    journeys = store.collection("journeys")
    await journeys.save(Document("done", facts=(fact(1),), published=1))
    await journeys.save(Document("none"))
    left = await journeys.save(Document("left", facts=(fact(1), fact(2), fact(3)), published=1))
    assert left.pending == 2
    assert await journeys.find(above=("pending", 0)) == [left]
    await journeys.mark_published("left", 2)
    assert [(each.id, each.published, each.pending) for each in await journeys.find(above=("pending", 0))] == [
        ("left", 2, 1)
    ]
    await journeys.mark_published("left", 3)
    assert await journeys.find(above=("pending", 0)) == []
    assert await journeys.count({"pending": 0}) == 3


async def test_mark_published_advances_only_and_leaves_the_version(store: Store) -> None:
    journeys = store.collection("journeys")
    saved = await journeys.save(Document("a", facts=(fact(1), fact(2), fact(3))))
    await journeys.mark_published("a", 2)
    await journeys.mark_published("a", 1)
    await journeys.mark_published("nobody", 1)
    assert await journeys.get("a") == replace(saved, published=2)
    await journeys.mark_published("a", 99)  # never beyond what is on record
    assert await journeys.get("a") == replace(saved, published=3)
    # The version is untouched: who loaded before may still save, and nothing on record is lost by it.
    again = await journeys.save(replace(saved, facts=(*saved.facts, fact(4))))
    kept = await journeys.get("a")
    assert kept is not None
    assert kept.version == again.version == 2
    assert kept.published == again.published == 3
    assert [each.id for each in await journeys.find(equal={"pending": 1})] == ["a"]
    assert len(kept.facts) == 4


async def test_racing_marks_and_saves_lose_no_fact(store: Store) -> None:
    journeys = store.collection("journeys")
    document = await journeys.save(Document("a"))

    async def write() -> None:
        nonlocal document
        for sequence in range(1, 31):
            document = await journeys.save(replace(document, facts=(*document.facts, fact(sequence))))

    async def publish() -> None:
        for _ in range(30):
            kept = await journeys.get("a")
            assert kept is not None
            await journeys.mark_published("a", len(kept.facts))
            nonlocal marked
            marked = max(marked, len(kept.facts))

    marked = 0
    await asyncio.gather(write(), publish(), publish())
    kept = await journeys.get("a")
    assert kept is not None
    assert [each.sequence for each in kept.facts] == list(range(1, 31))
    assert marked <= kept.published <= 30
    # What is counted as pending is what find sees as pending.
    assert await journeys.count({"pending": kept.pending}) == 1


# --- what can be kept ---

HARD_TEXTS = [
    "投保",
    "𬭚㛃䶮",
    "🖋️👨‍👩‍👧",
    "a\0b",
    "\x01\x1f\x7f\u2028",
    "'; DROP TABLE journeys; --",
    '"\\',
    "$set",
    "a.b",
    "",
]


async def test_any_text_is_kept_as_key_and_as_value(store: Store) -> None:
    journeys = store.collection("journeys")
    state = {text: {text: [text]} for text in HARD_TEXTS}
    document = Document("a", state=state, facts=(fact(1, json.dumps(state, ensure_ascii=False)),))
    saved = await journeys.save(replace(document, replies=(state,), refusals={"𬭚": 1}))
    assert await journeys.get("a") == saved


@pytest.mark.parametrize("text", ["投保", "𬭚", "🖋️", "'; DROP TABLE journeys; --", '"\\', "$set", "a.b", "{}", "1"])
async def test_any_text_is_an_id_and_a_searched_value(store: Store, text: str) -> None:
    journeys = store.collection("journeys", ("word",))
    saved = await journeys.save(Document(text, fields={"word": text}))
    await journeys.save(Document("other", fields={"word": "other"}))
    assert await journeys.get(text) == saved
    assert await journeys.find(equal={"word": text}) == [saved]
    assert await journeys.find(equal={"id": text}) == [saved]
    with pytest.raises(VersionConflict):
        await journeys.save(Document(text))


async def test_a_document_of_a_megabyte(store: Store) -> None:
    journeys = store.collection("journeys")
    document = Document("a", state={"text": "投" * 400_000}, facts=(fact(1, json.dumps("x" * 300_000)),))
    saved = await journeys.save(document)
    assert await journeys.get("a") == saved
    saved = await journeys.save(replace(saved, state={"text": "保" * 400_000}))
    assert await journeys.get("a") == saved


async def test_money_and_counters_stay_exact(store: Store) -> None:
    journeys = store.collection("journeys", ("fen",))
    for fen in (2**53 + 1, -(2**63), 2**63 - 1, 0):
        await journeys.save(Document(f"fen{fen}", state={"fen": fen}, fields={"fen": fen}))
        found = await journeys.find(equal={"fen": fen})
        assert [(each.state["fen"], each.fields["fen"]) for each in found] == [(fen, fen)]


async def test_a_time_keeps_its_microseconds_and_its_moment(store: Store) -> None:
    journeys = store.collection("journeys")
    shanghai = NOON.astimezone(timezone(timedelta(hours=8)))
    await journeys.save(Document("a", due=shanghai))
    kept = await journeys.get("a")
    assert kept is not None
    assert kept.due is not None
    assert kept.due == NOON
    assert kept.due.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "document",
    [
        Document(""),
        Document("a\0b"),
        Document("\ud800"),
        Document("a", state={"a": float("nan")}),
        Document("a", state={"a": "\ud800"}),
        Document("a", due=datetime(2026, 1, 1)),
        Document("a", published=1),
        Document("a", published=-1),
        Document("a", version=-1),
        Document("a", fields={"word": True}),
        Document("a", fields={"word": 1.5}),  # type: ignore[dict-item]
        Document("a", fields={"word": None}),  # type: ignore[dict-item]
        Document("a", fields={"word": NOON}),  # type: ignore[dict-item]
        Document("a", fields={"word": 2**63}),
        Document("a", fields={"word": "a\0b"}),
        Document("a", fields={"version": 3}),
        Document("a", fields={"state": "x"}),
        Document("a", fields={"$set": "x"}),
        Document("a", fields={"a.b": "x"}),
        Document("a", state={"a": "投" * 6_000_000}),
    ],
    ids=lambda document: (repr(document)[:60]).encode("ascii", "replace").decode(),
)
async def test_what_a_backend_could_not_keep_is_refused_and_nothing_stored(store: Store, document: Document) -> None:
    journeys = store.collection("journeys", ("word",))
    with pytest.raises(ValueError):
        await journeys.save(document)
    with pytest.raises(ValueError):
        await journeys.put_many([Document("good"), document])
    assert await journeys.count() == 0


@pytest.mark.parametrize(
    "name", ["order", "group", "index", "values", "select", "sqlite_master", "A", "a-b", "a.b", "", "1a"]
)
async def test_a_name_that_some_backend_would_not_take_is_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError):
        store.collection(name)
    with pytest.raises(ValueError):
        store.collection("journeys", (name,))


# --- many writers ---


async def test_eight_writers_lose_no_update(open_again: Callable[[], Store]) -> None:
    await open_again().collection("counters").save(Document("a", state={"n": 0}))

    async def count_up(store: Store) -> int:
        counters, conflicts = store.collection("counters"), 0
        for _ in range(25):
            while True:
                document = await counters.get("a")
                assert document is not None
                document.state["n"] += 1
                document.facts = (*document.facts, fact(document.state["n"]))
                try:
                    await counters.save(document)
                    break
                except VersionConflict:
                    conflicts += 1
        return conflicts

    stores = [open_again() for _ in range(4)]
    conflicts = await asyncio.gather(*(count_up(stores[each // 2]) for each in range(8)))
    kept = await stores[0].collection("counters").get("a")
    assert kept is not None
    assert kept.state["n"] == 200
    assert kept.version == 201
    assert [each.sequence for each in kept.facts] == list(range(1, 201))
    assert sum(conflicts) > 0  # they did meet


async def test_of_many_inserts_of_one_id_one_wins(store: Store) -> None:
    journeys = store.collection("journeys")
    results = await asyncio.gather(
        *(journeys.save(Document("a", state={"by": each})) for each in range(20)), return_exceptions=True
    )
    won = [each for each in results if isinstance(each, Document)]
    assert len(won) == 1
    assert all(isinstance(each, VersionConflict) for each in results if each is not won[0])
    assert await journeys.get("a") == won[0]


async def test_one_bad_save_among_many_fails_alone(store: Store) -> None:
    journeys = store.collection("journeys")
    await journeys.save(Document("k7"))
    results = await asyncio.gather(*(journeys.save(Document(f"k{each}")) for each in range(20)), return_exceptions=True)
    assert [each for each, result in enumerate(results) if isinstance(result, VersionConflict)] == [7]
    assert await journeys.count() == 20


# --- put_many ---


async def test_put_many_again_changes_nothing(store: Store) -> None:
    records = store.collection("records", ("journey", "sequence"))
    new = [Document(f"r{each:03d}", state={"n": each}, fields={"journey": "j", "sequence": each}) for each in range(50)]
    await records.put_many(new[:30])
    await records.put_many(new)
    await records.put_many([])
    kept = await records.find(equal={"journey": "j"}, order="sequence")
    assert [(each.id, each.state["n"], each.version) for each in kept] == [(f"r{n:03d}", n, 1) for n in range(50)]


async def test_put_many_overwrites_and_the_last_of_one_id_wins(store: Store) -> None:
    records = store.collection("records")
    await records.put_many([Document("a", state={"n": 1}), Document("b", state={"n": 1})])
    await records.put_many(
        [Document("b", state={"n": 2}), Document("c", state={"n": 2}), Document("b", state={"n": 3})]
    )
    assert [(each.id, each.state["n"]) for each in await records.find()] == [("a", 1), ("b", 3), ("c", 2)]


async def test_put_many_from_many_at_once(store: Store) -> None:
    records = store.collection("records")
    new = [Document(f"r{each:03d}") for each in range(40)]
    await asyncio.gather(*(records.put_many(new) for _ in range(8)))
    assert await records.count() == 40


# --- finding ---


async def filled(store: Store) -> Any:
    policies = store.collection("policies", ("channel", "number"))
    for each in range(20):
        await policies.save(
            Document(
                f"p{each:02d}",
                fields={"channel": "ab"[each % 2], "number": each // 2} if each < 16 else {"channel": "c"},
                due=NOON + timedelta(microseconds=each) if each % 4 == 0 else None,
            )
        )
    return policies


def ids(found: list[Document]) -> str:
    return " ".join(each.id for each in found)


async def test_find_by_equality_range_and_order(store: Store) -> None:
    policies = await filled(store)
    assert ids(await policies.find(equal={"channel": "a"}, above=("number", 5))) == "p12 p14"
    assert ids(await policies.find(above=("number", 1), below=("number", 3))) == "p04 p05"
    assert ids(await policies.find(above=("number", 1), up_to=("number", 3))) == "p04 p05 p06 p07"
    assert ids(await policies.find(equal={"channel": "b"}, order="number", descending=True, limit=3)) == "p15 p13 p11"
    assert ids(await policies.find(equal={"channel": "c"}, order="id", descending=True)) == "p19 p18 p17 p16"
    assert ids(await policies.find(limit=2)) == "p00 p01"
    assert ids(await policies.find(equal={"channel": "a", "number": 3})) == "p06"
    assert await policies.find(equal={"channel": "nobody"}) == []
    assert await policies.count() == 20
    assert await policies.count({"channel": "a"}) == 8


async def test_find_what_is_due(store: Store) -> None:
    policies = await filled(store)
    moment = NOON + timedelta(microseconds=8)
    assert ids(await policies.find(up_to=("due", moment), order="due")) == "p00 p04 p08"
    assert ids(await policies.find(below=("due", moment), order="due")) == "p00 p04"
    shanghai = moment.astimezone(timezone(timedelta(hours=8)))
    assert ids(await policies.find(above=("due", shanghai), order="due", descending=True)) == "p16 p12"


async def test_a_document_without_the_ordered_or_ranged_field_is_not_found(store: Store) -> None:
    policies = await filled(store)
    assert len(await policies.find(order="due")) == 5
    assert len(await policies.find(order="number")) == 16
    assert len(await policies.find(above=("number", -1))) == 16


@pytest.mark.parametrize("order", [None, "number", "channel", "due", "version", "id"])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_by_cursor_are_the_whole_in_order(store: Store, order: str | None, descending: bool) -> None:
    policies = await filled(store)
    whole = await policies.find(order=order, descending=descending)
    pages: list[Document] = []
    cursor: Cursor | None = None
    while page := await policies.find(order=order, descending=descending, limit=3, after=cursor):
        pages += page
        cursor = page[-1].cursor(order)
    assert pages == whole
    assert len(whole) == {"number": 16, "due": 5}.get(order or "", 20)


async def test_a_cursor_is_not_disturbed_by_what_is_inserted_or_removed(store: Store) -> None:
    policies = await filled(store)
    page = await policies.find(order="number", limit=4)
    await policies.delete("p03")
    await policies.save(Document("p00a", fields={"number": 0}))
    assert ids(await policies.find(order="number", limit=3, after=page[-1].cursor("number"))) == "p04 p05 p06"


async def test_a_nonsensical_question_is_refused(store: Store) -> None:
    policies = await filled(store)
    for question in (
        {"equal": {"unknown": 1}},
        {"equal": {"channel": None}},
        {"equal": {"channel": True}},
        {"equal": {"channel": {"$gt": ""}}},
        {"equal": {"$where": "1"}},
        {"order": "unknown"},
        {"above": ("number", 1), "below": ("due", NOON)},
        {"below": ("due", datetime(2026, 1, 1))},
        {"limit": 0},
        {"order": "number", "after": Cursor("a")},
        {"after": Cursor("a", 1)},
    ):
        with pytest.raises(ValueError):
            await policies.find(**question)
    with pytest.raises(ValueError):
        await policies.count({"unknown": 1})
    with pytest.raises(ValueError):
        Document("a").cursor("due")


async def test_a_field_can_be_searched_that_was_declared_after_its_documents(
    open_again: Callable[[], Store],
) -> None:
    saved = await open_again().collection("policies").save(Document("a", fields={"channel": "x"}))
    assert await open_again().collection("policies", ("channel",)).find(equal={"channel": "x"}) == [saved]


_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3) | st.sampled_from(
    [
        "2026-03-01",
        "2026-03-01T12:00:00.1Z",
        "2026-03-01T12:00:00.2Z",
        "2026-03-01:7",
        "01-02-2026",
        "1",
        "1.0",
        "true",
    ]
)
_documents = st.lists(
    st.builds(
        lambda word, number, late: (word, number, late),
        st.none() | _words,
        st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2),
        st.none() | st.datetimes(timezones=st.just(UTC)) | st.just(NOON),
    ),
    max_size=8,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    rows=_documents,
    equal=st.none() | _words,
    bound=st.sampled_from(["above", "below", "up_to"]),
    ranged=st.sampled_from(["word", "number", "due"]),
    pick=st.integers(0, 7),
    order=st.sampled_from([None, "word", "number", "due"]),
    descending=st.booleans(),
)
def test_finding_is_what_the_plain_meaning_says(
    open_again: Callable[[], Store],
    rows: list[tuple[str | None, int | None, datetime | None]],
    equal: str | None,
    bound: str,
    ranged: str,
    pick: int,
    order: str | None,
    descending: bool,
) -> None:
    """Against a list comprehension; strings order by their UTF-8 bytes, which is by code point."""

    async def compare() -> None:
        store = open_again()
        things = store.collection("things", ("word", "number"))
        while old := await things.find():
            for each in old:
                await things.delete(each.id)
        kept: list[Document] = []
        for each, (word, number, late) in enumerate(rows):
            given: dict[str, Any] = {"word": word, "number": number}
            fields = {name: value for name, value in given.items() if value is not None}
            kept.append(await things.save(Document(f"t{each}", fields=fields, due=late)))

        def value(document: Document, name: str) -> Any:
            return document.due if name == "due" else document.fields.get(name)

        edge = value(kept[pick % len(kept)], ranged) if kept else None
        question: dict[str, Any] = {"order": order, "descending": descending}
        expected = kept
        if equal is not None:
            question["equal"] = {"word": equal}
            expected = [each for each in expected if value(each, "word") == equal]
        if edge is not None:
            question[bound] = (ranged, edge)
            holds = {
                "above": lambda a: a > edge,
                "below": lambda a: a < edge,
                "up_to": lambda a: a <= edge,
            }[bound]
            expected = [each for each in expected if value(each, ranged) is not None and holds(value(each, ranged))]
        if order is not None:
            expected = [each for each in expected if value(each, order) is not None]
        expected = sorted(expected, key=lambda each: (value(each, order) if order else "", each.id), reverse=descending)
        assert await things.find(**question) == expected
        await store.close()

    asyncio.run(compare())


# --- life and death of a store ---


async def test_ping_and_close(store: Store) -> None:
    journeys = store.collection("journeys")
    saving = [asyncio.ensure_future(journeys.save(Document(f"k{each}"))) for each in range(20)]
    await store.ping()
    await asyncio.gather(*saving)
    await store.close()
    await store.close()
    for call in (store.ping(), journeys.get("k1"), journeys.save(Document("late")), journeys.find()):
        with pytest.raises(StoreUnavailable):
            await call


async def test_a_caller_who_gives_up_harms_nobody(store: Store) -> None:
    journeys = store.collection("journeys")
    saving = [asyncio.ensure_future(journeys.save(Document(f"k{each}"))) for each in range(20)]
    await asyncio.sleep(0)
    saving[3].cancel()
    results = await asyncio.gather(*saving, return_exceptions=True)
    assert isinstance(results[3], asyncio.CancelledError)
    assert [each for each, result in enumerate(results) if not isinstance(result, Document)] == [3]
    assert await journeys.count() in {19, 20}


def test_the_trouble_of_a_store_is_called_transient_or_not() -> None:
    assert StoreUnavailable.transient
    assert not VersionConflict.transient
    assert not FactsLost.transient
