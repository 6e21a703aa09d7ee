"""Decides where the LoRA of a path lies: in the folder, at a URL, or in a repository of the Hugging Face hub. Does no I/O."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from app.loras.errors import IncompatibleLora
from app.loras.names import PEFT_CONFIG, PEFT_FILE, SUFFIX

HUB = "hub"
ANY_HOST = "*"
_URL = re.compile(r"https?://[^\s/]+/\S*", re.IGNORECASE)
_REPOSITORY = re.compile(
    r"(?:hf:)?(?P<owner>[A-Za-z0-9][\w.-]{0,95})/(?P<name>[A-Za-z0-9][\w.-]{0,95})(?:/(?P<file>.+))?",
    re.ASCII,
)
_USUAL_FILES = ("pytorch_lora_weights.safetensors", PEFT_FILE)
_NAMES_MAX = 5  # in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository, or its only LoRA if `file` is None."""

    owner: str
    name: str
    file: str | None

    def files_url(self, endpoint: str) -> str:
        """Return the URL that lists the files of the repository."""
        return f"{endpoint}/api/models/{self.owner}/{self.name}"

    def url(self, endpoint: str, file: str) -> str:
        """Return the URL of a file of the repository."""
        return f"{endpoint}/{self.owner}/{self.name}/resolve/main/{quote(file)}"


def is_url(path: str) -> bool:
    """Return whether a path is an http(s) URL."""
    return _URL.fullmatch(path) is not None


def parse_repository(path: str) -> HubFile | None:
    """Return the repository that a path names, `OWNER/NAME` or `OWNER/NAME/FILE`, or None for other paths."""
    match = _REPOSITORY.fullmatch(path)
    if match is None or ".." in path:
        return None
    file = match["file"]
    if match["name"].lower().endswith(SUFFIX) or (file and not file.lower().endswith(SUFFIX)):
        return None  # a file in a subfolder
    return HubFile(owner=match["owner"], name=match["name"], file=file)


def permits_host(url: str, sources: tuple[str, ...], endpoint: str) -> bool:
    """Return whether LoRAs may come from the host of a URL."""
    host = (urlsplit(url).hostname or "").lower()
    is_hub = HUB in sources and host == urlsplit(endpoint).hostname
    return is_hub or ANY_HOST in sources or host in sources


def choose_file(listing: Any) -> str:
    """Return the LoRA of a repository from the hub's description of it. Raises IncompatibleLora."""
    siblings = listing.get("siblings") if isinstance(listing, dict) else None
    entries = siblings if isinstance(siblings, list) else []
    names = [str(entry.get("rfilename")) for entry in entries if isinstance(entry, dict)]
    files = sorted(name for name in names if name.lower().endswith(SUFFIX))
    usual = [name for name in _USUAL_FILES if name in files]
    if usual or len(files) == 1:
        return (usual or files)[0]
    if not files:
        raise IncompatibleLora("the repository has no .safetensors file")
    first_files = ", ".join(name[:80] for name in files[:_NAMES_MAX])
    raise IncompatibleLora(f"the repository has several LoRAs; add one to the path: {first_files}")


def config_url(url: str) -> str | None:
    """Return the URL of the configuration that PEFT writes beside its file, or None for other files."""
    parts = urlsplit(url)
    if not parts.path.endswith(f"/{PEFT_FILE}"):
        return None
    return parts._replace(path=parts.path.removesuffix(PEFT_FILE) + PEFT_CONFIG).geturl()
