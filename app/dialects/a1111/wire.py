"""Maps requests and predictions to and from the form of Stable Diffusion web UI (AUTOMATIC1111). Does no I/O."""

import base64
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from app.dialects.image_uri import uri_of
from app.dialects.model_names import NAMES, model_slug, shared_name
from app.images.mask import MaskReading
from app.predictions.catalog import parameters_of
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import FieldProblem, InvalidInput, UnknownModel
from app.predictions.inputs import (
    IMAGES_MAX,
    PROMPT_MAX_LENGTH,
    REFERENCES_MAX,
    STRENGTH_MIN,
)
from app.predictions.json_values import normalised, whole
from app.predictions.prediction import Prediction
from app.predictions.problems import problems_of
from app.predictions.sizes import nearest_size

IMAGES_TOTAL_MAX = 16  # of one request
STEPS_MAX = 50
GUIDANCE_MAX = 20.0
MASK_BLUR_PX, MASK_BLUR_MAX_PX = 4, 256
SAMPLERS = [{"name": "Euler", "aliases": ["euler"], "options": {}}]
SCHEDULERS = [{"name": "simple", "label": "Simple", "aliases": None, "default_rho": -1.0, "need_inner_model": False}]  # fmt: skip
_SAMPLES_FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
_LORA = re.compile(r"<lora:([^:<>]{1,200})(?::(-?[0-9.]{1,8}))?(?::[^<>]*)?>")
_IMAGE = re.compile(r"image_urls\[(\d+)\]")

Number = Annotated[int, BeforeValidator(whole)]


class ImageBody(BaseModel):
    """A request for images: the fields that are read. `ignored_fields` finds the others."""

    model_config = ConfigDict(extra="ignore")
    _normalise = model_validator(mode="before")(normalised)

    prompt: str = Field("", max_length=PROMPT_MAX_LENGTH)
    negative_prompt: str = Field("", max_length=PROMPT_MAX_LENGTH)
    seed: Number = -1
    steps: Number | None = Field(None, ge=1, le=1000)
    cfg_scale: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    width: Number = Field(512, ge=1, le=8192)
    height: Number = Field(512, ge=1, le=8192)
    batch_size: Number = Field(1, ge=1, le=IMAGES_TOTAL_MAX)
    n_iter: Number = Field(1, ge=1, le=IMAGES_TOTAL_MAX)
    init_images: list[str] = Field([], max_length=REFERENCES_MAX)
    mask: str | None = None
    mask_blur: Number = Field(MASK_BLUR_PX, ge=0, le=MASK_BLUR_MAX_PX)
    inpainting_mask_invert: bool = False
    denoising_strength: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    override_settings: dict[str, Any] = Field(default_factory=dict)
    send_images: bool = True

    @property
    def count(self) -> int:
        """Number of images."""
        return self.batch_size * self.n_iter

    @property
    def mask_reading(self) -> MaskReading:
        """How the mask says what is redrawn."""
        return MaskReading(is_inverted=self.inpainting_mask_invert, blur_px=self.mask_blur)


def parse_body(body: dict[str, Any], *, is_edit: bool) -> ImageBody:
    """Parse the body of a request. Raises InvalidInput."""
    try:
        parsed = ImageBody.model_validate(body)
    except ValidationError as exc:
        raise InvalidInput(*problems_of(exc)) from None
    if parsed.count > IMAGES_TOTAL_MAX:
        message = f"batch_size times n_iter may be at most {IMAGES_TOTAL_MAX}"
        raise InvalidInput(FieldProblem(field="n_iter", message=message))
    if is_edit and not parsed.init_images:
        raise InvalidInput(FieldProblem(field="init_images", message="send one image or several"))
    return parsed


def find_slug(body: ImageBody, served: frozenset[CheckpointKind], *, is_edit: bool) -> str:
    """Return the slug of the model in `override_settings`, or of the one that is served. Raises UnknownModel."""
    named = body.override_settings.get("sd_model_checkpoint") or ""
    if not isinstance(named, str):
        message = "sd_model_checkpoint must be a string"
        raise InvalidInput(FieldProblem(field="override_settings", message=message))
    name = find_model(named, served) if named else default_model(served)
    return model_slug(name, is_edit=is_edit)


def find_model(title: str, served: frozenset[CheckpointKind]) -> str:
    """Return the model of a title, as lists of models show it. Raises UnknownModel."""
    name = shared_name(title.partition(" [")[0].removesuffix(".safetensors"))
    if name not in [NAMES[kind] for kind in served]:
        raise UnknownModel(title)
    return name


def default_model(served: frozenset[CheckpointKind]) -> str:
    """Return the model that a request without a name gets."""
    is_distilled = CheckpointKind.DISTILLED in served or not served
    return NAMES[CheckpointKind.DISTILLED if is_distilled else min(served)]


def read_inputs(body: ImageBody, *, is_edit: bool) -> list[dict[str, Any]]:
    """Map a request to the inputs of as many predictions as its images need."""
    prompt, loras = _split_loras(body.prompt)
    width, height = nearest_size(body.width, body.height)
    fields: dict[str, Any] = {
        "prompt": prompt,
        "image_size": {"width": width, "height": height},
        "previews": True,
    }
    if body.negative_prompt:
        fields["negative_prompt"] = body.negative_prompt
    if body.steps is not None:
        fields["num_inference_steps"] = min(body.steps, STEPS_MAX)
    if body.cfg_scale is not None:
        fields["guidance_scale"] = min(body.cfg_scale, GUIDANCE_MAX)
    if output_format := find_format(body.override_settings):
        fields["output_format"] = output_format
    if loras:
        fields["loras"] = loras
    if body.mask:
        fields["mask_url"] = uri_of(body.mask)
    if is_edit:
        fields["image_urls"] = [uri_of(image) for image in body.init_images]
        if body.denoising_strength is not None:
            # for 0, one step is done
            fields["strength"] = max(body.denoising_strength, STRENGTH_MIN)
    return [
        fields
        | {"num_images": min(IMAGES_MAX, body.count - first)}
        | ({"seed": body.seed + first} if body.seed >= 0 else {})
        for first in range(0, body.count, IMAGES_MAX)
    ]


def find_format(options: dict[str, Any]) -> str | None:
    """Return the file format that the option `samples_format` names, or None if it is not a known format."""
    name = options.get("samples_format")
    return _SAMPLES_FORMATS.get(name.lower()) if isinstance(name, str) else None


def rename_fields(exc: InvalidInput) -> InvalidInput:
    """Rename the fields of problems to those of this API."""
    names = {
        "num_inference_steps": "steps",
        "guidance_scale": "cfg_scale",
        "num_images": "n_iter",
        "mask_url": "mask",
    }

    def rename(field: str) -> str:
        if _IMAGE.match(field):
            return field.replace("image_urls", "init_images")
        return "prompt" if field.startswith("loras") else names.get(field, field)

    return InvalidInput(
        *(FieldProblem(field=rename(p.field), message=p.message) for p in exc.problems)
    )


def images_body(
    sent: dict[str, Any], ended: Sequence[Prediction], files: Sequence[bytes]
) -> dict[str, Any]:
    """Render the answer to a request. `info` is JSON in a string."""
    images = [base64.b64encode(data).decode() for data in files]
    parameters = {k: v for k, v in sent.items() if k not in {"init_images", "mask"}}
    return {"images": images, "parameters": parameters, "info": json.dumps(_info(ended))}


def _info(ended: Sequence[Prediction]) -> dict[str, Any]:
    first = ended[0]
    parameters = parameters_of(first)
    seeds = [seed for prediction in ended for seed in parameters_of(prediction).seeds]
    output = first.outputs[0]
    name = shared_name(first.model)
    text = (
        f"{first.prompt}\nSteps: {parameters.steps}, Sampler: Euler, CFG scale: {parameters.guidance:g}, "
        f"Size: {output.width}x{output.height}, Model: {name}, Seed: "
    )
    return {
        "prompt": first.prompt,
        "all_prompts": [first.prompt] * len(seeds),
        "negative_prompt": parameters.negative_prompt,
        "all_negative_prompts": [parameters.negative_prompt] * len(seeds),
        "seed": seeds[0],
        "all_seeds": seeds,
        "width": output.width,
        "height": output.height,
        "steps": parameters.steps,
        "cfg_scale": parameters.guidance,
        "sampler_name": "Euler",
        "batch_size": len(seeds),
        "index_of_first_image": 0,
        "infotexts": [f"{text}{seed}" for seed in seeds],
        "sd_model_name": name,
        "sd_model_hash": None,
        "job_timestamp": first.created_at.strftime("%Y%m%d%H%M%S"),
        "klein_notes": list(first.notes),
    }


def progress_body(prediction: Prediction | None, preview: bytes | None) -> dict[str, Any]:
    """Render the progress of a prediction. None means that nothing runs."""
    step, steps = (prediction.step, prediction.steps) if prediction else (0, 0)
    return {
        "progress": step / steps if steps else 0.0,
        "eta_relative": 0.0,
        "state": {
            "skipped": False,
            "interrupted": False,
            "stopping_generation": False,
            "job": prediction.id if prediction else "",
            "job_count": 1 if prediction else 0,
            "job_timestamp": prediction.created_at.strftime("%Y%m%d%H%M%S") if prediction else "0",
            "job_no": 0,
            "sampling_step": step,
            "sampling_steps": steps,
        },
        "current_image": base64.b64encode(preview).decode() if preview else None,
        "textinfo": None,
    }


def options_body(served: frozenset[CheckpointKind]) -> dict[str, Any]:
    """Render the options, which cannot be changed."""
    name = default_model(served)
    return {"sd_model_checkpoint": name, "sd_checkpoint_hash": "", "samples_format": "png"}


def models_body(served: frozenset[CheckpointKind]) -> list[dict[str, Any]]:
    """Render the list of models."""
    return [
        {
            "title": NAMES[kind],
            "model_name": NAMES[kind],
            "hash": None,
            "sha256": None,
            "filename": f"{NAMES[kind]}.safetensors",
            "config": None,
        }
        for kind in sorted(served)
    ]


def _split_loras(prompt: str) -> tuple[str, list[dict[str, Any]]]:
    """Take `<lora:NAME:SCALE>` out of a prompt."""
    loras = []
    for name, scale in _LORA.findall(prompt):
        path = name if name.endswith(".safetensors") else f"{name}.safetensors"
        try:
            loras.append({"path": path, "scale": float(scale or 1)})
        except ValueError:
            message = f"write <lora:{name}:1>, with a number as the scale"
            raise InvalidInput(FieldProblem(field="prompt", message=message)) from None
    return _LORA.sub("", prompt).strip() if loras else prompt, loras
