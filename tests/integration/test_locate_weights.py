"""KLEIN_WEIGHTS as a hub id, against a local hub."""

import shutil

import pytest

from tests.support.hugging_face_hub import COMMIT, REPO, serving_hub
from worker.engines.errors import WeightsError
from worker.engines.folder import inspect_folder
from worker.weights.locate import locate_weights

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


def test_a_checkpoint_is_downloaded_whole(hub, tmp_path):
    """The download is a pipeline folder with its name and its commit, and without files that it does not need."""
    folder = find(hub, tmp_path)
    inspected = inspect_folder(folder)

    assert (inspected.revision, inspected.manifest.name) == (COMMIT, "Tiny-klein")
    assert (folder / WEIGHTS).read_bytes() == (hub.folder / WEIGHTS).read_bytes()
    assert not any((folder / name).exists() for name in ("run.py", "vae/model.bin"))
    assert not list(folder.glob("*.safetensors"))


def test_the_second_time_nobody_is_asked(hub, tmp_path):
    """A downloaded checkpoint is used without a single request."""
    first = find(hub, tmp_path)
    hub.requested.clear()

    assert find(hub, tmp_path) == first
    assert hub.requested == []


def test_a_broken_download_goes_on(hub, tmp_path):
    """A failed download is reported in one clear line, and the next start fetches only the missing files."""
    hub.withheld = {WEIGHTS}
    with pytest.raises(WeightsError, match=f"{REPO}: no such folder, and the hub") as failed:
        find(hub, tmp_path)
    hub.withheld = set()
    hub.requested.clear()
    folder = find(hub, tmp_path)

    assert "\n" not in str(failed.value)
    assert inspect_folder(folder).revision == COMMIT
    assert not any(path.endswith("vae/config.json") for path in hub.requested)


def test_an_unknown_checkpoint_is_one_line(hub, tmp_path):
    """The error for an unknown hub id names it."""
    with pytest.raises(WeightsError, match="owner/other") as failed:
        locate_weights("owner/other", endpoint=hub.url, cache=tmp_path)

    assert "\n" not in str(failed.value)


def test_a_folder_is_itself(tiny_weights):
    """A folder is used as it is."""
    assert locate_weights(str(tiny_weights)) == tiny_weights


@pytest.mark.parametrize("setting", ["/nonexistent", "a/b/c", "../x", "klein", "https://x/y"])
def test_what_is_neither_is_said(setting, tmp_path, monkeypatch):
    """Anything else is refused by name before any request."""
    monkeypatch.chdir(tmp_path)  # a folder without that path
    with pytest.raises(WeightsError, match="not a hub id") as failed:
        locate_weights(setting)

    assert setting in str(failed.value)
