"""Attacks through images: hosts that never answer, and files that cost a lot to decode."""

import base64
import io
import itertools
from functools import cache

from PIL import Image

from tests.abuse.attacks.attack import Attack, Target
from tests.support.api_client import EDIT, order

SIDE = 3500  # px; as large as is decoded beside others
IMAGES = 4
_numbers = itertools.count()


@cache
def costly_jpeg(side: int = SIDE) -> bytes:
    """Return a progressive JPEG without its end marker, which is decoded three times."""
    file = io.BytesIO()
    noise = Image.effect_noise((512, 512), 60).resize((side, side), Image.Resampling.BILINEAR)
    noise.convert("CMYK").save(file, "JPEG", progressive=True, quality=50)
    return file.getvalue()


def uri_of(data: bytes) -> str:
    """Return an image as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _slow_urls(target: Target) -> None:
    """Name images of a host that never answers."""
    with target.client() as client:
        urls = [
            f"http://127.0.0.1:{port}/{next(_numbers)}" for port in target.silent_ports[:IMAGES]
        ]
        client.post("/v1/prediction", json=order(EDIT, image_urls=urls))


def _costly(target: Target) -> None:
    """Send images that take long to decode, each with another content."""
    with target.client() as client:
        data = costly_jpeg() + f"{next(_numbers)}".encode()
        client.post("/v1/prediction", json=order(EDIT, image_urls=[uri_of(data)]))


ATTACKS = (
    Attack(kind="slow URLs", run=_slow_urls, threads=40),
    Attack(kind="costly images", run=_costly),
)
