"""The optional safety checker: an engine that withholds what an image classifier calls unsafe.

Weights are a folder of any transformers image classifier with a label `nsfw`, such as
Falconsai/nsfw_image_detection, which BFL's own tool runs on what FLUX.2 draws (scripts/cli.py); its
threshold is theirs. diffusers' StableDiffusionSafetyChecker knows Stable Diffusion 1's concepts only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from worker.engines import Checkpoint, Engine, OnPreview, OnStep, Order, Result
from worker.engines.device import choose_device, translated_errors
from worker.engines.errors import UnusableSetting, Withheld
from worker.engines.references import open_reference

LABEL = "nsfw"
THRESHOLD = 0.85


class SafetyChecker:
    """An image classifier that calls pictures unsafe or not."""

    def __init__(self, folder: Path) -> None:
        """Load it. Raises UnusableSetting where it cannot judge: then nothing may be drawn."""
        self._device = choose_device()
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
        except Exception as exc:  # loaders raise whatever they like about bad files
            reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
            raise UnusableSetting(
                f"KLEIN_SAFETY_CHECKER: {folder} does not load: {reason}"
            ) from exc
        labels = {str(name).lower(): k for k, name in self._model.config.id2label.items()}
        if LABEL not in labels:
            raise UnusableSetting(
                f"KLEIN_SAFETY_CHECKER: {folder} has no label {LABEL!r}, but {', '.join(labels)}"
            )
        self._unsafe = labels[LABEL]
        self._model.eval()

    def finds_unsafe(self, images: Sequence[Image.Image]) -> bool:
        """Tell whether any of the pictures is unsafe; one that gets no score is."""
        with translated_errors(), torch.inference_mode():
            inputs = self._processor(images=list(images), return_tensors="pt").to(self._device)
            scores = self._model(**inputs).logits.float().softmax(-1)[:, self._unsafe]
            return not bool((scores <= THRESHOLD).all())  # so that what is not a number is unsafe


class CheckedEngine:
    """An engine whose input images and pictures pass a safety checker."""

    def __init__(self, engine: Engine, checker: SafetyChecker) -> None:
        self._engine = engine
        self._checker = checker

    @property
    def checkpoint(self) -> Checkpoint:
        """What the engine serves, as it knows once it is warm."""
        return self._engine.checkpoint

    def warm_up(self) -> None:
        """Warm the engine and the checker up."""
        self._engine.warm_up()
        self._checker.finds_unsafe([Image.new("RGB", (64, 64))])

    def generate(
        self, order: Order, on_step: OnStep, _on_preview: OnPreview | None = None
    ) -> Result:
        """Draw the order, without previews: what may be withheld is not shown on the way.

        Raises Withheld where an input image or a picture is unsafe.
        """
        references = [open_reference(data) for data in order.references]
        if references and self._checker.finds_unsafe(references):
            raise Withheld("the safety checker does not accept an input image")
        result = self._engine.generate(order, on_step)
        if self._checker.finds_unsafe([Image.fromarray(picture) for picture in result.pictures]):
            raise Withheld
        return result

    def draw_together(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        _on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Draw them at once, without previews; what is unsafe comes back as None, and is withheld when it is drawn alone."""
        return tuple(
            None
            if result is None
            or self._checker.finds_unsafe([Image.fromarray(p) for p in result.pictures])
            else result
            for result in self._engine.draw_together(orders, on_step)
        )
