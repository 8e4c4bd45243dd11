"""Makes the streams, and the durables of our own processes and of each partner, as they must be; can be run again at
any time.

    python -m deploy.nats.provision --url URL --seed FILE [--partners FILE] [--prune]

Whatever was made is read back and compared with the wish: nats-server drops silently what it doesn't know.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import nats
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from contracts.subjects import PARTNER, STREAMS, Stream, partner_facts_of
from deploy.nats import rights
from deploy.nats.partners import PARTNERS_FILE, Partner, durable, read
from servicekit.bus import consumer_config

STREAM_WISHES = ("subjects", "retention", "storage", "max_age", "duplicate_window", "discard",
                 "discard_new_per_subject", "max_msgs_per_subject", "num_replicas")  # fmt: skip
DURABLE_WISHES = ("durable_name", "filter_subject", "deliver_policy", "ack_policy", "ack_wait", "max_deliver",
                  "max_ack_pending", "max_waiting")  # fmt: skip


class NotAsWished(RuntimeError):
    """The server has something otherwise than it was asked to; the message names both."""


def stream_config(stream: Stream, replicas: int = 1) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        num_replicas=replicas,
        max_age=stream.max_age.total_seconds() if stream.max_age else 0,
        duplicate_window=stream.duplicate_window.total_seconds(),
        discard=DiscardPolicy.NEW if stream.one_per_subject else DiscardPolicy.OLD,
        discard_new_per_subject=stream.one_per_subject,
        max_msgs_per_subject=1 if stream.one_per_subject else -1,
        allow_direct=True,
    )


def durables(partners: Iterable[Partner]) -> list[ConsumerConfig]:
    """One durable a partner, on stream PARTNER, seeing its own channel's facts only."""
    return [
        ConsumerConfig(
            durable_name=durable(partner.channel_id),
            filter_subject=partner_facts_of(partner.channel_id),
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=30,
            # A policy a partner has not acknowledged is offered again until it is: only its own queue waits.
            max_deliver=-1,
            max_ack_pending=256,
            # How many of its programs may wait at once; each costs the server something.
            max_waiting=16,
        )
        for partner in partners
    ]


async def provision(
    url: str,
    seed_file: Path | None,
    partners: Sequence[Partner],
    *,
    replicas: int = 1,
    prune: bool = False,
) -> list[str]:
    """Raises ``NotAsWished``. Returns the durables of partners who aren't listed any more: with ``prune`` they
    have been deleted, and with them how far each partner had read.
    """
    options = {"nkeys_seed": str(seed_file)} if seed_file else {}
    client = await nats.connect(url, name="provision", connect_timeout=5, max_reconnect_attempts=3, **options)
    try:
        js = client.jetstream(timeout=10)
        for stream in STREAMS:
            await _stream(js, stream_config(stream, replicas))
        for process in rights.PROCESSES:
            for own in rights.durables(process):
                await _durable(js, own.stream.name, consumer_config(own.name, own.filter_subject))
        wishes = durables(partners)
        for wish in wishes:
            await _durable(js, PARTNER.name, wish)
        wished = {wish.durable_name for wish in wishes}
        there = {info.name for info in await _all_consumers(js)}
        left = sorted(name for name in there if name.startswith(durable("")) and name not in wished)
        if prune:
            for name in left:
                await js.delete_consumer(PARTNER.name, name)
        return left
    finally:
        await client.close()


async def _stream(js: JetStreamContext, wish: StreamConfig) -> None:
    assert wish.name
    try:
        await js.stream_info(wish.name)
    except nats.js.errors.NotFoundError:
        await js.add_stream(wish)
    else:
        await js.update_stream(wish)
    _compare(f"stream {wish.name}", STREAM_WISHES, wish, (await js.stream_info(wish.name)).config)


async def _durable(js: JetStreamContext, stream: str, wish: ConsumerConfig) -> None:
    assert wish.durable_name
    # On 2.9 a durable is updated by creating it anew; what cannot be changed is refused aloud.
    await js.add_consumer(stream, replace(wish))
    info = await js.consumer_info(stream, wish.durable_name)
    _compare(f"consumer {wish.durable_name}", DURABLE_WISHES, wish, info.config)


async def _all_consumers(js: JetStreamContext) -> list:
    found: list = []
    while page := await js.consumers_info(PARTNER.name, offset=len(found)):
        found += page
    return found


def _compare(what: str, fields: Iterable[str], wish: object, is_: object) -> None:
    for field in fields:
        wanted, got = getattr(wish, field), getattr(is_, field)
        if wanted is not None and wanted != got:
            raise NotAsWished(f"{what}: {field} is {got!r}, asked for {wanted!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make streams and partners' durables as they must be.")
    parser.add_argument("--url", default="nats://127.0.0.1:4222")
    parser.add_argument("--seed", type=Path, default=None, help="seed of the services' user")
    parser.add_argument("--partners", type=Path, default=PARTNERS_FILE)
    parser.add_argument("--replicas", type=int, default=1, help="3 on a cluster")
    parser.add_argument("--prune", action="store_true", help="delete durables of partners not listed any more")
    asked = parser.parse_args()
    partners = read(asked.partners)
    left = asyncio.run(provision(asked.url, asked.seed, partners, replicas=asked.replicas, prune=asked.prune))
    print(f"streams: {', '.join(s.name for s in STREAMS)}; durables: {', '.join(p.durable for p in partners)}")
    for name in left:
        print(f"{name}: {'deleted' if asked.prune else 'no such partner any more (--prune deletes it)'}")


if __name__ == "__main__":
    main()
