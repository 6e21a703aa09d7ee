"""Tests of the dialect of Stable Diffusion web UI: how requests are read, and how predictions are shown."""

import json
from datetime import timedelta

import pytest

from app.dialects.a1111 import wire
from app.dialects.a1111.routes import render_error
from app.dialects.run import NoImage
from app.images.mask import MaskReading
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output
from tests.support.fakes import NOW, a_prediction

DISTILLED = frozenset({CheckpointKind.DISTILLED})
TEXT = "flux-2-klein-4b-text-to-image"
# what SillyTavern, Open WebUI, LibreChat and KoboldLite send for an image
REQUESTS = {
    "SillyTavern": {
        "prompt": "a red circle", "negative_prompt": "", "sampler_name": "Euler", "scheduler": "simple", "steps": 20,
        "cfg_scale": 7, "width": 512, "height": 512, "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent",
        "hr_scale": 1.5, "hr_additional_modules": [], "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": -1,
        "override_settings": {"CLIP_stop_at_last_layers": 1}, "override_settings_restore_afterwards": True,
        "clip_skip": 1, "save_images": True, "send_images": True, "do_not_save_grid": False, "do_not_save_samples": False,
    },
    "Open WebUI": {
        "prompt": "a red circle", "batch_size": 2, "width": 512, "height": 512, "steps": 50, "negative_prompt": "blue",
        "cfg_scale": 7.0, "sampler_name": "Euler", "scheduler": "simple",
    },
    "LibreChat": {
        "prompt": "a red circle", "negative_prompt": "blue", "cfg_scale": 4.5, "steps": 22, "width": 1024, "height": 1024,
    },
    "KoboldLite": {
        "prompt": "a red circle", "negative_prompt": "ugly", "cfg_scale": 5, "steps": 20, "width": 512, "height": 512,
        "sampler_name": "Euler a", "save_images": False, "seed": -1, "batch_size": 1, "n_iter": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
def test_requests_of_programs(sent):
    """Each request that a program sends gives a valid input of its size and count."""
    body = wire.parse_body(sent, is_edit=False)
    slug = wire.find_slug(body, DISTILLED, is_edit=False)
    [values] = wire.read_inputs(body, is_edit=False)
    checked = MODELS[slug].parse(values)

    assert checked.size == (sent["width"], sent["height"])
    assert checked.num_images == sent.get("batch_size", 1)
    assert checked.num_inference_steps == sent["steps"]


def test_limits_are_clamped_and_images_divided():
    """More steps and guidance than the model takes are clamped, and many images are several predictions."""
    sent = {"prompt": "x", "steps": 150, "cfg_scale": 30, "batch_size": 3, "n_iter": 2, "seed": 7}
    inputs = wire.read_inputs(wire.parse_body(sent, is_edit=False), is_edit=False)

    assert [(i["num_images"], i["seed"]) for i in inputs] == [(4, 7), (2, 11)]
    checked = MODELS[TEXT].parse(inputs[0])
    assert (checked.num_inference_steps, checked.guidance) == (50, 20)


def test_loras_of_the_prompt():
    """LoRAs are read from the prompt, as the web UI does, and a problem with one names the prompt."""
    body = wire.parse_body({"prompt": "a <lora:style:0.5> house <lora:a b>"}, is_edit=False)
    [values] = wire.read_inputs(body, is_edit=False)

    assert values["prompt"] == "a  house"
    assert values["loras"] == [
        {"path": "style.safetensors", "scale": 0.5},
        {"path": "a b.safetensors", "scale": 1.0},
    ]
    problem = InvalidInput(FieldProblem(field="loras[0].path", message="unknown"))
    assert wire.rename_fields(problem).problems[0].field == "prompt"
    broken = wire.parse_body({"prompt": "<lora:a:1.2.3>"}, is_edit=False)
    with pytest.raises(InvalidInput, match="prompt: write <lora:a:1>"):
        wire.read_inputs(broken, is_edit=False)


def test_mask_and_strength():
    """A mask is read as base64, with its blur and inversion, and a strength of 0 is a small one."""
    sent = {
        "prompt": "x",
        "init_images": ["AAAA"],
        "mask": "BBBB",
        "mask_blur": 8,
        "inpainting_mask_invert": 1,
        "denoising_strength": 0,
    }
    body = wire.parse_body(sent, is_edit=True)
    [values] = wire.read_inputs(body, is_edit=True)

    assert values["mask_url"] == "data:application/octet-stream;base64,BBBB"
    assert 0 < values["strength"] < 0.1
    assert body.mask_reading == MaskReading(is_inverted=True, blur_px=8)
    assert wire.parse_body({"prompt": "x"}, is_edit=False).mask_reading.blur_px == 4
    problem = InvalidInput(FieldProblem(field="mask_url", message="black"))
    assert wire.rename_fields(problem).problems[0].field == "mask"


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"mask": 5}, "mask"),
        ({"mask_blur": -1}, "mask_blur"),
        ({"denoising_strength": 1.5}, "denoising_strength"),
        ({"width": 0}, "width"),
        ({"steps": "many"}, "steps"),
        ({"batch_size": 8, "n_iter": 8}, "n_iter"),
        ({"init_images": []}, "init_images"),
        ({"init_images": ["a"] * 5}, "init_images"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_wrong_fields_are_named(sent, field):
    """A wrong field is refused by its name."""
    with pytest.raises(InvalidInput) as caught:
        wire.parse_body({"prompt": "x", "init_images": ["AAAA"]} | sent, is_edit=True)

    assert [problem.field for problem in caught.value.problems] == [field]


@pytest.mark.parametrize(
    "title", ["flux-2-klein-4b", "flux-2-klein-4b.safetensors", "flux-2-klein-4b [abc]"]
)
def test_models_by_title(title):
    """A model is found by the titles that programs make of its name, and another one is unknown."""
    assert wire.find_model(title, DISTILLED) == "flux-2-klein-4b"
    with pytest.raises(UnknownModel):
        wire.find_model("v1-5-pruned.safetensors", DISTILLED)


def test_answer_has_info_as_json_in_a_string():
    """The answer has the images, the request without its images, and JSON about all seeds in a string."""
    [values] = wire.read_inputs(wire.parse_body({"prompt": "x", "batch_size": 2, "seed": 7}, is_edit=False), is_edit=False)  # fmt: skip
    queued = a_prediction(model=TEXT, input=values)
    outputs = tuple(Output(key=f"p/a/{k}.png", width=512, height=512) for k in range(2))
    ended = queued.claim("a", NOW).succeed("a", outputs, (), NOW + timedelta(seconds=1))
    body = wire.images_body({"prompt": "x", "init_images": ["A"]}, [ended], [b"1", b"2"])

    info = json.loads(body["info"])
    assert body["images"] == ["MQ==", "Mg=="]
    assert body["parameters"] == {"prompt": "x"}
    assert (info["seed"], info["all_seeds"], len(info["infotexts"])) == (7, [7, 8], 2)


def test_progress():
    """Progress is the share of steps that are done, and zero jobs mean that nothing runs."""
    running = a_prediction().claim("a", NOW).advance("a", 1, 4)

    assert wire.progress_body(running, b"webp")["progress"] == 0.25
    assert wire.progress_body(None, None)["state"]["job_count"] == 0


def test_errors():
    """An error says what is wrong in the fields that programs show, and reveals nothing unexpected."""
    failed = (
        a_prediction().claim("a", NOW).fail("a", Failure(cause=Cause.ENGINE, message="why"), NOW)
    )

    assert render_error(NoImage(failed)).body["errors"] == "why"
    assert (
        render_error(InvalidInput(FieldProblem(field="seed", message="m"))).body["detail"]
        == "seed: m"
    )
    assert "secret" not in str(render_error(RuntimeError("secret")).body)


def test_model_that_is_no_name_is_refused():
    """A model in the options that is no text is refused, instead of being ignored."""
    body = wire.parse_body(
        {"prompt": "x", "override_settings": {"sd_model_checkpoint": 5}}, is_edit=False
    )

    with pytest.raises(InvalidInput, match="sd_model_checkpoint must be a string"):
        wire.find_slug(body, frozenset({CheckpointKind.DISTILLED}), is_edit=False)
