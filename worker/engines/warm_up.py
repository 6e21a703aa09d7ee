"""Warms up a loaded model: selects attention, compiles, checks quantisation, generates test images."""

import time

from worker.engines import Engine, OnStatus, Tuning
from worker.engines.attention import (
    NATIVE,
    TimeBackends,
    select_attention_backend,
    time_attention_backends,
)
from worker.engines.compilation import compile_pipeline, reset_compilation
from worker.engines.decode_memory import max_batch_size
from worker.engines.device import free_memory_bytes
from worker.engines.errors import EngineError, OutOfMemory, UnusableSetting
from worker.engines.model import LoadedModel
from worker.engines.placement import Placement
from worker.engines.quantization_check import QuantizationCheck
from worker.engines.size_policy import SizePolicy
from worker.engines.sizes import SIZE_MULTIPLE, floor_size
from worker.engines.tuning import Compile
from worker.engines.warm_up_images import WarmUpImage, choose_warm_up_images


def first_render_size(model: LoadedModel, tuning: Tuning) -> tuple[int, int]:
    """Return width and height in pixels of the first warm-up image, which gets a compiled graph of its own."""
    order = _choose_images(model, tuning, is_compiled=False)[0].order
    assert order.width is not None and order.height is not None  # noqa: S101, PT018 -- chosen so
    return SizePolicy(model.manifest).render_size(*floor_size(order.width, order.height))


class WarmUp:
    """Warms up one engine, so that its first requests meet no compilation and no broken model."""

    def __init__(
        self,
        model: LoadedModel,
        tuning: Tuning,
        on_status: OnStatus,
        quantization_check: QuantizationCheck | None = None,
        time_backends: TimeBackends = time_attention_backends,
    ) -> None:
        self._model = model
        self._tuning = tuning
        self._on_status = on_status
        self._quantization_check = quantization_check
        self._time_backends = time_backends
        self._is_compiled = tuning.compile.is_enabled_on(model.device.type)
        self._attention = NATIVE

    @property
    def kernels(self) -> str:
        """Return the attention kernel, and whether the model is compiled."""
        return f"attention {self._attention}, {'compiled' if self._is_compiled else 'eager'}"

    def run(self, engine: Engine) -> int:
        """Warm up and return the largest batch size that fits into the device's memory.

        If compilation fails, try the native attention, and then run eagerly. Raises `UnusableSetting` if
        KLEIN_COMPILE=on forbids that or the quantised model is broken, and what `Engine.generate` raises.
        """
        if not self._is_compiled:
            return self._generate_images(engine)
        pipe = self._model.pipe
        for backend in dict.fromkeys((self._select_attention_backend(), NATIVE)):
            pipe.transformer.set_attention_backend(backend)
            self._attention = backend
            compile_pipeline(pipe)
            try:
                batch_size = self._generate_images(engine)
            except EngineError:
                raise
            except Exception as exc:  # noqa: BLE001 -- a compiler raises any type
                reset_compilation(pipe)
                reason = f"{type(exc).__name__}: {str(exc).strip().partition(chr(10))[0]}"
                self._on_status(f"compilation failed with attention {backend}: {reason}")
            else:
                return batch_size
        if self._tuning.compile is Compile.ON:
            raise UnusableSetting(
                f"KLEIN_COMPILE=on: the model does not compile on this machine ({reason}). "
                "Set KLEIN_COMPILE=off"
            )
        self._is_compiled = False
        return self._generate_images(engine)

    def find_batch_size(self, engine: Engine) -> int:
        """Return the largest batch size of which all warm-up sizes fit into memory.

        On a compiled model this also compiles the graph for any batch size.
        """
        limit = 1
        if self._model.placement is Placement.RESIDENT:
            free_bytes = free_memory_bytes(self._model.device)
            limit = max_batch_size(free_bytes, self._model.manifest.native_size)
        batch_size = min(self._tuning.batch, limit)
        orders = [image.order for image in self._images() if not image.order.reference_files]
        while batch_size > 1:
            try:
                for order in orders:
                    engine.generate_batch([order] * batch_size, _ignore_step)
            except OutOfMemory:
                batch_size //= 2
            else:
                break
        if self._tuning.batch > 1:
            self._on_status(f"batch size {batch_size}")
        return batch_size

    def _generate_images(self, engine: Engine) -> int:
        self._check_quantization()
        images = self._images()
        for number, image in enumerate(images, 1):
            name = f"warm-up {number} of {len(images)}: {image.name}"
            self._on_status(name)
            started = time.perf_counter()
            engine.generate(image.order, _ignore_step)
            self._on_status(f"{name} took {time.perf_counter() - started:.1f} s")
        return self.find_batch_size(engine)

    def _check_quantization(self) -> None:
        check = self._quantization_check
        if check is None:
            return
        snr_db = check.run()
        self._quantization_check = None  # one check is enough, also if the warm-up starts again
        self._on_status(
            f"quantised to {check.recipe.name}: signal-to-noise ratio {snr_db:.1f} dB "
            "against the unquantised model"
        )

    def _select_attention_backend(self) -> str:
        width, height = first_render_size(self._model, self._tuning)
        tokens = width * height // SIZE_MULTIPLE**2 + self._model.manifest.max_sequence_length
        return select_attention_backend(
            self._model.pipe, tokens, self._model.device, self._on_status, self._time_backends
        )

    def _images(self) -> tuple[WarmUpImage, ...]:
        return _choose_images(self._model, self._tuning, is_compiled=self._is_compiled)


def _choose_images(
    model: LoadedModel, tuning: Tuning, *, is_compiled: bool
) -> tuple[WarmUpImage, ...]:
    # A large model takes minutes for its native size on a CPU.
    is_slow = model.device.type == "cpu" and not model.manifest.render_scaled
    return choose_warm_up_images(tuning, model.manifest, is_compiled=is_compiled, is_slow=is_slow)


def _ignore_step(_step: int, _steps: int) -> None:
    pass
