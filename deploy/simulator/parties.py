"""What the customer does outside the platform: reads an SMS, shows a face, pays. All at the stand-ins, by the
paths that exist only there.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from deploy.simulator.proposals import Person

INBOX_SECONDS = 20.0


@dataclass(frozen=True)
class Parties:
    """Addresses of the outside parties."""

    http: aiohttp.ClientSession
    wechat: str
    face: str
    sms: str
    app: str

    async def messages(self, phone: str) -> list[str]:
        """The texts on a phone, newest first."""
        async with self.http.get(f"{self.sms}/inbox.json", params={"phone": phone}) as answer:
            answer.raise_for_status()
            return [message["text"] for message in (await answer.json())["messages"]]

    async def await_message(self, phone: str, pattern: str) -> str:
        """The first group of ``pattern`` in the newest message that has it. Raises ``TimeoutError``."""
        async with asyncio.timeout(INBOX_SECONDS):
            while True:
                for text in await self.messages(phone):
                    if found := re.search(pattern, text):
                        return found.group(1)
                await asyncio.sleep(0.1)  # a person looks again

    async def show_face(self, redirect_url: str, outcome: str = "passed") -> None:
        """Opens the platform's page and does there what ``outcome`` says: passed, failed or cancelled."""
        async with self.http.get(redirect_url) as page:
            page.raise_for_status()
        session = urlsplit(redirect_url).path.rstrip("/").rpartition("/")[2]
        async with self.http.post(f"{self.face}/sandbox/face-sessions/{session}", json={"outcome": outcome}) as answer:
            answer.raise_for_status()

    async def pay(self, pay_url: str, payer: Person) -> dict[str, Any]:
        """Opens the channel's page and pays from ``payer``'s account: ``{result: paid | refused, …}``."""
        async with self.http.get(pay_url) as page:
            page.raise_for_status()
        prepay_id = parse_qs(urlsplit(pay_url).query)["prepay_id"][0]
        body = {"name": payer.name, "id_number": payer.id_number}
        async with self.http.post(f"{self.wechat}/sandbox/pay/{prepay_id}", json=body) as answer:
            if answer.status >= 500:  # below, it says why it refuses
                answer.raise_for_status()
            return await answer.json()

    async def use_app(self, url: str, *steps: str) -> None:
        """Opens the landing page of the insurer's app and goes as far as ``steps``."""
        async with self.http.get(url) as page:
            page.raise_for_status()
        token = parse_qs(urlsplit(url).query)["t"][0]
        for step in steps:
            async with self.http.post(f"{self.app}/sandbox/steps", json={"token": token, "step": step}) as answer:
                answer.raise_for_status()
