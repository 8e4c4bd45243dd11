"""The customer's acts over HTTP."""

from __future__ import annotations

from contracts.commands.identity import OpenSession, SessionToken
from contracts.values import sha256_hex
from tests.gateway.doorway import Doorway


async def test_an_act_is_sealed_as_it_came_and_sent_on(at: Doorway) -> None:
    journey_id = await at.journey()
    at.play(
        OpenSession,
        lambda _: SessionToken(session_token="t" * 43, attempt=1, absolute_limit=at.clock()),
    )
    body = b'{ "link_secret" : "0123456789abcdef0123456789abcdef" }'

    got = await at.act(
        journey_id, "open-session", body, token=None, key="a-key-of-mine", headers={"Journey-Heads": "proposal=2"}
    )

    assert (got.status, got.json["session_token"]) == (200, "t" * 43)
    assert got.headers["journey-heads"] == "identity=7,proposal=2"
    assert got.headers["dpop-nonce"] == "nonce"
    (act,) = at.heard(OpenSession)
    assert act.command_id == "a-key-of-mine"
    assert act.after == {"proposal": 2}
    assert act.session is None
    assert act.proof.url == f"{at.base}/v1/journeys/{journey_id}/open-session"
    assert await at.under.vault.open(journey_id, act.body) == body
    assert sha256_hex(body)
