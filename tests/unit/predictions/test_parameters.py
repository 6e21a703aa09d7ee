"""Tests of the parameters that the API settles: every default is decided, and every input field is used."""

from dataclasses import replace

import pytest

from app.predictions.catalog import MODELS, parameters_of
from app.predictions.parameters import AppliedLora, OutputFormat, Parameters
from tests.support.fakes import a_prediction

TEXT = MODELS["flux-2-klein-4b-text-to-image"]
EDIT = MODELS["flux-2-klein-4b-edit"]
BASE = MODELS["flux-2-klein-4b-base-text-to-image"]
BASE_EDIT = MODELS["flux-2-klein-4b-base-edit"]
EVERY = pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.slug)
PLAIN = {"prompt": "a red house", "image_urls": ["data:image/png;base64,AAAA"]}

OTHER_VALUES = {
    "metadata": "full",
    "num_inference_steps": 9,
    "image_size": {"width": 80, "height": 96},
    "num_images": 2,
    "seed": 8,
    "output_format": "webp",
    "output_quality": 50,
    "loras": [{"path": "a.safetensors"}],
    "previews": True,
    "negative_prompt": "fog",
    "guidance_scale": 3.0,
    "strength": 0.5,
}
"""For each input field that the parameters depend on, a value other than its default."""

NOT_SETTLED = {
    "prompt": "the record has it in its input, and Prediction.prompt returns it",
    "image_urls": "the record has their storage keys in reference_keys",
    "mask_url": "the record has its storage key in mask_key",
    "acceleration": "accepted for compatibility",
    "enable_safety_checker": "accepted for compatibility; the operator decides",
    "sync_mode": "decides how a response shows the images, not which are generated",
}
"""Input fields that change no parameter, each with the reason."""

IGNORED_BY_DISTILLED = {"negative_prompt", "guidance_scale"}


def settle(model, **values):
    return model.settle(model.parse(PLAIN | values), random_seed=7)


@EVERY
def test_every_input_field_reaches_parameters(model):
    """Each field changes the parameters if its value changes, or is listed with the reason why not."""
    without_effect = {
        name
        for name in model.input.model_fields
        if name not in OTHER_VALUES or settle(model, **{name: OTHER_VALUES[name]}) == settle(model)
    }
    ignored = set() if model.checkpoint.is_guided else IGNORED_BY_DISTILLED

    assert without_effect - ignored == set(NOT_SETTLED) & set(model.input.model_fields)


def test_default_parameters():
    """A prompt alone becomes four steps of one landscape image, without guidance."""
    assert settle(TEXT) == Parameters(
        width=1024,
        height=768,
        steps=4,
        guidance=1.0,
        seeds=(7,),
        negative_prompt="",
        loras=(),
        previews=False,
        output_format=OutputFormat.PNG,
        output_quality=95,
    )


def test_images_have_consecutive_seeds():
    """Image k of seed s has the seed s + k, and a random seed is used only if the caller named none."""
    assert settle(TEXT, num_images=3).seeds == (7, 8, 9)
    assert settle(TEXT, seed=-2, num_images=2).seeds == (-2, -1)
    assert settle(TEXT, seed=-1, num_images=2).seeds == settle(TEXT, num_images=2).seeds
    assert settle(TEXT, seed=0).seeds == (0,)


def test_only_base_checkpoint_honours_guidance():
    """A distilled checkpoint gets neither guidance nor a negative prompt, a base checkpoint both."""
    guided = {"guidance_scale": 3, "negative_prompt": "fog"}

    assert settle(TEXT, **guided) == settle(TEXT)
    assert settle(BASE, **guided) == replace(settle(BASE), guidance=3, negative_prompt="fog")
    assert (settle(BASE).guidance, settle(BASE_EDIT).guidance) == (5.0, 5.0)


def test_default_steps_follow_checkpoint():
    """A distilled checkpoint has 4 steps and a base checkpoint 28, unless the caller names a number."""
    steps = [settle(model).steps for model in (TEXT, BASE)]

    assert [*steps, settle(TEXT, num_inference_steps=9).steps] == [4, 28, 9]


@EVERY
def test_default_size(model):
    """Without a size the schema's default applies, and an edit has none and follows its first reference image."""
    default = model.request_schema["properties"]["image_size"].get("default")
    settled = settle(model)

    assert (default is None) == ("image_urls" in model.input.model_fields)
    assert settled == (
        settle(model, image_size=default) if default else replace(settled, width=None, height=None)
    )


def test_loras_keep_order_and_scale():
    """Each LoRA keeps its name, its place and its scale, which is 1 unless the caller named one."""
    loras = [{"path": "b.safetensors"}, {"path": "a.safetensors", "scale": -2}]

    assert settle(TEXT, loras=loras).loras == (
        AppliedLora(path="b.safetensors", scale=1),
        AppliedLora(path="a.safetensors", scale=-2),
    )


def test_file_suffix_and_media_type_follow_format():
    """JPEG files end in jpg, and each format has its media type."""
    assert [(f.suffix, f.media_type) for f in OutputFormat] == [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("webp", "image/webp"),
    ]


@EVERY
def test_record_without_parameters_is_settled_from_input(model):
    """A record of klein 0.1, which has no parameters, gets those that its input has today."""
    written = PLAIN | {"seed": 9, "output_format": "webp", "num_images": 2}
    prediction = a_prediction(model=model.slug, input=written, parameters=None)

    assert parameters_of(prediction) == settle(model, **written)


def test_stored_parameters_take_precedence_over_input():
    """A record that has parameters uses them, and its input is not parsed."""
    prediction = a_prediction(input={"prompt": 5}, parameters=settle(TEXT))

    assert parameters_of(prediction) is prediction.parameters
