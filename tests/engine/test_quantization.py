"""Tests of quantisation with torchao's CPU implementations: the required GPU, and the check of the result."""

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.engines import Order, Tuning, UnusableSetting
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.pipeline import load_pipeline
from worker.engines.quantization import (
    RECIPES,
    QuantizationRecipe,
    block_linears,
    check_capability,
    check_quantized_output,
    quantize,
    repeated_blocks,
    signal_to_noise_db,
)
from worker.engines.tuning import Quantization

pytestmark = pytest.mark.usefixtures("one_thread")
BUILT_IN = Path(__file__).parents[2] / "worker" / "weights" / "builtin"


def on_any_device(name, make_config):
    """Return the shipped recipe with a configuration that runs on a CPU: the same number format, for weights only."""
    return dataclasses.replace(RECIPES[name], make_config=make_config, min_capability=None)


def fp8():
    from torchao.quantization import Float8WeightOnlyConfig

    return on_any_device(Quantization.FP8, Float8WeightOnlyConfig)


def nvfp4():
    from torchao.prototype.mx_formats import NVFP4WeightOnlyConfig

    return on_any_device(Quantization.NVFP4, NVFP4WeightOnlyConfig)


@pytest.mark.parametrize(
    ("name", "device", "capability", "message"),
    [
        (Quantization.FP8, "cpu", None, r"needs .* 8\.9 .*has cpu \(no CUDA\)\. Set .*=none$"),
        (Quantization.FP8, "NVIDIA A100", (8, 0), r"has NVIDIA A100 \(8\.0\)\. Set .*=none$"),
        (Quantization.NVFP4, "NVIDIA H200", (9, 0), r"needs .* 10\.0 .*=none or fp8$"),
        (Quantization.NVFP4, "NVIDIA A100", (8, 0), r"=none$"),
    ],
)
def test_unsupported_device_is_refused(name, device, capability, message):
    """The error names the setting, the required and the present device, and the value to set instead."""
    with pytest.raises(UnusableSetting, match=message):
        check_capability(RECIPES[name], device, capability)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        (Quantization.FP8, (8, 9)),
        (Quantization.FP8, (9, 0)),
        (Quantization.FP8, (12, 0)),
        (Quantization.NVFP4, (10, 0)),
        (Quantization.NVFP4, (12, 0)),
    ],
)
def test_supported_device_passes(name, capability):
    """Ada and later GPUs support fp8, and Blackwell GPUs support both formats."""
    check_capability(RECIPES[name], "a GPU", capability)


def test_fp8_on_cpu_is_refused_before_loading(tiny_weights):
    """fp8 on a CPU is refused with an error that names the setting, whatever the weights."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UnusableSetting, match="KLEIN_QUANTIZATION=fp8 needs"):
        open_quantised(tiny_weights, tuning=Tuning(quantization=Quantization.FP8))


def open_quantised(weights, recipe=None, *, tuning=None, lines=None):
    log = lines if lines is not None else []
    return Flux2KleinEngine(
        inspect_folder(weights), None, tuning or Tuning(), log.append, recipe=recipe
    )


def generate(engine, seed=7):
    order = Order(
        prompt="a red circle on a blue background",
        width=128,
        height=128,
        steps=4,
        guidance=1.0,
        seeds=(seed,),
    )
    return engine.generate(order, lambda k, n: None).images[0].astype(float)


def psnr(one, other):
    error = np.mean((one - other) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def int8():
    return RECIPES[Quantization.INT8]


def int8_weight_only():
    return RECIPES[Quantization.INT8_WEIGHT_ONLY]


@pytest.mark.parametrize(
    ("make_recipe", "least_db"),
    [
        (fp8, 35),
        pytest.param(nvfp4, 25, marks=pytest.mark.slow),
        (int8, 25),
        pytest.param(int8_weight_only, 35, marks=pytest.mark.slow),
    ],
)
def test_quantised_model_gives_similar_image(make_recipe, least_db):
    """The built-in model in each format passes the check and gives nearly the same image."""
    lines: list[str] = []
    quantised = open_quantised(BUILT_IN, make_recipe(), lines=lines)
    quantised.warm_up()
    exact = open_quantised(BUILT_IN)

    assert least_db < psnr(generate(quantised), generate(exact)) < 80
    assert lines[0].startswith("output checked: ")
    assert lines[1].startswith(f"quantised to {make_recipe().name}: ")


def broken_recipe(spoil):
    """Return an fp8 recipe whose weights are changed after quantisation, as by a wrong kernel."""
    from torchao.quantization import Float8WeightOnlyConfig, register_quantize_module_handler

    class Spoiled(Float8WeightOnlyConfig):  # type: ignore[misc]  # torchao has no types
        pass

    @register_quantize_module_handler(Spoiled)
    def transform(module, config):
        module.weight = torch.nn.Parameter(spoil(module.weight.detach()), requires_grad=False)
        return module

    return on_any_device(Quantization.FP8, Spoiled)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weight: weight * math.nan, "not finite"),
        (lambda weight: weight.flip(0), r"dB against the unquantised model, and 15 dB are needed"),
        (lambda weight: weight * 2, r"dB against the unquantised model, and 15 dB are needed"),
    ],
    ids=["nan", "swapped", "scaled"],
)
def test_broken_quantisation_is_refused(spoil, message):
    """A wrong kernel stops the start with a one-line error that names the value to set."""
    engine = open_quantised(BUILT_IN, broken_recipe(spoil))

    with pytest.raises(UnusableSetting, match=rf"{message}.*Set KLEIN_QUANTIZATION=none") as error:
        engine.warm_up()
    assert "\n" not in str(error.value)


def test_quantised_text_encoder_gives_similar_image():
    """With a quantised text encoder the built-in model gives nearly the same image, and the log has the difference."""
    lines: list[str] = []
    tuning = Tuning(text_encoder_quantization=Quantization.INT8_WEIGHT_ONLY)
    quantised = open_quantised(BUILT_IN, tuning=tuning, lines=lines)
    exact = open_quantised(BUILT_IN)

    assert 30 < psnr(generate(quantised), generate(exact)) < 80
    assert lines[1].startswith("text encoder quantised to int8-weight-only: signal-to-noise ratio ")


def test_flat_output_is_refused():
    """A flat result, as swapped nibbles give, is refused."""
    exact = torch.randn(1, 4, 8, 8)

    with pytest.raises(UnusableSetting, match="one flat value"):
        check_quantized_output(RECIPES[Quantization.FP8], exact, torch.ones_like(exact))


def test_broken_text_encoder_is_refused():
    """The error for a broken text encoder names its own setting."""
    recipe, exact = RECIPES[Quantization.INT8_WEIGHT_ONLY], torch.randn(1, 8, 4)
    expected = r"^KLEIN_TEXT_ENCODER_QUANTIZATION=int8-weight-only: .* Set KLEIN_TEXT.*=none$"

    with pytest.raises(UnusableSetting, match=expected):
        check_quantized_output(recipe, exact, exact.flip(1), "KLEIN_TEXT_ENCODER_QUANTIZATION")


def test_unsupported_quantisation_is_refused():
    """What torchao cannot do on this machine stops the start with one sentence that names the value to set."""

    def fail():
        raise NotImplementedError("no kernel\nand more")

    recipe = on_any_device(Quantization.FP8, fail)
    with pytest.raises(
        UnusableSetting, match=r"=fp8: torchao cannot .*\(no kernel\)\. Set .*=none"
    ):
        open_quantised(BUILT_IN, recipe)


def test_memory_that_runs_out_is_explained():
    """Memory that runs out at the start gives one sentence: what was needed, what was free, what to set."""

    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    with pytest.raises(UnusableSetting, match=r"memory ran out .* weights take 0\.0 GB\. Stop"):
        open_quantised(BUILT_IN, on_any_device(Quantization.FP8, fail))


def test_signal_to_noise_in_decibels():
    """Noise of a tenth of the signal gives 20 dB, and no noise gives infinity."""
    exact = torch.ones(1000)
    noise = torch.where(torch.arange(1000) % 2 == 0, 0.1, -0.1)

    assert signal_to_noise_db(exact, exact + noise) == pytest.approx(20)
    assert check_quantized_output(RECIPES[Quantization.FP8], exact, exact + noise) == pytest.approx(
        20
    )
    assert signal_to_noise_db(exact, exact) == math.inf


def test_only_block_linears_are_quantised():
    """Only the linear layers of the blocks are quantised, and all other weights stay unchanged."""
    transformer = load_pipeline(inspect_folder(BUILT_IN), torch.bfloat16).transformer
    before = copy.deepcopy(dict(transformer.named_parameters()))
    chosen = {f"{name}.weight" for name in block_linears(transformer)}
    recipe: QuantizationRecipe = fp8()
    for block in repeated_blocks(transformer):
        quantize(block, recipe)
    after = dict(transformer.named_parameters())

    assert len(chosen) == 2 * 12 + 4 * 2
    assert {name for name in after if type(after[name].data) is not torch.Tensor} == chosen
    assert all(torch.equal(before[name], after[name]) for name in after.keys() - chosen)
