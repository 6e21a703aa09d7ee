"""The evaluation: what the shipped folder draws through the real pipeline, judged by the rules."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from app.predictions.sizes import NAMED_SIZES
from worker.engines.pixels import resize_flat_art
from worker.engines.sizes import native_render_size
from worker.weights.recipe.autoencoder import MEASURED_PICTURES, measure_psnr_db
from worker.weights.recipe.draw import draw
from worker.weights.recipe.edits import (
    ONE_REFERENCE,
    TWO_REFERENCES,
    Edit,
    Example,
    edit_example,
    text_example,
)
from worker.weights.recipe.model import PIPELINE, TEXT_LAYERS, TEXT_LENGTH, TOKEN_PX, Pipeline
from worker.weights.recipe.overlap import Match, match
from worker.weights.recipe.rules import Verdict, judge, judge_edit
from worker.weights.recipe.ship import KLEIN
from worker.weights.recipe.world import Canvas, Sampler

STEPS = 4
BASE_STEPS = 28
BASE_GUIDANCE = 4.0
BATCH = 20
SEED = 20_000  # far from the seeds that training uses
CHANGE_EVERYTHING = (Edit.BACKGROUND, Edit.BACKGROUND_FROM_SECOND)
EDGE_PX = 4  # about a changed thing, not counted as what stays
DIFFERENT = 1.0  # mean absolute difference of two pictures, in levels of 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the evaluation."""

    name: str
    value: str
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """A sample of prompts to draw and judge."""

    name: str
    number: int
    count: int
    held_out: bool = False
    canvas: Canvas = field(default_factory=Canvas)
    target: str = ""


TEXTS = (
    EngineRequest(name="one object", number=500, count=1, target="99 %"),
    EngineRequest(name="two objects and their relation", number=300, count=2, target="95 %"),
    EngineRequest(
        name="one object, held-out pair", number=200, count=1, held_out=True, target="97 %"
    ),
    EngineRequest(
        name="two objects, both held-out pairs", number=200, count=2, held_out=True, target="93 %"
    ),
    EngineRequest(
        name="one object, 176x96", number=100, count=1, canvas=Canvas(width=176, height=96)
    ),
)


DEFAULT_SIZE = "landscape_4_3"
NAMED = ("square_hd", "square", DEFAULT_SIZE, "portrait_4_3", "landscape_16_9", "portrait_16_9")


def open_pipeline(folder: Path, device: torch.device, precision: torch.dtype) -> Pipeline:
    """Load the folder as any user of diffusers would."""
    pipeline: Pipeline = PIPELINE.from_pretrained(
        folder, dtype=precision, local_files_only=True
    ).to(device)
    pipeline.vae.to(memory_format=torch.channels_last)  # decodes on a CPU in 0.6 of the time
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """Draws and judges; `share` makes every sample smaller, for a look in passing."""

    pipeline: Pipeline
    share: float = 1.0

    @property
    def steps(self) -> int:
        """The number of steps that the model is meant for."""
        return STEPS if self.pipeline.config.is_distilled else BASE_STEPS

    def run(self) -> list[Figure]:
        """Measure everything."""
        return [
            *(figure for asked in TEXTS for figure in self._texts(asked)),
            *(figure for name in NAMED for figure in self._named(name, 200)),
            *self._edits(300),
            self._seeds(200),
            self._psnr(),
            self._speed(),
        ]

    def look(self) -> list[Figure]:
        """Measure the figures that say most, for the learning curve: what is right, and the shapes at the default size."""
        return [*(self._texts(asked)[0] for asked in TEXTS[:2]), self._named(DEFAULT_SIZE, 100)[0]]

    def draw_texts(self, examples: list[Example], *, seed: int = SEED) -> Iterable[Image.Image]:
        """Draw what examples of one size ask for."""
        for start in range(0, len(examples), BATCH):
            part = examples[start : start + BATCH]
            yield from self._draw(part, range(seed + start, seed + start + len(part)), None)

    def draw_edit(self, example: Example, *, seed: int = SEED) -> Image.Image:
        """Draw one edit."""
        references = [draw(picture) for picture in example.references]
        return self._draw([example], [seed], references)[0]

    @torch.no_grad()
    def _draw(
        self, examples: list[Example], seeds: Iterable[int], images: list[Image.Image] | None
    ) -> list[Image.Image]:
        canvas = examples[0].target.canvas
        drawn: list[Image.Image] = self.pipeline(
            prompt=[example.prompt for example in examples],
            image=images,
            height=canvas.height,
            width=canvas.width,
            num_inference_steps=self.steps,
            guidance_scale=1.0 if self.pipeline.config.is_distilled else BASE_GUIDANCE,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            max_sequence_length=TEXT_LENGTH,
            text_encoder_out_layers=TEXT_LAYERS,
        ).images
        return drawn

    def _texts(self, asked: EngineRequest) -> list[Figure]:
        rng = random.Random(SEED + asked.count)  # noqa: S311  not for secrets
        sampler = Sampler(rng, held_out=asked.held_out)
        examples = [
            text_example(sampler, asked.canvas, count=asked.count)
            for _ in range(self._number(asked.number))
        ]
        drawn = tqdm(
            self.draw_texts(examples), desc=asked.name, total=len(examples), mininterval=20
        )
        verdicts = [
            judge(example.target.scene, image)
            for example, image in zip(examples, drawn, strict=True)
        ]
        whole: Callable[[Verdict], bool] = (
            (lambda v: v.is_content_right) if asked.count == 1 else (lambda v: v.is_right)
        )
        figures = [
            Figure(name=asked.name, value=_percent(map(whole, verdicts)), target=asked.target)
        ]
        for part in ("background", "colour", "shape", "place", "clean"):
            value = _percent(getattr(verdict, part) for verdict in verdicts)
            figures.append(Figure(name=f"{asked.name}: {part}", value=value))
        return figures

    def _named(self, name: str, number: int) -> list[Figure]:
        """Measure the shapes of pictures as a caller gets them, in one of the named sizes."""
        size = NAMED_SIZES[name]
        width, height = native_render_size(*size, native=KLEIN["native_size"], multiple=TOKEN_PX)
        sampler = Sampler(random.Random(SEED + 3))  # noqa: S311  not for secrets
        canvas = Canvas(width=width, height=height)
        examples = [text_example(sampler, canvas, count=1) for _ in range(self._number(number))]
        matches: list[Match] = []
        for example, image in zip(examples, self.draw_texts(examples), strict=True):
            shown = Image.fromarray(resize_flat_art(np.asarray(image), *size))
            matches += match(example.target.scene, shown)
        overlaps = np.array([each.overlap for each in matches])
        label = f"{name} {size[0]}x{size[1]}"
        median, low = np.median(overlaps), np.percentile(overlaps, 5)
        return [
            Figure(
                name=f"{label}: overlap with the ideal shape, median and 5th percentile",
                value=f"{median:.3f}, {low:.3f} of {len(overlaps)}",
                target="0.97, 0.93",
            ),
            Figure(name=f"{label}: clean", value=_percent(each.is_clean for each in matches)),
        ]

    def _edits(self, number: int) -> list[Figure]:
        sampler = Sampler(random.Random(SEED))  # noqa: S311  not for secrets
        kinds = (*ONE_REFERENCE, *TWO_REFERENCES)
        results: dict[Edit, list[bool]] = {kind: [] for kind in kinds}
        kept_db: list[float] = []
        count = max(len(kinds), self._number(number))
        for index in tqdm(range(count), desc="edits", mininterval=20):
            kind = kinds[index % len(kinds)]
            example = edit_example(sampler, Canvas(), kind)
            image = self.draw_edit(example, seed=SEED + index)
            results[kind].append(judge_edit(example.target, image).is_right)
            if kind not in CHANGE_EVERYTHING:
                kept_db.append(psnr_of_rest_db(example, image))
        everything = [right for rights in results.values() for right in rights]
        return [
            Figure(name="edits", value=_percent(everything), target="97 %"),
            *(Figure(name=f"edits: {k}", value=_percent(v)) for k, v in results.items()),
            Figure(
                name="edits: PSNR of the area that stays, median and 5th percentile",
                value=f"{np.median(kept_db):.1f}, {np.percentile(kept_db, 5):.1f} dB",
                target="30 dB",
            ),
        ]

    def _seeds(self, number: int) -> Figure:
        sampler = Sampler(random.Random(SEED + 7))  # noqa: S311  not for secrets
        examples = [text_example(sampler, Canvas(), count=1) for _ in range(self._number(number))]
        pairs = zip(
            examples,
            self.draw_texts(examples, seed=SEED),
            self.draw_texts(examples, seed=2 * SEED),
            strict=True,
        )
        good = [
            _differ(one, other)
            and judge(example.target.scene, one).is_content_right
            and judge(example.target.scene, other).is_content_right
            for example, one, other in pairs
        ]
        return Figure(name="two seeds: different, and both right", value=_percent(good))

    def _psnr(self) -> Figure:
        precision, device = self.pipeline.dtype, self.pipeline.device
        vae = self.pipeline.vae.float()
        value = measure_psnr_db(vae, device, pictures=self._number(MEASURED_PICTURES))
        vae.to(precision)
        return Figure(name="autoencoder, held-out scenes", value=f"{value:.1f} dB", target="32 dB")

    def _speed(self) -> Figure:
        example = text_example(Sampler(random.Random(1)), Canvas(), count=1)  # noqa: S311
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        durations_s = []
        for seed in range(6):
            start_s = time.perf_counter()
            self._draw([example], [seed], None)
            durations_s.append(time.perf_counter() - start_s)
        torch.set_num_threads(threads)
        where = "one thread" if self.pipeline.device.type == "cpu" else self.pipeline.device.type
        return Figure(
            name=f"one 128x128 picture, {self.steps} steps, {where}, warm, best of 5",
            value=f"{min(durations_s[1:]):.2f} s",
            target="0.3 s",
        )

    def _number(self, whole: int) -> int:
        return max(1, round(whole * self.share))


def psnr_of_rest_db(example: Example, image: Image.Image) -> float:
    """Return the PSNR of an edit outside the boxes of the things that it changes."""
    before, after = (
        set(zip(picture.scene.things, picture.spots, strict=True))
        for picture in (example.references[0], example.target)
    )
    stays = np.ones((image.height, image.width), dtype=bool)
    for _, spot in before ^ after:
        reach = spot.diameter / 2 + EDGE_PX
        rows = slice(max(0, round(spot.y - reach)), round(spot.y + reach))
        stays[rows, max(0, round(spot.x - reach)) : round(spot.x + reach)] = False
    levels = np.asarray(image, dtype=np.float64) - np.asarray(draw(example.target))
    return float(10 * np.log10(255**2 / max(1e-3, np.square(levels[stays]).mean())))


def _differ(one: Image.Image, other: Image.Image) -> bool:
    levels = np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)
    return bool(np.abs(levels).mean() > DIFFERENT)


def _percent(rights: Iterable[bool]) -> str:
    marks = list(rights)
    return f"{100 * sum(marks) / len(marks):.1f} % of {len(marks)}"
