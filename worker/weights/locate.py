"""Resolves KLEIN_WEIGHTS to a folder, and downloads a checkpoint from the Hugging Face hub if needed."""

import re
from pathlib import Path

from app.logs import log
from worker.engines.errors import WeightsError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# The files of a diffusers pipeline: no pickles, and no second copy of the weights as one file in the root.
FILES = ("*.json", "*/*.safetensors", "*/*.txt", "*/*.jinja")


def locate_weights(setting: str, *, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Return the folder of a checkpoint. The hub is contacted only if files are missing locally.

    `setting` is a folder or a hub id (owner/name). `endpoint` and `cache` default to those of huggingface_hub.
    Raises `WeightsError`.
    """
    folder = Path(setting)
    if folder.exists():
        return folder
    if not HUB_ID.fullmatch(setting):
        raise WeightsError(
            f"KLEIN_WEIGHTS={setting}: no such folder, and not a hub id (owner/name)"
        )

    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- needed for hub ids only
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    def download(*, local_files_only: bool) -> Path:
        snapshot = snapshot_download(
            setting,
            allow_patterns=list(FILES),
            cache_dir=cache,
            endpoint=endpoint,
            local_files_only=local_files_only,
        )
        return Path(snapshot)

    try:
        return download(local_files_only=True)
    except LocalEntryNotFoundError:
        log.info("weights_download", checkpoint=setting)  # all or some files are missing
    try:
        return download(local_files_only=False)
    except Exception as exc:  # huggingface_hub raises its own errors and those of its HTTP client
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise WeightsError(
            f"KLEIN_WEIGHTS={setting}: no such folder, and the hub download failed: {reason}"
        ) from exc
