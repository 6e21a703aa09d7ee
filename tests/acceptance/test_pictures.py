"""A prediction, end to end, over the processes as shipped."""

import io

import httpx
from PIL import Image

SLUG = "flux-2-klein-4b-text-to-image"


def test_a_prompt_becomes_a_picture(client: httpx.Client) -> None:
    """Create, long-poll and download give a picture of the size that was asked for."""
    body = {"model": SLUG, "input": {"prompt": "a red circle", "image_size": "square"}}
    created = client.post("/v1/prediction", json=body).json()

    ended = client.get(f"/v1/prediction/{created['predictionID']}?wait=30").json()
    picture = httpx.get(ended["output"], trust_env=False)

    assert ended["status"] == "success"
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (512, 512)
