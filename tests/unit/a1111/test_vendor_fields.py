"""Every field of the web UI's requests is honoured, is named in the notes, or changes no image there either.

Sources, as of November 2026: the names and defaults of the processing classes and of the API's models in
AUTOMATIC1111/stable-diffusion-webui (`modules/processing.py`, `modules/api/models.py`), and PyPI's `webuiapi` 0.9.17.
"""

from pathlib import Path
from typing import Any

import pytest

from app.dialects.a1111 import wire
from app.dialects.a1111.ignored import ignored_fields, ignored_options
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import InvalidInput, UnknownModel

PAGE = (Path(__file__).parents[3] / "docs" / "dialects.md").read_text()
SECTION = PAGE.partition("## Stable Diffusion web UI")[2].partition("\n## ")[0]
IMAGE = {"init_images": ["AAAA"]}
MASKED = IMAGE | {"mask": "BBBB"}
HONOURED: list[tuple[str, Any, dict[str, Any]]] = [  # field, value, what becomes of it
    ("prompt", "a red circle", {"prompt": "a red circle"}),
    ("negative_prompt", "blue", {"negative_prompt": "blue"}),
    ("seed", -1, {"seed": None}),
    ("seed", 7, {"seed": 7}),
    ("steps", 20, {"num_inference_steps": 20}),
    ("steps", 150, {"num_inference_steps": 50}),
    ("steps", None, {"num_inference_steps": None}),
    ("cfg_scale", 7.0, {"guidance_scale": 7}),
    ("cfg_scale", 30, {"guidance_scale": 20}),
    ("width", 500, {"image_size": {"width": 496, "height": 512}}),
    ("height", "768", {"image_size": {"width": 512, "height": 768}}),
    ("batch_size", 4, {"num_images": 4}),
    ("n_iter", 2, {"num_images": 2}),
    ("init_images", ["AAAA"], {"image_urls": ["data:application/octet-stream;base64,AAAA"]}),
    ("mask", "data:,b", {"mask_url": "data:,b"}),
    ("denoising_strength", 0.75, {"strength": 0.75}),
    ("denoising_strength", 0, {"strength": 0.01}),
    ("override_settings", {"samples_format": "JPG"}, {"output_format": "jpeg"}),
    ("override_settings", {"samples_format": "webp"}, {"output_format": "webp"}),
    ("override_settings", {"sd_model_checkpoint": "flux-2-klein-4b"}, {}),
]
READ_ELSEWHERE = {"mask_blur", "inpainting_mask_invert", "send_images"}  # see test_mask_and_answer
NOTED: list[tuple[str, Any, Any]] = [  # field, default, a value that asks for something
    ("styles", None, ["anime"]),
    ("subseed_strength", 0, 0.5),
    ("seed_resize_from_h", -1, 512),
    ("seed_resize_from_w", 0, 512),
    ("sampler_name", None, "DPM++ 2M"),
    ("sampler_index", "Euler", "Euler a"),
    ("scheduler", "automatic", "Karras"),
    ("restore_faces", None, True),
    ("tiling", None, True),
    ("eta", None, 0.5),
    ("s_min_uncond", None, 1),
    ("s_churn", 0, 10),
    ("s_tmax", None, 5),
    ("s_tmin", 0, 1),
    ("s_noise", 1, 1.1),
    ("refiner_checkpoint", None, "sd_xl_refiner"),
    ("disable_extra_networks", False, True),
    ("enable_hr", False, True),
    ("firstphase_width", 0, 256),
    ("firstphase_height", 0, 256),
    ("script_name", None, "X/Y/Z plot"),
    ("alwayson_scripts", {}, {"ADetailer": {"args": []}}),
    ("infotext", None, "Steps: 20"),
    ("resize_mode", 0, 1),
    ("include_init_images", False, True),
    ("initial_noise_multiplier", None, 0.5),
    ("inpainting_fill", 0, 2),
    ("inpaint_full_res", False, True),
    ("inpaint_full_res_padding", 0, 32),
    ("mask_blur_x", 4, 8),
    ("mask_blur_y", 4, 8),
    ("mask_round", True, False),
    ("latent_mask", None, "CCCC"),
]
NOTHING: dict[str, Any] = {  # what changes no image at the web UI by itself, and a value
    "do_not_save_samples": True,
    "do_not_save_grid": True,
    "save_images": True,
    "override_settings_restore_afterwards": True,
    "force_task_id": "task",
    "comments": {"a": "b"},
    "script_args": [1],  # without a script_name
    "subseed": 7,  # without a subseed_strength
    "refiner_switch_at": 0.8,  # without a refiner_checkpoint
    "image_cfg_scale": 1.5,  # of InstructPix2Pix models
    **dict.fromkeys(("hr_scale", "hr_second_pass_steps", "hr_resize_x", "hr_resize_y"), 2),  # without enable_hr
    **dict.fromkeys(("hr_upscaler", "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt", "hr_negative_prompt"), "a"),
}  # fmt: skip
OPTIONS: list[tuple[str, Any]] = [
    ("CLIP_stop_at_last_layers", 2),
    ("sd_vae", "a.safetensors"),
    ("samples_format", "avif"),
]
SCHEMAS = {
    "txt2img": "prompt styles negative_prompt seed subseed subseed_strength seed_resize_from_h seed_resize_from_w sampler_name "
    "scheduler batch_size n_iter steps cfg_scale width height restore_faces tiling do_not_save_samples do_not_save_grid eta "
    "denoising_strength s_min_uncond s_churn s_tmax s_tmin s_noise override_settings override_settings_restore_afterwards "
    "refiner_checkpoint refiner_switch_at disable_extra_networks comments enable_hr firstphase_width firstphase_height hr_scale "
    "hr_upscaler hr_second_pass_steps hr_resize_x hr_resize_y hr_checkpoint_name hr_sampler_name hr_scheduler hr_prompt "
    "hr_negative_prompt sampler_index script_name script_args send_images save_images alwayson_scripts force_task_id infotext",
    "img2img": "init_images resize_mode denoising_strength image_cfg_scale mask mask_blur_x mask_blur_y mask_blur mask_round "
    "inpainting_fill inpaint_full_res inpaint_full_res_padding inpainting_mask_invert initial_noise_multiplier latent_mask "
    "include_init_images",
}  # img2img: besides those of txt2img


def noted(sent: dict[str, Any], *, is_guided: bool = True) -> list[str]:
    """Check an edit, and return the fields that its notes name."""
    assert wire.parse_body(sent, is_edit=True)
    return ignored_fields(sent, is_edit=True, is_guided=is_guided)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_field_is_in_the_table_and_on_the_page(schema):
    """Each field of the web UI has a row, and the page names it unless it changes no image."""
    fields = set(SCHEMAS[schema].split())
    rows = {row[0] for row in (*HONOURED, *NOTED)} | READ_ELSEWHERE

    assert fields <= rows | set(NOTHING)
    assert [name for name in fields & rows if f"`{name}" not in SECTION] == []


@pytest.mark.parametrize(("field", "value", "expected"), HONOURED)
def test_field_is_honoured(field, value, expected):
    """The field has its effect on an input that the model accepts, and no note."""
    sent = {"prompt": "x"} | MASKED | {field: value}
    [values] = wire.read_inputs(wire.parse_body(sent, is_edit=True), is_edit=True)

    assert {name: values.get(name) for name in expected} == expected
    assert noted(sent) == []
    assert MODELS["flux-2-klein-4b-base-edit"].parse(values)


def test_mask_and_answer():
    """The blur and the inversion of a mask are read, and so is whether images are sent."""
    sent = MASKED | {
        "prompt": "x",
        "mask_blur": 8,
        "inpainting_mask_invert": 1,
        "send_images": False,
    }
    body = wire.parse_body(sent, is_edit=True)

    assert (body.mask_reading.blur_px, body.mask_reading.is_inverted) == (8, True)
    assert body.send_images is False
    assert noted(sent) == []


@pytest.mark.parametrize(("field", "default", "value"), NOTED)
def test_field_is_noted(field, default, value):
    """The notes name a field whose value asks for something, but not its default."""
    assert noted(MASKED | {"prompt": "x", field: value}) == [field]
    assert noted(MASKED | {"prompt": "x", field: default}) == []


def test_fields_that_change_no_image_are_not_noted():
    """What changes no image at the web UI has no note, and neither has what belongs to a mask that was not sent."""
    of_mask = {"inpainting_fill": 2, "inpaint_full_res": True, "mask_blur_x": 8}

    assert noted(MASKED | {"prompt": "x"} | NOTHING) == []
    assert noted(IMAGE | {"prompt": "x"} | of_mask) == []


@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_option_is_noted(option, value):
    """The notes name an option that has no effect."""
    assert noted(IMAGE | {"prompt": "x", "override_settings": {option: value}}) == [option]


def test_fields_of_another_model_are_noted():
    """A distilled model has no guidance, and text-to-image no images."""
    sent = IMAGE | {"prompt": "x", "cfg_scale": 7, "negative_prompt": "blue"}

    assert noted(sent, is_guided=False) == ["cfg_scale", "negative_prompt"]
    assert ignored_fields(sent, is_edit=False, is_guided=True) == ["init_images"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("init_images", ["AAAA"] * 5), ("mask_blur", 257), ("batch_size", 17), ("width", 0)],
)
def test_field_is_refused(field, value):
    """A problem names the field."""
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        wire.parse_body(MASKED | {"prompt": "x", field: value}, is_edit=True)


def test_options_that_cannot_be_set_are_named():
    """Setting an option to what it is has no note. A known option, an unknown one and another model have one."""
    served = frozenset(CheckpointKind)
    shown = wire.options_body(served)

    assert ignored_options(shown, served) == []
    assert ignored_options({"CLIP_stop_at_last_layers": 1, "sd_vae": ""}, served) == []
    assert ignored_options(
        shown | {"samples_format": "jpg", "CLIP_stop_at_last_layers": 2, "s": 1}, served
    ) == ["samples_format", "CLIP_stop_at_last_layers", "s"]
    assert ignored_options({"sd_model_checkpoint": "flux-2-klein-4b-base"}, served) == [
        "sd_model_checkpoint"
    ]
    with pytest.raises(UnknownModel):
        ignored_options({"sd_model_checkpoint": "sdxl"}, served)
