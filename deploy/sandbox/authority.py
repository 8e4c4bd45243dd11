"""The certificate authority and timestamp authority: certomancer, with its files made at set-up.

    python -m deploy.sandbox.authority --into DIR [--public-url URL]

Two roots that know nothing of each other: the authority that certifies the insurer and, through another
issuer, persons for one act (`event_certificates.py`); and the timestamp authority.
Certificates are issued once and served from files, because a certificate signed anew at each start (ECDSA is
randomised) would no longer be the one named inside earlier signatures and timestamps.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from asn1crypto import pem
from certomancer.integrations.aiohttp_animator import build_animator_app
from certomancer.registry import ArchLabel, CertLabel, CertomancerConfig
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.sandbox.credentials import write_public, write_secret
from deploy.sandbox.settings import Party, SandboxSettings

ARCHITECTURE = "sandbox"
INSURER = "中安财产保险股份有限公司"

_ROOTS = ("root", "tsa-root")
# Keys held by the authority itself.
_AUTHORITY = ("root", "interm", "interm-ocsp", "person", "person-ocsp", "tsa-root", "tsa-ocsp", "tsa")
# Keys held by the platform's services; the authority sees only their public halves.
SUBSCRIBERS = ("seal", "application", "evidence")

_ENTITIES = {
    "root": ("示范电子认证服务有限公司", "示范根证书"),
    "interm": ("示范电子认证服务有限公司", "示范企业签名证书签发机构"),
    "interm-ocsp": ("示范电子认证服务有限公司", "示范证书状态查询"),
    "person": ("示范电子认证服务有限公司", "示范个人事件证书签发机构"),
    "person-ocsp": ("示范电子认证服务有限公司", "示范事件证书状态查询"),
    "tsa-root": ("示范时间戳服务中心", "示范时间戳根证书"),
    "tsa-ocsp": ("示范时间戳服务中心", "示范时间戳证书状态查询"),
    "tsa": ("示范时间戳服务中心", "示范时间戳签发"),
    "seal": (INSURER, f"{INSURER}电子保单专用章"),
    "application": (INSURER, f"{INSURER}投保签署"),
    "evidence": (INSURER, f"{INSURER}可回溯存证"),
}


def timestamp_url(public_url: str) -> str:
    """Where the RFC 3161 service answers."""
    return f"{public_url}/{ARCHITECTURE}/tsa/tsa"


def certificate_file(root: Path, label: str) -> Path:
    return root / "authority" / "certs" / f"{label}.cert.pem"


def key_file(root: Path, label: str) -> Path:
    """A key the authority itself holds."""
    return root / "authority" / "keys" / f"{label}.key.pem"


def certificate(root: Path, label: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate_file(root, label).read_bytes())


def private_key(root: Path, label: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(key_file(root, label).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _usage(*bits: str) -> dict[str, Any]:
    return {
        "id": "key_usage",
        "critical": True,
        "smart-value": {"schema": "key-usage", "params": list(bits)},
    }


def _revocation(crl: str, ocsp: str | None, issuer_repo: str) -> list[dict[str, Any]]:
    aia: dict[str, Any] = {"ca-issuer-links": [{"repo": issuer_repo}]}
    if ocsp:
        aia["ocsp-responder-names"] = [ocsp]
    return [
        {
            "id": "crl_distribution_points",
            "smart-value": {"schema": "crl-dist-url", "params": {"crl-repo-names": [crl]}},
        },
        {"id": "authority_information_access", "smart-value": {"schema": "aia-urls", "params": aia}},
    ]


def _certificates(now: datetime) -> dict[str, dict[str, Any]]:
    def spec(issuer: str, years: int, *extensions: dict[str, Any]) -> dict[str, Any]:
        return {
            "issuer": issuer,
            # Random, so that a re-issued certificate never shares a serial with its predecessor.
            "serial": secrets.randbits(120) | 1 << 120,
            "validity": {
                "valid-from": (now - timedelta(days=1)).isoformat(),
                "valid-to": (now + timedelta(days=365 * years)).isoformat(),
            },
            "extensions": list(extensions),
        }

    ca = {"id": "basic_constraints", "critical": True, "value": {"ca": True}}
    issuing_ca = {
        "id": "basic_constraints",
        "critical": True,
        "value": {"ca": True, "path-len-constraint": 0},
    }
    ca_usage = _usage("key_cert_sign", "crl_sign")
    signer_usage = _usage("digital_signature", "non_repudiation")
    ocsp_only = {"id": "extended_key_usage", "critical": True, "value": ["ocsp_signing"]}
    # RFC 3161 §2.3: exactly this purpose, and critical.
    timestamps_only = {"id": "extended_key_usage", "critical": True, "value": ["time_stamping"]}
    no_check = {"id": "ocsp_no_check"}
    of_interm = _revocation("interm", "interm", "interm")
    of_tsa_root = _revocation("tsa-root", "tsa-root", "tsa-root")
    return {
        "root": spec("root", 20, ca, ca_usage),
        "interm": spec("root", 15, issuing_ca, ca_usage, *_revocation("root", None, "root")),
        "interm-ocsp": spec("interm", 10, _usage("digital_signature"), ocsp_only, no_check),
        "person": spec("root", 15, issuing_ca, ca_usage, *_revocation("root", None, "root")),
        "person-ocsp": spec("person", 10, _usage("digital_signature"), ocsp_only, no_check),
        "seal": spec("interm", 3, signer_usage, *of_interm),
        "application": spec("interm", 3, signer_usage, *of_interm),
        "evidence": spec("interm", 3, signer_usage, *of_interm),
        "tsa-root": spec("tsa-root", 20, ca, ca_usage),
        "tsa-ocsp": spec("tsa-root", 10, _usage("digital_signature"), ocsp_only, no_check),
        "tsa": spec("tsa-root", 12, _usage("digital_signature", "non_repudiation"), timestamps_only, *of_tsa_root),
    }


def _configuration(public_url: str, certificates: dict[str, dict[str, Any]], issued: Collection[str]) -> dict[str, Any]:
    """certomancer's configuration; labels in `issued` are served from their files."""
    certificates = {
        label: spec | ({"certificate-file": f"certs/{label}.cert.pem"} if label in issued else {})
        for label, spec in certificates.items()
    }
    keys: dict[str, dict[str, Any]] = {label: {"path": f"{label}.key.pem"} for label in _AUTHORITY}
    keys |= {label: {"path": f"{label}.pub.pem", "public-only": True} for label in SUBSCRIBERS}
    return {
        "external-url-prefix": public_url,
        "keysets": {ARCHITECTURE: {"path-prefix": "keys", "keys": keys}},
        "pki-architectures": {
            ARCHITECTURE: {
                "keyset": ARCHITECTURE,
                "entity-defaults": {"country-name": "CN"},
                "entities": {
                    label: {"organization-name": organisation, "common-name": name}
                    for label, (organisation, name) in _ENTITIES.items()
                },
                "certs": certificates,
                "services": {
                    "ocsp": {
                        "interm": {"for-issuer": "interm", "responder-cert": "interm-ocsp"},
                        "tsa-root": {"for-issuer": "tsa-root", "responder-cert": "tsa-ocsp"},
                    },
                    "crl-repo": {
                        "root": {"for-issuer": "root", "simulated-update-schedule": "P90D"},
                        "interm": {"for-issuer": "interm", "simulated-update-schedule": "P30D"},
                        "tsa-root": {"for-issuer": "tsa-root", "simulated-update-schedule": "P30D"},
                    },
                    "cert-repo": {
                        label: {"for-issuer": label, "publish-issued-certs": True}
                        for label in ("root", "interm", "tsa-root")
                    },
                    "time-stamping": {"tsa": {"signing-cert": "tsa"}},
                },
            }
        },
    }


def _make_key(private: Path, public: Path | None) -> None:
    if not private.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        write_secret(
            private,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
    if public is not None:
        loaded = serialization.load_pem_private_key(private.read_bytes(), password=None)
        write_public(
            public,
            loaded.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        )


def configuration_file(root: Path) -> Path:
    """Written last: it exists only when everything it names does."""
    return root / "authority" / "certomancer.yml"


def is_made(root: Path, public_url: str | None = None) -> bool:
    """Whether the files exist, and (given a URL) carry that URL for status and CRLs."""
    path = configuration_file(root)
    if not path.exists():
        return False
    made = yaml.safe_load(path.read_text())
    if set(made["pki-architectures"][ARCHITECTURE]["certs"]) != {*_AUTHORITY, *SUBSCRIBERS}:
        return False
    return public_url is None or made["external-url-prefix"] == public_url


def make_authority(root: Path, public_url: str, now: datetime) -> None:
    """Makes keys and certificates that are missing under `root`.

    Keys and roots are never replaced, so earlier signatures stay verifiable. When `public_url` differs
    from the one the certificates carry, all but the roots are issued again for the same keys.
    """
    if is_made(root, public_url):
        return
    home = root / "authority"
    for label in _AUTHORITY:
        _make_key(key_file(root, label), None)
    for label in SUBSCRIBERS:
        _make_key(root / "keys" / f"{label}.key.pem", home / "keys" / f"{label}.pub.pem")
    kept = tuple(label for label in _ROOTS if certificate_file(root, label).exists())
    certificates = _certificates(now)
    config = CertomancerConfig(
        _configuration(public_url, certificates, kept), key_search_dir=str(home), config_search_dir=str(home)
    )
    architecture = config.get_pki_arch(ArchLabel(ARCHITECTURE))
    issued: dict[str, bytes] = {}
    for label in (*_AUTHORITY, *SUBSCRIBERS):
        issued[label] = pem.armor("CERTIFICATE", architecture.get_cert(CertLabel(label)).dump())
        write_public(certificate_file(root, label), issued[label])
    insurer_chain = issued["interm"] + issued["root"]
    for label in SUBSCRIBERS:
        write_public(root / "certs" / f"{label}.cert.pem", issued[label])
        write_public(root / "certs" / f"{label}.chain.pem", issued[label] + insurer_chain)
    trust = root / "trust"
    write_public(trust / "insurer-root.pem", issued["root"])
    write_public(trust / "insurer-chain.pem", insurer_chain)
    write_public(trust / "tsa-root.pem", issued["tsa-root"])
    write_public(trust / "tsa-chain.pem", issued["tsa"] + issued["tsa-root"])
    final = _configuration(public_url, certificates, issued)
    write_public(configuration_file(root), yaml.safe_dump(final, allow_unicode=True).encode())


@web.middleware
async def _malformed_is_refused(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValueError as error:
        # asn1crypto's answer to bytes that are no such request.
        raise web.HTTPBadRequest(text="malformed request") from error


def build_app(root: Path, more: Iterable[web.RouteDef] = ()) -> web.Application:
    """TSA, CRL and certificate repository, and `more` that is answered otherwise. Without certomancer's pages, which
    hand out private keys, and without its header that sets the clock, which would let anyone backdate a timestamp.
    """
    config = CertomancerConfig.from_file(str(configuration_file(root)))
    app = build_animator_app(config.pki_archs, with_web_ui=False, allow_time_override=False)
    app.add_routes(more)
    app.middlewares.append(_malformed_is_refused)
    return app


def main() -> None:
    settings = SandboxSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=settings.data_dir, metavar="DIR")
    parser.add_argument("--public-url", help="base URL written into certificates for OCSP and CRL")
    arguments = parser.parse_args()
    port = settings.authority_port if settings.port is None else settings.port
    if not arguments.public_url and not settings.authority_public_url and port == 0:
        parser.error("a free port has no URL yet: give --public-url")
    public_url = arguments.public_url or settings.public_url(Party.AUTHORITY, port)
    make_authority(arguments.into, public_url.rstrip("/"), datetime.now(UTC))
    print(f"certificates are in {arguments.into}; timestamps at {timestamp_url(public_url.rstrip('/'))}")


if __name__ == "__main__":
    main()
