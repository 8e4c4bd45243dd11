"""The face platform's page in a browser: with a camera, and without one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.handset import chromium_started, handset
from tests.deploy.sandbox.callers import Signed
from tests.deploy.sandbox.test_face_platform import opened, result

PICTURE = {
    "name": "me.png",
    "mimeType": "image/png",
    "buffer": bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
        "0000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
    ),
}
NO_CAMERA = """navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotAllowedError"))"""


@pytest.mark.parametrize("camera", [True, False])
async def test_no_picture_leaves_the_page_and_the_check_passes(face: Signed, camera: bool) -> None:
    back = f"{face.base}/healthz?back"
    session: dict[str, Any] = await opened(face, return_url=back)
    async with chromium_started() as chromium, handset(chromium, [face.base]) as held:
        sent: list[str] = []
        held.context.on("request", lambda request: sent.append(f"{request.method} {request.post_data or ''}"))
        if not camera:
            await held.page.add_init_script(NO_CAMERA)
        await held.page.goto(session["redirect_url"])
        await held.page.get_by_role("button", name="打开摄像头").click()
        if not camera:
            await expect(held.page.get_by_role("status")).to_contain_text("您没有允许使用摄像头")
            await held.page.get_by_label("用手机相机拍照").set_input_files([PICTURE])  # pyright: ignore[reportArgumentType]
            await expect(held.page.get_by_alt_text("刚才拍的照片")).to_be_visible()
        await held.page.get_by_role("button", name="开始核验").click()
        await held.page.wait_for_url(f"{back}**")
    assert [each for each in sent if each.startswith("POST")] == ["POST outcome=passed"]
    assert (await result(face, session))["status"] == "passed"
