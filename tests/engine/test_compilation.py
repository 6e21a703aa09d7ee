"""Tests of compilation on tiny weights, with this machine's C++ compiler."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config

from tests.engine.test_quantization import fp8, psnr
from tests.support.lora_files import write_lora
from tests.support.tiny_weights import make_tiny_weights
from worker.engines import Lora, Order, UnusableSetting
from worker.engines.attention import (
    NATIVE,
    AttentionShape,
    fastest_backend,
    time_attention_backends,
)
from worker.engines.compilation import eager
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.manifest import Manifest
from worker.engines.tuning import Compile, Quantization, Tuning
from worker.engines.warm_up_images import choose_warm_up_images

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # warnings of the compiler
    pytest.mark.usefixtures("one_thread"),
]

ON = Tuning(compile=Compile.ON)


def native_only(*_):
    """Time one attention kernel only, so that every machine selects it."""
    return {NATIVE: 0.001}


def load(weights, loras, tuning, on_status=lambda _: None, **options):
    return Flux2KleinEngine(
        inspect_folder(weights), loras, tuning, on_status, time_backends=native_only, **options
    )


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """No choice of an earlier test or run is remembered."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled") / "weights"
    return make_tiny_weights(folder, vae_layers=0, render_scaled=True, native_size=128)


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "a.safetensors")
    return folder


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def compiled(weights, loras, lines):
    engine = load(weights, loras, replace(ON, batch=4), lines.append)
    engine.warm_up()
    return engine


@pytest.fixture(scope="module")
def plain(weights, loras):
    return load(weights, loras, Tuning())


def reference():
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "PNG")
    return file.getvalue()


def order_of(width, height, **changes):
    values = {"prompt": "a house", "steps": 2, "guidance": 1.0, "seeds": (7,), **changes}
    return Order(width=width, height=height, **values)


def generate(engine, width, height, **changes):
    order = order_of(width, height, **changes)
    return engine.generate(order, lambda k, n: None).images[0].astype(float)


def graphs():
    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_model_gives_same_images(compiled, plain):
    """A compiled model generates what the plain model does: at the compiled size, at another size and with a reference image."""
    for width, height in ((128, 128), (512, 288)):
        assert psnr(generate(compiled, width, height), generate(plain, width, height)) > 45
    edits = [generate(e, 128, 128, reference_files=(reference(),)) for e in (compiled, plain)]
    assert psnr(*edits) > 45


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_warm_up_compiles_everything(compiled):
    """Sizes, steps, reference images and LoRAs that were not part of the warm-up need no new compilation."""
    before = graphs()
    generate(compiled, 640, 256, steps=3, seeds=(1, 2))
    generate(compiled, 256, 768, reference_files=(reference(), reference()))
    generate(compiled, 128, 128, loras=(Lora(path="a.safetensors", scale=1),))

    assert before > 0
    assert graphs() == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_size_uses_compiled_graphs(tmp_path):
    """On weights that generate every size as requested, no named and no custom size compiles the decoder again."""
    folder = make_tiny_weights(tmp_path / "weights", vae_layers=0, native_size=128)
    # The areas are those for which torch chooses the same convolution on a CPU: it is part of the graph.
    engine = load(folder, None, replace(ON, warm_sizes=((192, 192),)))
    engine.warm_up()
    before = graphs()
    named = [(128, 128), (192, 192), (144, 192), (112, 192), (192, 144), (192, 112)]
    custom = [(96, 112), (112, 128), (128, 144), (144, 160), (160, 176), (176, 192), (96, 256)]
    custom += [(256, 96), (208, 128), (320, 112)]
    for width, height in named + custom:
        generate(engine, width, height)

    assert graphs() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_warm_up_compiles_batches(compiled):
    """A batch of any number and size needs no new compilation, and its images are those of the orders alone."""
    before = graphs()
    for count, size in ((2, (128, 128)), (3, (640, 256)), (4, (128, 96))):
        orders = [order_of(*size, seeds=(seed,)) for seed in range(count)]
        batch = compiled.generate_batch(orders, lambda _k, _n: None)
        last = generate(compiled, *size, seeds=(count - 1,))

        assert psnr(batch[-1].images[0].astype(float), last) > 45
    assert graphs() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_lora_on_compiled_model(compiled, plain):
    """A LoRA changes the image as on the plain model, and the next order without it gives the same image as before."""
    one_lora = (Lora(path="a.safetensors", scale=1),)
    without_lora = generate(compiled, 128, 128)

    assert (
        psnr(
            generate(compiled, 128, 128, loras=one_lora), generate(plain, 128, 128, loras=one_lora)
        )
        > 45
    )
    assert psnr(generate(compiled, 128, 128, loras=one_lora), without_lora) < 40
    assert np.array_equal(generate(compiled, 128, 128), without_lora)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_start_logs_choices(compiled, lines):
    """The log has the chosen attention kernel with the measured times, each image of the warm-up and the batch size."""
    assert list(dict.fromkeys(line.partition(" took ")[0] for line in lines)) == [
        "output not checked: klein.json says that the weights are random",
        "attention native (576 tokens: native 1.00 ms)",
        "warm-up 1 of 3: 128x128",
        "warm-up 2 of 3: 128x96",
        "warm-up 3 of 3: an edit of 128x128",
        "batch size 4",
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_quantised_model_compiles(weights, loras):
    """A quantised model compiles and passes its quality check, and fusing a LoRA into it compiles nothing more."""
    lines: list[str] = []
    engine = load(weights, loras, ON, lines.append, recipe=fp8())
    engine.warm_up()
    before, without_lora = graphs(), generate(engine, 128, 128)
    with_lora = generate(engine, 128, 128, loras=(Lora(path="a.safetensors", scale=1),))

    assert any(line.startswith("quantised to fp8: ") for line in lines)
    assert graphs() == before
    assert psnr(with_lora, without_lora) < 40


@pytest.fixture
def no_compiler():
    """Make the C++ compiler unavailable."""
    torch.compiler.reset()
    with inductor_config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}):
        yield
    torch.compiler.reset()


class Doubling(torch.nn.Module):
    """A module that torch compiles, unlike its own."""

    def forward(self, x):
        return 2 * x


def test_eager_context_compiles_no_graph():
    """A compiled module compiles nothing for a size that it meets in `eager`."""
    graphs = []

    def compile_graph(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    module = Doubling()
    module.compile(backend=compile_graph)
    with eager(module):
        module(torch.ones(2))

    assert graphs == []
    module(torch.ones(2))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("no_compiler")
def test_missing_compiler_with_on_is_refused(weights):
    """Without a compiler, KLEIN_COMPILE=on is refused with an error that names the value to set."""
    engine = load(weights, None, ON)

    with pytest.raises(UnusableSetting, match=r"KLEIN_COMPILE=on.*Set KLEIN_COMPILE=off$"):
        engine.warm_up()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("no_compiler")
def test_missing_compiler_with_auto_is_logged(weights, plain, monkeypatch):
    """Without a compiler, automatic compilation logs the failure and the plain model is used."""
    lines: list[str] = []
    monkeypatch.setattr(Compile, "is_enabled_on", lambda *_: True)  # as auto does on a GPU
    engine = load(weights, None, Tuning(), lines.append)
    engine.warm_up()

    assert any(line.startswith("compilation failed") for line in lines)
    assert np.array_equal(generate(engine, 128, 128), generate(plain, 128, 128))


@pytest.mark.parametrize(
    ("choice", "device", "wanted"),
    [("auto", "cuda", True), ("auto", "cpu", False), ("on", "cpu", True), ("off", "cuda", False)],
)
def test_compilation_default(choice, device, wanted):
    """By default compilation is enabled only on a GPU, and `on` and `off` decide on any device."""
    assert Compile(choice).is_enabled_on(device) is wanted


def test_tuning_json_round_trip():
    """Tuning survives the conversion to JSON and back."""
    tuning = Tuning(
        quantization=Quantization.FP8, compile=Compile.OFF, warm_sizes=((1024, 768), (64, 64))
    )

    assert Tuning.from_json(tuning.to_json()) == tuning
    assert Tuning.from_json(Tuning().to_json()) == Tuning()


@pytest.mark.parametrize(
    ("sizes", "is_compiled", "is_slow", "names"),
    [
        ((), False, False, ["1024x1024"]),
        ((), False, True, ["64x64"]),
        ((), True, False, ["1024x1024", "768x512", "an edit of 1024x1024"]),
        ((), True, True, ["64x64", "96x80", "an edit of 64x64"]),
        (((512, 512),), False, False, ["512x512"]),
        (((512, 512), (640, 64)), True, False, ["512x512", "640x64", "an edit of 512x512"]),
        (
            ((512, 512), (512, 64)),
            True,
            False,
            ["512x512", "512x64", "384x256", "an edit of 512x512"],
        ),
    ],
)
def test_warm_up_sizes(sizes, is_compiled, is_slow, names):
    """The warm-up generates the configured sizes or default sizes, and for a compiled model also an edit."""
    tuning = Tuning(warm_sizes=sizes)
    plan = choose_warm_up_images(tuning, Manifest(), is_compiled=is_compiled, is_slow=is_slow)

    assert [warm.name for warm in plan] == names


def test_attention_backends_are_timed():
    """Every attention kernel that gives exact results on this device is timed."""
    shape = AttentionShape(tokens=128, heads=2, head_dim=16)
    seconds = time_attention_backends(shape, torch.device("cpu"), torch.float32)

    assert {NATIVE, "_native_math"} <= seconds.keys()
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({NATIVE: 1.0, "_native_cudnn": 0.5}, "_native_cudnn"),
        ({NATIVE: 1.0, "_native_cudnn": 0.97}, NATIVE),
        ({NATIVE: 1.0, "_native_cudnn": 2.0}, NATIVE),
        ({"_native_flash": 1.0}, NATIVE),
        ({}, NATIVE),
    ],
)
def test_faster_attention_backend_is_chosen(seconds, chosen):
    """A kernel is chosen only if it is at least 5 % faster than the native one."""
    assert fastest_backend(seconds) == chosen
