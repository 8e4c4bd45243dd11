"""What counts as refused as it must be: a misdeed that got away with something must be seen to have."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import aiohttp
import pytest

from deploy.local.settings import ROOT
from deploy.simulator.api import Phone, Reply
from deploy.simulator.customer import Customer
from deploy.simulator.misdeeds import MISDEEDS, Scene
from deploy.simulator.parties import Parties
from deploy.simulator.proposals import person

PROBLEM = {"Content-Type": "application/problem+json"}
NO = Reply(409, PROBLEM, b'{"code": "not_signed"}')
SECRET = "13800138000"


@pytest.fixture
def scene() -> Scene:
    nowhere: Any = None
    http: aiohttp.ClientSession = nowhere
    chance = random.Random(1)
    phone = Phone(http, "http://x/j#01ARZ3NDEKTSV4RRFFQ69G5FAV.secret")
    customer = Customer(phone, person(chance), Parties(http, "", "", "", ""), chance)
    return Scene(nowhere, customer, {"product": "motor_compulsory"})


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"Content-Type": "application/json"}, b"{}"),
        Reply(409, PROBLEM, b'{"code": "already_signed"}'),
        Reply(400, PROBLEM, b'{"code": "not_signed"}'),
        Reply(500, PROBLEM, b'{"code": "internal"}'),
        Reply(409, {"Content-Type": "application/json"}, b'{"code": "not_signed"}'),
        Reply(409, PROBLEM, f'{{"code": "not_signed", "said": "{SECRET}"}}'.encode()),
        Reply(409, {**PROBLEM, "X-Said": SECRET}, b'{"code": "not_signed"}'),
        Reply(409, PROBLEM, json.dumps({"code": "not_signed", "said": "王小明某某某"}).encode()),
        Reply(409, PROBLEM, b"not JSON"),
    ],
)
async def test_what_is_not_refused_as_it_must_be_is_said_so(scene: Scene, reply: Reply) -> None:
    scene.refused("pays", reply, "409 not_signed", sent={"phone": SECRET, "name": "王小明某某某"})
    assert not scene.attempts[0].right


async def test_what_is_refused_as_it_must_be_is_right(scene: Scene) -> None:
    scene.refused("pays", NO, "403 other", "409 not_signed", sent={"phone": SECRET, "product": "motor_compulsory"})
    attempt = scene.attempts[0]
    assert attempt.right
    # What everybody knows of the journey is no secret of the request's.
    assert attempt.sent == {SECRET}
    assert attempt.journey_id == scene.journey_id
    assert str(attempt) == "pays: 409 not_signed"


def test_each_misdeed_says_what_it_does_and_when() -> None:
    assert len(MISDEEDS) > 50
    for name, misdeed in MISDEEDS.items():
        assert name == misdeed.name
        assert misdeed.sentence.endswith("."), name
        assert misdeed.step, name


def test_the_list_is_told_without_a_platform() -> None:
    command = [sys.executable, "-m", "deploy.simulator", "--misbehave", "list"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line for line in said.splitlines() if not line.startswith(" ")] == list(MISDEEDS)
