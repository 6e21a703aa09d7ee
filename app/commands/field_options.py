"""Names the option of `klein predict` that sets a field of the API, for errors of the server."""

import re

_OPTIONS = {
    "prompt": "PROMPT",
    "image_urls": "--image",
    "mask_url": "--mask",
    "image_size": "--size",
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "negative_prompt": "--negative",
    "num_images": "--count",
    "output_format": "--format",
    "loras": "--lora",
    "seed": "--seed",
    "strength": "--strength",
    "metadata": "--metadata",
}


def name_option(field: str) -> str:
    """Return the option with the field, as in `--steps (num_inference_steps)`. Other fields stay as they are."""
    option = _OPTIONS.get(re.split(r"\W", field, maxsplit=1)[0])
    if option is None or option.strip("-").lower() == field:
        return option or field
    return f"{option} ({field})"
