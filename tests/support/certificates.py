"""Certificates that can sign images: a root and a signer certificate below it, as C2PA requires."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEYS: dict[str, Callable[[], Any]] = {
    "es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ps256": lambda: rsa.generate_private_key(65537, 2048),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pem:
    certificates: bytes
    key: bytes

    def write(self, folder: Path) -> tuple[Path, Path]:
        paths = folder / "signer.pem", folder / "signer.key"
        for path, data in zip(paths, (self.certificates, self.key), strict=True):
            path.write_bytes(data)
        return paths


def make_signer(kind: str = "es256", *, days: int = 30) -> Pem:
    """Create a signing certificate that expires after `days`, its chain, and its key."""
    root_key, key = KEYS["es256"](), KEYS[kind]()
    root = _certificate("Test Root", root_key, "Test Root", root_key)
    signer = _certificate("klein test", key, "Test Root", root_key, days)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (signer, root))
    return Pem(certificates=chain, key=pem)


def _certificate(name, key, issuer, issuer_key, days=30):
    is_authority = name == issuer
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if not is_authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(issuer_key, SHA256())


def _name(common):
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "klein tests"),
        x509.NameAttribute(NameOID.COMMON_NAME, common),
    ])  # fmt: skip
