"""The SMS provider and its inbox."""

from __future__ import annotations

from deploy.sandbox.settings import Party
from tests.deploy.sandbox.callers import Clock, Signed, Start

MESSAGE = {"message_id": "m1", "phone": "13900001234", "text": "验证码 012345，<b>勿告诉他人</b>"}


async def inbox(sms: Signed, phone: str = "13900001234") -> list[dict[str, str]]:
    async with sms.session.get(f"{sms.base}/inbox.json", params={"phone": phone}) as answer:
        return (await answer.json())["messages"]


async def test_a_message_sent_again_arrives_once(sms: Signed) -> None:
    first = await sms.call("POST", "/v1/messages", MESSAGE)
    again = await sms.call("POST", "/v1/messages", MESSAGE)
    assert first == again
    assert first[0] == 202
    [message] = await inbox(sms)
    assert message["text"] == MESSAGE["text"]
    assert await inbox(sms, "13900009999") == []


async def test_an_id_used_for_another_message_is_refused(sms: Signed) -> None:
    await sms.call("POST", "/v1/messages", MESSAGE)
    for change in ({"text": "别的"}, {"phone": "13900005678"}):
        status, answer = await sms.call("POST", "/v1/messages", MESSAGE | change)
        assert (status, answer["code"]) == (409, "message_id_used")
    assert len(await inbox(sms)) == 1


async def test_unsigned_and_tampered_messages_are_refused(sms: Signed) -> None:
    status, _ = await sms.call("POST", "/v1/messages", MESSAGE, sent=b"{}")
    assert status == 401
    async with sms.session.post(f"{sms.base}/v1/messages", json=MESSAGE) as answer:
        assert answer.status == 401
    assert await inbox(sms) == []


async def test_what_is_no_mobile_number_is_refused(sms: Signed) -> None:
    for phone in ("12345678901", "1390000123", "１3900001234"):
        status, answer = await sms.call("POST", "/v1/messages", MESSAGE | {"phone": phone})
        assert (status, answer["code"]) == (422, "not_a_mobile_number")


async def test_the_inbox_page_shows_newest_first_with_links_and_escapes_the_rest(sms: Signed) -> None:
    await sms.call("POST", "/v1/messages", MESSAGE)
    link = "http://127.0.0.1:8000/j/abc?x=1&y=2"
    text = f"请打开 {link}，完成投保。"
    await sms.call("POST", "/v1/messages", MESSAGE | {"message_id": "m2", "text": text})
    async with sms.session.get(f"{sms.base}/inbox") as page:
        shown = await page.text()
    assert 'href="http://127.0.0.1:8000/j/abc?x=1&amp;y=2"' in shown
    assert "<b>勿" not in shown
    assert shown.index("完成投保") < shown.index("012345")
    assert 'http-equiv="refresh"' in shown
    assert "script" not in shown


async def test_messages_outlive_a_restart(sms: Signed, start: Start, clock: Clock) -> None:
    await sms.call("POST", "/v1/messages", MESSAGE)
    async with start() as again:
        assert len(await inbox(Signed(sms.session, again.urls[Party.SMS], sms.key, clock))) == 1
