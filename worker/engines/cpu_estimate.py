"""Estimates how long an image takes on a CPU, before the first one tells."""

import time

import torch
from torch.nn import functional

from worker.engines.model import LoadedModel

_STEPS = 4
_MATRIX = 512
_TRIALS = 3
_DECODE_FLOP_PER_VALUE_AND_PIXEL = 0.2  # 10.5 teraflop for 49.6 million values and 1024x1024
_LEAST_S = 60.0
"""Shorter times are not worth a line."""
_LEAST_FLOP = 1e12
"""No CPU needs a minute for less."""


def describe_cpu_speed(model: LoadedModel) -> str | None:
    """Return a sentence about the time of an image of the native size, or None if it is short."""
    side = model.manifest.native_size
    flop = image_flop(
        transformer_values=_values(model.pipe.transformer),
        text_encoder_values=_values(model.pipe.text_encoder),
        decoder_values=_values(model.pipe.vae.decoder),
        side=side,
        prompt_tokens=model.manifest.max_sequence_length,
    )
    if flop < _LEAST_FLOP:
        return None
    with model.inference():
        seconds = flop / _flop_per_s(model.dtype)
    if seconds < _LEAST_S:
        return None
    return (
        f"this CPU will take about {seconds / 60:.0f} min for an image of {side}x{side} with {_STEPS} steps. "
        "Smaller images take less, and a GPU takes seconds"
    )


def image_flop(
    *,
    transformer_values: int,
    text_encoder_values: int,
    decoder_values: int,
    side: int,
    prompt_tokens: int,
) -> float:
    """Return the floating-point operations of one image, without those of attention."""
    tokens = side * side / 256 + prompt_tokens
    denoise = 2.0 * transformer_values * tokens * _STEPS
    encode = 2.0 * text_encoder_values * prompt_tokens
    decode = _DECODE_FLOP_PER_VALUE_AND_PIXEL * decoder_values * side * side
    return denoise + encode + decode


def _values(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _flop_per_s(dtype: torch.dtype) -> float:
    one, other = (torch.ones(_MATRIX, _MATRIX, dtype=dtype) for _ in range(2))
    functional.linear(one, other)
    started = time.perf_counter()
    for _ in range(_TRIALS):
        functional.linear(one, other)
    return _TRIALS * 2.0 * _MATRIX**3 / (time.perf_counter() - started)
