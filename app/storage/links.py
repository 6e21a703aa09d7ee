"""Signed, expiring URLs of stored files: whoever holds one may fetch that file, without a key."""

import hashlib
import hmac
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROUTE = "/files/"


class Links:
    """Makes and checks the URLs; every api process must hold the same secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def link(self, base: str, key: str, expires_at: datetime, *, verb: str = "GET") -> str:
        """Make the URL to read or, with PUT, write a file below `base`; the same arguments make the same URL."""
        expires = round(expires_at.timestamp())
        return f"{base}{ROUTE}{key}?expires={expires}&signature={self._sign(verb, key, expires)}"

    def allows(
        self, key: str, expires: str, signature: str, now: datetime, *, verb: str = "GET"
    ) -> bool:
        """Say whether a signature opens this file now."""
        if not (expires.isascii() and expires.isdecimal() and len(expires) < 12):  # noqa: PLR2004 -- year 5138
            return False
        expected = self._sign(verb, key, int(expires))
        return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")) and (
            now.timestamp() < int(expires)
        )

    def key_of(self, url: str) -> str | None:
        """Tell which file one of our own URLs names; None for every other URL."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        key = parts.path.removeprefix(ROUTE)
        signature = "".join(query.get("signature", []))
        expires = "".join(query.get("expires", []))
        return key if self.allows(key, expires, signature, datetime.now(UTC)) else None

    def secret_for(self, purpose: str) -> bytes:
        """Derive a secret for something else than URLs, the same in every api process."""
        return hmac.digest(self._secret, f"SECRET\n{purpose}".encode(), "sha256")

    def _sign(self, verb: str, key: str, expires: int) -> str:
        return hmac.new(
            self._secret, f"{verb}\n{key}\n{expires}".encode(), hashlib.sha256
        ).hexdigest()


def open_links(secret: str | None, folder: Path) -> Links:
    """Open the links with the secret given by setting, or with one that the data folder keeps."""
    if secret:
        return Links(secret)
    kept = folder / "url_secret"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f".url_secret.{secrets.token_hex(4)}"
        made.touch(mode=0o600)
        made.write_text(secrets.token_hex(32))
        with suppress(FileExistsError):
            kept.hardlink_to(made)  # the first process wins, and the file is never half written
        made.unlink()
    return Links(kept.read_text())
