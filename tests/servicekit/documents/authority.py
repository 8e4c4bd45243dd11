"""A throwaway certificate authority and timestamp authority for tests."""

from dataclasses import dataclass
from datetime import UTC, datetime

from asn1crypto import keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pyhanko.sign.timestamps import DummyTimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

from servicekit.documents.keys import HeldKey
from servicekit.documents.seal import SigningKey

BEGINS = datetime(2020, 1, 1, tzinfo=UTC)
ENDS = datetime(2060, 1, 1, tzinfo=UTC)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"), x509.NameAttribute(NameOID.COMMON_NAME, common)])


@dataclass(frozen=True)
class Authority:
    root: x509.Certificate
    signing_key_pem: bytes
    signing_chain_pem: bytes
    stamping_key: rsa.RSAPrivateKey
    stamping_certificate: x509.Certificate

    @property
    def root_der(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.DER)

    def signing_key(self) -> SigningKey:
        return SigningKey.load(HeldKey.read(self.signing_key_pem), self.signing_chain_pem)

    def stamper(self, at: datetime | None = None) -> DummyTimeStamper:
        der = self.stamping_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        store = SimpleCertificateStore()
        store.register(asn1_x509.Certificate.load(self.root_der))
        return DummyTimeStamper(
            asn1_x509.Certificate.load(self.stamping_certificate.public_bytes(serialization.Encoding.DER)),
            keys.PrivateKeyInfo.load(der),
            certs_to_embed=store,
            fixed_dt=at,
        )


def make_authority() -> Authority:
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = (
        _base("测试根证书", "测试根证书", root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        _base("示例财产保险股份有限公司", "测试根证书", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    stamping_key = rsa.generate_private_key(65537, 2048)
    stamping = (
        _base("测试时间戳", "测试根证书", stamping_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Authority(
        root,
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        leaf.public_bytes(pem) + root.public_bytes(pem),
        stamping_key,
        stamping,
    )


def _base(
    subject: str, issuer: str, public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINS)
        .not_valid_after(ENDS)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=not sign_certificates,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
