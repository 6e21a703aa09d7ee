"""Finds the fields of a request that would change the images at the web UI and have no effect here. Does no I/O."""

from typing import Any

from app.dialects.a1111.wire import (
    ImageBody,
    default_model,
    find_format,
    find_model,
    options_body,
)
from app.predictions.checkpoint_kind import CheckpointKind

# fields that do not change the images at the web UI either
_ELSEWHERE = {
    "save_images", "do_not_save_samples", "do_not_save_grid", "override_settings_restore_afterwards", "force_task_id",
    "comments", "image_cfg_scale", "script_args", "subseed", "refiner_switch_at",
}  # fmt: skip
_WITH_MASK = {
    "inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding", "mask_blur_x", "mask_blur_y", "mask_round",
    "latent_mask",
}  # fmt: skip
# values that ask for nothing, besides those that are empty, false, 0 or -1
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "sampler_name": ("Euler", "euler"),
    "sampler_index": ("Euler", "euler"),
    "scheduler": ("Simple", "simple", "Automatic", "automatic"),
    "eta": (1,),
    "s_noise": (1,),
    "initial_noise_multiplier": (1,),
    "mask_blur_x": (4,),
    "mask_blur_y": (4,),
    "inpainting_fill": (1,),
    "clip_skip": (1,),
    "CLIP_stop_at_last_layers": (1,),
}


def ignored_fields(sent: dict[str, Any], *, is_edit: bool, is_guided: bool) -> list[str]:
    """Return the fields of a checked request, and its options, that are not read and ask for something."""
    read = set(ImageBody.model_fields) | _ELSEWHERE
    if not sent.get("mask"):
        read |= _WITH_MASK
    if not is_edit:
        read -= {"init_images"}
    if not is_guided:
        read -= {"negative_prompt", "cfg_scale"}
    fields = [
        name
        for name, value in sent.items()
        # enable_hr stands for the fields of the high-resolution pass
        if name not in read and not name.startswith("hr_") and _asks(name, value)
    ]
    options = sent.get("override_settings") or {}
    taken = {"sd_model_checkpoint", "samples_format" if find_format(options) else ""}
    return fields + [
        name for name, value in options.items() if name not in taken and _asks(name, value)
    ]


def ignored_options(sent: dict[str, Any], served: frozenset[CheckpointKind]) -> list[str]:
    """Return the options to set that ask for something else than what the server does. Raises UnknownModel."""
    title = sent.get("sd_model_checkpoint")
    name = find_model(title, served) if isinstance(title, str) and title else ""
    shown = options_body(served) | {"sd_model_checkpoint": title}
    others = [o for o, value in sent.items() if value != shown.get(o) and _asks(o, value)]
    return ["sd_model_checkpoint"] * (name not in {"", default_model(served)}) + others


def _asks(name: str, value: Any) -> bool:
    """Return whether a value of a field asks for something."""
    if name == "mask_round":
        return value is False  # the default is true
    return bool(value) and value != -1 and value not in _DEFAULTS.get(name, ())
