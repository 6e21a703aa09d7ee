"""What the GPUs report of themselves, for `/metrics`; by NVML, so that this process needs no torch."""

from collections.abc import Iterable
from contextlib import suppress

import pynvml
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class GpuCollector(Collector):
    """The GPUs of this host; which of them a worker uses is CUDA_VISIBLE_DEVICES's to say."""

    def collect(self) -> Iterable[Metric]:
        """Give memory and utilisation of each GPU."""
        memory = GaugeMetricFamily(
            "klein_gpu_memory_bytes", "Memory of the GPU", labels=("gpu", "state")
        )
        busy = GaugeMetricFamily(
            "klein_gpu_busy_ratio", "Share of the last moments with a kernel", labels=("gpu",)
        )
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            # one that is split (MIG) or shares the host's memory does not tell all of it
            with suppress(pynvml.NVMLError):
                told = pynvml.nvmlDeviceGetMemoryInfo(device)
                memory.add_metric((str(index), "used"), told.used)
                memory.add_metric((str(index), "free"), told.free)
            with suppress(pynvml.NVMLError):
                rates = pynvml.nvmlDeviceGetUtilizationRates(device)
                busy.add_metric((str(index),), rates.gpu / 100)
        yield from (memory, busy)


def register_gpu_metrics() -> None:
    """Add the GPUs to this process's metrics, where there are any."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, no GPU
        return
    REGISTRY.register(GpuCollector())
