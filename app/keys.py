"""API keys: who is asking. Only hashes are kept, and compared in constant time."""

import hashlib
import hmac
import secrets
from pathlib import Path

PREFIX = "klein_"
_ID_LENGTH = 16  # hex digits of the hash that name a key in records and logs


def hash_key(key: str) -> str:
    """Hash a key; it is 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class Keys:
    """The keys that this server accepts."""

    def __init__(self, hashes: frozenset[str]) -> None:
        self._hashes = hashes

    def authenticate(self, key: str) -> str | None:
        """Tell the id of the key's owner, or None where the key is unknown."""
        presented = hash_key(key)
        known = [hmac.compare_digest(presented, accepted) for accepted in self._hashes]
        return presented[:_ID_LENGTH] if any(known) else None

    def __bool__(self) -> bool:
        return bool(self._hashes)


def open_keys(given: tuple[str, ...], folder: Path) -> Keys:
    """Open the keys given by setting, or else those whose hashes the data folder keeps."""
    if given:
        return Keys(frozenset(hash_key(key) for key in given))
    kept = _file(folder)
    return Keys(frozenset(kept.read_text().split()) if kept.exists() else frozenset())


def make_key(folder: Path) -> str:
    """Make the first key and keep its hash; the key itself is shown once, by the caller."""
    key = PREFIX + secrets.token_urlsafe(32)
    kept = _file(folder)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(hash_key(key) + "\n")
    kept.chmod(0o600)
    return key


def _file(folder: Path) -> Path:
    return folder / "keys"
