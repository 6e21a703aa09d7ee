"""Tests of the 4B configuration with random weights on a GPU: `pytest -m gpu tests/gpu`."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from benchmarks.backlog import Backlog
from benchmarks.full_size import Dimensions, write_random_weights
from worker.engines import Order, Tuning, open_engine
from worker.engines.tuning import Compile, Quantization

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # warnings of the compiler
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.fixture(scope="module")
def weights(request, tmp_path_factory):
    if (given := request.config.getoption("--gpu-weights")) is not None:
        return given
    return write_random_weights(tmp_path_factory.mktemp("4b"), "cuda", Dimensions())


def opened(weights, **tuning):
    lines: list[str] = []
    engine = open_engine(weights, None, Tuning(**tuning), lines.append)
    engine.warm_up()
    return engine, lines


def generate(engine, side, references=()):
    order = Order(
        prompt="a house",
        width=side,
        height=side,
        steps=4,
        guidance=1.0,
        seeds=(7,),
        reference_files=references,
    )
    return engine.generate(order, lambda k, n: None).images[0]


def test_configuration_has_size_of_4b_checkpoint(weights):
    """The transformer has 3.876 billion parameters, as the 4B checkpoint has."""
    files = (weights / "transformer").glob("*.safetensors")

    assert sum(file.stat().st_size for file in files) / 2 == pytest.approx(3.876e9, rel=0.01)


def test_compiled_engine_memory_and_determinism(weights):
    """The engine compiles by default, gives the same image twice, and needs less than 24 GB at one megapixel and 40 GB at four."""
    engine, lines = opened(weights)
    before = counters["stats"]["unique_graphs"]
    torch.cuda.reset_peak_memory_stats()
    image = generate(engine, 1024)
    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    large = generate(engine, 2048)
    large_peak = torch.cuda.max_memory_allocated() / 1e9

    assert not any(line.startswith("compilation failed") for line in lines)
    assert np.array_equal(generate(engine, 1024), image)
    assert large.shape == (2048, 2048, 3)
    assert (peak < 24, large_peak < 40) == (True, True), (peak, large_peak)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    assert generate(engine, 1024, (file.getvalue(),)).shape == (1024, 1024, 3)
    assert counters["stats"]["unique_graphs"] == before


def test_four_megapixels_are_decoded_in_tiles(weights):
    """With 4 GB beside the weights, four megapixels are decoded in tiles, because the decoder would hold two maps of 2.1 GB."""
    engine, _ = opened(weights)
    limit = torch.cuda.memory_allocated() + 4e9
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.mem_get_info()[1])
    try:
        order = Order(prompt="a", width=2048, height=2048, steps=4, guidance=1.0, seeds=(7,))
        result = engine.generate(order, lambda k, n: None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert "2048x2048 was decoded in tiles" in result.notes[0]
    assert result.images[0].shape == (2048, 2048, 3)


def test_batch_gives_same_images_as_single_orders(weights):
    """A batch needs no new compilation after the warm-up, and its images equal those of the orders alone, within bfloat16's noise."""
    engine, lines = opened(weights, batch=4)
    before = counters["stats"]["unique_graphs"]
    orders = [
        Order(prompt=p, width=512, height=512, steps=4, guidance=1.0, seeds=(7,)) for p in "abcd"
    ]
    batch = engine.generate_batch(orders, lambda k, n: None)
    alone = [engine.generate(order, lambda k, n: None) for order in orders]

    assert "batch size 4" in lines
    assert counters["stats"]["unique_graphs"] == before
    for one, other in zip(batch, alone, strict=True):
        error = np.mean((one.images[0].astype(float) - other.images[0]) ** 2)
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 25


@pytest.mark.parametrize("name", [Quantization.FP8, Quantization.NVFP4])
def test_quantised_model_passes_quality_check(weights, name):
    """Where the GPU supports the format, a quantised model passes its check, and the log has the difference from the exact model."""
    lowest = {Quantization.FP8: (8, 9), Quantization.NVFP4: (10, 0)}[name]
    if torch.cuda.get_device_capability() < lowest:
        pytest.skip("the GPU does not support the format")
    engine, lines = opened(weights, quantization=name, compile=Compile.ON)

    assert any(line.startswith(f"quantised to {name}: ") for line in lines)
    assert generate(engine, 1024).std() > 0


def test_backlog_benchmark_reports_gpu_utilisation(weights):
    """The backlog benchmark reports the throughput through HTTP and the share of the time that the GPU is busy."""
    backlog = Backlog(weights=weights, side=1024, waiting=4, rounds=2)

    assert [row.split(" | ")[0] for row in backlog.rows()][1:] == [
        "| through HTTP",
        "| GPU busy meanwhile",
    ]
