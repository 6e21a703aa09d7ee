"""What is drawn: sizes, seeds, numbers and formats, over the processes as shipped."""

import io

import httpx
import pytest
from PIL import Image

from tests.support.api_client import TEXT, create, decibels, fetch, get, pixels, run


def test_a_prompt_becomes_a_picture(client: httpx.Client) -> None:
    """Create, long-poll and download give a picture of the size that was asked for."""
    body = {"model": TEXT, "input": {"prompt": "a red circle", "image_size": "square"}}
    created = client.post("/v1/prediction", json=body).json()

    ended = client.get(f"/v1/prediction/{created['predictionID']}?wait=30").json()
    picture = httpx.get(ended["output"], trust_env=False)

    assert ended["status"] == "success"
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (512, 512)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("square_hd", (1024, 1024)),
        ("square", (512, 512)),
        ("portrait_4_3", (768, 1024)),
        ("portrait_16_9", (576, 1024)),
        ("landscape_4_3", (1024, 768)),
        ("landscape_16_9", (1024, 576)),
        (None, (1024, 768)),
        ({"width": 80, "height": 208}, (80, 208)),
    ],
)
def test_a_size_is_kept_to_the_pixel(
    client: httpx.Client, size: object, expected: tuple[int, int]
) -> None:
    """Every named size, the default and a pair of numbers give the promised pixels, and cost by them."""
    ended = run(client, image_size=size, num_inference_steps=1)

    width, height = expected
    shown = get(client, ended["predictionID"])
    assert pixels(ended["output"]).shape == (height, width, 3)
    assert shown["metrics"]["cost"] == pytest.approx(width * height / 1e9, abs=1e-6)
    assert shown["metrics"]["predict_time"] > 0


def test_several_images_are_those_of_the_next_seeds(client: httpx.Client) -> None:
    """Picture k of seed s is the single picture of seed s + k, and no two are the same."""
    several = run(client, num_images=2, seed=40)["output"]
    singles = [run(client, seed=40 + k)["output"] for k in range(2)]

    assert [decibels(*pair) >= 40 for pair in zip(several, singles, strict=True)] == [True, True]
    assert fetch(several[0]) != fetch(several[1])


def test_the_same_request_gives_the_same_bytes(client: httpx.Client) -> None:
    """Twice the same seed is twice the same file; another seed is another one."""
    one, same, other = (fetch(run(client, seed=seed)["output"]) for seed in (5, 5, 6))

    assert one == same
    assert one != other


def test_the_largest_seeds_draw_several(client: httpx.Client) -> None:
    """The largest and smallest seed can be asked for two images."""
    for seed in (2**63 - 1, -(2**63), -1):
        assert len(run(client, seed=seed, num_images=2)["output"]) == 2


def test_a_drawn_seed_is_shown_and_reproduces(client: httpx.Client) -> None:
    """Without a seed one is drawn, shown in the input, and gives the same picture again."""
    first = run(client)
    seed = get(client, first["predictionID"])["input"]["seed"]

    again = run(client, seed=seed)

    assert fetch(first["output"]) == fetch(again["output"])


@pytest.mark.parametrize(
    ("output_format", "suffix", "media_type"),
    [("png", ".png", "image/png"), ("jpeg", ".jpg", "image/jpeg"), ("webp", ".webp", "image/webp")],
)
def test_a_format_is_kept(
    client: httpx.Client, output_format: str, suffix: str, media_type: str
) -> None:
    """The file, the URL's ending and the content type are those of output_format."""
    url = run(client, output_format=output_format)["output"]

    picture = httpx.get(url, trust_env=False)

    assert httpx.URL(url).path.endswith(suffix)
    assert picture.headers["content-type"] == media_type
    assert Image.open(io.BytesIO(picture.content)).format == output_format.upper()


def test_quality_makes_smaller_files(client: httpx.Client) -> None:
    """A JPEG of quality 10 is smaller than one of quality 95."""
    small, large = (
        fetch(run(client, output_format="jpeg", output_quality=quality, seed=1)["output"])
        for quality in (10, 95)
    )

    assert len(small) < len(large)


def test_sync_mode_gives_data_uris(client: httpx.Client) -> None:
    """Under sync_mode run and get give the file itself, one as a string and two as a list."""
    url = run(client, seed=9)["output"]
    one = run(client, seed=9, sync_mode=True)
    two = run(client, sync_mode=True, num_images=2, output_format="webp")["output"]

    assert one["output"].startswith("data:image/png;base64,")
    assert fetch(one["output"]) == fetch(url)
    assert get(client, one["predictionID"])["output"] == one["output"]
    assert [uri[:23] for uri in two] == ["data:image/webp;base64,"] * 2


def test_the_record_is_shown_whole(client: httpx.Client) -> None:
    """A get shows what was sent, both ids, where to go on, and nothing of an end before there is one."""
    prediction_id = create(client, num_inference_steps=50, seed=3, unknown="kept")

    shown = get(client, prediction_id)
    ended = get(client, prediction_id, wait=30)

    assert (shown["id"], shown["predictionID"]) == (prediction_id, prediction_id)
    assert shown["input"]["prompt"] == "a red circle"
    assert shown["input"]["unknown"] == "kept"
    assert (shown["output"], shown["logs"]) == (None, None)
    assert shown["metrics"] == {"predict_time": 0, "cost": 0}
    assert shown["urls"]["cancel"] == shown["urls"]["get"] + "/cancel"
    assert client.get(shown["urls"]["get"]).json() == ended
    assert "error" not in ended


def test_urls_name_the_host_that_was_asked(client: httpx.Client) -> None:
    """The URLs in an answer begin with the host that the request named, whatever the server's own is."""
    prediction_id = run(client)["predictionID"]

    shown = client.get(f"/v1/prediction/{prediction_id}", headers={"Host": "klein.test:81"}).json()

    assert shown["output"].startswith("http://klein.test:81/files/")
    assert shown["urls"]["get"] == f"http://klein.test:81/v1/prediction/{prediction_id}"
