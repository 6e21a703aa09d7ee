"""Tests of the engine on tiny weights."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from app.predictions.checkpoint_kind import CheckpointKind
from tests.support.tiny_weights import make_tiny_weights
from worker.engines import (
    Cancelled,
    DeviceLost,
    EngineFault,
    Order,
    OutOfMemory,
    Tuning,
    WeightsError,
    open_engine,
)
from worker.engines.device import translate_device_errors
from worker.engines.errors import InvalidOutput
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.pixels import to_image_array
from worker.engines.quantization import RECIPES
from worker.engines.tuning import Quantization
from worker.engines.warm_up import WarmUp

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def replace_in_model(engine, monkeypatch):
    """Replace parts of the engine's model for one test."""
    return lambda **parts: monkeypatch.setattr(engine, "model", replace(engine.model, **parts))


@pytest.fixture(scope="module")
def engine(tiny_weights):
    return open_engine(tiny_weights)


@pytest.fixture(scope="module")
def base_engine(tiny_base_weights):
    return open_engine(tiny_base_weights)


def order(**changes):
    values = {"prompt": "a red house", "width": 64, "height": 96, "steps": 2, "guidance": 1.0}
    return Order(**{**values, "seeds": (7,), **changes})


def generate(engine, **changes):
    return engine.generate(order(**changes), lambda k, n: None)


def reference(width=96, height=64, colour=(200, 30, 30)):
    image = Image.new("RGB", (width, height), colour)
    image.paste((20, 40, 220), (0, 0, width // 2, height // 2))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def psnr(one, other):
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def test_checkpoint_has_kind_and_name(engine, base_engine):
    """The checkpoint has the kind and the name of its weights."""
    assert engine.checkpoint.kind is CheckpointKind.DISTILLED
    assert base_engine.checkpoint.kind is CheckpointKind.BASE
    assert engine.checkpoint.name == "tiny-klein"


def test_warm_up_succeeds(engine):
    """A usable checkpoint warms up without an error."""
    engine.warm_up()


def test_same_order_gives_same_pixels(engine):
    """The same order gives the same pixels each time, and another seed gives others."""
    first, second = generate(engine).images[0], generate(engine).images[0]
    other = generate(engine, seeds=(8,)).images[0]

    assert first.shape == (96, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_result_names_its_numerics(engine, tiny_weights):
    """A result names the weights, device, number format and kernels, and another number format has another text."""
    torch_version = f"torch {torch.__version__}"
    recipe = replace(RECIPES[Quantization.INT8_WEIGHT_ONLY], min_snr_db=-100.0)
    folder = inspect_folder(tiny_weights)
    quantised = Flux2KleinEngine(folder, None, Tuning(), lambda _: None, recipe=recipe)

    assert generate(engine).numerics.endswith(
        f"; cpu; {torch_version}; float32; attention native, eager"
    )
    assert "float32, int8-weight-only" in generate(quantised).numerics


def test_prompt_changes_image(engine):
    """Another prompt gives another image."""
    images = [generate(engine, prompt=text).images[0] for text in ("a cat", "the moon at night")]

    assert not np.array_equal(*images)


def test_images_equal_single_images_of_their_seeds(engine):
    """Image k of an order with seed s equals the only image of an order with seed s + k, byte for byte."""
    together = generate(engine, seeds=(7, 8, 9)).images
    alone = [generate(engine, seeds=(seed,)).images[0] for seed in (7, 8, 9)]

    assert all(map(np.array_equal, together, alone))
    assert not np.array_equal(together[0], together[1])


def test_images_match_batched_pipeline_call(engine):
    """Images that are generated one by one match the pipeline's own batch at 40 dB or better."""
    batch = engine.model.pipe(
        prompt="a red house",
        width=64,
        height=96,
        num_inference_steps=2,
        guidance_scale=1.0,
        num_images_per_prompt=2,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in (7, 8)],
        output_type="np",
    ).images
    ours = generate(engine, seeds=(7, 8)).images

    for one, other in zip(ours, batch, strict=True):
        assert psnr(one, (other * 255).round().astype(np.uint8)) >= 40


BATCH = (
    {"prompt": "a red house", "seeds": (7,)},
    {"prompt": "a blue tree by a long river", "seeds": (2**64 - 1,)},
    {"prompt": "x", "seeds": (-8,)},
)


def together(engine, batch=BATCH, on_step=lambda _k, _n: None, on_previews=(), **shared):
    return engine.generate_batch([order(**one, **shared) for one in batch], on_step, on_previews)


def test_batch_gives_same_images_as_single_orders(engine):
    """Each image of a batch equals that of its order alone, within one level."""
    alone = [generate(engine, **one).images[0] for one in BATCH]
    batch = [result.images[0] for result in together(engine)]

    for one, other in zip(alone, batch, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    assert psnr(batch[0], batch[1]) < 40


def test_batch_uses_negative_prompt_of_each_order(base_engine):
    """On a base checkpoint each order of a batch uses its own negative prompt."""
    inputs = tuple(
        one | {"negative_prompt": negative} for one, negative in zip(BATCH, "abc", strict=True)
    )
    alone = [generate(base_engine, **one, guidance=4.0).images[0] for one in inputs]
    batch = [result.images[0] for result in together(base_engine, inputs, guidance=4.0)]

    for one, other in zip(alone, batch, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_batch_scales_images_and_adds_notes(engine, scaled_engine):
    """The orders of a batch are scaled to the requested size, and a reduced size is noted."""
    scaled = together(scaled_engine, width=200, height=120)
    floored = together(engine, width=70, height=99)

    assert [result.images[0].shape for result in scaled] == [(120, 200, 3)] * 3
    assert all("reduced to 64x96" in result.notes[0] for result in floored)


def test_batch_reports_steps_and_cancels(engine):
    """A batch reports the steps of one image, and a cancel ends it and leaves the engine usable."""
    reported = []

    def stop(k, n):
        reported.append((k, n))
        if k == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        together(engine, steps=9, on_step=stop)

    assert reported == [(1, 9), (2, 9)]
    assert generate(engine).images[0].shape == (96, 64, 3)


@pytest.mark.parametrize("seed", [0, -1, -(2**63), 2**63 - 1, 2**64 - 1])
def test_every_64_bit_seed_is_accepted(engine, seed):
    """Every 64-bit seed, negative or very large, gives an image."""
    assert generate(engine, seeds=(seed,)).images[0].shape == (96, 64, 3)


def test_steps_are_counted_over_all_images(engine):
    """Steps are counted from 1 to steps times images."""
    reported = []
    engine.generate(order(seeds=(1, 2), steps=3), lambda k, n: reported.append((k, n)))

    assert reported == [(k, 6) for k in range(1, 7)]


def test_cancel_leaves_engine_usable(engine):
    """A cancel ends the order at that step, and the next order gives the same image as before."""
    before = generate(engine).images[0]
    reported = []

    def stop(k, n):
        reported.append(k)
        if k == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        engine.generate(order(steps=10), stop)

    assert reported == [1, 2]
    assert np.array_equal(generate(engine).images[0], before)


class DoneEvent:
    """A device event that has always completed."""

    def synchronize(self):
        pass


@pytest.mark.parametrize("is_batch", [False, True])
def test_steps_are_reported_one_ahead(engine, replace_in_model, is_batch):
    """Each step is reported once the next one is queued, so at most one more step runs after a cancel."""
    reported, passes = [], []
    replace_in_model(record_event=DoneEvent)
    hook = engine.model.pipe.transformer.register_forward_pre_hook(lambda *_: passes.append(1))

    def stop(k, n):
        reported.append((k, len(passes)))
        if (k, n) == (2, 9):
            raise Cancelled

    call = together if is_batch else (lambda engine, **o: engine.generate(order(**o), stop))
    options = {"on_step": stop} if is_batch else {}
    try:
        call(engine, steps=3, **options)
        passes.clear()
        with pytest.raises(Cancelled):
            call(engine, steps=9, **options)
    finally:
        hook.remove()

    assert reported == [(1, 2), (2, 3), (3, 3), (1, 2), (2, 3)]


def test_cached_prompt_gives_same_image(engine, tiny_weights):
    """After other prompts and edits, a cached prompt gives the same image as a new engine."""
    generate(engine)
    generate(engine, prompt="a blue tree", reference_files=(reference(),))
    again = generate(engine).images[0]

    assert np.array_equal(again, generate(open_engine(tiny_weights)).images[0])


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_edit_takes_one_to_four_references(engine, count):
    """An edit takes one to four reference images, and they change the image."""
    references = tuple(reference(colour=(40 * i, 90, 200)) for i in range(count))
    plain = generate(engine, width=96, height=64).images[0]
    edited = generate(engine, width=96, height=64, reference_files=references).images[0]

    assert edited.shape == (64, 96, 3)
    assert not np.array_equal(plain, edited)


@pytest.mark.parametrize(("size", "expected"), [((100, 75), (96, 64)), ((2048, 1024), (1440, 720))])
def test_edit_has_size_of_first_reference(engine, size, expected):
    """Without a size, an edit has the size of its first reference image, at most one megapixel and in multiples of 16."""
    result = generate(engine, width=None, height=None, steps=1, reference_files=(reference(*size),))

    assert result.images[0].shape == (expected[1], expected[0], 3)


def test_reference_is_rotated_by_exif(engine):
    """A reference image that only EXIF rotates gives the same result as the upright image."""
    upright = Image.open(io.BytesIO(reference(96, 64)))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)

    turned = generate(engine, width=None, height=None, reference_files=(file.getvalue(),)).images[0]
    plain = generate(engine, width=None, height=None, reference_files=(reference(96, 64),)).images[
        0
    ]

    assert np.array_equal(turned, plain)


def test_size_is_floored_with_note(engine):
    """A size that is not a multiple of 16 is reduced, and a note has the new size."""
    result = generate(engine, width=100, height=64)

    assert result.images[0].shape == (64, 96, 3)
    assert "reduced to 96x64" in result.notes[0]


def test_truncated_prompt_is_noted(engine):
    """A prompt that is too long is truncated with a note, and a shorter one has no note."""
    assert generate(engine).notes == ()
    assert "truncated to 512" in generate(engine, prompt="word " * 600).notes[0]


def test_distilled_ignores_guidance(engine):
    """Guidance changes nothing on a distilled checkpoint."""
    plain, guided = (generate(engine, guidance=g).images[0] for g in (1.0, 5.0))

    assert np.array_equal(plain, guided)


def test_base_honours_guidance_and_negative_prompt(base_engine):
    """On a base checkpoint, guidance and the negative prompt each change the image."""
    images = [
        generate(base_engine, guidance=1.0),
        generate(base_engine, guidance=5.0),
        generate(base_engine, guidance=5.0, negative_prompt="blurred, dark and low"),
    ]
    plain, guided, negated = (result.images[0] for result in images)

    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, negated)


@pytest.mark.parametrize("size", [(512, 512), (1024, 576), (64, 512), (1000, 700)])
def test_small_model_gives_exact_size(scaled_engine, size):
    """A model that renders at a small size returns exactly the requested size."""
    image = generate(scaled_engine, width=size[0], height=size[1]).images[0]

    assert image.shape == (size[1], size[0], 3)


def test_small_model_edits_large_references(scaled_engine):
    """A small model scales its reference images down, and its result up to the size of the edit."""
    references = (reference(1600, 1200), reference(300, 900))
    image = generate(scaled_engine, width=None, height=None, reference_files=references).images[0]

    assert image.shape == (880, 1168, 3)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [(torch.full((3, 64, 64), math.nan), "not a number"), (torch.ones(3, 64, 64), "one flat")],
)
def test_invalid_output_is_fault(pixels, message):
    """Output that is not finite or has one flat colour is a fault, not an image."""
    with pytest.raises(EngineFault, match=message):
        to_image_array(pixels)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (torch.AcceleratorError("CUDA error: out of memory"), OutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"), OutOfMemory),
        (RuntimeError("Triton Error [CUDA]: out of memory"), OutOfMemory),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access"), DeviceLost),
        (RuntimeError("CUDA driver error: unspecified launch failure"), DeviceLost),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceLost),
        (torch.AcceleratorError("CUDA error: an illegal memory access"), DeviceLost),
        (RuntimeError("CUDA error: device-side assert triggered"), DeviceLost),
        (RuntimeError("shape mismatch"), RuntimeError),
    ],
)
def test_torch_errors_are_translated(raised, expected):
    """Out-of-memory errors and device errors are distinguished from each other and from bugs."""
    with pytest.raises(expected), translate_device_errors():
        raise raised


class Failing:
    """A pipeline that fails a number of times."""

    def __init__(self, pipe, failures):
        self.pipe = pipe
        self.failures = failures

    def __getattr__(self, name):
        return getattr(self.pipe, name)


class Blank(Failing):
    """A pipeline whose output is not a number."""

    def __call__(self, **options):
        output = self.pipe(**options)
        if self.failures:
            self.failures -= 1
            output.images[:] = math.nan
        return output


def test_invalid_output_is_retried(engine, replace_in_model):
    """After invalid output the order is generated again, with the expected bytes."""
    expected = generate(engine).images[0]
    replace_in_model(pipe=Blank(engine.model.pipe, 1))

    assert np.array_equal(generate(engine).images[0], expected)


def test_invalid_output_after_retry_fails_order(engine, replace_in_model):
    """If the output is invalid twice, the order fails with an error that says so, and the next order succeeds."""
    expected = generate(engine).images[0]
    replace_in_model(pipe=Blank(engine.model.pipe, 2))
    with pytest.raises(InvalidOutput, match=r"^invalid output: "):
        generate(engine)

    assert np.array_equal(generate(engine).images[0], expected)


def test_invalid_output_in_batch_has_no_result(engine, replace_in_model):
    """An order of a batch with invalid output has no result, and the others have theirs."""
    pipe = engine.model.pipe

    class OneBlank(Blank):
        def __call__(self, **options):
            output = pipe(**options)
            output.images[1] = math.nan
            return output

    replace_in_model(pipe=OneBlank(pipe, 1))

    assert [result is None for result in together(engine)] == [False, True, False]


def test_warm_up_halves_the_batch_size_until_it_fits(engine, starve):
    """A batch of eight that runs out of memory twice is reduced to two, and the log has the batch size."""
    lines: list[str] = []
    warm_up = WarmUp(engine.model, Tuning(batch=8), lines.append)
    starve(2)

    assert warm_up.find_batch_size(engine) == 2
    assert lines == ["batch size 2"]


def test_warm_up_announces_the_batch_size(tiny_weights):
    """The checkpoint has the largest batch size only after the warm-up."""
    engine = open_engine(tiny_weights, None, Tuning(batch=2))
    before = engine.checkpoint.batch
    engine.warm_up()

    assert (before, engine.checkpoint.batch) == (1, 2)


class Starved(Failing):
    """A pipeline that runs out of memory after its first step."""

    def __call__(self, **options):
        if self.failures == 0:
            return self.pipe(**options)
        self.failures -= 1
        options["callback_on_step_end"](self.pipe, 0, None, {})
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture
def starve(engine, replace_in_model):
    """Return a function that makes the next calls of the pipeline run out of memory."""
    return lambda failures: replace_in_model(pipe=Starved(engine.model.pipe, failures))


def test_out_of_memory_is_retried(engine, starve):
    """After running out of memory once, the order is generated again with the same bytes, and its progress never decreases."""
    expected = generate(engine, height=64).images[0]
    starve(1)
    reported = []
    result = engine.generate(order(height=64), lambda k, n: reported.append((k, n)))

    assert np.array_equal(result.images[0], expected)
    assert reported == [(1, 2), (1, 2), (2, 2)]


def test_out_of_memory_retry_decodes_in_tiles(engine, starve):
    """A retry after running out of memory decodes a large image in tiles, with a note and nearly the same result."""
    expected = generate(engine, width=128, height=128).images[0]
    starve(1)
    result = generate(engine, width=128, height=128)

    assert "128x128 was decoded in tiles" in result.notes[0]
    assert 15 < psnr(result.images[0], expected) < math.inf


def test_out_of_memory_after_retry_fails_order(engine, starve):
    """If the memory runs out twice, the order fails, and the next one succeeds."""
    expected = generate(engine).images[0]
    starve(2)
    with pytest.raises(OutOfMemory):
        generate(engine)

    assert np.array_equal(generate(engine).images[0], expected)


def test_invalid_reference_is_fault(engine):
    """Bytes that cannot be decoded are a fault that mentions the reference image."""
    with pytest.raises(EngineFault, match="reference image"):
        generate(engine, reference_files=(b"not an image",))


def test_order_without_size_and_reference_is_fault(engine):
    """An order with neither a size nor a reference image is a fault."""
    with pytest.raises(EngineFault, match="width and height"):
        generate(engine, width=None, height=None)


def test_text_encoder_with_too_few_layers_is_refused(tmp_path):
    """A text encoder with too few layers is refused, with both numbers."""
    folder = make_tiny_weights(tmp_path / "w", text_encoder_out_layers=[9, 18, 40])

    with pytest.raises(WeightsError, match=r"27 layers, .* needs 40"):
        open_engine(folder)
