"""The LoRAs of one pipeline: found in the operator's folder, fused into the weights, taken out again.

Fused weights cost nothing at a step, need no new compiling, and can be quantised afterwards. What is
taken out leaves the bare model to the byte, because its weights are kept and copied back.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from worker.engines import Lora
from worker.engines.errors import UnusableLora
from worker.engines.lora_file import Delta, NotUnderstood, read_lora

KEPT = 8  # files; more than one order can name

_Key = tuple[str, int, int]  # name, size and time of change: an exchanged file is another LoRA
Quantized = Callable[[torch.Tensor], torch.Tensor]
"""Gives the quantised form of a weight."""


class LoraShelf:
    """What one pipeline can wear; without a word from here it draws as if there were no LoRA."""

    def __init__(self, pipe: Any, folder: Path | None, *, kept: int = KEPT) -> None:
        self._pipe = pipe
        self._folder = folder
        self._kept = kept
        self._files: OrderedDict[_Key, dict[str, Delta]] = OrderedDict()
        self._bare: dict[str, torch.Tensor] = {}  # the weights that have been fused with
        self._exact: dict[str, torch.Tensor] = {}  # of quantised linears, before
        self._quantized: Quantized | None = None
        self._fused: set[str] = set()  # the linears that are not bare now
        self._worn: tuple[tuple[_Key, float], ...] = ()

    def keep_exact(self, linears: dict[str, torch.nn.Linear], quantized: Quantized) -> None:
        """Remember weights that are about to be quantised: a LoRA is fused before."""
        if self._folder is not None:
            self._exact = {name: linear.weight.detach().cpu() for name, linear in linears.items()}
            self._quantized = quantized

    def wear(self, loras: Sequence[Lora]) -> None:
        """Have the pipeline draw with exactly these LoRAs from now on. Raises `UnusableLora`."""
        asked = tuple((self._identify(lora.path), lora.scale) for lora in loras)
        if asked == self._worn:
            return
        self._bare_again()  # first: whatever fails below leaves the bare model
        found = [(self._find(key), scale) for key, scale in asked]
        try:
            for name in dict.fromkeys(name for deltas, _ in found for name in deltas):
                self._fuse(name, [(d[name], scale) for d, scale in found if name in d])
        except NotUnderstood as exc:
            names = ", ".join(name for (name, _, _), _ in asked)
            raise UnusableLora(f"LoRA {names}: {exc}") from None
        self._worn = asked

    def forget(self) -> None:
        """Take all out and free it."""
        self._bare_again()
        self._files.clear()
        self._bare.clear()

    @property
    def names(self) -> list[str]:
        """The files that are kept, the latest last."""
        return [name for name, _, _ in self._files]

    def _bare_again(self) -> None:
        self._worn = ()
        for name in list(self._fused):
            self._put(name, self._bare[name])
            self._fused.remove(name)

    @torch.inference_mode(False)  # compiled code would take an inference tensor for another weight
    @torch.no_grad()
    def _fuse(self, name: str, parts: list[tuple[Delta, float]]) -> None:
        weight = self._pipe.transformer.get_submodule(name).weight
        if name not in self._bare:
            is_quantised = name in self._exact
            self._bare[name] = weight if is_quantised else weight.detach().clone()
        kept = self._exact.get(name, self._bare[name])
        whole = kept.to(weight.device, torch.float32, copy=True)
        for delta, scale in parts:
            delta.add_to(whole, scale)
        fused = whole.to(self._bare[name].dtype)
        if not bool(fused.isfinite().all()):
            raise NotUnderstood("numbers too large to be added to this model")
        self._fused.add(name)
        self._put(name, fused if name not in self._exact else self._requantised(fused))

    def _requantised(self, weight: torch.Tensor) -> torch.nn.Parameter:
        assert self._quantized is not None  # noqa: S101 -- set together with what is exact
        return torch.nn.Parameter(self._quantized(weight), requires_grad=False)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _put(self, name: str, weight: torch.Tensor) -> None:
        """Quantised weights are exchanged; the others are overwritten, so that their place stays."""
        linear = self._pipe.transformer.get_submodule(name)
        if name in self._exact:
            linear.weight = (
                weight if weight.device == linear.weight.device else weight.to(linear.weight.device)
            )
        else:
            linear.weight.copy_(weight)

    def _find(self, key: _Key) -> dict[str, Delta]:
        if key not in self._files:
            self._files[key] = self._load(key[0])
        self._files.move_to_end(key)
        while len(self._files) > self._kept:
            self._files.popitem(last=False)
        return self._files[key]

    def _identify(self, name: str) -> _Key:
        if self._folder is None:
            raise UnusableLora(f"LoRA {name}: this server has no folder of LoRAs (KLEIN_LORAS)")
        try:
            if Path(name).name != name:
                raise FileNotFoundError(name)
            found = (self._folder / name).stat()
        except (OSError, ValueError):
            raise UnusableLora(f"LoRA {name}: there is no such file on this server") from None
        return name, found.st_size, found.st_mtime_ns

    def _load(self, name: str) -> dict[str, Delta]:
        assert self._folder is not None  # noqa: S101 -- it was identified there
        try:
            deltas = read_lora(self._folder / name, self._pipe)
            for target in deltas:
                self._pipe.transformer.get_submodule(target)
        except NotUnderstood as exc:
            raise UnusableLora(f"LoRA {name}: the file does not fit this model: {exc}") from None
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as exc:  # loaders raise whatever they like about bad files
            raise UnusableLora(
                f"LoRA {name}: the file is damaged or made for another model"
            ) from exc
        return deltas
