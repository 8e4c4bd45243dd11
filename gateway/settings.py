"""What the gateway is told, ``TOUBAO_GATEWAY_…``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from servicekit.settings import Settings


class GatewaySettings(Settings):
    service: ClassVar[str] = "gateway"

    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    gateway_public_url: Annotated[str, Field(pattern=r"^https?://[^/]+$")] = "http://127.0.0.1:8080"
    """As phones see it, without a path: proofs are made over it."""
    gateway_channels_file: Path | None = None
    """Channels and the hashes of their API keys (see ``gateway.credentials``); none: no channel may submit."""
    gateway_staff_file: Path | None = None
    """Staff, their roles and the hashes of their keys."""
    gateway_app_secret_file: Path | None = None
    """Standard Webhooks secret (``whsec_…``) shared with the insurer's app; none: its reports are refused."""
    gateway_trusted_proxies: tuple[str, ...] = ()
    """Addresses whose ``X-Forwarded-For`` is believed; none by default, so that nobody chooses their own address."""
    gateway_limits_scale: Annotated[float, Field(gt=0)] = 1.0
    """Multiplies every rate limit of ``gateway.limits``: for load tests, or many phones behind one address."""
    gateway_hotline: str = "955XX"
    gateway_hotline_hours: str = "每天 8:00–22:00"
    gateway_stream_seconds: Annotated[float, Field(gt=0, le=3600)] = 600.0
    """Life of one event stream; the page opens the next."""
    gateway_body_seconds: Annotated[float, Field(gt=0)] = 15.0
    """How long a request's head may take to arrive, and then its body."""
    gateway_stop_seconds: Annotated[int, Field(ge=1, le=30)] = 3
    """How long open requests may still take when the process stops."""
