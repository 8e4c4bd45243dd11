"""What each process of the local run is told, by environment variables, as in production. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import SERVICES, Ports
from deploy.nats import generate

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Layout:
    """Where the files of one run lie."""

    folder: Path
    fonts: Path

    @property
    def nats(self) -> Path:
        return self.folder / "nats"

    @property
    def sandbox(self) -> Path:
        return self.folder / "sandbox"

    @property
    def mongodb(self) -> Path:
        return self.folder / "mongodb"

    @property
    def prometheus(self) -> Path:
        return self.folder / "prometheus"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def releases(self) -> Path:
        return self.folder / "releases"

    @property
    def credentials(self) -> Path:
        """Keys and passwords of channels, salespeople and staff, and what the gateway knows of them."""
        return self.folder / "credentials"

    def api_key(self, owner: str) -> Path:
        return self.credentials / "keys" / f"{owner}.key"

    def password(self, owner: str) -> Path:
        return self.credentials / "keys" / f"{owner}.password"

    @property
    def master_key(self) -> Path:
        return self.folder / "master.key"

    @property
    def simulator(self) -> Path:
        """What ``python -m deploy.simulator`` is told; names of files, no secrets."""
        return self.folder / "simulator.env"


@dataclass(frozen=True)
class Place:
    """Everything the environments are made from."""

    layout: Layout
    ports: Ports
    nats_url: str
    nats_seed: Path | None
    """The operators' on a bus of our own; on somebody else's, everybody's."""
    store: str
    mongodb_uri: str
    release: str
    log_level: str = "INFO"
    channels: tuple[str, ...] = ()
    """Channels that metrics know by name."""
    own_nats: bool = True

    @property
    def gateway_url(self) -> str:
        return f"http://{HOST}:{self.ports.gateway}"

    def party_url(self, party: str) -> str:
        """Base URL of a stand-in: wechat, face, sms, authority, app."""
        return f"http://{HOST}:{getattr(self.ports, f'sandbox_{party}')}"

    def seed_of(self, process: str) -> Path | None:
        """Of the bus's user a service or the gateway is."""
        return generate.process_seed(self.layout.nats, process) if self.own_nats else self.nats_seed

    @property
    def prometheus_url(self) -> str:
        return f"http://{HOST}:{self.ports.prometheus}"

    @property
    def timestamp_url(self) -> str:
        return f"{self.party_url('authority')}/sandbox/tsa/tsa"


def shared(place: Place) -> dict[str, str]:
    """What services and gateway have in common."""
    layout = place.layout
    return {
        "TOUBAO_NATS_URL": place.nats_url,
        "TOUBAO_STORE": place.store,
        "TOUBAO_MONGODB_URI": place.mongodb_uri,
        "TOUBAO_DATA_DIR": str(layout.folder / "data"),
        "TOUBAO_BLOBS_DIR": str(layout.folder / "blobs"),
        "TOUBAO_VAULT_KEYS_DIR": str(layout.folder / "vault"),
        "TOUBAO_MASTER_KEY_FILE": str(layout.master_key),
        "TOUBAO_RELEASES_DIR": str(layout.releases),
        "TOUBAO_FONTS_DIR": str(layout.fonts),
        "TOUBAO_LOG_LEVEL": place.log_level,
        "TOUBAO_TRACES_FILE": str(layout.folder / "traces.jsonl"),
        "TOUBAO_SANDBOXED": "true",
        "PYTHONUNBUFFERED": "1",
    }


def of_service(place: Place, service: str) -> dict[str, str]:
    seed = place.seed_of(service)
    return {
        **shared(place),
        **({} if seed is None else {"TOUBAO_NATS_SEED_FILE": str(seed)}),
        "TOUBAO_OPS_PORT": str(place.ports.ops_of(service)),
        **_own(place).get(service, {}),
    }


def of_sandbox(place: Place) -> dict[str, str]:
    told = {
        "TOUBAO_SANDBOX_DATA_DIR": str(place.layout.sandbox),
        "TOUBAO_SANDBOX_APP_CALLBACK_URL": f"{place.gateway_url}/v1/callbacks/app",
        "PYTHONUNBUFFERED": "1",
    }
    for party in ("wechat", "face", "sms", "authority", "app"):
        told[f"TOUBAO_SANDBOX_{party.upper()}_PORT"] = str(getattr(place.ports, f"sandbox_{party}"))
    return told


STAFF = {"clerk": "service,客服小林", "auditor": "audit,稽核老周", "counsel": "legal,法务小陈"}
"""Staff of the local run, with their roles and names."""


def salesperson_of(channel: str) -> str:
    """The one salesperson a channel has in the local run, as they sign in."""
    return f"{channel}_sales"


def who_may(channels: Mapping[str, str]) -> list[str]:
    """What ``gateway.credentials`` is asked to make: an account for everybody; ``channels`` are names by id."""
    asked: list[str] = []
    for number, (channel, name) in enumerate(channels.items(), 1):
        asked += ["--channel", f"{channel}={name}"]
        details = f"业务员{number:02},DEMO-{number:04},1390000{number:04}"
        asked += ["--salesperson", f"{channel}/{salesperson_of(channel)}={details}"]
    for member, role in STAFF.items():
        asked += ["--staff", f"{member}={role}"]
    return asked


def of_simulator(place: Place, channel: str, other: str | None = None) -> dict[str, str]:
    """What somebody outside is told: where the gateway and the outside parties are, and the keys they hold; the key
    of an ``other`` channel too for who misbehaves.
    """
    return {
        **({} if other is None else {"TOUBAO_SIMULATOR_OTHER_CHANNEL_KEY_FILE": str(place.layout.api_key(other))}),
        "TOUBAO_SIMULATOR_GATEWAY_URL": place.gateway_url,
        "TOUBAO_SIMULATOR_CHANNEL_KEY_FILE": str(place.layout.api_key(channel)),
        "TOUBAO_SIMULATOR_STAFF_KEY_FILE": str(place.layout.api_key("counsel")),
        "TOUBAO_SIMULATOR_STAFF": "counsel",
        "TOUBAO_SIMULATOR_STAFF_PASSWORD_FILE": str(place.layout.password("counsel")),
        "TOUBAO_SIMULATOR_SALESPERSON": salesperson_of(channel),
        "TOUBAO_SIMULATOR_SALESPERSON_PASSWORD_FILE": str(place.layout.password(salesperson_of(channel))),
        **{
            f"TOUBAO_SIMULATOR_{party.upper()}_URL": place.party_url(party)
            for party in ("wechat", "face", "sms", "app")
        },
    }


def _own(place: Place) -> dict[str, dict[str, str]]:
    """Settings of single processes. Only what they declare: they refuse to start on a name they don't know."""
    keys, certificates, trust = (place.layout.sandbox / part for part in ("keys", "certs", "trust"))
    return {
        "proposal": {
            "TOUBAO_PROPOSAL_RELEASE": place.release,
            "TOUBAO_PROPOSAL_PUBLIC_URL": place.gateway_url,
        },
        "identity": {
            "TOUBAO_IDENTITY_PUBLIC_URL": place.gateway_url,
            "TOUBAO_IDENTITY_PLATFORM_URL": place.party_url("face"),
            "TOUBAO_IDENTITY_PLATFORM_KEY_FILE": str(keys / "face-platform.key"),
        },
        "signing": {
            "TOUBAO_SIGNING_KEY": str(keys / "application.key.pem"),
            "TOUBAO_SIGNING_CHAIN_FILE": str(certificates / "application.chain.pem"),
            "TOUBAO_SIGNING_TSA_URL": place.timestamp_url,
            "TOUBAO_SIGNING_TSA_CHAIN_FILE": str(trust / "tsa-chain.pem"),
            "TOUBAO_SIGNING_CA_URL": place.party_url("authority"),
            "TOUBAO_SIGNING_CA_KEY_FILE": str(keys / "authority.key"),
        },
        "evidence": {
            "TOUBAO_EVIDENCE_KEY_FILE": str(keys / "evidence.key.pem"),
            "TOUBAO_EVIDENCE_CERTIFICATE_FILE": str(certificates / "evidence.chain.pem"),
            "TOUBAO_EVIDENCE_TSA_URLS": json.dumps([place.timestamp_url]),
            "TOUBAO_EVIDENCE_TSA_ROOTS_FILE": str(trust / "tsa-root.pem"),
            "TOUBAO_EVIDENCE_CHANNELS": json.dumps(place.channels),
        },
        "payment": {
            "TOUBAO_PAYMENT_WECHAT_URL": place.party_url("wechat"),
            "TOUBAO_PAYMENT_WECHAT_NOTIFY_URL": f"{place.gateway_url}/v1/callbacks/wechat",
            "TOUBAO_PAYMENT_WECHAT_MERCHANT_FILE": str(certificates / "wechat-merchant.json"),
            "TOUBAO_PAYMENT_WECHAT_KEY_FILE": str(keys / "wechat-merchant.key.pem"),
            "TOUBAO_PAYMENT_WECHAT_API_V3_KEY_FILE": str(keys / "wechat-api-v3.key"),
        },
        "notify": {
            "TOUBAO_NOTIFY_SMS_URL": place.party_url("sms"),
            "TOUBAO_NOTIFY_SMS_KEY_FILE": str(keys / "sms-provider.key"),
        },
        "issuance": {
            "TOUBAO_ISSUANCE_SEAL_KEY": str(keys / "seal.key.pem"),
            "TOUBAO_ISSUANCE_SEAL_CHAIN_FILE": str(certificates / "seal.chain.pem"),
            "TOUBAO_ISSUANCE_TSA_URL": place.timestamp_url,
            "TOUBAO_ISSUANCE_VERIFY_URL": f"{place.gateway_url}/verify",
        },
        "appdownload": {
            "TOUBAO_APPDOWNLOAD_LANDING_URL": f"{place.party_url('app')}/app",
        },
        "gateway": {
            "TOUBAO_GATEWAY_HOST": HOST,
            "TOUBAO_GATEWAY_PORT": str(place.ports.gateway),
            "TOUBAO_GATEWAY_PUBLIC_URL": place.gateway_url,
            "TOUBAO_GATEWAY_CHANNELS_FILE": str(place.layout.credentials / "channels.yaml"),
            "TOUBAO_GATEWAY_STAFF_FILE": str(place.layout.credentials / "staff.yaml"),
            "TOUBAO_GATEWAY_APP_SECRET_FILE": str(keys / "insurer-app.whsec"),
        },
    }


def all_of(place: Place) -> dict[str, dict[str, str]]:
    """By process name."""
    return {
        "sandbox": of_sandbox(place),
        **{service: of_service(place, service) for service in (*SERVICES, "gateway")},
    }
