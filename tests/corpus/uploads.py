"""Bad uploads: the request for a URL, and the file."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.storage.links import Links
from app.uploads import Upload
from tests.corpus.case import JSON, NONE, Case, written
from tests.corpus.images import PNG, image_file

SECRET = "signs the corpus's links"
OPENED = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = datetime(2126, 1, 1, tzinfo=UTC)
UPLOAD = Upload(
    id="6a0ea6a1-58b8-4b8d-9b2e-7d4a7f3f2b11",
    key_id="somebody",
    media_type="image/png",
    opened_at=OPENED,
    expires_at=ENDS,
)
"""An upload that waits for its file. The test writes it into Redis."""
URL = Links(SECRET).link("", UPLOAD.key, ENDS, verb="PUT")
ENDED = Links(SECRET).link("", UPLOAD.key, OPENED + timedelta(days=1), verb="PUT")
READ = Links(SECRET).link("", UPLOAD.key, ENDS)
UNKNOWN_FILE_URL = Links(SECRET).link("", "uploads/nobodys/file.png", ENDS, verb="PUT")


def presign_case(body: Any, names: str, status: int = 400) -> Case:
    """Request an upload URL."""
    data = body if isinstance(body, bytes) else written(body)
    return Case(path="/v1/upload/presign", body=data, status=status, names=names)


def upload_case(
    data: bytes, names: str, path: str = URL, status: int = 400, headers: Any = NONE
) -> Case:
    """Send a file."""
    return Case(
        method="PUT", path=path, body=data, status=status, names=names, key=None, headers=headers
    )


NO_TYPES: list[Any] = [5, [], True]
NO_SECONDS: list[Any] = ["soon", 1.5, [], {}, "1e3"]
PRESIGN_CASES = [
    *(
        presign_case(body, "JSON object", 422)
        for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 4000)
    ),
    *(
        presign_case(body, "content_type")
        for body in (
            {},
            {"content_type": None},
            {"content_type": 5},
            {"content_type": ""},
            {"content_type": "video/mp4"},
            {"content_type": "image/gif"},
            {"content_type": "image/svg+xml"},
            {"content_type": "image/png\r\nX: 1"},
            {"content_type": "png"},
            {"content_type": ["image/png"]},
        )
    ),
    *(presign_case({"content_type": "image/png", "file_type": f}, "file_type") for f in NO_TYPES),
    *(
        presign_case({"content_type": "image/png", "expires_in_seconds": s}, "expires_in_seconds")
        for s in NO_SECONDS
    ),
]
UPLOAD_CASES = [
    *(
        upload_case(data, "content_type", headers=JSON)
        for data in (
            b"",
            b"\x89PNG",
            b"GIF89a" + bytes(99),
            b"<svg/>",
            b"%PDF-1.7",
            bytes(2_000_000),
            image_file(kind="JPEG"),
            image_file(kind="WEBP"),
        )
    ),
    upload_case(PNG, "x-amz-meta-file-id", headers={"x-amz-meta-file-id": "another"}),
    upload_case(PNG, "x-amz-meta-file-id", headers={"x-amz-meta-file-id": ""}),
    upload_case(PNG, "URL", path=ENDED, status=404),
    upload_case(PNG, "URL", path=READ, status=404),
    upload_case(PNG, "URL", path=UNKNOWN_FILE_URL, status=404),
    upload_case(PNG, "URL", path=URL.replace("signature=", "signature=0"), status=404),
    upload_case(PNG, "URL", path=URL.replace("expires=", "expires=9"), status=404),
    upload_case(PNG, "URL", path=URL.replace(".png", ".jpg"), status=404),
    upload_case(PNG, "URL", path=URL.replace("uploads/", "uploads/x"), status=404),
    upload_case(PNG, "URL", path=URL.partition("?")[0], status=404),
    upload_case(PNG, "POST", path="/v1/upload/presign", status=405),
]
