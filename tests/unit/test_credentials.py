"""Tests of content credentials in output files."""

import io
import json

import numpy as np
import pytest
from c2pa import Reader
from PIL import Image

from tests.support.certificates import KEYS, make_signer
from worker.job.content_credentials import ContentCredentials
from worker.job.credentials import UnusableCredentials, open_credentials
from worker.job.encode import DIGITAL_SOURCE_TYPE, encode

FORMATS = ["png", "jpeg", "webp"]
PIXELS = {"png": b"IDAT", "jpeg": b"\xff\xda", "webp": b"VP8 "}
"""The bytes before the pixels in a file of each format."""


@pytest.fixture(scope="module")
def signer():
    return make_signer()


def a_file(kind):
    y, x = np.mgrid[0:64, 0:96]
    return encode(np.stack([x, y, x + y], axis=-1).astype(np.uint8), kind)


def manifest(data, kind):
    """Return the file's active manifest, and the whole report of c2pa."""
    with Reader(f"image/{kind}", io.BytesIO(data)) as reader:
        store = json.loads(reader.json())
    return store["manifests"][store["active_manifest"]], store


@pytest.mark.parametrize("kind", FORMATS)
def test_signed_file_names_model_as_source(signer, kind):
    """A signed file has a valid manifest that names a model as its source, and its pixels are unchanged."""
    before = a_file(kind)
    credentials = ContentCredentials(signer.certificates, signer.key)
    after = credentials.sign(before, f"image/{kind}")
    active, store = manifest(after, kind)
    (actions,) = [a for a in active["assertions"] if a["label"].startswith("c2pa.actions")]

    assert store["validation_state"] == "Valid"
    assert active["signature_info"]["issuer"] == "klein tests"
    assert actions["data"]["actions"][0]["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    unsigned, signed = (np.asarray(Image.open(io.BytesIO(data))) for data in (before, after))
    assert np.array_equal(unsigned, signed)


@pytest.mark.parametrize("kind", FORMATS)
def test_changed_file_is_invalid(signer, kind):
    """A file that is changed after signing is invalid."""
    credentials = ContentCredentials(signer.certificates, signer.key)
    data = bytearray(credentials.sign(a_file(kind), f"image/{kind}"))
    data[data.rindex(PIXELS[kind]) + 40] ^= 1

    _, store = manifest(bytes(data), kind)

    assert store["validation_state"] == "Invalid"


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_signs(kind):
    """The signature algorithm follows from the kind of key."""
    signer = make_signer(kind)
    credentials = ContentCredentials(signer.certificates, signer.key)
    active, store = manifest(credentials.sign(a_file("png"), "image/png"), "png")

    assert store["validation_state"] == "Valid"
    assert active["signature_info"]["alg"].lower() == kind


def test_without_settings_there_are_no_credentials():
    """Without the two settings there are no credentials."""
    assert open_credentials(None, None) is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda cert, key: (cert, None), "KLEIN_C2PA_KEY is not"),
        (lambda cert, key: (None, key), "KLEIN_C2PA_CERT is not"),
        (lambda cert, key: (cert.with_name("no.pem"), key), "KLEIN_C2PA_CERT: cannot read"),
        (lambda cert, key: (cert, key.with_name("no.key")), "KLEIN_C2PA_KEY: cannot read"),
        (lambda cert, key: (key, key), "KLEIN_C2PA_CERT is not a PEM file"),
        (lambda cert, key: (cert, cert), "KLEIN_C2PA_KEY is not a PEM file"),
    ],
)
def test_invalid_credential_files_are_named(signer, tmp_path, spoil, words):
    """A file that is not set, missing or no PEM is reported with the name of its setting."""
    with pytest.raises(UnusableCredentials, match=words):
        open_credentials(*spoil(*signer.write(tmp_path)))


def test_key_of_another_certificate_is_refused(signer):
    """A key that does not belong to the certificate is refused."""
    with pytest.raises(UnusableCredentials, match="not the key of"):
        ContentCredentials(signer.certificates, make_signer().key)


def test_expired_certificate_is_refused():
    """An expired certificate is refused at start."""
    expired = make_signer(days=-1)

    with pytest.raises(UnusableCredentials, match="KLEIN_C2PA_CERT"):
        ContentCredentials(expired.certificates, expired.key)
