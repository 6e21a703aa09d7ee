"""Downloads files of one repository of the Hugging Face hub into its cache, and continues interrupted downloads.

huggingface_hub starts a file again that was interrupted. So this module fetches the large files itself, into partial
files beside the cache's blobs, and huggingface_hub finds them complete.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.logs import log
from worker.engines.errors import WeightsError
from worker.weights.progress import Progress, report_progress

_LARGE = (".safetensors", ".gguf")
_AT_ONCE = 4  # files
_GIVE_UP_S = 120.0  # without a single byte
_PAUSE_S = 2.0
_RESERVE_BYTES = 500_000_000  # left free on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One file that is missing in the cache."""

    url: str
    size_bytes: int
    blob: Path
    """Where it belongs."""

    @property
    def partial(self) -> Path:
        return self.blob.with_name(f"{self.blob.name}.klein-partial")

    def present_bytes(self) -> int:
        for path in (self.blob, self.partial):
            with suppress(OSError):
                return path.stat().st_size
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """Names files of one repository by patterns."""

    repository: str
    """owner/name."""
    allow: Sequence[str]
    ignore: Sequence[str] = ()
    endpoint: str | None = None
    cache: Path | None = None
    """This and the endpoint default to those of huggingface_hub."""
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free

    def find(self) -> Path:
        """Return the folder with the files, without any request. Raises LocalEntryNotFoundError if some are missing."""
        return Path(self._snapshot(local_files_only=True))

    def download(
        self,
        report: Callable[[Progress], None],
        *,
        interval_s: float,
        give_up_s: float = _GIVE_UP_S,
    ) -> Path:
        """Fetch the missing files and return the folder. `report` is called every `interval_s` seconds.

        Raises `WeightsError` if the disk is too small, and what huggingface_hub raises.
        """
        listed = self._snapshot(dry_run=True)
        missing = [file for file in listed if file.will_download]
        large = [self._locate(file) for file in missing if file.filename.endswith(_LARGE)]
        total = sum(file.file_size or 0 for file in missing)
        small = total - sum(file.size_bytes for file in large)
        self._check_disk(total - sum(file.present_bytes() for file in large))

        def present_bytes() -> int:
            return small + sum(file.present_bytes() for file in large)

        with report_progress(report, present_bytes, total, interval_s):
            self._snapshot(ignore=[*self.ignore, *(f"*{suffix}" for suffix in _LARGE)])
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for future in [pool.submit(_fetch, file, give_up_s) for file in large]:
                    future.result()
            return Path(self._snapshot())

    def _snapshot(self, *, ignore: Sequence[str] | None = None, **options: Any) -> Any:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 -- needed for hub ids only
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # noqa: PLC0415 -- documented there

        disable_progress_bars()
        return snapshot_download(
            self.repository,
            allow_patterns=list(self.allow),
            ignore_patterns=list(self.ignore if ignore is None else ignore),
            cache_dir=self.cache,
            endpoint=self.endpoint,
            **options,
        )

    def _locate(self, file: Any) -> _File:
        """Find out where the cache keeps a file, which huggingface_hub lists as missing."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url  # noqa: PLC0415 -- as above

        url = hf_hub_url(
            self.repository, file.filename, revision=file.commit_hash, endpoint=self.endpoint
        )
        metadata = get_hf_file_metadata(url, endpoint=self.endpoint)
        if metadata.etag is None:
            raise WeightsError(f"{url} has no ETag; check the hub or its mirror (HF_ENDPOINT)")
        snapshots = Path(file.local_path).parents[len(Path(file.filename).parts)]
        return _File(
            url=url,
            size_bytes=metadata.size or file.file_size or 0,
            blob=snapshots.parent / "blobs" / metadata.etag,
        )

    def _check_disk(self, needed_bytes: int) -> None:
        from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415 -- as above

        cache = (self.cache or Path(HF_HUB_CACHE)).absolute()
        folder = next(parent for parent in (cache, *cache.parents) if parent.exists())
        free_bytes = self.free_bytes(folder)
        if needed_bytes + _RESERVE_BYTES > free_bytes:
            raise WeightsError(
                f"{self.repository} needs {needed_bytes / 1e9:.1f} GB more in {cache}, and its disk has "
                f"{free_bytes / 1e9:.1f} GB free. Free some space, or set HF_HOME to another disk"
            )


def _fetch(file: _File, give_up_s: float) -> None:
    """Download one file, continue after interruptions, and give up when nothing arrives for `give_up_s` seconds."""
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 -- as above

    file.partial.parent.mkdir(parents=True, exist_ok=True)
    file.partial.touch()
    # not "ab": a server that ignores ranges sends the whole file, which overwrites the part
    with file.partial.open("r+b") as partial:
        fcntl.flock(partial, fcntl.LOCK_EX)  # another worker may download the same file
        if file.blob.exists():
            file.partial.unlink(missing_ok=True)
            return
        last_bytes, last_at = partial.seek(0, 2), time.monotonic()
        while True:
            try:
                _continue(file, partial)
            except HfHubHTTPError as exc:
                if exc.response.status_code < 500:  # noqa: PLR2004 -- the hub refuses it
                    raise
                error: Exception = exc
            except Exception as exc:  # noqa: BLE001 -- any error of the connection
                error = exc
            else:
                file.partial.replace(file.blob)
                return
            size_bytes = partial.seek(0, 2)
            if size_bytes != last_bytes:
                last_bytes, last_at = size_bytes, time.monotonic()
            if time.monotonic() - last_at > give_up_s:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                raise WeightsError(
                    f"the download of {file.url} was interrupted: {reason}. Check the network, and start "
                    "again: it continues where it stopped"
                ) from error
            log.warning(
                "weights_download_interrupted", file=file.url, error=str(error).partition("\n")[0]
            )
            time.sleep(min(_PAUSE_S, give_up_s))


def _continue(file: _File, partial: Any) -> None:
    from huggingface_hub.file_download import http_get  # noqa: PLC0415 -- as above
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415 -- documented there

    if partial.seek(0, 2) > file.size_bytes:
        partial.truncate(0)
    http_get(
        file.url,
        partial,
        resume_size=partial.seek(0, 2),
        headers=build_hf_headers(),
        expected_size=file.size_bytes,
    )
    partial.flush()
