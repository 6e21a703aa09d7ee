"""Checks reference images and output images with an optional image classifier.

The classifier is any transformers image classifier with a label `nsfw`, such as
Falconsai/nsfw_image_detection, which BFL's own tool uses for FLUX.2 (scripts/cli.py). The threshold is
theirs. diffusers' StableDiffusionSafetyChecker only knows the concepts of Stable Diffusion 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from worker.engines import Checkpoint, Engine, ImageArray, OnPreview, OnStep, Order, Result
from worker.engines.device import choose_device, translate_device_errors
from worker.engines.errors import UnusableSetting, Withheld
from worker.engines.references import decode_reference
from worker.engines.tuning import DeviceChoice

LABEL = "nsfw"
THRESHOLD = 0.85


class SafetyChecker:
    """Classifies images as safe or unsafe."""

    def __init__(self, folder: Path, device: DeviceChoice = DeviceChoice.AUTO) -> None:
        """Load the classifier. Raises `UnusableSetting` if it does not load or has no label `nsfw`."""
        self._device = choose_device(device)
        # Any: transformers' automatic classes have no useful types
        processor: Any = AutoImageProcessor
        model: Any = AutoModelForImageClassification
        try:
            self._processor = processor.from_pretrained(
                folder, local_files_only=True, backend="pil"
            )
            self._model = model.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).to(self._device)
        except Exception as exc:  # transformers raises any type for bad files
            reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
            raise UnusableSetting(
                f"KLEIN_SAFETY_CHECKER: {folder} does not load: {reason}"
            ) from exc
        label_ids = {str(name).lower(): k for k, name in self._model.config.id2label.items()}
        if LABEL not in label_ids:
            raise UnusableSetting(
                f"KLEIN_SAFETY_CHECKER: {folder} has no label {LABEL!r}, only {', '.join(label_ids)}. Use a classifier with that label"
            )
        self._unsafe_id = label_ids[LABEL]
        self._model.eval()

    def is_any_unsafe(self, images: Sequence[Image.Image]) -> bool:
        """Return whether any image is unsafe. An image whose score is NaN is unsafe."""
        with translate_device_errors(), torch.inference_mode():
            inputs = self._processor(images=list(images), return_tensors="pt").to(self._device)
            scores = self._model(**inputs).logits.float().softmax(-1)[:, self._unsafe_id]
            return not bool((scores <= THRESHOLD).all())  # a comparison with NaN is false


class SafetyCheckedEngine:
    """Wraps an engine and withholds unsafe images. It never sends previews."""

    def __init__(self, engine: Engine, checker: SafetyChecker) -> None:
        self._engine = engine
        self._checker = checker

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the description of the wrapped engine's weights."""
        return self._engine.checkpoint

    def warm_up(self) -> None:
        """Warm up the engine and the checker."""
        self._engine.warm_up()
        self._checker.is_any_unsafe([Image.new("RGB", (64, 64))])

    def generate(
        self, order: Order, on_step: OnStep, _on_preview: OnPreview | None = None
    ) -> Result:
        """Generate the images of one order. Raises `Withheld` if a reference or output image is unsafe."""
        reference_images = [decode_reference(data) for data in order.reference_files]
        if reference_images and self._checker.is_any_unsafe(reference_images):
            raise Withheld("the safety checker does not accept an input image; send another one")
        result = self._engine.generate(order, on_step)
        if self._is_unsafe(result.images):
            raise Withheld
        return result

    def generate_batch(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        _on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Generate a batch. An unsafe result becomes None. `generate` then raises `Withheld` for that order."""
        results = self._engine.generate_batch(orders, on_step)
        return tuple(
            None if result is None or self._is_unsafe(result.images) else result
            for result in results
        )

    def _is_unsafe(self, images: Sequence[ImageArray]) -> bool:
        return self._checker.is_any_unsafe([Image.fromarray(image) for image in images])
