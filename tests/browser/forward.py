"""Brings somebody to a page deep in the journey without every page before it.

The simulated customer goes there over the HTTP API; then its key, its session and the link move into the browser, where
the pages keep theirs. Everything the server knows is as if it had been done at the pages.
"""

from __future__ import annotations

import base64
from typing import Any

from deploy.simulator.api import Phone
from deploy.simulator.customer import Customer, Habits
from tests.browser.buyer import Buyer
from tests.journey.whole import Whole

_KEEP = """
async ({journey, secret, token, jwk}) => {
  const kind = {name: "ECDSA", namedCurve: "P-256"};
  const {d, ...known} = jwk;
  const keys = {
    privateKey: await crypto.subtle.importKey("jwk", jwk, kind, false, ["sign"]),
    publicKey: await crypto.subtle.importKey("jwk", known, kind, true, ["verify"]),
  };
  const opening = indexedDB.open("keyval-store");
  opening.onupgradeneeded = () => opening.result.createObjectStore("keyval");
  await new Promise((done, failed) => { opening.onsuccess = done; opening.onerror = failed; });
  const writing = opening.result.transaction("keyval", "readwrite");
  writing.objectStore("keyval").put({journey, keys, jwk: known, secret, token}, `journey-${journey}`);
  writing.objectStore("keyval").put(journey, "last-journey");
  await new Promise((done, failed) => { writing.oncomplete = done; writing.onerror = failed; });
  opening.result.close();
}
"""


async def forwarded(whole: Whole, buyer: Buyer, step: str) -> Customer:
    """``buyer`` at the page of ``step``. The simulated customer who went there may go on acting with the same key."""
    phone = Phone(whole.http, buyer.link)
    habits = Habits(path="face" if buyer.path == "face" else "bank_card", take_extra=buyer.take_extra)
    customer = Customer(phone, buyer.person, buyer.parties, buyer.chance, habits)
    await customer.until(step)
    await hand_over(buyer, phone)
    return customer


async def hand_over(buyer: Buyer, phone: Phone) -> None:
    """The phone's key and session into the browser, which then shows the journey."""
    session = phone.session
    kept: dict[str, Any] = {
        "journey": session.journey_id,
        "secret": session.link_secret,
        "token": session.token,
        "jwk": {**phone.device.jwk, "d": _private(phone)},
    }
    await buyer.page.goto(f"{phone.base}/j")
    await buyer.page.evaluate(_KEEP, kept)
    await buyer.page.goto(f"{phone.base}/verify")
    await buyer.page.goto(f"{phone.base}/j#{session.journey_id}")


def _private(phone: Phone) -> str:
    number = phone.device._key.private_numbers().private_value
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
