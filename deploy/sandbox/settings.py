"""Settings of the stand-ins, read from `TOUBAO_SANDBOX_…`; one place for every port and path."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Party(StrEnum):
    """An outside party; the value is its path prefix when all share one port."""

    WECHAT = "wechat"
    FACE = "face"
    SMS = "sms"
    AUTHORITY = "authority"
    APP = "app"


# What the real channel does when nobody answers (seconds between attempts, 24 h 4 min in all).
WECHAT_PRODUCTION_SCHEDULE = (
    15.0, 15.0, 30.0, 180.0, 600.0, 1200.0, 1800.0, 1800.0, 1800.0, 3600.0,
    10800.0, 10800.0, 10800.0, 21600.0, 21600.0,
)  # fmt: skip

Port = Annotated[int, Field(ge=0, le=65535)]


class SandboxSettings(BaseSettings):
    """Port 0 takes a free port. With `port` set, the parties share it under `/wechat`, `/face`, …"""

    model_config = SettingsConfigDict(env_prefix="TOUBAO_SANDBOX_", extra="ignore")

    host: str = "127.0.0.1"
    data_dir: Path = Path("var/sandbox")
    port: Port | None = None
    wechat_port: Port = 9101
    face_port: Port = 9102
    sms_port: Port = 9103
    authority_port: Port = 9104
    app_port: Port = 9105

    # How others reach a party; derived from host and port when empty.
    wechat_public_url: str = ""
    face_public_url: str = ""
    sms_public_url: str = ""
    authority_public_url: str = ""
    app_public_url: str = ""

    mchid: str = "1900000001"
    appid: str = "wx8888888888888888"
    merchant_name: str = "中安财产保险"
    wechat_notify_schedule: tuple[float, ...] = (1, 1, 2, 5, 10, 20, 30, 60, 60)
    wechat_refund_seconds: Annotated[float, Field(ge=0)] = 0.5
    face_result_seconds: Annotated[float, Field(gt=0)] = 900
    app_callback_url: str = ""
    app_callback_schedule: tuple[float, ...] = (1, 2, 5, 10, 30)
    client_id: str = "toubao"

    def port_of(self, party: Party) -> int:
        return int(getattr(self, f"{party}_port"))

    def public_url(self, party: Party, bound_port: int) -> str:
        """Base URL of a party, without a trailing slash."""
        configured: str = getattr(self, f"{party}_public_url")
        if configured:
            return configured.rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104 - compared, not bound
        prefix = f"/{party}" if self.port is not None else ""
        return f"http://{host}:{bound_port}{prefix}"
