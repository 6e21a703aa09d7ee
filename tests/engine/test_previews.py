"""Tests of previews: the last one is close to the image, and they do not change the result."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.engine.test_flux2_klein import BATCH, generate, order, psnr, together
from worker.engines import ImageArray, open_engine
from worker.engines.previews import MAX_SIDE, decode_preview


@pytest.fixture(scope="module")
def engine(tiny_weights):
    return open_engine(tiny_weights)


def watched(engine, **changes):
    """Generate an order, and return its result with the reported steps and the preview shapes in order."""
    events = []
    result = engine.generate(
        order(**changes),
        lambda k, _n: events.append(k),
        lambda preview: events.append(preview.shape),
    )
    return result, events


def test_each_step_but_last_has_preview(engine):
    """Each step but the last has a preview of the image's shape, which comes before the step is reported."""
    _, events = watched(engine, steps=3, seeds=(7, 8))
    small = (96, 64, 3)

    assert events == [small, 1, small, 2, 3, small, 4, small, 5, 6]


def test_previews_do_not_change_image(engine):
    """An order with previews gives the same bytes as one without."""
    result, _ = watched(engine, steps=3)

    assert np.array_equal(result.images[0], generate(engine, steps=3).images[0])


@pytest.mark.slow
def test_batch_previews_equal_single_previews(engine):
    """Each order of a batch that wants previews gets those that it would get alone, and the others get none."""
    alone: list[list[ImageArray]] = [[], [], []]
    batch: list[list[ImageArray]] = [[], [], []]
    for one, previews in zip(BATCH, alone, strict=True):
        engine.generate(order(**one, steps=3), lambda _k, _n: None, previews.append)
    together(engine, steps=3, on_previews=(batch[0].append, None, batch[2].append))

    assert [len(previews) for previews in batch] == [2, 0, 2]
    for k in (0, 2):
        for expected, preview in zip(alone[k], batch[k], strict=True):
            assert np.abs(expected.astype(int) - preview).max() <= 1


def test_previews_are_at_most_256_pixels(engine):
    """No side of a preview is longer than 256 pixels, and the aspect ratio is kept."""
    _, events = watched(engine, width=512, height=384)

    assert events[0] == (MAX_SIDE * 3 // 4, MAX_SIDE, 3)


def test_preview_approaches_final_image(engine, monkeypatch):
    """A preview after the last step is close to the final image, and closer than the first preview."""
    previews = []
    original = engine.model.pipe

    def record_preview(_pipe, step, _t, tensors):
        previews.append(decode_preview(original, step, tensors, (64, 96)))
        return {}

    class RecordingPipe:
        """The pipeline, with a callback at each step."""

        def __call__(self, **options):
            names = ["latents", "noise_pred"]
            options |= {
                "callback_on_step_end": record_preview,
                "callback_on_step_end_tensor_inputs": names,
            }
            return original(**options)

        def __getattr__(self, name):
            return getattr(original, name)

    monkeypatch.setattr(engine, "model", replace(engine.model, pipe=RecordingPipe()))
    image = generate(engine, steps=4).images[0]
    quality = [psnr(preview, image) for preview in previews]

    assert quality[-1] > 45
    assert quality[0] < quality[-1]


def test_preview_estimate_is_exact(engine):
    """The preview recovers x0 from x = (1 - sigma) x0 + sigma noise and its velocity."""
    pipe = engine.model.pipe
    pipe.scheduler.set_timesteps(sigmas=[1.0, 0.5], mu=1.0)
    sigma = float(pipe.scheduler.sigmas[1])
    x0, noise = torch.randn(2, 1, 24, pipe.transformer.config.in_channels).unbind(0)
    tensors = {"latents": (1 - sigma) * x0 + sigma * noise, "noise_pred": noise - x0}
    known = {"latents": x0, "noise_pred": torch.zeros_like(x0)}
    with torch.inference_mode():
        images = [decode_preview(pipe, 0, inputs, (64, 96)) for inputs in (tensors, known)]

    assert 0 < sigma < 1
    assert psnr(*images) > 45
