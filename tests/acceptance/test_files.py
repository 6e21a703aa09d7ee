"""Image files at their URLs: no key is needed, the signature is the permission."""

import httpx
import pytest

from tests.support.api_client import fetch, run


@pytest.fixture
def url(client: httpx.Client) -> str:
    return str(run(client)["output"])


@pytest.fixture
def anybody():
    """A client without a key."""
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.mark.parametrize("sent", ["{}", "W/{}", '"other", {}', "*"])
def test_etag_gives_304(anybody: httpx.Client, url: str, sent: str) -> None:
    """A request that names the ETag of a file, in any form of If-None-Match, gets a 304 without a body."""
    etag = anybody.get(url).headers["etag"]

    again = anybody.get(url, headers={"If-None-Match": sent.format(etag)})
    other = anybody.get(url, headers={"If-None-Match": '"other"'})

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert other.status_code == 200


def test_range_request(anybody: httpx.Client, url: str) -> None:
    """A Range request gets a 206 with those bytes, and a 416 in JSON beyond the end."""
    part = anybody.get(url, headers={"Range": "bytes=2-9"})
    beyond = anybody.get(url, headers={"Range": "bytes=99999999-"})

    size = len(fetch(url))
    assert (part.status_code, part.content) == (206, fetch(url)[2:10])
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert beyond.json()["error"] == "range not satisfiable"


@pytest.mark.parametrize(
    "text", ["bytes=a-b", "bytes=9-1", "bytes=", "lines=0-1", "bytes", f"bytes={'9' * 5000}-"]
)
def test_range_without_meaning_is_ignored(anybody: httpx.Client, url: str, text: str) -> None:
    """A Range that is not one of bytes gets the whole file, as RFC 9110 asks."""
    whole = anybody.get(url, headers={"Range": text})

    assert (whole.status_code, whole.content) == (200, fetch(url))


def test_many_ranges_send_at_most_whole_file(anybody: httpx.Client, url: str) -> None:
    """Thousands of overlapping ranges in one header send no more than the whole file, and break nothing."""
    flood = "bytes=" + ",".join(f"{k % 7}-" for k in range(9000))
    answer = anybody.get(url, headers={"Range": flood})

    assert answer.status_code in {200, 206}
    assert len(answer.content) <= 2 * len(fetch(url))


def test_head_request(anybody: httpx.Client, url: str) -> None:
    """HEAD returns the length and type of the file and no body. A Range has no meaning there."""
    head = anybody.head(url, headers={"Range": "bytes=0-9"})

    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(fetch(url))
    assert head.headers["content-type"] == "image/png"


def test_file_headers_forbid_execution(anybody: httpx.Client, url: str) -> None:
    """The headers of a file tell browsers not to guess its type and not to run anything."""
    headers = anybody.get(url).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("signature=", "signature=0"),
        ("expires=", "expires=9"),
        ("/files/", "/files/../files/"),
        ("/files/", "/files/%2e%2e/"),
        (".png", ".jpg"),
        ("/0.png", "/../keys"),
        ("/0.png", "/%2e%2e/%2e%2e/url_secret"),
        ("/0.png", "/in-0.png"),
        ("&signature", "&other"),
    ],
)
def test_changed_signed_url_is_404(anybody: httpx.Client, url: str, old: str, new: str) -> None:
    """Another signature, expiry, name or a path outside is a 404."""
    # httpx normalises dots: the raw path reaches the server unchanged
    target = httpx.URL(url)
    raw = target.raw_path.decode().replace(old, new, 1).encode()
    request = httpx.Request("GET", url, extensions={"target": raw})

    answer = anybody.send(request)

    assert answer.status_code == 404
    assert answer.json()["error"] in {"file not found", "not found"}
