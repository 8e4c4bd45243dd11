"""Keys shared between the platform and its outside parties.

    python -m deploy.sandbox.credentials --into DIR

Makes what is missing and leaves what exists, so it may run at every start. Nothing here is for
production, where each party issues its own.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from deploy.sandbox.settings import SandboxSettings


def write_secret(path: Path, content: bytes) -> None:
    """Writes a file only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)


def write_public(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def pkcs8(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def serial_of(certificate: x509.Certificate) -> str:
    """Serial number as WeChat Pay writes it: 40 upper-case hex digits."""
    return f"{certificate.serial_number:040X}"


@dataclass(frozen=True)
class Credentials:
    """Where each key lies under the data directory."""

    root: Path

    @property
    def merchant_key(self) -> Path:
        return self.root / "keys" / "wechat-merchant.key.pem"

    @property
    def merchant_certificate(self) -> Path:
        return self.root / "certs" / "wechat-merchant.cert.pem"

    @property
    def api_v3_key(self) -> Path:
        return self.root / "keys" / "wechat-api-v3.key"

    @property
    def merchant_details(self) -> Path:
        return self.root / "certs" / "wechat-merchant.json"

    @property
    def platform_key(self) -> Path:
        """The channel's own key: no service may read it."""
        return self.root / "parties" / "wechat-platform.key.pem"

    @property
    def platform_certificate(self) -> Path:
        return self.root / "certs" / "wechat-platform.cert.pem"

    @property
    def face_key(self) -> Path:
        return self.root / "keys" / "face-platform.key"

    @property
    def sms_key(self) -> Path:
        return self.root / "keys" / "sms-provider.key"

    @property
    def authority_key(self) -> Path:
        return self.root / "keys" / "authority.key"

    @property
    def app_webhook_secret(self) -> Path:
        return self.root / "keys" / "insurer-app.whsec"


def _rsa_pair(key_path: Path, certificate_path: Path, common_name: str, now: datetime) -> x509.Certificate:
    if key_path.exists() and certificate_path.exists():
        return x509.load_pem_x509_certificate(certificate_path.read_bytes())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        # The top bit set keeps the serial at 40 hex digits, the length clients compare.
        .serial_number((1 << 158) | secrets.randbits(157))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=5 * 365))
        .sign(key, hashes.SHA256())
    )
    write_secret(key_path, pkcs8(key))
    write_public(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


def make_credentials(root: Path, settings: SandboxSettings, now: datetime) -> Credentials:
    """Makes what is missing under `root`; an existing key is never replaced."""
    credentials = Credentials(root)
    merchant = _rsa_pair(credentials.merchant_key, credentials.merchant_certificate, f"merchant {settings.mchid}", now)
    _rsa_pair(credentials.platform_key, credentials.platform_certificate, "payment channel stand-in", now)
    if not credentials.api_v3_key.exists():
        write_secret(credentials.api_v3_key, secrets.token_hex(16).encode())
    for path in (credentials.face_key, credentials.sms_key, credentials.authority_key):
        if not path.exists():
            write_secret(path, secrets.token_hex(32).encode())
    if not credentials.app_webhook_secret.exists():
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        write_secret(credentials.app_webhook_secret, secret.encode())
    details = {"mchid": settings.mchid, "appid": settings.appid, "serial_no": serial_of(merchant)}
    write_public(credentials.merchant_details, json.dumps(details, indent=2).encode() + b"\n")
    return credentials


def main() -> None:
    settings = SandboxSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=settings.data_dir, metavar="DIR")
    root: Path = parser.parse_args().into
    make_credentials(root, settings, datetime.now(UTC))
    print(f"keys for the outside parties are in {root}")


if __name__ == "__main__":
    main()
