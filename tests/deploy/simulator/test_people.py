"""Simulated people and their handwriting are plausible, and the same again from the same seed."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from deploy.sandbox.people import card_number_is_sound, id_number_is_sound, name_matches, phone_is_sound
from deploy.simulator.customer import Customer
from deploy.simulator.hand import BOX, writes
from deploy.simulator.proposals import person, proposal

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(30))
def test_a_person_is_known_to_the_register_and_the_bank(seed: int) -> None:
    who = person(random.Random(seed))
    assert id_number_is_sound(who.id_number)
    assert card_number_is_sound(who.card_number)
    assert phone_is_sound(who.phone)
    assert name_matches(who.name, who.id_number)
    assert who == person(random.Random(seed))
    assert writes(who.name, random.Random(seed))["boxes"]


def test_no_name_is_written_twice_alike_and_each_as_a_finger_would() -> None:
    chance = random.Random(3)
    first, second = writes("欧阳静怡", chance), writes("欧阳静怡", chance)
    assert first != second
    assert len(first["boxes"]) == 4
    for box in first["boxes"]:
        for stroke in box["strokes"]:
            times = [point["t"] for point in stroke]
            assert times == sorted(times)
            assert all(-20 <= point["x"] <= BOX + 20 and -20 <= point["y"] <= BOX + 20 for point in stroke)


def test_a_character_the_hand_has_not_learnt_is_named() -> None:
    with pytest.raises(KeyError, match="龘"):
        writes("龘", random.Random(1))


def test_a_proposal_offers_the_extra_beside_motor_and_ticks_nothing() -> None:
    who = person(random.Random(1))
    offered = [p["product"] for p in proposal(who, NOW, random.Random(1))["products"]]
    assert offered == ["motor_compulsory", "motor_commercial", "driver_passenger_accident"]
    assert "driver_passenger_accident" not in str(proposal(who, NOW, random.Random(1), extra=False))


def test_the_customer_knows_every_page_the_server_may_send_them_to() -> None:
    """Except those where there is nothing to do by oneself."""
    from gateway.steps import Step

    without = {Step.SURVEY, Step.APP, Step.ENDED}
    for step in set(Step) - without:
        assert hasattr(Customer, f"_at_{step.value}"), step
