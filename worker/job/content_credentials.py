"""Signs image files with C2PA content credentials. Needs the packages of the extra `c2pa`."""

import io
import json

import numpy as np
from c2pa import Builder, C2paError, C2paSignerInfo, Context, Reader, Signer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from worker.job.credentials import UnusableCredentials
from worker.job.encode import DIGITAL_SOURCE_TYPE, SOFTWARE, encode

_CLAIM = json.dumps({
    "claim_generator_info": [{"name": "klein"}],
    "title": SOFTWARE,
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {
                "actions": [
                    {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE}
                ]
            },
        }
    ],
})  # fmt: skip
# a thumbnail of the image inside its own file has no use
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class ContentCredentials:
    """Signs files with one certificate. Not thread-safe."""

    def __init__(self, certificates: bytes, key: bytes) -> None:
        """Load a certificate with its chain, and its private key, in PEM. Raises UnusableCredentials."""
        algorithm = _algorithm_of(certificates, key)
        try:
            self._signer = Signer.from_info(C2paSignerInfo(algorithm, certificates, key, None))
        except (C2paError, ValueError) as exc:
            raise UnusableCredentials(f"KLEIN_C2PA_CERT cannot sign images: {exc}") from None
        self._context = Context.from_dict(_SETTINGS)
        self._verify_signature()

    def sign(self, data: bytes, media_type: str) -> bytes:
        """Return the file with a signed statement in it. Raises UnusableCredentials."""
        signed = io.BytesIO()
        try:
            with Builder(_CLAIM, context=self._context) as builder:
                builder.sign(self._signer, media_type, io.BytesIO(data), signed)
        except C2paError as exc:
            raise UnusableCredentials(f"KLEIN_C2PA_CERT cannot sign images: {exc}") from None
        return signed.getvalue()

    def _verify_signature(self) -> None:
        """Sign a small image and validate it, because signing succeeds with an expired certificate too."""
        signed = self.sign(encode(np.zeros((8, 8, 3), np.uint8), "png"), "image/png")
        with Reader("image/png", io.BytesIO(signed)) as reader:
            report = json.loads(reader.json())
        if report["validation_state"] not in {"Valid", "Trusted"}:
            reasons = {status["code"] for status in report.get("validation_status", ())}
            raise UnusableCredentials(
                f"KLEIN_C2PA_CERT signs, but the signature is not valid: {', '.join(sorted(reasons))}"
            )


def _algorithm_of(certificates: bytes, key: bytes) -> str:
    """Return the C2PA name of the algorithm. Raises UnusableCredentials if the key does not match."""
    try:
        chain = load_pem_x509_certificates(certificates)
    except ValueError:
        raise UnusableCredentials("KLEIN_C2PA_CERT is not a PEM file of certificates") from None
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableCredentials(
            "KLEIN_C2PA_KEY is not a PEM file of a private key without a password"
        ) from None
    if chain[0].public_key() != private.public_key():
        raise UnusableCredentials(
            "KLEIN_C2PA_KEY is not the key of the first certificate in KLEIN_C2PA_CERT"
        )
    return _name_algorithm(private)


def _name_algorithm(private: PrivateKeyTypes) -> str:
    match private:
        case ec.EllipticCurvePrivateKey() if private.curve.name in _CURVES:
            return _CURVES[private.curve.name]
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey():
            return "ps256"
    raise UnusableCredentials("KLEIN_C2PA_KEY is of a type that C2PA does not support; use ES256")
