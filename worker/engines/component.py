"""Loads one component of a pipeline from files of any layout, and refuses files that do not fit its class.

`from_pretrained` fills missing tensors with random numbers and drops unexpected ones, scales of quantised weights
included. Such a checkpoint would serve noise. The check runs the same conversions as the load, on tensors without data.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers.initialization import no_init_weights

from worker.engines.dequantize import PLAIN_FORMATS, formats_of, read_dequantized
from worker.engines.errors import WeightsError
from worker.engines.libraries import diffusers, transformers
from worker.engines.sources import ComponentSource
from worker.engines.tensor_names import is_bfl, to_diffusers
from worker.engines.tensor_reader import TensorReader

# Computed at load, or used by no image: the language model's head and ComfyUI's leftovers.
_NOT_USED = re.compile(
    r"(^|\.)rotary_emb\.inv_freq$|^lm_head\.|^logit_scale$|\.num_batches_tracked$"
)
_LORA = re.compile(r"lora_(A|B|up|down)\b|\.lokr_|\.hada_")
_MAX_NAMES = 2  # in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSummary:
    """Says what was found of a component."""

    layout: str
    """Number formats and naming, for people."""
    is_quantized: bool
    """Whether the files hold quantised weights, which are dequantised at load."""
    model: Any
    """The model without data, of which every tensor has its shape."""


def check_component(source: ComponentSource) -> ComponentSummary:
    """Compare the files' tensors with those that the class needs. Raises `WeightsError`, which names a tensor."""
    model = _skeleton(source)
    reader = _open(source, shapes_only=True)
    _compare(source, model, _converted(source, reader, model))
    naming = ", Black Forest Labs' names" if is_bfl(reader.infos) else ""
    is_gguf = any(file.is_gguf for file in source.files)
    formats = formats_of(reader)
    return ComponentSummary(
        layout=f"{'GGUF ' if is_gguf else ''}{' and '.join(formats)}{naming}",
        is_quantized=not PLAIN_FORMATS.issuperset(formats),
        model=model,
    )


def load_component(source: ComponentSource, dtype: torch.dtype) -> Any:
    """Return a component in host memory. Tensors that need no conversion stay in the file until they are used.

    Call `check_component` before: this function does not look for missing tensors. Raises `WeightsError`. Any: diffusers and transformers differ.
    """
    model = _skeleton(source)
    try:
        tensors = _converted(source, _open(source, shapes_only=False), model, dtype)
        model.load_state_dict(tensors, strict=False, assign=True)
    except WeightsError:
        raise
    except Exception as exc:  # safetensors has its own errors, and conversions raise any type
        raise WeightsError(f"{source.name} does not load: {_first_line(exc)}") from exc
    return model.eval().requires_grad_(requires_grad=False)


def _open(source: ComponentSource, *, shapes_only: bool) -> TensorReader:
    return TensorReader(source.component, source.files, shapes_only=shapes_only)


def _skeleton(source: ComponentSource) -> Any:
    """Return the model with parameters that have shapes and no data."""
    folder, class_name = source.config, source.class_name
    if source.is_whole_folder and (library := _quantized_by(folder)):
        raise WeightsError(
            f"{folder} was saved quantised by {library}, which klein does not read. "
            "Use a folder in bf16, and KLEIN_QUANTIZATION to quantise it"
        )
    try:
        with no_init_weights(), init_empty_weights():
            if source.library == "diffusers":
                model_class: Any = getattr(diffusers, class_name)
                return model_class.from_config(
                    model_class.load_config(folder, local_files_only=True)
                )
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            return _for_config(getattr(transformers, class_name), config)
    except Exception as exc:  # configurations are wrong in many ways
        raise WeightsError(
            f"{folder}/config.json does not fit {class_name}: {_first_line(exc)}"
        ) from exc


def _for_config(model_class: Any, config: Any) -> Any:
    """Return a model without data. The configuration of another class may have the same fields and other defaults."""
    if not isinstance(config, model_class.config_class):
        raise TypeError(f"its model_type is {config.model_type}")
    return model_class(config)


def _quantized_by(folder: Path) -> str | None:
    """Return the library that quantised a folder, unless its tensors are understood without it."""
    try:
        described = json.loads((folder / "config.json").read_bytes())["quantization_config"]
        method = str(described["quant_method"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return None if "fp8" in method else method


def _converted(
    source: ComponentSource, reader: TensorReader, model: Any, dtype: torch.dtype | None = None
) -> dict[str, torch.Tensor]:
    """Return the tensors with their scales applied and the names of the class."""
    try:
        tensors = {
            name: _cast(tensor, dtype)
            for name, tensor in read_dequantized(reader)
            if not _NOT_USED.search(name)
        }
        tensors = to_diffusers(source.component, tensors, model.config)
    except WeightsError:
        raise
    except Exception as exc:  # diffusers' conversions raise any type for unknown names and shapes
        raise WeightsError(
            f"{source.name}: its tensors are not those of a FLUX.2 {source.component} "
            f"({_first_line(exc)}). Use a FLUX.2 [klein] checkpoint"
        ) from exc
    expected = model.state_dict()
    # A text encoder may have been saved without its language model head, and so without the prefix.
    if tensors and not tensors.keys() & expected.keys():
        tensors = {
            f"model.{name}" if f"model.{name}" in expected else name: tensor
            for name, tensor in tensors.items()
        }
    return tensors


def _cast(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _compare(source: ComponentSource, model: Any, tensors: dict[str, torch.Tensor]) -> None:
    expected = model.state_dict()
    missing = sorted(
        name for name in expected.keys() - tensors.keys() if not _NOT_USED.search(name)
    )
    unexpected = sorted(tensors.keys() - expected.keys())
    if loras := [name for name in unexpected if _LORA.search(name)]:
        raise WeightsError(
            f"{source.name} holds a LoRA and no model ({_join_names(loras)}). Put it into the folder KLEIN_LORAS"
        )
    if missing:
        raise WeightsError(
            f"{source.name} lacks {_count(missing)} of {source.class_name}: {_join_names(missing)}. "
            "Copy or download the checkpoint again, whole"
        )
    if unexpected:
        raise WeightsError(
            f"{source.name} holds {_count(unexpected)} that {source.class_name} does not have: "
            f"{_join_names(unexpected)}. Use a checkpoint that fits its config.json"
        )
    for name, tensor in tensors.items():
        if expected[name].is_floating_point() and not tensor.is_floating_point():
            raise WeightsError(
                f"{source.name}: {name} holds whole numbers ({str(tensor.dtype).removeprefix('torch.')}) without a scale. "
                "Use a checkpoint in bf16"
            )
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{source.name}: {name} is {_shape(tensor)}, and {source.config}/config.json asks for "
                f"{_shape(expected[name])}. Use the config.json of this checkpoint"
            )


def _join_names(names: list[str]) -> str:
    return ", ".join(names[:_MAX_NAMES]) + (" …" if len(names) > _MAX_NAMES else "")


def _count(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0] or type(exc).__name__
