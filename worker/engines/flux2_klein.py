"""Implements the engine with diffusers' Flux2KleinPipeline."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from worker.engines import (
    Checkpoint,
    ImageArray,
    OnPreview,
    OnStatus,
    OnStep,
    Order,
    Result,
    Tuning,
)
from worker.engines.attention import TimeBackends, time_attention_backends
from worker.engines.cpu_estimate import describe_cpu_speed
from worker.engines.device import device_name, release_cached_memory, translate_device_errors
from worker.engines.errors import InvalidOutput, OutOfMemory
from worker.engines.folder import WeightsFolder
from worker.engines.inference import generate_pixels
from worker.engines.model import LoadedModel, load_model
from worker.engines.output_check import check_output
from worker.engines.pipeline_inputs import prepare_inputs
from worker.engines.pixels import resize_flat_art, to_image_array
from worker.engines.placement import Placement
from worker.engines.quantization import RECIPES, QuantizationRecipe
from worker.engines.quantization_check import quantize_model, quantize_text_encoder
from worker.engines.references import decode_mask, decode_reference
from worker.engines.step_reporter import StepReporter
from worker.engines.transformer_size import transformer_size
from worker.engines.tuning import Quantization
from worker.engines.warm_up import WarmUp, first_render_size
from worker.engines.warm_up_images import PROMPT


class Flux2KleinEngine:
    """Generates images with one loaded model. Calls wait for each other, as a pipeline holds the state of one call."""

    def __init__(  # noqa: PLR0913 -- the last three are for tests
        self,
        folder: WeightsFolder,
        loras: Path | None,
        tuning: Tuning,
        on_status: OnStatus,
        *,
        recipe: QuantizationRecipe | None = None,
        placement: Placement | None = None,
        time_backends: TimeBackends = time_attention_backends,
    ) -> None:
        """Load, check and quantise the model. Raises `WeightsError` and `UnusableSetting`."""
        recipe = recipe or RECIPES.get(tuning.quantization)
        self.model = load_model(
            folder, loras, tuning, on_status, recipe=recipe, placement=placement
        )
        speed = describe_cpu_speed(self.model) if self.model.device.type == "cpu" else None
        if speed is not None:
            on_status(speed)
        checkpoint = _describe(folder, self.model)
        self.checkpoint = replace(checkpoint, takes_minutes=speed is not None)
        formats: list[str] = [recipe.name] if recipe else []
        if self.model.float32_products:
            formats.append("float32 products")
        if tuning.text_encoder_quantization is not Quantization.NONE:
            formats.append(f"{tuning.text_encoder_quantization} for text")
        self._number_formats = ", ".join([self.checkpoint.dtype, *formats])
        self._lock = threading.Lock()
        check = None
        with self.model.start_memory.explain():
            # before quantisation, which has a check of its own
            check_output(self.model, PROMPT, on_status)
            if (text_recipe := RECIPES.get(tuning.text_encoder_quantization)) is not None:
                snr_db = quantize_text_encoder(self.model, text_recipe, PROMPT)
                on_status(
                    f"text encoder quantised to {text_recipe.name}: signal-to-noise ratio {snr_db:.1f} dB"
                )
            if recipe is not None:
                check = quantize_model(
                    self.model, recipe, PROMPT, first_render_size(self.model, tuning)
                )
        self._warm_up = WarmUp(self.model, tuning, on_status, check, time_backends)

    @property
    def numerics(self) -> str:
        """Return what the bytes of an image depend on beside its order. Final after `warm_up`."""
        checkpoint = self.checkpoint
        return "; ".join(
            (
                f"{checkpoint.name} {checkpoint.revision[:12]}",
                checkpoint.device,
                f"torch {torch.__version__}",
                self._number_formats,
                self._warm_up.kernels,
            )
        )

    def warm_up(self) -> None:
        """Warm up the model. See `worker.engines.warm_up.WarmUp.run`."""
        with self.model.start_memory.explain():
            batch_size = self._warm_up.run(self)
        self.checkpoint = replace(self.checkpoint, batch=batch_size)

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Generate the order's images one after the other, so that each depends only on its own seed.

        See `worker.engines.Engine.generate`. If memory runs out, release all caches and retry once with tiled
        decoding. If the output is invalid, retry once.
        """
        last_step = 0

        def report_step(step: int, steps: int) -> None:
            nonlocal last_step
            last_step = max(last_step, step)  # a retry does not count backwards
            on_step(last_step, steps)

        with self._lock:
            try:
                return self._generate(order, report_step, on_preview)
            except (OutOfMemory, InvalidOutput) as exc:
                force_tiling = isinstance(exc, OutOfMemory)
            # Outside the except block, because the exception keeps the tensors of its frames alive.
            self.model.clear_caches()
            release_cached_memory()
            return self._generate(order, report_step, on_preview, force_tiling=force_tiling)

    def generate_batch(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Generate one image for each order in one call. See `worker.engines.Engine.generate_batch`."""
        model = self.model
        steps = orders[0].steps
        started = time.perf_counter()
        with self._lock, translate_device_errors(), model.inference():
            inputs = prepare_inputs(model, orders)
            reporter = StepReporter(lambda step: on_step(step, steps), model.record_event)
            with reporter:
                seeds = [order.seeds[0] for order in orders]
                pixels = generate_pixels(model, inputs, seeds, reporter, on_previews)
                images = [_to_image_array_or_none(image) for image in pixels]
        generate_s = time.perf_counter() - started
        return tuple(
            None
            if image is None
            else Result(
                images=(resize_flat_art(image, *inputs.part_size),),
                notes=notes,
                generate_s=generate_s,
                cached_bytes=model.loras.host_bytes,
                numerics=self.numerics,
            )
            for image, notes in zip(images, inputs.notes, strict=True)
        )

    def _generate(
        self,
        order: Order,
        on_step: OnStep,
        on_preview: OnPreview | None,
        *,
        force_tiling: bool = False,
    ) -> Result:
        model = self.model
        started = time.perf_counter()
        with translate_device_errors(), model.inference():
            reference_images = [decode_reference(data) for data in order.reference_files]
            mask = decode_mask(order.mask_file) if order.mask_file else None
            inputs = prepare_inputs(
                model, [order], reference_images, mask, force_tiling=force_tiling
            )

            images = []
            total_steps = inputs.steps * len(order.seeds)
            for index, seed in enumerate(order.seeds):
                steps_before = index * inputs.steps
                with StepReporter(
                    lambda step, before=steps_before: on_step(before + step, total_steps),  # type: ignore[misc]  # a default
                    model.record_event,
                ) as reporter:
                    pixels = generate_pixels(model, inputs, [seed], reporter, [on_preview])
                    image = resize_flat_art(to_image_array(pixels[0]), *inputs.part_size)
                    images.append(inputs.original.restore(image) if inputs.original else image)
        return Result(
            images=tuple(images),
            notes=inputs.notes[0],
            generate_s=time.perf_counter() - started,
            cached_bytes=model.loras.host_bytes,
            numerics=self.numerics,
        )


def _describe(folder: WeightsFolder, model: LoadedModel) -> Checkpoint:
    manifest = folder.manifest
    return Checkpoint(
        name=manifest.name,
        description=manifest.description,
        licence=manifest.licence,
        revision=folder.revision,
        kind=folder.kind,
        dtype=str(model.dtype).removeprefix("torch."),
        device=device_name(model.device),
        max_sequence_length=manifest.max_sequence_length,
        native_size=manifest.native_size,
        largest_size=manifest.largest_size,
        render_scaled=manifest.render_scaled,
        transformer=transformer_size(model.pipe.transformer),
        memory_bytes=model.start_memory.process_bytes,
        free_bytes=model.found_bytes,
    )


def _to_image_array_or_none(pixels: torch.Tensor) -> ImageArray | None:
    try:
        return to_image_array(pixels)
    except InvalidOutput:
        return None
