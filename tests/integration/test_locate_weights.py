"""KLEIN_WEIGHTS as a hub id, against a local hub."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.hugging_face_hub import COMMIT, REPO, serving_hub
from worker.engines import Tuning
from worker.engines.errors import WeightsError
from worker.engines.folder import inspect_folder
from worker.engines.tensor_names import Component
from worker.models import ModelOptions, locate_models
from worker.weights.hub_files import HubFiles
from worker.weights.locate import NotDownloaded, locate_components, locate_weights
from worker.weights.progress import Progress

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def hub(tmp_path, tiny_weights):
    folder = tmp_path / "repository"
    shutil.copytree(tiny_weights, folder)
    (folder / "klein.json").unlink()  # the real repositories have none
    (folder / "flux-2-klein-4b.safetensors").write_bytes(b"all of it again")
    (folder / "vae" / "model.bin").write_bytes(b"a pickle")
    (folder / "run.py").write_text("raise SystemExit")
    with serving_hub(folder) as hub:
        yield hub


def find(hub, tmp_path):
    return locate_weights(REPO, endpoint=hub.url, cache=tmp_path / "cache")


def test_checkpoint_is_downloaded_completely(hub, tmp_path):
    """The download is a pipeline folder with its name and its commit, and without files that it does not need."""
    folder = find(hub, tmp_path)
    inspected = inspect_folder(folder)

    assert (inspected.revision, inspected.manifest.name) == (COMMIT, "Tiny-klein")
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / WEIGHTS).read_bytes()
    assert not any((folder / name).exists() for name in ("run.py", "vae/model.bin"))
    assert not list(folder.glob("*.safetensors"))


def test_downloaded_checkpoint_needs_no_request(hub, tmp_path):
    """A downloaded checkpoint is used without a single request."""
    first = find(hub, tmp_path)
    hub.requested.clear()

    assert find(hub, tmp_path) == first
    assert hub.requested == []


@pytest.fixture
def large(hub):
    """The name of a file of 24 MB in the repository."""
    (hub.folder / "transformer" / "large.safetensors").write_bytes(bytes(range(256)) * 93_750)
    return "transformer/large.safetensors"


def test_interrupted_download_continues(hub, tmp_path, large):
    """An interrupted download is reported in one clear line, and the next one fetches only the bytes that are missing."""
    hub.cut_at[large] = 15_000_000
    files = HubFiles(repository=REPO, allow=[large], endpoint=hub.url, cache=tmp_path / "cache")
    with pytest.raises(WeightsError, match=f"{large} was interrupted: .* continues") as failed:
        files.download(lambda _: None, interval_s=60, give_up_s=0)
    hub.cut_at.clear()
    hub.ranges.clear()
    folder = files.download(lambda _: None, interval_s=60)

    assert "\n" not in str(failed.value)
    assert (folder / large).read_bytes() == (hub.folder / large).read_bytes()
    assert [
        int(wanted.removeprefix("bytes=").rstrip("-")) > 9_000_000 for wanted in hub.ranges
    ] == [True]
    assert not list((tmp_path / "cache").rglob("*partial*"))


def test_hub_without_ranges_sends_the_file_once_more(hub, tmp_path, large):
    """A hub that does not know ranges sends the whole file, and it replaces the part that is there."""
    hub.cut_at[large] = 15_000_000
    files = HubFiles(repository=REPO, allow=[large], endpoint=hub.url, cache=tmp_path / "cache")
    with pytest.raises(WeightsError, match="was interrupted"):
        files.download(lambda _: None, interval_s=60, give_up_s=0)
    hub.cut_at.clear()
    hub.ignores_ranges = True
    folder = files.download(lambda _: None, interval_s=60, give_up_s=0)

    assert (folder / large).read_bytes() == (hub.folder / large).read_bytes()


def test_download_reports_progress(hub, tmp_path, large):
    """While a download waits for bytes it reports what is there, at a rate, and at the end that all is there."""
    hub.held_at[large] = 12_000_000
    reports: list[Progress] = []

    def report(setting: str, progress: Progress) -> None:
        reports.append(progress)
        if progress.done_bytes > 10_000_000:
            hub.released.set()

    locate_weights(REPO, endpoint=hub.url, cache=tmp_path / "cache", report=report, report_s=0.01)
    halfway = next(one for one in reports if one.done_bytes > 10_000_000)

    assert halfway.total_bytes > 24_000_000 > halfway.done_bytes
    assert halfway.bytes_per_s > 0
    assert reports[-1].done_bytes == reports[-1].total_bytes
    assert reports[-1].remaining_s == 0


def test_full_disk_is_found_before_download(hub, tmp_path, large):
    """A download that does not fit on the disk is refused before it starts, with its size, the folder and what to set."""
    files = HubFiles(
        repository=REPO,
        allow=["*"],
        endpoint=hub.url,
        cache=tmp_path / "cache",
        free_bytes=lambda _: 510_000_000,
    )
    expected = r"needs 0\.0 GB more in .*cache, and its disk has 0\.5 GB free\. .* HF_HOME"
    with pytest.raises(WeightsError, match=expected):
        files.download(lambda _: None, interval_s=60)

    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_pull_downloads_before_first_start(hub, tmp_path):
    """`klein pull MODEL` downloads a checkpoint, logs its progress and prints its folder. A second call downloads nothing."""
    environ = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "app.cli", "pull", REPO]
    first = processes.run(command, env=environ, check=True)
    hub.requested.clear()
    again = processes.run(command, env=environ, check=True)

    assert "weights_download" in first.stderr
    assert "mb_per_s" in first.stderr
    assert inspect_folder(Path(first.stdout.strip())).revision == COMMIT
    assert (again.stdout, again.stderr, hub.requested) == (first.stdout, "", [])


@pytest.mark.parametrize(("arguments", "name"), [(["no where"], "MODEL"), ([], "KLEIN_WEIGHTS")])
def test_pull_names_what_is_wrong(arguments, name):
    """An error of `klein pull` names the argument or the variable that is wrong."""
    environ = {**os.environ, "KLEIN_WEIGHTS": "no where"}
    result = processes.run([sys.executable, "-m", "app.cli", "pull", *arguments], env=environ)

    assert result.returncode == 1
    assert result.stderr == (
        f"klein pull: {name}=no where: no such file or folder, and not a hub id (owner/name)\n"
    )


def test_unknown_checkpoint_is_reported(hub, tmp_path):
    """The error for an unknown hub id names it."""
    with pytest.raises(WeightsError, match="owner/other") as failed:
        locate_weights("owner/other", endpoint=hub.url, cache=tmp_path)

    assert "\n" not in str(failed.value)


def test_two_checkpoints_of_one_kind_are_refused(tiny_weights, tmp_path):
    """A worker that is given two checkpoints of one kind is refused before a model is loaded. The error names both."""
    other = Path(shutil.copytree(tiny_weights, tmp_path / "other"))
    options = ModelOptions(
        weights=(str(tiny_weights), str(other)),
        components={},
        tuning=Tuning(),
        loras=None,
        has_lora_folder=False,
        environ={},
        idle_unload_s=None,
        canary_interval_s=None,
        turn_s=60,
        memory_bytes=None,
    )

    with pytest.raises(WeightsError, match=f"{tiny_weights} and {other} are both distilled"):
        locate_models(options)


def test_folder_is_used_as_is(tiny_weights):
    """A folder is used as it is."""
    assert locate_weights(str(tiny_weights)) == tiny_weights


@pytest.mark.parametrize("setting", ["/nonexistent", "a/b/c", "../x", "klein", "https://x/y"])
def test_invalid_weights_setting_is_refused(setting, tmp_path, monkeypatch):
    """Anything else is refused by name before any request."""
    monkeypatch.chdir(tmp_path)  # a folder without that path
    with pytest.raises(WeightsError, match="not a hub id") as failed:
        locate_weights(setting)

    assert setting in str(failed.value)


def test_replaced_component_is_not_downloaded(hub, tmp_path):
    """Only the weights that no other setting replaces are downloaded, and the configuration of all."""
    folder = locate_weights(
        REPO, replaced=[Component.TRANSFORMER], endpoint=hub.url, cache=tmp_path / "cache"
    )

    assert not (folder / WEIGHTS).exists()
    assert (folder / "transformer" / "config.json").exists()
    assert list(folder.glob("vae/*.safetensors"))


def test_component_is_file_on_hub(hub, tmp_path):
    """A file of a repository is downloaded alone, once."""
    settings = {Component.TRANSFORMER: f"{REPO}/{WEIGHTS}", Component.VAE: None}

    with pytest.raises(NotDownloaded, match="the first start downloads it"):
        locate_components(settings, is_offline=True, endpoint=hub.url, cache=tmp_path / "cache")
    found = locate_components(settings, endpoint=hub.url, cache=tmp_path / "cache")
    again = locate_components(settings, is_offline=True, endpoint=hub.url, cache=tmp_path / "cache")

    assert list(found) == [Component.TRANSFORMER]
    assert found == again
    assert found[Component.TRANSFORMER].read_bytes() == (hub.folder / WEIGHTS).read_bytes()


def test_missing_component_is_refused(tmp_path):
    """A path that does not exist is refused with the name of its setting."""
    with pytest.raises(WeightsError, match=r"KLEIN_VAE=/nonexistent: no such file or folder"):
        locate_components({Component.VAE: "/nonexistent"}, cache=tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        "https://huggingface.co/owner/name",
        "https://huggingface.co/owner/name/tree/main",
        "https://hf.co/owner/name/",
        "hf://owner/name",
    ],
)
def test_page_of_hub_means_its_repository(setting, tmp_path):
    """The address of a page of the hub means the repository."""
    with pytest.raises(NotDownloaded, match=r"^owner/name is not on this machine"):
        locate_weights(setting, is_offline=True, cache=tmp_path)


def test_page_of_file_means_the_file(tmp_path):
    """The address of a file's page on the hub means the file."""
    page = "https://huggingface.co/owner/name/blob/main/klein.gguf"
    with pytest.raises(NotDownloaded, match=r"^owner/name/klein\.gguf is not on this machine"):
        locate_components({Component.TRANSFORMER: page}, is_offline=True, cache=tmp_path)


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    """A tilde means the home folder, also where no shell expands it."""
    (tmp_path / "klein").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))

    assert locate_weights("~/klein") == tmp_path / "klein"
