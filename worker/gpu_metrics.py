"""Exports GPU metrics. They come from NVML, so that this process needs no torch."""

import ctypes
from collections.abc import Iterable
from contextlib import suppress

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_DRIVER = "libnvidia-ml.so.1"


class GpuCollector(Collector):
    """Collects the metrics of all GPUs of this host, whichever of them the worker uses."""

    def collect(self) -> Iterable[Metric]:
        """Return the memory and utilisation of each GPU."""
        import pynvml  # noqa: PLC0415 -- loads only on a host with a driver

        memory = GaugeMetricFamily(
            "klein_gpu_memory_bytes", "Memory of the GPU", labels=("gpu", "state")
        )
        busy = GaugeMetricFamily(
            "klein_gpu_busy_ratio", "Share of the last moments with a kernel", labels=("gpu",)
        )
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            # a GPU that is split (MIG) or shares the host's memory does not report all values
            with suppress(pynvml.NVMLError):
                info = pynvml.nvmlDeviceGetMemoryInfo(device)
                memory.add_metric((str(index), "used"), info.used)
                memory.add_metric((str(index), "free"), info.free)
            with suppress(pynvml.NVMLError):
                rates = pynvml.nvmlDeviceGetUtilizationRates(device)
                busy.add_metric((str(index),), rates.gpu / 100)
        yield from (memory, busy)


def register_gpu_metrics() -> None:
    """Add GPU metrics to this process, if the host has a GPU."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return
    import pynvml  # noqa: PLC0415 -- loads only on a host with a driver

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no GPU
        return
    REGISTRY.register(GpuCollector())
