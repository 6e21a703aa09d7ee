"""Tests of the GPU metrics and the free memory, without a GPU."""

import ctypes
import sys

import pynvml
import pytest
import torch
from prometheus_client import REGISTRY

from worker.engines.device import free_memory_bytes
from worker.gpu_metrics import GpuCollector, register_gpu_metrics


@pytest.fixture
def two_gpus(monkeypatch):
    """Simulate two GPUs. The first does not report its utilisation, the second not its memory."""

    def memory(index):
        if index == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return pynvml.c_nvmlMemory_t(used=3, free=4)

    def rates(index):
        if index == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return pynvml.c_nvmlUtilization_t(gpu=50)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", rates)


@pytest.mark.usefixtures("two_gpus")
def test_missing_gpu_values_are_left_out():
    """A value that a GPU does not report is left out, and the others are kept."""
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in GpuCollector().collect()
        for sample in metric.samples
    }

    assert values == {
        ("klein_gpu_memory_bytes", "0", "used"): 3,
        ("klein_gpu_memory_bytes", "0", "free"): 4,
        ("klein_gpu_busy_ratio", "1"): 0.5,
    }


def test_host_without_driver_does_not_load_nvml(monkeypatch):
    """Without a driver, the library of NVIDIA is not imported and no metrics are added."""

    def no_library(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    monkeypatch.setattr(REGISTRY, "register", pytest.fail)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # its import fails

    register_gpu_metrics()


def test_memory_cached_by_torch_is_free(monkeypatch):
    """Memory that torch has reserved but not allocated counts as free, and a CPU has no value."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (10, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 30)

    assert free_memory_bytes(torch.device("cuda")) == 30
    assert free_memory_bytes(torch.device("cpu")) is None
