"""Signs expiring URLs of stored files. Anyone with a URL can fetch its file without an API key."""

import hmac
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROUTE = "/files/"


class Links:
    """Signs and verifies URLs. All api processes must have the same secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def link(self, base: str, key: str, expires_at: datetime, *, verb: str = "GET") -> str:
        """Return the URL to read a file or, with PUT, to write it. Equal arguments give equal URLs."""
        expires = round(expires_at.timestamp())
        return f"{base}{ROUTE}{key}?expires={expires}&signature={self._sign(verb, key, expires)}"

    def allows(
        self, key: str, expires: str, signature: str, now: datetime, *, verb: str = "GET"
    ) -> bool:
        """Return whether a signature is valid for this file now."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) < 12):  # noqa: PLR2004 -- year 5138
            return False
        if expires != str(int(expires)):  # a leading zero: the signature is of the text
            return False
        expected = self._sign(verb, key, int(expires))
        return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")) and (
            now.timestamp() < int(expires)
        )

    def key_of(self, url: str) -> str | None:
        """Return the storage key that a signed URL names, or None for any other URL."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        key = parts.path.removeprefix(ROUTE)
        signature = "".join(query.get("signature", []))
        expires = "".join(query.get("expires", []))
        return key if self.allows(key, expires, signature, datetime.now(UTC)) else None

    def secret_for(self, purpose: str) -> bytes:
        """Derive a secret for another purpose. It is the same in all api processes."""
        return hmac.digest(self._secret, f"SECRET\n{purpose}".encode(), "sha256")

    def _sign(self, verb: str, key: str, expires: int) -> str:
        return hmac.digest(self._secret, f"{verb}\n{key}\n{expires}".encode(), "sha256").hex()


def open_links(secret: str | None, folder: Path) -> Links:
    """Create Links with the secret of the setting, or with one stored in the data folder."""
    if secret:
        return Links(secret)
    file = folder / "url_secret"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f".url_secret.{secrets.token_hex(4)}"
        new.touch(mode=0o600)
        new.write_text(secrets.token_hex(32))
        with suppress(FileExistsError):
            file.hardlink_to(new)  # the first process wins, and the file is never half written
        new.unlink()
    return Links(file.read_text())
