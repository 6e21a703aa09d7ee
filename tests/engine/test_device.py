"""Tests of the engine on a fake device whose memory is separate from the host's, as a GPU's is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.full_size import SMALL, write_random_weights
from tests.engine.test_flux2_klein import order, reference
from tests.engine.test_quantization import fp8
from tests.support.fake_device import OTHER, OtherDevice
from tests.support.lora_files import write_lora
from tests.support.tiny_safety_checker import make_checker
from worker.engines import ImageArray, Lora, Tuning, model, safety
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.pipeline import load_pipeline
from worker.engines.placement import Placement, module_bytes
from worker.engines.quantization import repeated_blocks

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("one_thread")]


def an_order(**changes):
    return order(height=64, steps=4, guidance=4.0, **changes)


ORDERS = {
    "a text": an_order(),
    "two images": an_order(seeds=(1, 2)),
    "an edit": an_order(reference_files=(reference(96, 64), reference(64, 80))),
    "a LoRA": an_order(loras=(Lora(path="a.safetensors", scale=1.0),)),
    "a negative prompt": an_order(negative_prompt="b"),
}


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(model, "choose_device", lambda *_: OTHER)
    # The fake device computes with the CPU's kernels, and is compared with the CPU's results.
    monkeypatch.setattr(model, "choose_weights_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(safety, "choose_device", lambda *_: OTHER)
    with OtherDevice() as device:
        yield device


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "a.safetensors")
    return folder


@pytest.fixture(
    scope="module",
    params=["tiny_weights", pytest.param("tiny_base_weights", marks=pytest.mark.slow)],
)
def weights(request):
    return request.getfixturevalue(request.param)


def opened(weights, loras, placement):
    folder = inspect_folder(weights)
    return Flux2KleinEngine(folder, loras, Tuning(), lambda _: None, placement=placement)


def generate_all(engine):
    """Generate all ORDERS one by one and two orders as a batch, and return the images and the previews."""
    images: list[ImageArray] = []
    previews: list[ImageArray] = []
    for test_order in ORDERS.values():
        result = engine.generate(test_order, lambda k, n: None, previews.append)
        images.extend(result.images)
    orders = [ORDERS["a text"], an_order(prompt="b", seeds=(9,))]
    together = engine.generate_batch(orders, lambda k, n: None, [None, previews.append])
    return [*images, *(one.images[0] for one in together)], previews


@pytest.fixture(scope="module")
def from_the_cpu(weights, loras):
    return generate_all(opened(weights, loras, Placement.RESIDENT))


def are_the_same(ones, others):
    """Return whether all images are equal within one level. Another memory layout changes how sums are rounded."""
    pairs = zip(ones, others, strict=True)
    return all(np.abs(one.astype(int) - other).max() <= 1 for one, other in pairs)


@pytest.mark.parametrize(
    "placement",
    [
        pytest.param(Placement.RESIDENT, marks=pytest.mark.slow),
        Placement.TEXT_ENCODER_OFFLOAD,
        pytest.param(Placement.MODEL_OFFLOAD, marks=pytest.mark.slow),
    ],
)
def test_images_equal_those_of_cpu(device, weights, loras, from_the_cpu, placement):
    """With every placement the images equal the CPU's, so each tensor is on the device that uses it."""
    images, previews = generate_all(opened(weights, loras, placement))

    assert are_the_same(images, from_the_cpu[0])
    if placement is Placement.RESIDENT:  # components are not loaded for a preview
        assert are_the_same(previews, from_the_cpu[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "placement",
    [Placement.RESIDENT, pytest.param(Placement.TEXT_ENCODER_OFFLOAD, marks=pytest.mark.slow)],
)
def test_steps_do_not_synchronise_device(device, weights, loras, placement):
    """Between the first and the last step the host neither reads a number nor copies a tensor, which would stall the device."""
    engine = opened(weights, loras, placement)
    for test_order in ORDERS.values():
        device.journal.clear()
        engine.generate(test_order, lambda k, n: device.journal.append(f"step {k}"))
        first, last = device.journal.index("step 1"), device.journal.index("step 4")

        assert device.journal[first : last + 1] == [f"step {k}" for k in (1, 2, 3, 4)]
        assert device.journal[last + 1 :][:3] == ["number", "number", "copy"]


@pytest.mark.slow
def test_quantised_weights_and_loras_are_on_device(device, tiny_weights, loras):
    """A quantised model applies a LoRA for one order, and the next order gives the same image as before."""
    folder = inspect_folder(tiny_weights)
    engine = Flux2KleinEngine(folder, loras, Tuning(), lambda _: None, recipe=fp8())
    orders = [ORDERS["a text"], ORDERS["a LoRA"], ORDERS["a text"]]
    before, with_lora, after = (engine.generate(one, lambda k, n: None).images[0] for one in orders)

    assert np.array_equal(before, after)
    assert not np.array_equal(before, with_lora)


@pytest.fixture(scope="module")
def many_blocks(tmp_path_factory):
    """The folder of a checkpoint whose blocks are most of its weights."""
    dimensions = replace(SMALL, double_blocks=4, single_blocks=8, heads=2, text_layers=3)
    folder = write_random_weights(tmp_path_factory.mktemp("blocks"), "cpu", dimensions)
    manifest = {"random_weights": True, "max_sequence_length": 16}
    (folder / "klein.json").write_text(
        json.dumps({**manifest, "text_encoder_out_layers": [1, 2, 3]})
    )
    return folder


@pytest.mark.parametrize(
    "placement",
    [Placement.RESIDENT, pytest.param(Placement.MODEL_OFFLOAD, marks=pytest.mark.slow)],
)
def test_one_unquantised_block_is_on_device(device, many_blocks, placement):
    """While a model is checked and quantised, at most one block is on the device unquantised."""
    tuning = Tuning(warm_sizes=((64, 64),))
    engine = Flux2KleinEngine(
        inspect_folder(many_blocks), None, tuning, lambda _: None, recipe=fp8(), placement=placement
    )
    pipe = load_pipeline(inspect_folder(many_blocks), torch.float32)
    blocks = [module_bytes(block) for block in repeated_blocks(pipe.transformer)]
    rest = module_bytes(pipe.transformer) - sum(blocks)
    others = [module_bytes(pipe.text_encoder), module_bytes(pipe.vae)]
    expected = (
        rest + max(blocks) + sum(others)
        if placement is Placement.RESIDENT
        else max(*others, rest + max(blocks))
    )
    inputs = 2_000_000  # embeddings, noise and position ids

    assert expected - inputs < device.peak_copied_bytes < expected + inputs
    assert expected + inputs < sum(blocks)
    assert engine.model.placement is placement


def test_safety_checker_runs_on_device(device, tmp_path):
    """The safety checker moves its input images to the device and finds the unsafe one."""
    checker = safety.SafetyChecker(make_checker(tmp_path / "checker"))
    images = [Image.new("RGB", (96, 64), colour) for colour in ("blue", "red")]

    assert checker.is_any_unsafe(images)
    assert not checker.is_any_unsafe(images[:1])


def test_fake_device_rejects_mixed_tensors(device):
    """The fake device rejects an operation that mixes its tensors with the CPU's."""
    there, here = torch.ones(2, device=OTHER), torch.ones(2)

    with pytest.raises(RuntimeError, match="some tensors are on the device and some are not"):
        there + here
    assert (there + here.to(OTHER)).sum().item() == 4
    assert device.journal == ["copy", "number"]
