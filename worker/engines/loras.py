"""The LoRAs of one pipeline: read from the operator's folder, verified, the latest kept on the device."""

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch

from worker.engines import Lora
from worker.engines.errors import UnusableLora

KEPT = 8  # files; more than one order can name

_Key = tuple[str, int, int]  # name, size and time of change: an exchanged file is another LoRA


class LoraShelf:
    """What one pipeline can wear; without a word from here it draws as if there were no LoRA."""

    def __init__(self, pipe: Any, folder: Path | None, *, kept: int = KEPT) -> None:
        self._pipe = pipe
        self._folder = folder
        self._kept = kept
        self._adapters: OrderedDict[_Key, str] = OrderedDict()
        self._numbers = count()
        self._is_touched = False

    def wear(self, loras: Sequence[Lora]) -> None:
        """Have the pipeline draw with exactly these LoRAs from now on. Raises `UnusableLora`."""
        if self._is_touched:
            self._pipe.disable_lora()  # first: whatever fails below leaves the bare model
        if not loras:
            return
        adapters = [self._find(lora.path) for lora in loras]
        self._pipe.set_adapters(adapters, [lora.scale for lora in loras])
        self._pipe.enable_lora()

    def forget(self) -> None:
        """Free every LoRA."""
        while self._adapters:
            self._drop_oldest()

    def _find(self, name: str) -> str:
        key = self._identify(name)
        if key not in self._adapters:
            self._adapters[key] = self._load(name)
        self._adapters.move_to_end(key)
        while len(self._adapters) > self._kept:
            self._drop_oldest()
        return self._adapters[key]

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

    def _load(self, name: str) -> str:
        adapter = f"lora-{next(self._numbers)}"
        self._is_touched = True
        try:
            with _unwarned():
                state = self._attach(name, adapter)
            self._check(name, adapter, state)
        except (UnusableLora, torch.OutOfMemoryError, MemoryError):
            self._drop(adapter)
            raise
        except Exception as exc:  # loaders raise whatever they like about bad files
            self._drop(adapter)
            raise UnusableLora(
                f"LoRA {name}: the file is damaged or made for another model"
            ) from exc
        return adapter

    def _attach(self, name: str, adapter: str) -> dict[str, torch.Tensor]:
        """Put the file's weights beside the model's, and give them as diffusers names them."""
        state, metadata = self._pipe.lora_state_dict(
            str(self._folder),
            weight_name=name,
            use_safetensors=True,
            local_files_only=True,
            return_lora_metadata=True,
        )
        self._pipe.load_lora_into_transformer(
            state,
            transformer=self._pipe.transformer,
            adapter_name=adapter,
            metadata=metadata,
            _pipeline=self._pipe,
            low_cpu_mem_usage=True,
        )
        return state  # type: ignore[no-any-return]  # diffusers has no types

    def _check(self, name: str, adapter: str, state: dict[str, torch.Tensor]) -> None:
        """Compare what is attached with the file.

        diffusers merely warns of weights that fit nowhere, and leaves empty what the file lacks.
        """
        weights = self._pipe.transformer.named_parameters()
        attached = sum(f".{adapter}." in f"{weight}." for weight, _ in weights)
        promised = sum(not weight.endswith(".alpha") for weight in state)
        if not promised or attached != promised:
            raise UnusableLora(f"LoRA {name}: the file does not fit this model, or not all of it")

    def _drop_oldest(self) -> None:
        _, adapter = self._adapters.popitem(last=False)
        self._drop(adapter)

    def _drop(self, adapter: str) -> None:
        with _unwarned():
            self._pipe.delete_adapters(adapter)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Silence peft: it warns of the second adapter, of each deletion, and of what is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
