"""Where KLEIN_WEIGHTS lies: a folder, or a checkpoint of the Hugging Face hub, which is downloaded once."""

import re
from pathlib import Path

from app.logs import log
from worker.engines.errors import WeightsError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# The folders of a pipeline; neither pickles nor the same weights again as one file at the root.
FILES = ("*.json", "*/*.safetensors", "*/*.txt", "*/*.jinja")


def find_weights(setting: str, *, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Give the folder of a checkpoint; the hub is asked only for what this machine lacks.

    `endpoint` and `cache` are the hub's and its cache's own defaults unless given. Raises
    `WeightsError`.
    """
    folder = Path(setting)
    if folder.exists():
        return folder
    if not HUB_ID.fullmatch(setting):
        raise WeightsError(
            f"KLEIN_WEIGHTS={setting}: no such folder, and not a hub id (owner/name)"
        )

    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- for hub ids alone
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    def fetch(*, is_local: bool) -> Path:
        found = snapshot_download(
            setting,
            allow_patterns=list(FILES),
            cache_dir=cache,
            endpoint=endpoint,
            local_files_only=is_local,
        )
        return Path(found)

    try:
        return fetch(is_local=True)
    except LocalEntryNotFoundError:
        log.info("weights_download", checkpoint=setting)  # nothing here, or not all of it
    try:
        return fetch(is_local=False)
    except Exception as exc:  # the hub's client raises its transport's errors and its own
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise WeightsError(
            f"KLEIN_WEIGHTS={setting}: no such folder, and the hub did not give it: {reason}"
        ) from exc
