"""The engine over diffusers' Flux2KleinPipeline, for any weights folder of that class."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from worker.engines import (
    Checkpoint,
    OnPreview,
    OnStep,
    Order,
    Picture,
    Result,
    Say,
    Tuning,
)
from worker.engines.attention import NATIVE, choose_attention
from worker.engines.call import draw_pixels, draw_sketch
from worker.engines.canvas import Canvas
from worker.engines.compilation import compile_model, uncompile_model
from worker.engines.device import (
    capability_of,
    choose_device,
    device_name,
    free_bytes,
    free_cached,
    marker,
    translated_errors,
)
from worker.engines.errors import (
    EngineError,
    InvalidOutput,
    OutOfMemory,
    UnusableSetting,
)
from worker.engines.folder import WeightsFolder
from worker.engines.loras import LoraShelf
from worker.engines.pipeline import load_pipeline
from worker.engines.pixels import scale, to_picture
from worker.engines.placement import (
    Offload,
    Placement,
    Room,
    choose_placement,
    pictures_at_once,
    sizes_of,
)
from worker.engines.precision import choose_weights_dtype
from worker.engines.preparation import Preparation
from worker.engines.previews import allow_previews
from worker.engines.quantization import (
    RECIPES,
    Recipe,
    block_linears,
    check_chip,
    judge,
    quantised_weight,
    quantize,
)
from worker.engines.references import open_reference
from worker.engines.sizes import MULTIPLE, floor_size
from worker.engines.steps import Steps
from worker.engines.text_encoder import TextEncoder
from worker.engines.tuning import Compile
from worker.engines.warm_up import PROMPT, Warm, draw_all, plan_warm_up


class Flux2Klein:
    """One resident pipeline; calls wait for each other, since a pipeline holds the state of one."""

    def __init__(  # noqa: PLR0913 -- the last two are for tests
        self,
        folder: WeightsFolder,
        loras: Path | None,
        tuning: Tuning,
        say: Say,
        *,
        recipe: Recipe | None = None,
        placement: Placement | None = None,
    ) -> None:
        self._manifest = folder.manifest
        self._say = say
        self._device = choose_device()
        self._recipe = recipe or RECIPES.get(tuning.quantization)
        if self._recipe is not None:
            check_chip(self._recipe, device_name(self._device), capability_of(self._device))
        self._dtype = choose_weights_dtype(self._device, folder.size_bytes)
        self._pipe = load_pipeline(folder, self._dtype)
        free = free_bytes(self._device)
        if placement is None and free is not None:
            placement = choose_placement(free, sizes_of(self._pipe, tuning.quantization))
        placement = placement or Placement.RESIDENT
        self._placement = placement
        offload = Offload(self._pipe, placement, self._device, say)
        # weights that move in inference mode become tensors that cannot move again
        is_resident = placement is Placement.RESIDENT
        self._without_gradients = torch.inference_mode if is_resident else torch.no_grad
        allow_previews(self._pipe)
        self._texts = TextEncoder(self._pipe, folder.manifest)
        self._loras = LoraShelf(self._pipe, loras)
        room = Room(device=self._device, tile=self._pipe.vae.tile_sample_min_size)
        self._preparation = Preparation(folder.manifest, self._texts, self._loras, offload, room)
        self._one_at_a_time = threading.Lock()
        self._mark = marker(self._device)
        self.checkpoint = Checkpoint(
            name=folder.manifest.name,
            description=folder.manifest.description,
            licence=folder.manifest.licence,
            revision=folder.revision,
            kind=folder.kind,
            dtype=str(self._dtype).removeprefix("torch."),
            device=device_name(self._device),
            max_sequence_length=folder.manifest.max_sequence_length,
            native_size=folder.manifest.native_size,
            largest_size=folder.manifest.largest_size,
            render_scaled=folder.manifest.render_scaled,
        )
        self._tuning = tuning
        self._is_compiled = tuning.compile.is_wanted_on(self._device.type)
        self._exact: torch.Tensor | None = None
        if self._recipe is not None:
            self._exact = self._sketch()
            self._quantize(self._recipe)

    def warm_up(self) -> None:
        """Choose attention, compile, judge and draw; what draws nothing fails here, not later."""
        if not self._is_compiled:
            self._first_pictures()
            return
        chosen = self._choose_attention()
        for backend in dict.fromkeys((chosen, NATIVE)):
            self._pipe.transformer.set_attention_backend(backend)
            compile_model(self._pipe)
            try:
                self._first_pictures()
            except EngineError:
                raise
            except Exception as exc:  # noqa: BLE001 -- a compiler raises whatever it likes
                uncompile_model(self._pipe)
                reason = f"{type(exc).__name__}: {str(exc).strip().partition(chr(10))[0]}"
                self._say(f"not compiled, with attention {backend}: {reason}")
            else:
                return
        if self._tuning.compile is Compile.ON:
            raise UnusableSetting(
                f"KLEIN_COMPILE=on: the model does not compile on this machine ({reason}). "
                "Set KLEIN_COMPILE=off"
            )
        self._is_compiled = False
        self._first_pictures()

    def _first_pictures(self) -> None:
        self._judge_quantisation()
        draw_all(self._plan(), lambda order: self.generate(order, lambda _k, _n: None), self._say)
        self._first_batches()

    def _first_batches(self) -> None:
        """Find how many pictures may be drawn at once; compiled, that makes the code for any number."""
        fits = 1
        if self._placement is Placement.RESIDENT:
            fits = pictures_at_once(free_bytes(self._device), self._manifest.native_size)
        count = min(self._tuning.batch, fits)
        orders = [warm.order for warm in self._plan() if not warm.order.references]
        while count > 1:
            try:
                for order in orders:
                    self.draw_together([order] * count, lambda _k, _n: None)
            except OutOfMemory:
                count //= 2
            else:
                break
        self.checkpoint = replace(self.checkpoint, batch=count)
        if self._tuning.batch > 1:
            self._say(f"at most {count} pictures at once")

    def _plan(self) -> tuple[Warm, ...]:
        # A large model on a CPU would take minutes for its native size.
        is_slow = self._device.type == "cpu" and not self._manifest.render_scaled
        return plan_warm_up(
            self._tuning, self._manifest, is_compiled=self._is_compiled, is_slow=is_slow
        )

    def _choose_attention(self) -> str:
        width, height = self._sketch_size()
        tokens = width * height // MULTIPLE**2 + self._manifest.max_sequence_length
        return choose_attention(self._pipe, tokens, self._device, self._say)

    def _judge_quantisation(self) -> None:
        if self._recipe is None or self._exact is None:
            return
        found = judge(self._recipe, self._exact, self._sketch())
        self._exact = None
        self._say(f"quantised to {self._recipe.name}: {found:.1f} dB from the exact model")

    def _quantize(self, recipe: Recipe) -> None:
        transformer = self._pipe.transformer
        self._loras.keep_exact(
            block_linears(transformer), lambda weight: quantised_weight(weight, recipe)
        )
        quantize(transformer, recipe)

    def _sketch(self) -> torch.Tensor:
        with translated_errors(), self._without_gradients():
            return draw_sketch(
                self._pipe, self._manifest, self._texts.embed(PROMPT), self._sketch_size()
            )

    def _sketch_size(self) -> tuple[int, int]:
        """Give the size that is warmed up first: compiled, it has code of its own."""
        order = self._plan()[0].order
        assert order.width is not None and order.height is not None  # noqa: S101, PT018 -- planned so
        return Canvas(self._manifest).render_size(*floor_size(order.width, order.height))

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Draw the order, one image after the other, so that each depends on its own seed alone.

        See `worker.engines.Engine.generate`. Where memory runs out, what is kept for later orders is
        freed and the order drawn once more, decoded in tiles; it is drawn once more too where the
        output is no picture.
        """
        heard = 0

        def hear(step: int, steps: int) -> None:
            nonlocal heard
            heard = max(heard, step)  # a second attempt does not count backwards
            on_step(heard, steps)

        with self._one_at_a_time:
            try:
                return self._draw(order, hear, on_preview)
            except (OutOfMemory, InvalidOutput) as exc:
                in_tiles = isinstance(exc, OutOfMemory)
            # not within: the exception holds the frames and their tensors
            self._preparation.forget()
            free_cached()
            return self._draw(order, hear, on_preview, in_tiles=in_tiles)

    def draw_together(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Draw orders that agree in one call; see `worker.engines.Engine.draw_together`."""
        steps = orders[0].steps
        started = time.perf_counter()
        with self._one_at_a_time, translated_errors(), self._without_gradients():
            prepared = self._preparation.of(orders)
            with Steps(lambda step: on_step(step, steps), self._mark) as told:
                seeds = [order.seeds[0] for order in orders]
                drawn = draw_pixels(self._pipe, prepared, seeds, told, on_previews)
                pictures = [_picture_or_none(pixels) for pixels in drawn]
        generate_s = time.perf_counter() - started
        return tuple(
            None
            if picture is None
            else Result(
                pictures=(scale(picture, *prepared.size),), notes=notes, generate_s=generate_s
            )
            for picture, notes in zip(pictures, prepared.notes, strict=True)
        )

    def _draw(
        self,
        order: Order,
        on_step: OnStep,
        on_preview: OnPreview | None,
        *,
        in_tiles: bool = False,
    ) -> Result:
        started = time.perf_counter()
        with translated_errors(), self._without_gradients():
            references = [open_reference(data) for data in order.references]
            prepared = self._preparation.of([order], references, in_tiles=in_tiles)

            pictures = []
            count = order.steps * len(order.seeds)
            for index, seed in enumerate(order.seeds):
                before = index * order.steps
                with Steps(lambda step, k=before: on_step(k + step, count), self._mark) as told:  # type: ignore[misc]  # a default
                    drawn = draw_pixels(self._pipe, prepared, [seed], told, [on_preview])
                    pictures.append(scale(to_picture(drawn[0]), *prepared.size))
        return Result(
            pictures=tuple(pictures),
            notes=prepared.notes[0],
            generate_s=time.perf_counter() - started,
        )


def _picture_or_none(pixels: torch.Tensor) -> Picture | None:
    try:
        return to_picture(pixels)
    except InvalidOutput:
        return None
