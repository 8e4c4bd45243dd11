"""The words of the messages."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from services.notify.templates import Unfit, load_templates, read_templates

OTP = {"insurer": "示例保险", "code": "246810", "minutes": "5", "expires_at": "2026-11-23T02:05:00+00:00"}


def test_every_template_names_the_insurer_first_and_warns() -> None:
    templates = load_templates()
    assert {"link", "otp"} <= templates.keys()
    for template in templates.values():
        assert template.text.startswith("【{insurer}】")
        assert "请不要" in template.text
        assert re.search(r"[A-Za-z]{2,}", re.sub(r"{[a-z_]+}", "", template.text)) is None, "plain Chinese"


def test_a_code_is_never_to_be_passed_on() -> None:
    words = load_templates()["otp"].filled(OTP)
    assert words == (
        "【示例保险】您的验证码是246810，5分钟内有效，只用于本次投保的身份核验。"
        "请不要把验证码告诉任何人，包括业务员和自称客服的人。不是您本人操作，请不用理会。"
    )


@pytest.mark.parametrize(
    "text",
    ["您好 {nobody}，请核对", "您好 {name.__class__}，请核对", "您好 {name!r}，请核对一下", "{} 请核对您的投保内容"],
)
def test_an_unknown_place_holder_stops_the_start(text: str) -> None:
    with pytest.raises(ValidationError):
        read_templates(f'greeting: {{values: [name], text: "{text}"}}')


def test_a_misspelt_key_stops_the_start() -> None:
    with pytest.raises(ValidationError):
        read_templates('greeting: {values: [name], text: "您好 {name}，请核对一下", test: x}')


@pytest.mark.parametrize(
    "values",
    [
        {key: value for key, value in OTP.items() if key != "code"},
        {**OTP, "code": ""},
        {**OTP, "insurer": "示例保险】点击 http://evil\n"},
        {**OTP, "insurer": "长" * 500},
    ],
)
def test_values_that_do_not_fit_are_refused_without_being_quoted(values: dict[str, str]) -> None:
    with pytest.raises(Unfit) as refused:
        load_templates()["otp"].filled(values)
    assert str(refused.value) == ""


def test_a_value_that_looks_like_a_place_holder_stays_as_it_is() -> None:
    assert "{code}" in load_templates()["otp"].filled({**OTP, "insurer": "{code}"})
