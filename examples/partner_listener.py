"""A partner's program: hears of its own policies over NATS, in order, each until acknowledged.

    python examples/partner_listener.py --url nats://HOST:4222 --seed my.nk --channel harbour_motors [--once N]

Needs only `pip install nats-py[nkeys]`. The seed comes from the insurer. Each fact is printed as one line of JSON;
a fact may come again (after a crash between printing and acknowledging), so a real program stores ``ce-id`` and
skips what it has. Facts of one journey (``ce-subject``) come in the order of ``ce-sequence``; some numbers are left
out, because not every fact is for partners. ``GET /v1/events?after=`` gives the same facts over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from contextlib import suppress

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

STREAM = "PARTNER"
API_PREFIX = "feed.api"
"""Where the insurer's server answers for this account."""
BIND_AGAIN_AFTER = 50
"""Fetches. The server remembers something for each fetch until the subscription goes."""
FETCH_SECONDS = 20
BATCH = 32


def show(message: Msg) -> None:
    headers = message.headers or {}
    attributes = {name: value for name, value in headers.items() if name.startswith("ce-")}
    print(json.dumps({**attributes, "data": json.loads(message.data)}, ensure_ascii=False), flush=True)


async def listen(client: Client, channel: str, once: int | None) -> int:
    """Returns how many facts were acknowledged: ``once`` of them, or as many as came until cancelled."""
    js = client.jetstream(prefix=API_PREFIX, timeout=10)
    durable = f"partner-{channel}"
    heard = 0
    while once is None or heard < once:
        feed = await js.pull_subscribe_bind(consumer=durable, stream=STREAM)
        try:
            for _ in range(BIND_AGAIN_AFTER):
                if once is not None and heard >= once:
                    break
                with suppress(TimeoutError):  # nothing new (the driver raises its own kind or the plain one)
                    wanted = BATCH if once is None else min(BATCH, once - heard)
                    for message in await feed.fetch(wanted, timeout=FETCH_SECONDS):
                        show(message)
                        # Not ack(): that is fire and forget, and the last ones would be lost with the connection.
                        await message.ack_sync(timeout=10)
                        heard += 1
        finally:
            # Before closing, else drain waits half a minute for a fetch that never ends.
            await feed.unsubscribe()
    return heard


async def run(url: str, seed: str, channel: str, once: int | None) -> int:
    async def complain(error: Exception) -> None:
        print(f"bus: {error or type(error).__name__}", file=sys.stderr, flush=True)

    me = asyncio.current_task()
    assert me is not None
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, me.cancel)
    client = await nats.connect(
        url,
        name=f"partner {channel}",
        nkeys_seed=seed,
        ping_interval=15,
        max_reconnect_attempts=-1,
        error_cb=complain,
    )
    print(f"connected, listening for {channel}", file=sys.stderr, flush=True)
    try:
        await listen(client, channel, once)
    except asyncio.CancelledError:
        return 130
    finally:
        await client.drain()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Print this channel's facts as they come.")
    parser.add_argument("--url", default="nats://127.0.0.1:4222")
    parser.add_argument("--seed", required=True, help="file with the nkey seed")
    parser.add_argument("--channel", required=True, help="channel id")
    parser.add_argument("--once", type=int, default=None, metavar="N", help="stop after N facts")
    asked = parser.parse_args()
    return asyncio.run(run(asked.url, asked.seed, asked.channel, asked.once))


if __name__ == "__main__":
    sys.exit(main())
