"""Resolves the settings that name weights to files and folders, and downloads from the Hugging Face hub if needed."""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from app.built_in_models import BUILT_IN_MODELS
from app.logs import log
from worker.engines.errors import WeightsError
from worker.engines.tensor_names import Component
from worker.weights.hub_files import HubFiles
from worker.weights.progress import Progress

BUILT_IN = Path(__file__).parent / "builtin"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILE = re.compile(rf"(?P<repository>{HUB_ID.pattern})/(?P<file>[\w./-]+\.(safetensors|gguf))")
# what people copy from the address line of a browser; only of the main branch, because no other is downloaded
_HUB_PAGE = re.compile(
    rf"(?:https?://(?:huggingface\.co|hf\.co)/|hf://)(?P<repository>{HUB_ID.pattern})(?:/tree/main)?/?"
)
_HUB_FILE_PAGE = re.compile(
    rf"(?:https?://(?:huggingface\.co|hf\.co)/|hf://)(?P<repository>{HUB_ID.pattern})/(?:(?:blob|resolve)/main/)?"
    r"(?P<file>[\w./-]+\.(?:safetensors|gguf))(?:\?download=true)?"
)
# The files of a diffusers pipeline: no pickles, and no second copy of the weights as one file in the root.
FILES = ("*.json", "*/*.safetensors", "*/*.txt", "*/*.jinja")
REPORT_S = 5.0

Report = Callable[[str, Progress], None]
"""Called with the setting and its progress every few seconds while files are downloaded."""


class NotDownloaded(WeightsError):
    """The checkpoint is not on this machine yet; the first start downloads it."""


def log_progress(setting: str, progress: Progress) -> None:
    """Log one line of progress."""
    remaining_s = progress.remaining_s
    log.info(
        "weights_download",
        checkpoint=setting,
        done=f"{progress.done_bytes / 1e9:.2f} of {progress.total_bytes / 1e9:.2f} GB",
        mb_per_s=round(progress.bytes_per_s / 1e6, 1),
        remaining="unknown" if remaining_s is None else _duration(remaining_s),
    )


def locate_weights(  # noqa: PLR0913 -- all but the first are for tests and other commands
    setting: str,
    *,
    name: str = "KLEIN_WEIGHTS",
    replaced: Collection[Component] = (),
    is_offline: bool = False,
    endpoint: str | None = None,
    cache: Path | None = None,
    report: Report = log_progress,
    report_s: float = REPORT_S,
) -> Path:
    """Return the file or folder of a checkpoint. The hub is contacted only if files are missing locally.

    `setting` is the name of a built-in model, a path, or a hub id (owner/name). Errors call it `name`. The weights of
    `replaced` components are not downloaded.
    With `is_offline`, a missing file raises `NotDownloaded`.
    `endpoint` and `cache` default to those of huggingface_hub. Raises `WeightsError`.
    """
    if setting in BUILT_IN_MODELS:
        return BUILT_IN.with_name(setting)
    path = Path(setting).expanduser()
    if path.exists():
        return path
    if page := _HUB_PAGE.fullmatch(setting):
        setting = page["repository"]
    if not HUB_ID.fullmatch(setting):
        raise WeightsError(
            f"{name}={setting}: no such file or folder, and not a hub id (owner/name)"
        )
    files = HubFiles(
        repository=setting,
        allow=FILES,
        ignore=[f"{component}/*.safetensors" for component in replaced],
        endpoint=endpoint,
        cache=cache,
    )
    return _find_or_download(
        name, setting, files, report=report, report_s=report_s, is_offline=is_offline
    )


def locate_components(  # noqa: PLR0913 -- the last four are for tests and other commands
    settings: Mapping[Component, str | None],
    *,
    is_offline: bool = False,
    endpoint: str | None = None,
    cache: Path | None = None,
    report: Report = log_progress,
    report_s: float = REPORT_S,
) -> dict[Component, Path]:
    """Return the files and folders that replace components. Each is a path, or a file on the hub (owner/name/file).

    See `locate_weights`. Raises `WeightsError`.
    """
    return {
        component: _locate_component(
            f"KLEIN_{component.upper()}",
            setting,
            is_offline=is_offline,
            endpoint=endpoint,
            cache=cache,
            report=report,
            report_s=report_s,
        )
        for component, setting in settings.items()
        if setting is not None
    }


def _locate_component(  # noqa: PLR0913 -- all by name
    name: str,
    setting: str,
    *,
    is_offline: bool,
    endpoint: str | None,
    cache: Path | None,
    report: Report,
    report_s: float,
) -> Path:
    path = Path(setting).expanduser()
    if path.exists():
        return path.absolute()
    if page := _HUB_FILE_PAGE.fullmatch(setting):
        setting = f"{page['repository']}/{page['file']}"
    hub_file = HUB_FILE.fullmatch(setting)
    if hub_file is None:
        raise WeightsError(
            f"{name}={setting}: no such file or folder, and not a file on the hub (owner/name/file.safetensors)"
        )
    files = HubFiles(
        repository=hub_file["repository"],
        allow=[hub_file["file"]],
        endpoint=endpoint,
        cache=cache,
    )
    snapshot = _find_or_download(
        name,
        setting,
        files,
        file=hub_file["file"],
        report=report,
        report_s=report_s,
        is_offline=is_offline,
    )
    return snapshot / hub_file["file"]


def _find_or_download(  # noqa: PLR0913 -- all by name
    name: str,
    setting: str,
    files: HubFiles,
    *,
    report: Report,
    report_s: float,
    is_offline: bool,
    file: str = "",
) -> Path:
    """Return the folder of the files, which has `file`."""
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415 -- needed for hub ids only

    try:
        folder = files.find()
        if (folder / file).exists():  # the snapshot may hold other files of the repository
            return folder
    except LocalEntryNotFoundError:
        pass
    if is_offline:
        raise NotDownloaded(f"{setting} is not on this machine; the first start downloads it")
    log.info("weights_download", checkpoint=setting)  # all or some files are missing
    try:
        folder = files.download(lambda progress: report(setting, progress), interval_s=report_s)
    except WeightsError as exc:
        raise WeightsError(f"{name}={setting}: {exc}") from exc
    except Exception as exc:  # huggingface_hub raises its own errors and those of its HTTP client
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise WeightsError(
            f"{name}={setting}: no such file or folder, and the hub download failed: {reason}"
        ) from exc
    if not (folder / file).exists():
        raise WeightsError(f"{name}={setting}: {files.repository} has no file {file}")
    return folder


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
