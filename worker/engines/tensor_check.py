"""Compares the tensors in a checkpoint's files with those that its model classes need, before loading.

`from_pretrained` fills missing tensors with random numbers and drops unexpected ones, scales of quantised weights
included. Such a checkpoint would serve noise.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from worker.engines.errors import WeightsError
from worker.engines.folder import read_index
from worker.engines.safetensors_header import Tensors, read_header

COMPONENTS = ("transformer", "text_encoder", "vae")
_FILE_NAMES = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
# Computed at load. Old files store it nevertheless.
_NEVER_STORED = re.compile(r"(^|\.)rotary_emb\.inv_freq$")
_MAX_NAMES = 2  # in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Describes a published file layout that klein does not load, and a pattern of its tensor names."""

    pattern: re.Pattern[str]
    message: str


_LAYOUTS = (
    _Layout(
        pattern=re.compile(
            r"(^|[._])(scaled_fp8|weight_scale(_2)?|scale_weight|(input_)?scale(_input)?)$"
        ),
        message="holds quantised weights with scales, which klein does not apply. Use a folder in bf16, "
        "and KLEIN_QUANTIZATION to quantise it",
    ),
    _Layout(
        pattern=re.compile(r"\.(absmax|quant_map|nested_absmax|quant_state\.[\w.]+)$"),
        message="was saved quantised by bitsandbytes. Use a folder in bf16, and KLEIN_QUANTIZATION to quantise it",
    ),
    _Layout(
        pattern=re.compile(r"lora_(A|B|up|down)\b|\.lokr_|\.hada_"),
        message="holds a LoRA and no model. Put it into the folder KLEIN_LORAS",
    ),
    _Layout(
        pattern=re.compile(r"^model\.diffusion_model\."),
        message="has the tensor names of ComfyUI. Use the diffusers folder of the checkpoint",
    ),
    _Layout(
        pattern=re.compile(
            r"^(double_blocks|single_blocks)\.|^(img_in|txt_in|time_in|final_layer)\."
        ),
        message="has the tensor names of Black Forest Labs' single file. Use the diffusers folder of the checkpoint",
    ),
)


def check_tensors(path: Path) -> None:
    """Check every component of a pipeline folder against the class that its model_index.json names.

    Raises `WeightsError`, which names the component, the layout and a tensor.
    """
    index = read_index(path)
    for component in COMPONENTS:
        library, class_name = _class_of(index, component)
        folder = path / component
        stored: Tensors = {}
        for file in loaded_files(folder, library):
            stored |= read_header(file)
        expected, optional = _expected(folder, library, class_name)
        _compare(folder, class_name, stored, expected, optional)


def loaded_files(folder: Path, library: str) -> list[Path]:
    """List the files that `from_pretrained` reads. Raises `WeightsError` if files are missing."""
    name = _FILE_NAMES[library]
    single = folder / f"{name}.safetensors"
    if single.exists():
        return [single]
    index = folder / f"{name}.safetensors.index.json"
    if index.exists():
        return _shards(index)
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    hint = ""
    if any("-of-" in other for other in others):
        hint = f"; copy {index.name}, which lists the shards"
    elif len(others) == 1:
        hint = f"; rename {others[0]} to {single.name}"
    raise WeightsError(f"{folder} has no {single.name} and no {index.name}{hint}")


def _shards(index: Path) -> list[Path]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
        shards = [index.parent / name for name in sorted(set(weight_map.values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WeightsError(f"{index} is not an index of shards; copy it again") from exc
    if missing := [shard.name for shard in shards if not shard.exists()]:
        raise WeightsError(f"{index.parent} lacks {_join_names(missing)}, which {index.name} lists")
    return shards


def _class_of(index: Mapping[str, object], component: str) -> tuple[str, str]:
    match index.get(component):
        case [str(library), str(class_name)] if library in _FILE_NAMES:
            return library, class_name
    raise WeightsError(
        f"model_index.json names no class of diffusers or transformers for {component}"
    )


def _expected(
    folder: Path, library: str, class_name: str
) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """Return the shape of every tensor of the class, by name, and the names that a file may leave out."""
    try:
        with torch.device("meta"):  # shapes alone: no memory, no random numbers
            model = _skeleton(folder, library, class_name)
    except Exception as exc:  # configurations are wrong in many ways
        reason = str(exc).strip().partition("\n")[0] or type(exc).__name__
        raise WeightsError(f"{folder}/config.json does not fit {class_name}: {reason}") from exc
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    is_tied = getattr(model.config, "tie_word_embeddings", False)
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if is_tied else set()
    return expected, tied


def _skeleton(folder: Path, library: str, class_name: str) -> Any:
    if library == "diffusers":
        model_class: Any = getattr(diffusers, class_name)
        return model_class.from_config(model_class.load_config(folder, local_files_only=True))
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    return getattr(transformers, class_name)(config)


def _compare(
    folder: Path,
    class_name: str,
    stored: Tensors,
    expected: dict[str, tuple[int, ...]],
    optional: set[str],
) -> None:
    names = {name: name for name in stored if not _NEVER_STORED.search(name)}
    # A text encoder may have been saved without its language model head, and so without the prefix.
    if names and not names.keys() & expected.keys():
        names = {f"model.{name}" if f"model.{name}" in expected else name: name for name in names}
    missing = sorted(expected.keys() - names.keys() - optional)
    unexpected = sorted(names.keys() - expected.keys())
    for layout in _LAYOUTS:
        if matches := [name for name in unexpected if layout.pattern.search(name)]:
            raise WeightsError(f"{folder} {layout.message} ({_join_names(matches)})")
    if missing:
        raise WeightsError(
            f"{folder} lacks {_count(missing)} of {class_name}: {_join_names(missing)}. "
            "Copy or download the checkpoint again, whole"
        )
    if unexpected:
        raise WeightsError(
            f"{folder} holds {_count(unexpected)} that {class_name} does not have: {_join_names(unexpected)}. "
            "Use a checkpoint that fits its config.json"
        )
    for name, stored_name in names.items():
        if stored[stored_name].shape != expected[name]:
            raise WeightsError(
                f"{folder}: {stored_name} is {_shape(stored[stored_name].shape)}, and config.json asks for "
                f"{_shape(expected[name])}. Use the config.json of this checkpoint"
            )


def _join_names(names: list[str]) -> str:
    return ", ".join(names[:_MAX_NAMES]) + (" …" if len(names) > _MAX_NAMES else "")


def _count(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
