"""`klein doctor` on machines with GPUs: a module in place of torch describes them to the child process. And its limits."""

from pathlib import Path

import pytest

from app.commands import doctor_host
from app.commands.doctor_host import check_host
from app.commands.doctor_weights import check_weights
from app.settings import Settings

TORCH = """
__version__ = "9"
class version:
    cuda = "13.0"
class cuda:
    device_count = lambda: 1
    mem_get_info = lambda k: (20_000_000_000, 24_000_000_000)
    get_device_name = lambda k: "NVIDIA Test"
    get_device_capability = lambda k: CAPABILITY
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Return what doctor finds on a machine whose GPU has this compute capability, by the name of the check."""

    def check(capability, **settings):
        text = TORCH.replace("CAPABILITY", repr(capability))
        (tmp_path / "torch.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        findings = check_host(Settings.model_validate({"KLEIN_DATA": tmp_path, **settings}))
        return {finding.subject: finding for finding in findings}

    return check


def test_gpu_is_described(check):
    """Name, memory and compute capability are said."""
    found = check((8, 6))["gpu"]

    assert found.text == "NVIDIA Test, 20 of 24 GB free, compute capability 8.6"
    assert not found.advice


def test_gpu_without_bfloat16_is_a_warning(check):
    """A Turing card has no fast bfloat16."""
    assert "bfloat16" in check((7, 5))["gpu"].advice


def test_missing_compiler_is_a_warning(check, monkeypatch):
    """Without a C compiler or Python's headers the model runs uncompiled, and doctor says what to install."""
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setattr("sysconfig.get_path", lambda _name: "/nowhere")
    found = check((8, 6))["compiler"]

    assert found.text.startswith("a C compiler and /nowhere/Python.h not found")
    assert "gcc and python3-dev" in found.advice


def test_disk_of_downloads_is_checked(check, monkeypatch):
    """Where the weights are downloaded, the disk of HF_HOME must have space for them."""
    monkeypatch.setenv("HF_HOME", "/full/hub")
    monkeypatch.setattr(
        doctor_host, "free_bytes", lambda path: 1e9 if path == Path("/full/hub") else 1e12
    )
    found = check((8, 6), KLEIN_WEIGHTS="black-forest-labs/FLUX.2-klein-4B")["disk"]

    assert found.text == "1.0 GB free for weights in /full/hub"
    assert "HF_HOME" in found.advice


def test_torch_that_does_not_load_is_left(tmp_path, monkeypatch, capsys):
    """Doctor says what it waits for, ends the process at the limit, and goes on with the next check."""
    (tmp_path / "torch.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = Settings.model_validate({"KLEIN_DATA": tmp_path})
    found = {finding.subject: finding for finding in check_host(settings, limit_s=0.1)}

    assert "loading PyTorch: up to 0 s" in capsys.readouterr().err
    assert found["torch"].level == "warning"
    assert found["torch"].text == "did not load within 0 s"
    assert "GPU driver" in found["torch"].advice
    assert "disk" in found


def test_checkpoints_share_one_limit(tmp_path):
    """However many checkpoints there are, doctor waits no longer than for one."""
    settings = Settings.model_validate(
        {"KLEIN_DATA": tmp_path, "KLEIN_WEIGHTS": "builtin,builtin-base"}
    )
    found = list(check_weights(settings, limit_s=0))

    assert [(finding.level, finding.text.partition(":")[0]) for finding in found] == [
        ("warning", "builtin"),
        ("warning", "builtin-base"),
    ]
    assert all("is not busy" in finding.advice for finding in found)
