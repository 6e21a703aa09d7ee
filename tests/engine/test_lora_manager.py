"""Tests of LoRAs on tiny weights: usable files change the image, others are refused, and each is removed completely."""

import os
import pickle
from typing import cast

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
def bare_picture(tiny_weights):
    return draw(open_engine(tiny_weights))


def draw(engine, *loras, prompt="a red house"):
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


def test_a_lora_changes_the_picture_by_its_scale(engine, bare_picture):
    """Each LoRA and each scale gives another image."""
    drawn = [bare_picture, draw(engine, ("a", 1)), draw(engine, ("a", -1)), draw(engine, ("b", 1))]

    assert len({picture.tobytes() for picture in drawn}) == 4


def test_without_a_lora_it_is_the_bare_model_again(engine, bare_picture):
    """After orders with LoRAs, an order without one has the bytes of a model that never had any."""
    draw(engine, ("a", 1), ("b", 2))

    assert np.array_equal(draw(engine), bare_picture)


def test_scale_zero_is_the_bare_model(engine, bare_picture):
    """A LoRA at scale 0 changes no byte."""
    assert np.array_equal(draw(engine, ("a", 0)), bare_picture)


def test_what_was_worn_before_does_not_matter(engine, tiny_weights, folder):
    """The image of a set of LoRAs equals that of a new engine, whatever the engine generated before."""
    draw(engine, ("c", 4), prompt="another")
    draw(engine, ("b", 1))
    with_loras = draw(engine, ("a", 0.5), ("b", -0.5))

    assert np.array_equal(
        with_loras, draw(open_engine(tiny_weights, folder), ("a", 0.5), ("b", -0.5))
    )
    assert not np.array_equal(with_loras, draw(engine, ("a", 0.5)))


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
    lost = {key: value for key, value in state.items() if "to_out.lora_B" not in key}
    save_file(lost, folder / "lost.safetensors")


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
def test_an_unusable_file_fails_its_order_alone(engine, bare_picture, name):
    """The error of an unusable file names it, and the next order gives the same image as before."""
    with pytest.raises(UnusableLora, match="LoRA ") as failed:
        draw(engine, ("a", 1), (name, 1))

    assert name in str(failed.value)
    assert np.array_equal(draw(engine), bare_picture)
    assert not np.array_equal(draw(engine, ("a", 1)), bare_picture)


def test_without_a_folder_every_lora_is_unknown(tiny_weights):
    """Without a LoRA folder, the error names the setting that is missing."""
    with pytest.raises(UnusableLora, match="KLEIN_LORAS"):
        draw(open_engine(tiny_weights), ("a", 1))


def test_an_exchanged_file_is_read_anew(engine, folder):
    """A file that is replaced under the same name is loaded again."""
    target = folder / "changing.safetensors"
    write_lora(target, 0)
    before = draw(engine, ("changing", 1))
    write_lora(target, 1)
    os.utime(target, (1, 1))

    assert np.array_equal(draw(engine, ("a", 1)), before)
    assert np.array_equal(draw(engine, ("changing", 1)), draw(engine, ("b", 1)))


def test_few_loras_stay_resident(tiny_weights, folder, tmp_path):
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
