"""Bad input images: references that cannot be fetched, and files that are not images."""

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image

from tests.corpus.case import Case, written
from tests.corpus.create import EDIT


def image_file(width: int = 64, height: int = 64, kind: str = "PNG", **saving: Any) -> bytes:
    """Create an image file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, kind, **saving)
    return file.getvalue()


def uri(data: bytes, head: str = "data:image/png;base64,") -> str:
    """Encode a file as a data URI."""
    return head + base64.b64encode(data).decode()


def claiming(width: int, height: int) -> bytes:
    """Write a PNG whose header claims a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        PNG[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    )


def jpeg_claiming(width: int, height: int) -> bytes:
    """Write a JPEG whose header claims a size."""
    at = JPEG.index(b"\xff\xc0") + 5  # the marker, its length and the precision
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


PNG = image_file()
JPEG = image_file(kind="JPEG")
MORE = [Image.new("RGB", (64, 64), "red")]
PROGRESSIVE = image_file(kind="JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]


def of_reference(reference: Any, says: str = "") -> Case:
    """Send a bad reference after a good one."""
    inputs = {"prompt": "make it red", "image_urls": [uri(PNG), reference]}
    body = written({"model": EDIT, "input": inputs})
    return Case(body=body, status=400, names="image_urls[1]", says=says)


NOT_IMAGES = [
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a supported image"),
    (b"<html><script>alert(1)</script>", "not a supported image"),
    (b"%PDF-1.7\n", "not a supported image"),
    (b"GIF89a=0;/*" + bytes(99) + b"*/;alert(1)", "not a supported image"),
    (b"8BPS\0\1" + bytes(99), "not a supported image"),
    (b"SIMPLE  =                    T".ljust(2880), "not a supported image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a supported image"),
    (b"\0\0\0\x1cftypheic", "not a supported image"),
    (b"RIFF\0\0\0\0WEBP", "not a supported image|truncated"),
    (b"\xff\xd8\xff", "not a supported image|truncated"),
    (b"\0" * 1000, "not a supported image"),
    (image_file(kind="GIF"), "not a supported image"),
    (image_file(kind="TIFF"), "not a supported image"),
    (image_file(kind="BMP"), "not a supported image"),
    (image_file(kind="ICO"), "not a supported image"),
    (PNG[:8], "not a supported image|truncated"),
    (PNG[:40], "not a supported image|truncated"),
    (PNG[:-30], "truncated or damaged"),
    (PNG[:60] + bytes(9) + PNG[69:], "truncated or damaged"),
    (JPEG[:-60], "truncated or damaged"),
    (image_file(kind="WEBP", lossless=True)[:-9], "truncated or damaged|not a supported image"),
    (image_file(kind="WEBP", save_all=True, append_images=MORE), "animated"),
    (image_file(save_all=True, append_images=MORE), "animated"),
    (claiming(60_000, 60_000), "megapixels"),
    (claiming(2**31 - 1, 2**31 - 1), "megapixels|truncated|not a supported image"),
    (jpeg_claiming(65_500, 65_500), "megapixels"),
    (claiming(8000, 6001), "truncated or damaged"),
    (claiming(0, 0), "not a supported image|truncated|at least 64"),
    (image_file(16, 16), "at least 64 pixels"),
    (image_file(64, 63), "at least 64 pixels"),
    (image_file(1024, 64), "8 times"),
    (PROGRESSIVE[:-2] + SCAN * 200 + PROGRESSIVE[-2:], "too many parts"),
    (JPEG[:2] + b"\xff\xfe\0\2" * 60_000, "too many parts"),
]
REFERENCES = [
    "", " ", "not a url", "data", "http://", "http://[", "https://[::1", "http://:80/", "http://a b/",
    "file:///etc/passwd", "ftp://127.0.0.1/a.png", "gopher://127.0.0.1:70/_", "javascript:alert(1)",
    "//127.0.0.1/a.png", "http://127.0.0.1:1/a.png", "http://127.1/", "http://2130706433/",
    "http://0x7f.1/", "http://0177.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/", "http://localhost/", "http://LOCALHOST./", "http://10.0.0.1/a.png",
    "http://192.168.0.1/", "http://169.254.169.254/latest/meta-data", "https://169.254.169.254/latest",
    "http://100.100.100.200/", "http://168.63.129.16/", "http://0.0.0.0/", "http://224.0.0.1/",
    "http://user@10.0.0.1/", "http://user:word@10.0.0.1/", "http://10.0.0.1\\@1.1.1.1/",
    "http://10.0.0.1\r\nHost: x/", "http://127.0.0.1:0/", "http://127.0.0.1:99999/",
    "http://①②⑦.0.0.1/", "http://127.0.0.1/" + "x" * 3000, "\0", "\u202e", "/files/x.png",
    "http://x/files/uploads/u/file.png?expires=99999999999&signature=0",
]  # fmt: skip
URIS = [
    ("data:", "not a data URI"),
    ("data:,", "base64"),
    ("data:image/png;base64", "not a data URI"),
    ("data:image/png;base64,", "empty"),
    ("data:image/png;base64,@@@@", "broken"),
    ("data:image/png;base64,AAAAA", "broken"),
    ("data:image/png;base64,ÄÄÄÄ", "broken"),
    ("data:image/png;base64,AAAA", "not a supported image"),
    ("data:image/png,raw", "base64"),
    ("data:image/svg+xml,<svg/>", "base64"),
    ("data:text/html;base64,AAAA", "text/html"),
    ("data:application/pdf;base64,AAAA", "application/pdf"),
    ("data:" + "x" * 10_000 + ",", "not a data URI"),
    ("data:image/png;base64," + "A" * 30_000_000, "20 MB"),
    (uri(PNG)[:-40], "truncated|broken"),
]
LISTS: list[Any] = [
    None,
    [],
    [uri(PNG)] * 5,
    uri(PNG),
    5,
    {},
    [5],
    [None],
    [[uri(PNG)]],
    [{"url": "x"}],
]
CASES = [
    *(of_reference(uri(data), says) for data, says in NOT_IMAGES),
    *(of_reference(url) for url in REFERENCES),
    *(of_reference(url, says) for url, says in URIS),
    *(
        Case(
            body=written({"model": EDIT, "input": {"prompt": "x", "image_urls": urls}}),
            status=400,
            names="image_urls",
        )
        for urls in LISTS
    ),
]
