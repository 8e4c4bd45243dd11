"""The terms lock, the customer's choice and the intake, by example and by property."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.facts.proposal import Party, ProductTerms, terms_lock
from contracts.problems import Refuse
from contracts.values import Committed
from deploy.simulator.proposals import person, proposal
from products import Release
from services.proposal import rules
from tests.purchase import published

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return published(tmp_path_factory.mktemp("releases"))


def committed(seed: int) -> Committed:
    return Committed(commitment=f"{seed:064x}", blob=f"{seed:064x}")


def party(seed: int) -> Party:
    return Party(
        name=committed(seed),
        id_type="id_card",
        id_number=committed(seed + 1),
        phone=committed(seed + 2),
        address=committed(seed + 3),
    )


def body(**changes: Any) -> dict[str, Any]:
    return {**proposal(person(random.Random(1)), NOW, random.Random(1)), **changes}


def terms(release: Release, product: str = "motor_commercial") -> ProductTerms:
    submitted = rules.Submitted.model_validate_json(json.dumps(body()))
    part = next(p for p in submitted.products if p.product == product)
    subject = {key: committed(100 + i) for i, key in enumerate(submitted.subject)}
    fields = {key: committed(200 + i) for i, key in enumerate(part.fields)}
    return rules.terms_of(release.products[product], part, party(1), party(11), subject, fields)


def test_I18_the_lock_changes_with_every_single_thing_it_covers(release: Release) -> None:
    base = terms(release)
    subject = {"vin": committed(50), "seats": committed(51)}

    def lock(
        holder: Party | None = None,
        insured: Party | None = None,
        about: dict[str, Committed] | None = None,
        **changes: Any,
    ) -> str:
        return terms_lock(holder or party(1), insured or party(11), about or subject, base.model_copy(update=changes))

    cover = base.covers[0]
    same = lock()
    changed = {
        "policyholder": lock(holder=party(2)),
        "id type": lock(holder=party(1).model_copy(update={"id_type": "passport"})),
        "insured": lock(insured=party(12)),
        "no insured": terms_lock(party(1), None, subject, base),
        "subject": lock(about={**subject, "vin": committed(52)}),
        "one field less": lock(about={"vin": committed(50)}),
        "product": lock(product="another"),
        "version": lock(product_version="2027.1"),
        "a cover's sum": lock(covers=(cover.model_copy(update={"sum_fen": 1}), *base.covers[1:])),
        "a cover's premium": lock(covers=(cover.model_copy(update={"premium_fen": 1}), *base.covers[1:])),
        "a cover less": lock(covers=base.covers[1:]),
        "premium": lock(premium_fen=base.premium_fen + 1),
        "period begins": lock(period_from=NOW),
        "period ends": lock(period_to=NOW),
        "own fields": lock(fields={"passenger_seats": committed(999)}),
    }
    assert len({same, *changed.values()}) == len(changed) + 1
    assert same == lock(lock="f" * 64), "and with nothing else"


def test_I6_documents_and_points_are_the_products_own(release: Release) -> None:
    made = terms(release)
    assert {document.product for document in made.documents} == {"motor_commercial"}
    assert {"clauses", "exclusions"} <= {document.document for document in made.documents}
    product = release.products["motor_commercial"]
    bought = {cover.cover for cover in made.covers}
    for point in product.deadly_points:
        assert (point.code in made.points) == (not point.covers or bool(bought & set(point.covers)))


@pytest.mark.parametrize("word", ["selected", "chosen", "checked", "auto_renewal"])
def test_I4_a_proposal_that_ticks_something_beforehand_is_refused(release: Release, word: str) -> None:
    ticked = body()
    ticked["products"][2][word] = True
    with pytest.raises(Refuse) as refusal:
        rules.check_submitted(release, ticked, NOW)
    assert refusal.value.code == "preselected"


def test_the_policyholders_phone_is_not_the_salespersons(release: Release) -> None:
    shared = body()
    shared["salesperson"]["phone"] = shared["policyholder"]["phone"]
    faults = rules.check_submitted(release, shared, NOW)
    assert [(fault.pointer, fault.code) for fault in faults] == [("/policyholder/phone", "phone_of_salesperson")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_no_proposal_whatever_breaks_the_check(release: Release, data: st.DataObject) -> None:
    wrong = body()
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(wrong)))
        wrong[key] = data.draw(JSON)
    with suppress(Refuse):
        for fault in rules.check_submitted(release, wrong, NOW):
            assert fault.pointer == "" or fault.pointer.startswith("/")


def test_a_proposal_number_is_no_policy_number() -> None:
    number = rules.proposal_no("01JDCPZ0000000000000000001", NOW.date())
    assert number.startswith("TB20261123")
    assert len(number) != 22
