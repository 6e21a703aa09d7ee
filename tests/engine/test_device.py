"""Tests of the engine on a fake device whose memory is separate from the host's, as a GPU's is."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.engine.test_flux2_klein import order, reference
from tests.engine.test_quantization import fp8
from tests.support.fake_device import OTHER, OtherDevice
from tests.support.lora_files import write_lora
from tests.support.tiny_safety_checker import make_checker
from worker.engines import ImageArray, Lora, Tuning, model, safety
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.placement import Placement

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("one_thread")]


def an_order(**changes):
    return order(height=64, steps=4, guidance=4.0, **changes)


ORDERS = {
    "a text": an_order(),
    "two pictures": an_order(seeds=(1, 2)),
    "an edit": an_order(reference_files=(reference(96, 64), reference(64, 80))),
    "a LoRA": an_order(loras=(Lora(path="a.safetensors", scale=1.0),)),
    "a negative prompt": an_order(negative_prompt="b"),
}


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(model, "choose_device", lambda: OTHER)
    # The fake device computes with the CPU's kernels, and is compared with the CPU's results.
    monkeypatch.setattr(model, "choose_weights_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(safety, "choose_device", lambda: OTHER)
    with OtherDevice() as device:
        yield device


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "a.safetensors")
    return folder


@pytest.fixture(scope="module", params=["tiny_weights", "tiny_base_weights"])
def weights(request):
    return request.getfixturevalue(request.param)


def opened(weights, loras, placement):
    folder = inspect_folder(weights)
    return Flux2KleinEngine(folder, loras, Tuning(), lambda _: None, placement=placement)


def draw_all(engine):
    """Generate all ORDERS one by one and two orders as a batch, and return the images and the previews."""
    pictures: list[ImageArray] = []
    previews: list[ImageArray] = []
    for test_order in ORDERS.values():
        drawn = engine.generate(test_order, lambda k, n: None, previews.append)
        pictures.extend(drawn.images)
    orders = [ORDERS["a text"], an_order(prompt="b", seeds=(9,))]
    together = engine.generate_batch(orders, lambda k, n: None, [None, previews.append])
    return [*pictures, *(one.images[0] for one in together)], previews


@pytest.fixture(scope="module")
def from_the_cpu(weights, loras):
    return draw_all(opened(weights, loras, Placement.RESIDENT))


def are_the_same(ones, others):
    """Return whether all images are equal within one level. Another memory layout changes how sums are rounded."""
    pairs = zip(ones, others, strict=True)
    return all(np.abs(one.astype(int) - other).max() <= 1 for one, other in pairs)


@pytest.mark.parametrize("placement", Placement)
def test_it_draws_what_the_cpu_draws(device, weights, loras, from_the_cpu, placement):
    """With every placement the images equal the CPU's, so each tensor is on the device that uses it."""
    pictures, previews = draw_all(opened(weights, loras, placement))

    assert are_the_same(pictures, from_the_cpu[0])
    if placement is Placement.RESIDENT:  # components are not loaded for a preview
        assert are_the_same(previews, from_the_cpu[1])


@pytest.mark.parametrize("placement", [Placement.RESIDENT, Placement.TEXT_ENCODER_OFFLOAD])
def test_nothing_waits_amid_the_steps(device, weights, loras, placement):
    """Between the first and the last step the host neither reads a number nor copies a tensor, which would stall the device."""
    engine = opened(weights, loras, placement)
    for test_order in ORDERS.values():
        device.journal.clear()
        engine.generate(test_order, lambda k, n: device.journal.append(f"step {k}"))
        first, last = device.journal.index("step 1"), device.journal.index("step 4")

        assert device.journal[first : last + 1] == [f"step {k}" for k in (1, 2, 3, 4)]
        assert device.journal[last + 1 :][:3] == ["number", "number", "copy"]


def test_quantised_weights_and_their_loras_lie_there(device, tiny_weights, loras):
    """A quantised model applies a LoRA for one order, and the next order gives the same image as before."""
    folder = inspect_folder(tiny_weights)
    engine = Flux2KleinEngine(folder, loras, Tuning(), lambda _: None, recipe=fp8())
    orders = [ORDERS["a text"], ORDERS["a LoRA"], ORDERS["a text"]]
    before, with_lora, after = (engine.generate(one, lambda k, n: None).images[0] for one in orders)

    assert np.array_equal(before, after)
    assert not np.array_equal(before, with_lora)


def test_the_safety_checker_judges_there(device, tmp_path):
    """The safety checker moves its input images to the device and finds the unsafe one."""
    checker = safety.SafetyChecker(make_checker(tmp_path / "checker"))
    images = [Image.new("RGB", (96, 64), colour) for colour in ("blue", "red")]

    assert checker.is_any_unsafe(images)
    assert not checker.is_any_unsafe(images[:1])


def test_it_is_a_device_of_its_own(device):
    """The fake device rejects an operation that mixes its tensors with the CPU's."""
    there, here = torch.ones(2, device=OTHER), torch.ones(2)

    with pytest.raises(RuntimeError, match="some tensors are on the device and some are not"):
        there + here
    assert (there + here.to(OTHER)).sum().item() == 4
    assert device.journal == ["copy", "number"]
