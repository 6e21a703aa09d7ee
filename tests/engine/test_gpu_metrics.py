"""What the GPUs report, and how much of one is left, without one."""

import pynvml
import pytest
import torch

from worker.engines.device import free_memory_bytes
from worker.gpu_metrics import GpuCollector


@pytest.fixture
def two_gpus(monkeypatch):
    """Stand in for a host whose second GPU does not tell its memory, nor the first how busy it is."""

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
def test_what_a_gpu_does_not_tell_is_left_out():
    """A GPU that is split, or shares the host's memory, leaves the other metrics alone."""
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in GpuCollector().collect()
        for sample in metric.samples
    }

    assert told == {
        ("klein_gpu_memory_bytes", "0", "used"): 3,
        ("klein_gpu_memory_bytes", "0", "free"): 4,
        ("klein_gpu_busy_ratio", "1"): 0.5,
    }


def test_what_torch_keeps_for_later_is_free(monkeypatch):
    """Blocks that nothing lies in count as free; the host's memory is not counted."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (10, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 30)

    assert free_memory_bytes(torch.device("cuda")) == 30
    assert free_memory_bytes(torch.device("cpu")) is None
