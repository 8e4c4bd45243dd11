"""Writing the name at the page: taken, refused with its box, one box at a time, looked at by two people (I11)."""

from __future__ import annotations

import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from contracts.facts import signing as facts
from deploy.simulator.hand import another, writes
from tests.browser import axe, scaling
from tests.browser.buyer import Buyer
from tests.browser.conftest import NewBuyer
from tests.browser.forward import forwarded
from tests.browser.hand import write_name
from tests.browser.handset import SMALL
from tests.browser.pad import NAME, ONE_WRONG, SOMEBODY, Pad
from tests.journey.bicycles import bicycle
from tests.journey.whole import Whole

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(loop_scope="session")
async def pad(buyer: NewBuyer, whole: Whole) -> Pad:
    someone: Buyer = await buyer(name=NAME)
    await forwarded(whole, someone, "signature")
    await expect(someone.page.locator('canvas[data-box="0"]')).to_be_visible()
    return Pad(whole, someone)


async def test_a_name_written_well_passes_at_the_first_try(pad: Pad) -> None:
    await pad.write(NAME)
    await pad.submit()
    await expect(pad.step("payment")).to_be_visible()
    (signed,) = pad.facts("forms_signed")
    assert isinstance(signed, facts.FormsSigned)
    assert (signed.legibility, signed.review_no) == ("pass", None)
    assert pad.facts("ink_rejected") == []


async def test_the_one_wrong_box_is_named_and_written_again(pad: Pad) -> None:
    await pad.write(ONE_WRONG)
    await pad.submit()
    alert = pad.someone.alert("handwriting_unclear")
    await expect(alert).to_contain_text("第 2 格")
    await expect(pad.page.locator('[data-tab="1"]')).to_contain_text("请重写")
    await expect(pad.page.locator('canvas[data-box="1"]')).to_be_visible()
    await expect(pad.someone.button()).to_be_disabled()
    await pad.page.reload()
    await expect(alert).to_contain_text("第 2 格")
    await pad.write(NAME, range(1, 2))
    await expect(alert).to_have_count(0)
    await pad.submit()
    await expect(pad.step("payment")).to_be_visible()


async def test_after_three_tries_one_large_box_with_the_printed_character_beside_it(
    buyer: NewBuyer, whole: Whole
) -> None:
    someone: Buyer = await buyer(name=NAME, size=SMALL)
    await forwarded(whole, someone, "signature")
    pad = Pad(whole, someone)
    await expect(pad.page.locator('canvas[data-box="0"]')).to_be_visible()
    for _ in range(3):
        await expect(pad.page.locator("[data-sample]")).to_have_count(0)
        await pad.write(SOMEBODY)
        await pad.submit()
        await expect(someone.alert("handwriting_another_name")).to_be_visible()
    sample = pad.page.locator("[data-sample]:visible")
    await expect(sample).to_have_count(1)
    shown, box = await sample.bounding_box(), await pad.page.locator("canvas:visible").bounding_box()
    assert shown is not None
    assert box is not None
    beside = shown["x"] + shown["width"] <= box["x"] or shown["y"] + shown["height"] <= box["y"]
    assert beside, "a sample under the box would be traced"
    assert await axe.violations(pad.page) == []
    assert await scaling.losses(pad.page) == []
    await pad.write(NAME)
    await pad.submit()
    await expect(pad.step("payment")).to_be_visible()


async def test_two_people_look_and_the_page_goes_on_by_itself(pad: Pad) -> None:
    await pad.to_people()
    assert await axe.violations(pad.page) == []
    await expect(pad.page.get_by_text(re.compile("两位工作人员正在看"))).to_be_visible()
    await pad.page.reload()
    await expect(pad.step("review")).to_be_visible()
    await pad.decide("clerk")
    await expect(pad.step("review")).to_be_visible()
    await pad.decide("counsel")
    await expect(pad.step("payment")).to_be_visible()
    (signed,) = pad.facts("forms_signed")
    assert isinstance(signed, facts.FormsSigned)
    assert (signed.legibility, signed.review_no) == ("manual", 1)


async def test_not_legible_to_one_of_them_is_written_again(pad: Pad) -> None:
    await pad.to_people()
    await pad.decide("clerk", "handwriting_unclear")
    await expect(pad.step("signature")).to_be_visible()
    await expect(pad.someone.alert("handwriting_unclear")).to_be_visible()
    await expect(pad.page.locator("[data-sample]:visible")).to_have_count(1)
    await pad.write(NAME)
    await pad.submit()
    await expect(pad.step("payment")).to_be_visible()


async def test_a_declaration_is_copied_phrase_by_phrase_where_the_product_demands_it(
    buyer: NewBuyer, whole: Whole
) -> None:
    someone: Buyer = await buyer(name=NAME, size=SMALL, body=bicycle)
    customer = await forwarded(whole, someone, "signature")
    *before, last = (await customer.look())["signing"]["phrases"]
    for phrase in before:
        copy = {"phrase": phrase["sha256"], "handwriting": writes(phrase["text"], someone.chance)}
        await customer.phone.act("copy_phrase", copy)
    pad, text = Pad(whole, someone), last["text"]
    shown = pad.page.locator("[data-phrase]")
    await expect(shown).to_have_text(text)
    assert await axe.violations(pad.page) == []
    assert await scaling.losses(pad.page) == []
    await write_name(someone.held, text[:1] + another(text)[1:], someone.chance)
    await pad.submit()
    await expect(someone.alert("phrase_unclear")).to_contain_text("第 2 格")
    await expect(pad.page.locator('[data-tab="1"]')).to_contain_text("请重写")
    await expect(someone.button()).to_be_disabled()
    for box in range(1, len(text)):
        await pad.page.locator(f'[data-tab="{box}"]').click()
        await someone.button("clear").click()
        await write_name(someone.held, text, someone.chance, range(box, box + 1))
    await expect(someone.button()).to_have_text("写好了，去签名")
    await pad.submit()
    await expect(shown).to_have_count(0)
    await pad.write(NAME)
    await pad.submit()
    await expect(pad.step("payment")).to_be_visible()
    assert len(pad.facts("phrase_copied")) == len(before) + 1
    assert len(pad.facts("phrase_rejected")) == 1
