"""Tests of the check that refuses a checkpoint that generates noise."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worker.engines import WeightsError, open_engine
from worker.engines.output_check import check_latents

BUILT_IN = Path("worker/weights/builtin")


def smooth(side=32):
    """Return latents that change slowly, as those of an image do."""
    ramp = torch.linspace(-1, 1, side)
    return (ramp[:, None] * ramp[None, :]).expand(1, 4, side, side)


def test_image_latents_pass():
    """Latents whose neighbours are similar pass."""
    assert check_latents(smooth()) > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_refused(seed):
    """White noise is refused, whatever its seed."""
    noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(seed))

    with pytest.raises(WeightsError, match="generates noise"):
        check_latents(noise)


@pytest.mark.parametrize(
    ("latents", "reason"),
    [(smooth() * float("nan"), "not a number"), (torch.ones(1, 4, 32, 32), "constant")],
)
def test_non_finite_or_constant_output_is_refused(latents, reason):
    """Output that is not finite or does not vary is refused with its reason."""
    with pytest.raises(WeightsError, match=reason):
        check_latents(latents)


def random_values(tensors):
    generator = torch.Generator().manual_seed(0)
    return {
        name: (
            torch.randn(tensor.shape, generator=generator) * tensor.float().std(correction=0)
        ).to(tensor.dtype)
        for name, tensor in tensors.items()
    }


def half_random(tensors):
    return tensors | random_values(dict(sorted(tensors.items())[::2]))


def wrongly_scaled(tensors):
    """Scale the linears of the blocks as an fp8 file stores them, without its scales."""
    return {
        name: tensor * (448 / tensor.abs().max())
        if tensor.ndim == 2 and "blocks" in name
        else tensor
        for name, tensor in tensors.items()
    }


def without_output(tensors):
    return {
        name: torch.zeros_like(tensor) if name.startswith("proj_out") else tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(
    "spoil",
    [
        random_values,
        half_random,
        wrongly_scaled,
        without_output,
    ],
    ids=["random", "half random", "scales ignored", "no output"],
)
def test_damaged_checkpoint_does_not_start(tmp_path, spoil):
    """The built-in model with changed weights has valid files and is refused for its output."""
    weights = Path(shutil.copytree(BUILT_IN, tmp_path / "weights"))
    file = weights / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file(spoil(load_file(file)), file)

    with pytest.raises(WeightsError, match="generates noise") as caught:
        open_engine(weights)
    assert "\n" not in str(caught.value)


def not_a_number(part):
    def spoil(tensors):
        name = next(name for name in tensors if name.startswith(part))
        return tensors | {name: torch.full_like(tensors[name], torch.nan)}

    return spoil


def zeros(part):
    return lambda tensors: {
        name: torch.zeros_like(tensor) if name.startswith(part) else tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(
    ("component", "file", "spoil", "reason"),
    [
        ("vae", "diffusion_pytorch_model", not_a_number("decoder.conv_out"), "decoder is not a"),
        ("vae", "diffusion_pytorch_model", zeros("decoder"), "decoder is constant"),
        ("vae", "diffusion_pytorch_model", not_a_number("encoder.conv_in"), "encoder of images is"),
        ("text_encoder", "model", zeros(""), "the same for every word"),
    ],
    ids=["decoder NaN", "decoder zero", "encoder NaN", "text encoder zero"],
)
def test_damaged_component_does_not_start(tmp_path, component, file, spoil, reason):
    """Values that are no numbers, or zeros of a file that was not written whole, are found in every component."""
    weights = Path(shutil.copytree(BUILT_IN, tmp_path / "weights"))
    path = weights / component / f"{file}.safetensors"
    save_file(spoil(load_file(path)), path)

    with pytest.raises(WeightsError, match=reason):
        open_engine(weights)


def test_built_in_model_passes():
    """The built-in model passes, and its status at start reports the check."""
    status: list[str] = []

    open_engine(BUILT_IN, on_status=status.append)

    assert any(line.startswith("output checked") for line in status)


def test_declared_random_weights_start(tiny_weights):
    """Weights that declare themselves random start, and the status says that their output was not checked."""
    status: list[str] = []

    open_engine(tiny_weights, on_status=status.append)

    assert any(line.startswith("output not checked") for line in status)
