"""Every port of the local run, from one place.

``TOUBAO_PORT_BASE`` moves them all together; with 0 each is one that is free at the moment.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

BASE = 17300
"""Nobody's by custom, below the range from which systems hand out ports to clients."""

SERVICES = (
    "proposal",
    "identity",
    "disclosure",
    "signing",
    "payment",
    "issuance",
    "evidence",
    "nps",
    "appdownload",
    "notify",
)


@dataclass(frozen=True)
class Ports:
    gateway: int
    nats: int
    nats_monitor: int
    mongodb: int
    sandbox_wechat: int
    sandbox_face: int
    sandbox_sms: int
    sandbox_authority: int
    sandbox_app: int
    gateway_ops: int
    prometheus: int
    services_ops: tuple[int, ...]

    @classmethod
    def pick(cls, base: int = BASE) -> Self:
        """Ports from ``base`` on, in the order of the fields; free ones if it is 0."""
        count = len(fields(cls)) - 1 + len(SERVICES)
        numbers: Iterator[int] = iter(range(base, base + count) if base else free_ports(count))
        single = {field.name: next(numbers) for field in fields(cls) if field.name != "services_ops"}
        return cls(**single, services_ops=tuple(numbers))

    def ops_of(self, service: str) -> int:
        """Where ``/metrics``, ``/healthz`` and ``/readyz`` of a service are."""
        return self.gateway_ops if service == "gateway" else self.services_ops[SERVICES.index(service)]

    def all(self) -> dict[str, int]:
        """By what they are for."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "services_ops"}
        return named | {f"{name}_ops": port for name, port in zip(SERVICES, self.services_ops, strict=True)}


def free_ports(count: int) -> list[int]:
    """Free at the moment; held together while picking, so that none is picked twice."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def free_port() -> int:
    return free_ports(1)[0]


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
