"""Applies LoRAs to a pipeline's transformer by fusing them into the weights, and removes them again.

Fused weights cost nothing per step, need no recompilation, and can be quantised. The base weights are
kept, so that removing a LoRA restores the model to the byte.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from app.loras.errors import IncompatibleLora
from app.loras.module_names import modules_of
from app.loras.names import find_file
from worker.engines import Lora
from worker.engines.errors import UnusableLora
from worker.engines.lora_file import Deltas, WeightDelta, read_lora
from worker.engines.transformer_size import transformer_size

CACHE_SIZE = 8  # files; more than one order can name

_CacheKey = tuple[str, str, int, int]
"""Name, path, size and modification time of a file, so that a replaced file is read again."""
QuantizeWeight = Callable[[torch.Tensor], torch.Tensor]
"""Returns the quantised form of a weight."""


class LoraManager:
    """Applies LoRAs to one pipeline, and caches the files that were used last."""

    def __init__(self, pipe: Any, folder: Path | None, *, cache_size: int = CACHE_SIZE) -> None:
        self._pipe = pipe
        self._folder = folder
        self._cache_size = cache_size
        self._cache: OrderedDict[_CacheKey, Deltas] = OrderedDict()
        # All three by the name of the linear layer.
        self._base_weights: dict[str, torch.Tensor] = {}  # of each layer that was ever fused
        self._unquantized_weights: dict[
            str, torch.Tensor
        ] = {}  # of each quantised layer, on the host
        self._fused_layers: set[str] = set()
        self._quantize_weight: QuantizeWeight | None = None
        self._applied: tuple[tuple[_CacheKey, float], ...] = ()

    @property
    def cached_files(self) -> list[str]:
        """Return the names of the cached files, the most recently used last."""
        return [name for name, *_ in self._cache]

    @property
    def host_bytes(self) -> int:
        """Return the memory of the host that cached files and fused weights take."""
        deltas = sum(
            delta.size_bytes
            for file in self._cache.values()
            for layer in file.values()
            for delta in layer
        )
        # a fused layer on the host holds its own pages beside those of the copy of its base weight
        bases = sum(
            base.nbytes for base in self._base_weights.values() if base.device.type == "cpu"
        )
        return deltas + 2 * bases

    def save_unquantized(
        self, linears: dict[str, torch.nn.Linear], quantize_weight: QuantizeWeight
    ) -> None:
        """Copy weights before they are quantised, because a LoRA must be fused before quantisation."""
        if self._folder is not None:
            self._unquantized_weights = {
                name: linear.weight.detach().cpu() for name, linear in linears.items()
            }
            self._quantize_weight = quantize_weight

    def apply(self, loras: Sequence[Lora]) -> None:
        """Make exactly these LoRAs active. Raises `UnusableLora`, which leaves the base model."""
        requested = tuple((self._cache_key(lora), lora.scale) for lora in loras)
        if requested == self._applied:
            return
        self._restore_base()  # first, so that an error below leaves the base model
        scaled_deltas = [(self._get_deltas(key), scale) for key, scale in requested]
        try:
            for layer in dict.fromkeys(name for deltas, _ in scaled_deltas for name in deltas):
                self._fuse(
                    layer,
                    [
                        (delta, scale)
                        for deltas, scale in scaled_deltas
                        for delta in deltas.get(layer, ())
                    ],
                )
        except IncompatibleLora as exc:
            names = ", ".join(name for (name, *_), _ in requested)
            raise UnusableLora(f"LoRA {names}: {exc}") from None
        self._applied = requested

    def clear(self) -> None:
        """Remove all LoRAs and release the cached files and copies of base weights."""
        self._restore_base()
        self._cache.clear()
        self._base_weights.clear()

    def _restore_base(self) -> None:
        self._applied = ()
        for layer in list(self._fused_layers):
            self._set_weight(layer, self._base_weights[layer])
            self._fused_layers.remove(layer)

    # Not in inference mode: compiled code is guarded on the kind of tensor, and would recompile.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _fuse(self, layer: str, deltas: list[tuple[WeightDelta, float]]) -> None:
        weight = self._pipe.transformer.get_submodule(layer).weight
        is_quantized = layer in self._unquantized_weights
        if layer not in self._base_weights:
            self._base_weights[layer] = weight if is_quantized else weight.detach().clone()
        source = self._unquantized_weights.get(layer, self._base_weights[layer])
        total = source.to(weight.device, torch.float32, copy=True)
        for delta, scale in deltas:
            delta.add_to(total, scale)
        fused = total.to(self._base_weights[layer].dtype)
        if not bool(fused.isfinite().all()):
            raise IncompatibleLora("its values overflow when they are added to this model")
        self._fused_layers.add(layer)
        self._set_weight(layer, self._quantize(fused) if is_quantized else fused)

    def _quantize(self, weight: torch.Tensor) -> torch.nn.Parameter:
        assert self._quantize_weight is not None  # noqa: S101 -- save_unquantized sets both
        return torch.nn.Parameter(self._quantize_weight(weight), requires_grad=False)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _set_weight(self, layer: str, weight: torch.Tensor) -> None:
        """Replace a quantised weight. Copy into any other, so that its address stays the same."""
        linear = self._pipe.transformer.get_submodule(layer)
        if layer in self._unquantized_weights:
            linear.weight = (
                weight if weight.device == linear.weight.device else weight.to(linear.weight.device)
            )
        else:
            linear.weight.copy_(weight)

    def _get_deltas(self, key: _CacheKey) -> Deltas:
        if key not in self._cache:
            self._cache[key] = self._read(key[0], Path(key[1]))
        self._cache.move_to_end(key)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return self._cache[key]

    def _cache_key(self, lora: Lora) -> _CacheKey:
        name = lora.path
        try:
            file = Path(lora.file) if lora.file else self._find(name)
            stat = file.stat()
        except OSError:
            raise UnusableLora(
                f"LoRA {name}: there is no such file on this server; name a file of its LoRA folder"
            ) from None
        return name, str(file), stat.st_size, stat.st_mtime_ns

    def _find(self, name: str) -> Path:
        if self._folder is None:
            raise UnusableLora(
                f"LoRA {name}: this server has no LoRA folder; its operator can set KLEIN_LORAS"
            )
        file = find_file(self._folder, name)
        if file is None:
            raise FileNotFoundError(name)
        return file

    def _read(self, name: str, file: Path) -> Deltas:
        try:
            return read_lora(file, modules_of(transformer_size(self._pipe.transformer)))
        except IncompatibleLora as exc:
            raise UnusableLora(f"LoRA {name}: {exc}") from None
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as exc:  # safetensors raises any type for bad files
            reason = str(exc).partition("\n")[0][:100] or type(exc).__name__
            raise UnusableLora(f"LoRA {name}: the file cannot be read: {reason}") from exc
