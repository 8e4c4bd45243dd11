"""A disk that takes no further byte, and a store somebody else has locked.

The disk: ``RLIMIT_FSIZE`` is set to nothing on the running process, which takes no right and no mount. What it
simulates: every write to every file fails at once, files keep what they have; the error is EFBIG where a full disk says
ENOSPC. A disk really full is tried in exhaustive/test_full_disk.py, where mounting one is allowed.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import partial
from typing import ClassVar

from contracts.facts.payment import PaymentConfirmed
from tests.faults.platform import AtSteps, Breakable


class DiskAndLocks:
    writes_at: ClassVar[dict[str, str]] = {"consents": "gateway", "signature": "evidence", "payment": "payment"}
    """A step, and a process without whose writing it cannot be done. The gateway's is the sealed body of each act."""

    async def test_a_full_disk_or_a_locked_store_keeps_the_step_open_and_nothing_is_lost(
        self, world: Breakable
    ) -> None:
        customer = await world.customer(extra=False)

        async def full(name: str) -> None:
            with full_disk(world, *keepers(world, name)):
                refusal = await world.refused_at(customer)
                assert refusal.status == 503, (name, refusal)

        async def locked(service: str) -> None:
            with locked_store(world, service):
                refusal = await world.refused_at(customer)
                assert (refusal.status, refusal.code) == (503, "unavailable")

        steps = {step: partial(full, name) for step, name in self.writes_at.items()}
        at = AtSteps(customer, {**steps, "needs": partial(locked, "disclosure")})
        await world.persevere(customer)
        assert not at.left
        world.fair(customer)
        await world.unharmed(customer)

    async def test_a_payment_nobody_can_write_down_is_told_again(self, world: Breakable) -> None:
        """The disks of payment, then of issuance, are full when the money comes: a notification that is not stored is
        not taken (I33).
        """
        customer = await world.customer(extra=False)
        journey = customer.passage.journey_id
        await world.persevere(customer, "payment")
        await customer.consent("payment_authorisation")
        order = await customer.order(await customer.look())
        with full_disk(world, *keepers(world, "payment")):
            assert (await customer.pay(order["pay_url"]))["result"] == "paid"
            told = await world.notified(journey)
            assert {each["answer"] for each in told} == {"503"}
            assert (await customer.look())["place"]["step"] == "payment"
            assert not any(isinstance(f, PaymentConfirmed) for _, f in await world.facts(journey))
        with full_disk(world, "issuance"):
            await world.until_fact(journey, PaymentConfirmed)
            view = await customer.look()
            assert view["issuance"] is None or view["issuance"]["state"] != "issued"
        await world.persevere(customer)
        world.fair(customer)
        await world.unharmed(customer)


def keepers(world: Breakable, name: str) -> tuple[str, ...]:
    """A process, and the server that keeps its documents where there is one."""
    return (name, "mongodb") if world.whole.run.store == "mongodb" else (name,)


@contextmanager
def full_disk(world: Breakable, *names: str) -> Generator[None]:
    pids = [world.whole.run.process(name).pid for name in names]
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@contextmanager
def locked_store(world: Breakable, service: str) -> Generator[None]:
    """Another process begins to write the service's file and does not come to an end; a server that keeps documents
    stands still.
    """
    if world.whole.run.store == "mongodb":
        pid = world.whole.run.process("mongodb").pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
        return
    with closing(
        sqlite3.connect(world.settings_of(service).data_dir / f"{service}.sqlite", isolation_level=None)
    ) as it:
        it.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            it.execute("ROLLBACK")
