"""The engine over diffusers' Flux2KleinPipeline, for any weights folder of that class."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import Flux2KleinPipeline
from PIL import Image

from worker.engines import Checkpoint, OnStep, Order, Picture, Result
from worker.engines.errors import DeviceLost, EngineFault, OutOfMemory, WeightsError
from worker.engines.folder import WeightsFolder
from worker.engines.loras import LoraShelf
from worker.engines.references import open_reference
from worker.engines.sizes import SMALLEST_SIDE, cap_reference, edit_size, floor_size, native_size
from worker.engines.text_encoder import Embedded, TextEncoder, cut_text_encoder

DISTILLED_STEPS = 4
BASE_STEPS = 28
_SMALL_BYTES = 2 << 30


class Flux2Klein:
    """One resident pipeline; calls wait for each other, since a pipeline holds the state of one."""

    def __init__(self, folder: WeightsFolder, loras: Path | None = None) -> None:
        self._manifest = folder.manifest
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = _choose_dtype(self._device, folder)
        self._pipe = _load(folder, self._dtype, self._device)
        self._texts = TextEncoder(self._pipe, folder.manifest)
        self._loras = LoraShelf(self._pipe, loras)
        self._one_at_a_time = threading.Lock()
        self.checkpoint = Checkpoint(
            name=folder.manifest.name,
            description=folder.manifest.description,
            licence=folder.manifest.licence,
            revision=folder.revision,
            distilled=folder.distilled,
            default_steps=DISTILLED_STEPS if folder.distilled else BASE_STEPS,
            dtype=str(self._dtype).removeprefix("torch."),
            device=_device_name(self._device),
            max_sequence_length=folder.manifest.max_sequence_length,
            native_size=folder.manifest.native_size,
            largest_size=folder.manifest.largest_size,
            render_scaled=folder.manifest.render_scaled,
        )

    def warm_up(self) -> None:
        """Draw one picture of one step; a checkpoint that draws nothing fails here, not later."""
        # A large model on a CPU would take minutes for its native size.
        large_on_cpu = self._device.type == "cpu" and not self._manifest.render_scaled
        side = SMALLEST_SIDE if large_on_cpu else self._manifest.native_size
        order = Order(prompt="warm up", width=side, height=side, steps=1, guidance=1.0, seeds=(0,))
        self.generate(order, lambda _k, _n: None)

    def generate(self, order: Order, on_step: OnStep) -> Result:
        """Draw the order, one image after the other, so that each depends on its own seed alone.

        See `worker.engines.Engine.generate`. Where memory runs out, what is kept for later orders is
        freed and the order drawn once more. Noise comes from CPU generators: the same seed gives
        the same noise on every device.
        """
        heard = 0

        def hear(step: int, steps: int) -> None:
            nonlocal heard
            heard = max(heard, step)  # a second attempt does not count backwards
            on_step(heard, steps)

        with self._one_at_a_time:
            try:
                return self._draw(order, hear)
            except OutOfMemory:
                pass  # the exception holds the frames and their tensors until here
            self._texts.forget()
            self._loras.forget()
            _free_cached()
            return self._draw(order, hear)

    def _draw(self, order: Order, on_step: OnStep) -> Result:
        started = time.perf_counter()
        with _translated_errors(), torch.inference_mode():
            references = [open_reference(data) for data in order.references]
            (width, height), notes = self._output_size(order, references)
            render = self._render_size(width, height)
            references = [self._prepare(reference) for reference in references]
            self._loras.wear(order.loras)
            prompt = self._texts.embed(order.prompt)
            negative = None
            guidance = 1.0 if self.checkpoint.distilled else order.guidance
            if guidance > 1.0:
                negative = self._texts.embed(order.negative_prompt).embeds
            notes += self._cut_notes(prompt)

            pictures = []
            for index, seed in enumerate(order.seeds):

                def after_step(
                    _pipe: Any, step: int, _t: Any, _tensors: dict[str, Any], done: int = index
                ) -> dict[str, Any]:
                    if self._device.type == "cuda":
                        torch.cuda.current_stream().synchronize()  # else it reports what is only queued
                    on_step(done * order.steps + step + 1, len(order.seeds) * order.steps)
                    return {}

                pixels = self._pipe(
                    image=references or None,
                    prompt_embeds=prompt.embeds,
                    negative_prompt_embeds=negative,
                    width=render[0],
                    height=render[1],
                    num_inference_steps=order.steps,
                    guidance_scale=guidance,
                    generator=torch.Generator("cpu").manual_seed(seed % 2**64),
                    output_type="pt",
                    callback_on_step_end=after_step,
                    max_sequence_length=self._manifest.max_sequence_length,
                    text_encoder_out_layers=self._manifest.text_encoder_out_layers,
                ).images[0]
                pictures.append(_scale(_to_picture(pixels), width, height))
        return Result(
            pictures=tuple(pictures),
            notes=tuple(notes),
            generate_s=time.perf_counter() - started,
        )

    def _output_size(
        self, order: Order, references: list[Image.Image]
    ) -> tuple[tuple[int, int], list[str]]:
        if order.width is None or order.height is None:
            if not references:
                raise EngineFault("an order without references must name its width and height")
            return edit_size(*references[0].size), []
        asked = (order.width, order.height)
        if self._manifest.render_scaled:
            return asked, []
        size = floor_size(*asked)
        if size == asked:
            return size, []
        note = f"{asked[0]}x{asked[1]} is not in steps of 16 pixels; drawn as {size[0]}x{size[1]}"
        return size, [note]

    def _render_size(self, width: int, height: int) -> tuple[int, int]:
        if not self._manifest.render_scaled:
            return width, height
        return native_size(
            width,
            height,
            native=self._manifest.native_size,
            multiple=self._manifest.native_multiple,
        )

    def _prepare(self, reference: Image.Image) -> Image.Image:
        """Scale a reference as the model expects it; what is left to a multiple, the pipe crops."""
        if self._manifest.render_scaled:
            size = self._render_size(*reference.size)
        else:
            size = cap_reference(*reference.size)
        if size == reference.size:
            return reference
        return reference.resize(size, Image.Resampling.LANCZOS)

    def _cut_notes(self, prompt: Embedded) -> list[str]:
        """Tell when the tokenizer cut the prompt, which the pipeline does in silence."""
        limit = self._manifest.max_sequence_length
        if prompt.token_count <= limit:
            return []
        return [f"the prompt is {prompt.token_count} tokens long and was cut to {limit}"]


def _choose_dtype(device: torch.device, folder: WeightsFolder) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16
    # bfloat16 is slower on most CPUs; it is taken where float32 would not fit.
    return torch.float32 if folder.size_bytes < _SMALL_BYTES else torch.bfloat16


def _load(folder: WeightsFolder, dtype: torch.dtype, device: torch.device) -> Any:
    """Give the pipeline on its device; Any because diffusers has no types."""
    for library in (diffusers, transformers):
        logging: Any = library.utils.logging
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    pipeline_class: Any = Flux2KleinPipeline
    try:
        pipe = pipeline_class.from_pretrained(
            folder.path, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except Exception as exc:  # loaders raise whatever they like about bad files
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise WeightsError(f"{folder.path} does not load: {reason}") from exc
    layers = pipe.text_encoder.config.num_hidden_layers
    deepest = max(folder.manifest.text_encoder_out_layers)
    if layers < deepest:
        raise WeightsError(f"{folder.path}/text_encoder has {layers} layers, {deepest} are read")
    cut_text_encoder(pipe, deepest)  # before it takes memory on the device
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def _to_picture(pixels: torch.Tensor) -> Picture:
    """Turn 3 x height x width in 0…1 into bytes on the device, and copy only those."""
    if not bool(torch.isfinite(pixels).all()):
        raise EngineFault("the model's output is not a number; check the weights and the dtype")
    coloured = pixels.float().mul(255).round().clamp(0, 255).to(torch.uint8)
    if bool(coloured.min() == coloured.max()):
        raise EngineFault("the model's output is one flat colour; check the weights and the dtype")
    picture: Picture = coloured.permute(1, 2, 0).contiguous().cpu().numpy()
    return picture


def _scale(picture: Picture, width: int, height: int) -> Picture:
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Give the errors of torch the names of `worker.engines.errors`."""
    out_of_memory = False
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        out_of_memory = True
    except torch.AcceleratorError as exc:
        raise DeviceLost(f"the device failed: {_first_line(exc)}") from exc
    except RuntimeError as exc:
        if "not enough memory" in str(exc) or "can't allocate memory" in str(exc):
            out_of_memory = True
        elif "CUDA error" in str(exc) or "CUDNN_STATUS" in str(exc):
            raise DeviceLost(f"the device failed: {_first_line(exc)}") from exc
        else:
            raise
    if out_of_memory:
        # Outside the except block: a traceback would keep the tensors of its frames alive.
        _free_cached()
        raise OutOfMemory


def _free_cached() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
