"""Keeps what klein writes from other users of the machine: prompts, images, webhook secrets and the hashes of keys."""

from pathlib import Path

PRIVATE = 0o077
"""The umask of every process of a server."""
_FOLDER = 0o700


def make_private(folder: Path) -> None:
    """Create a folder that only its owner may open. One that exists is closed to others. Raises OSError."""
    folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
    if folder.stat().st_mode & PRIVATE:
        folder.chmod(_FOLDER)
