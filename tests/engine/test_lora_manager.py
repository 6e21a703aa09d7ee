"""Tests of LoRAs on tiny weights: usable files change the image, others are refused, and each is removed completely."""

import os
import pickle
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.lora_files import write_lora
from worker.engines import Lora, Order, UnusableLora, open_engine
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.lora_manager import CACHE_SIZE, LoraManager

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    for seed, name in enumerate("abc"):
        write_lora(folder / f"{name}.safetensors", seed)
    return folder


@pytest.fixture(scope="module")
def engine(tiny_weights, folder):
    return open_engine(tiny_weights, folder)


@pytest.fixture(scope="module")
def base_image(tiny_weights):
    return generate(open_engine(tiny_weights))


def generate(engine, *loras, prompt="a red house"):
    order = Order(
        prompt=prompt,
        width=64,
        height=64,
        steps=2,
        guidance=1.0,
        seeds=(7,),
        loras=tuple(Lora(path=f"{name}.safetensors", scale=scale) for name, scale in loras),
    )
    return engine.generate(order, lambda k, n: None).images[0]


def test_lora_scale_changes_image(engine, base_image):
    """Each LoRA and each scale gives another image."""
    images = [
        base_image,
        generate(engine, ("a", 1)),
        generate(engine, ("a", -1)),
        generate(engine, ("b", 1)),
    ]

    assert len({image.tobytes() for image in images}) == 4


def test_removed_lora_restores_base_model(engine, base_image):
    """After orders with LoRAs, an order without one has the bytes of a model that never had any."""
    generate(engine, ("a", 1), ("b", 2))

    assert np.array_equal(generate(engine), base_image)


def test_lora_scale_zero_changes_nothing(engine, base_image):
    """A LoRA at scale 0 changes no byte."""
    assert np.array_equal(generate(engine, ("a", 0)), base_image)


def test_earlier_loras_do_not_matter(engine, tiny_weights, folder):
    """The image of a set of LoRAs equals that of a new engine, whatever the engine generated before."""
    generate(engine, ("c", 4), prompt="another")
    generate(engine, ("b", 1))
    with_loras = generate(engine, ("a", 0.5), ("b", -0.5))

    assert np.array_equal(
        with_loras, generate(open_engine(tiny_weights, folder), ("a", 0.5), ("b", -0.5))
    )
    assert not np.array_equal(with_loras, generate(engine, ("a", 0.5)))


@pytest.fixture(scope="module")
def unusable(folder):
    """Write every kind of file that is not a usable LoRA."""
    good = (folder / "a.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(good[:-100])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (folder / "folder.safetensors").mkdir()
    save_file({"alphabet": torch.zeros(1)}, folder / "no-lora.safetensors")
    save_file({}, folder / "nothing.safetensors")
    write_lora(folder / "unknown-keys.safetensors", prefix="unet")
    write_lora(folder / "other-width.safetensors", width=48)
    state = write_lora(folder / "half.safetensors")
    half = {key: value for key, value in state.items() if "to_out" not in key}
    strange = {key.replace("to_out", "to_nowhere"): value for key, value in state.items()}
    save_file(half | strange, folder / "half.safetensors")
    incomplete = {key: value for key, value in state.items() if "to_out.lora_B" not in key}
    save_file(incomplete, folder / "lost.safetensors")


UNUSABLE = (
    "cut",
    "empty",
    "pickle",
    "folder",
    "no-lora",
    "nothing",
    "unknown-keys",
    "other-width",
    "half",
    "lost",
    "missing",
    "../a",
    "sub/a",
    "nul\0",
)


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.usefixtures("unusable")
def test_unusable_lora_fails_only_its_order(engine, base_image, name):
    """The error of an unusable file names it, and the next order gives the same image as before."""
    with pytest.raises(UnusableLora, match="LoRA ") as failed:
        generate(engine, ("a", 1), (name, 1))

    assert name in str(failed.value)
    assert np.array_equal(generate(engine), base_image)
    assert not np.array_equal(generate(engine, ("a", 1)), base_image)


def test_missing_lora_folder_names_setting(tiny_weights):
    """Without a LoRA folder, the error names the setting that is missing."""
    with pytest.raises(UnusableLora, match="KLEIN_LORAS"):
        generate(open_engine(tiny_weights), ("a", 1))


def test_replaced_lora_file_is_read_again(engine, folder):
    """A file that is replaced under the same name is loaded again."""
    target = folder / "changing.safetensors"
    write_lora(target, 0)
    before = generate(engine, ("changing", 1))
    write_lora(target, 1)
    os.utime(target, (1, 1))

    assert np.array_equal(generate(engine, ("a", 1)), before)
    assert np.array_equal(generate(engine, ("changing", 1)), generate(engine, ("b", 1)))


def test_lora_cache_is_bounded(tiny_weights, folder, tmp_path):
    """The cache keeps the most recently used LoRAs and loads none of them twice, and clearing it restores the weights."""
    for k in range(CACHE_SIZE + 2):
        write_lora(tmp_path / f"{k}.safetensors", k)
    pipe = cast("Flux2KleinEngine", open_engine(tiny_weights)).model.pipe
    before = {name: weight.clone() for name, weight in pipe.transformer.named_parameters()}
    manager = LoraManager(pipe, tmp_path)
    for k in range(CACHE_SIZE + 2):
        manager.apply([Lora(path=f"{k}.safetensors", scale=1)])
    resident = manager.cached_files
    (tmp_path / "2.safetensors").rename(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "2.safetensors")
    manager.apply([Lora(path="2.safetensors", scale=1)])

    assert resident == [f"{k}.safetensors" for k in range(2, CACHE_SIZE + 2)]
    assert manager.cached_files == [*resident[1:], resident[0]]
    manager.clear()
    assert manager.cached_files == []
    after = dict(pipe.transformer.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_memory_of_loras_is_reported(tiny_weights, folder):
    """A result names the memory that LoRAs take on the host, which does not count as growth. Clearing the caches frees it."""
    engine: Any = open_engine(tiny_weights, folder)
    orders = [
        Order(
            prompt="a", width=64, height=64, steps=1, guidance=1.0, seeds=(7,), loras=tuple(loras)
        )
        for loras in ([], [Lora(path="a.safetensors", scale=1.0)])
    ]
    without, with_lora = (
        engine.generate(order, lambda k, n: None).cached_bytes for order in orders
    )
    engine.model.clear_caches()

    assert without == 0
    assert with_lora > (folder / "a.safetensors").stat().st_size / 2
    assert engine.model.loras.host_bytes == 0
