"""The choice of the device: a GPU that torch cannot use is an error, unless the operator chose the CPU."""

import pytest
import torch

from worker.engines import device
from worker.engines.device import choose_device
from worker.engines.errors import UnusableSetting
from worker.engines.tuning import Compile, DeviceChoice, Quantization, Tuning

TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040). Please update it."


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Describe a machine: the CUDA version of torch, and whether the driver is loaded. The GPU cannot be used."""

    def describe(cuda, *, has_driver):
        def fail():
            raise RuntimeError(TOO_OLD)

        driver = tmp_path / "version"
        if has_driver:
            driver.touch()
        monkeypatch.setattr(device, "DRIVER", driver)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", fail)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return describe


def test_unusable_gpu_is_an_error(machine):
    """A driver that is too old for this torch is named, instead of a picture that takes an hour on the CPU."""
    machine("13.0", has_driver=True)

    with pytest.raises(
        UnusableSetting, match=r"auto: torch .* driver .* too old .*KLEIN_DEVICE=cpu"
    ):
        choose_device()


@pytest.mark.parametrize(("cuda", "has_driver"), [("13.0", False), (None, True), (None, False)])
def test_machine_without_gpu_uses_cpu(machine, cuda, has_driver):
    """Without a driver, or with a torch for CPUs, the CPU is what the operator expects."""
    machine(cuda, has_driver=has_driver)

    assert choose_device().type == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpu_is_not_expected(machine, monkeypatch, hidden):
    """CUDA_VISIBLE_DEVICES can hide the GPU."""
    machine("13.0", has_driver=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)

    assert choose_device().type == "cpu"


def test_operator_may_choose_the_cpu(machine):
    """KLEIN_DEVICE=cpu does not look for a GPU."""
    machine("13.0", has_driver=True)

    assert choose_device(DeviceChoice.CPU).type == "cpu"


def test_gpu_of_mac_must_exist(machine, monkeypatch):
    """KLEIN_DEVICE=mps uses the GPU of a Mac, and without one says what to set. `auto` does not use it."""
    machine(None, has_driver=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UnusableSetting, match=r"KLEIN_DEVICE=mps: .* Set KLEIN_DEVICE=auto"):
        choose_device(DeviceChoice.MPS)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    assert choose_device(DeviceChoice.MPS).type == "mps"
    assert choose_device(DeviceChoice.AUTO).type == "cpu"


@pytest.mark.parametrize(
    ("tuning", "unsupported"),
    [
        (Tuning(), None),
        (Tuning(compile=Compile.ON), "KLEIN_COMPILE=on"),
        (Tuning(quantization=Quantization.INT8), "KLEIN_QUANTIZATION=int8"),
    ],
)
def test_mac_neither_compiles_nor_quantises(tuning, unsupported):
    """On the GPU of a Mac the settings for compilation and quantisation are refused by name."""
    assert tuning.unsupported_on("mps") == unsupported
    assert tuning.unsupported_on("cuda") is None


def test_chosen_gpu_must_exist(machine):
    """KLEIN_DEVICE=cuda never falls back."""
    machine(None, has_driver=False)

    with pytest.raises(UnusableSetting, match=r"KLEIN_DEVICE=cuda: .* it is a build for the CPU"):
        choose_device(DeviceChoice.CUDA)
