"""An image says what generated it, and is signed if the operator has a certificate."""

import io
import json
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest
from c2pa import Reader
from PIL import Image

from tests.support.api_client import fetch, run
from tests.support.klein_server import Klein
from worker.job.encode import DIGITAL_SOURCE_TYPE

BASE = "flux-2-klein-4b-base-text-to-image"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_image_metadata_names_ai_source(client: httpx.Client, kind: str) -> None:
    """The IPTC digital source type is in the XMP of each format."""
    with Image.open(io.BytesIO(fetch(run(client, output_format=kind)["output"]))) as image:
        described = image.getxmp()["xmpmeta"]["RDF"]["Description"]

    assert described["DigitalSourceType"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_image_has_valid_signature(varied_client: httpx.Client, kind: str) -> None:
    """With a certificate, c2pa's own reader accepts the signature of each format."""
    answer = run(varied_client, BASE, num_inference_steps=1, output_format=kind)
    with Reader(f"image/{kind}", io.BytesIO(fetch(answer["output"]))) as reader:
        store = json.loads(reader.json())

    assert store["validation_state"] == "Valid"
    assert store["manifests"][store["active_manifest"]]["signature_info"]["issuer"] == "klein tests"


def test_signing_key_stays_in_worker(varied_client: httpx.Client, varied_klein: Klein) -> None:
    """Neither the log nor the engine process has the key or its path."""
    run(varied_client, BASE, num_inference_steps=1)
    engine = varied_klein.part("engine")
    assert isinstance(engine, psutil.Process)
    path = Path(varied_klein.environ["KLEIN_C2PA_KEY"])
    secret = path.read_text().splitlines()[1]
    visible = " ".join([*varied_klein.log, *engine.cmdline(), *engine.environ().values()])

    assert secret not in visible
    assert path.name not in visible
