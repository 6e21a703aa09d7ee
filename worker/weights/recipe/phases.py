"""All phases of the recipe in their order: from nothing to the shipped folder."""

import copy
import os
import random
import sys
import time
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm import tqdm
from transformers import Qwen2Tokenizer

from worker.weights.recipe import checkpoint
from worker.weights.recipe.autoencoder import AutoencoderPhase, set_statistics
from worker.weights.recipe.card import write_card
from worker.weights.recipe.effort import REHEARSAL, Effort, Steps
from worker.weights.recipe.evaluate import Evaluation, open_pipeline
from worker.weights.recipe.grid import write_grid
from worker.weights.recipe.model import Autoencoder, Tokenizer, new_autoencoder
from worker.weights.recipe.networks import Networks, mean_of, use_plain_attention
from worker.weights.recipe.pool import Encoder
from worker.weights.recipe.ship import write_folder
from worker.weights.recipe.straighten import StraightenPhase
from worker.weights.recipe.tokenizer import new_tokenizer
from worker.weights.recipe.transformer import (
    CAPACITY,
    UNPROMPTED_SHARE,
    TransformerPhase,
)
from worker.weights.recipe.world import Sampler

TIMED_STEPS = 3
BASE_SHARE = 0.3  # of the samples that the distilled model is measured with: a picture takes 14 times as long
UNSTRAIGHTENED_SHARE = (
    0.4  # of the weights that ship: two seeds differ less the straighter the trajectories
)
STRAIGHT_STEP = 0.4  # of the time that a step of the transformer takes


@dataclass(slots=True, kw_only=True)
class Recipe:
    """Everything from nothing to the shipped folder."""

    out: Path
    state: Path
    steps: Steps
    seed: int
    device: torch.device
    precision: torch.dtype
    resume: bool
    compiled: bool
    effort: Effort

    def run(self) -> None:
        """Train all phases, write the folder, measure it and write its card."""
        self.state.mkdir(parents=True, exist_ok=True)
        tokenizer = self._tokenizer()
        autoencoder = self._autoencoder()
        phase = replace(
            self._transformer_phase(autoencoder, tokenizer),
            on_save=lambda networks, _: self._look(networks, autoencoder, tokenizer),
        )
        first = phase.train()
        again = replace(phase, goes_on_from=first, steps=self.steps.transformer_again)
        networks = mean_of(first, again.train())
        autoencoder = self._with_decoder(autoencoder)
        self._write(self._straighten(networks, autoencoder, tokenizer), autoencoder, tokenizer)
        evaluate(self.out, self.device, self.precision, facts=self._facts(), effort=self.effort)
        self.train_base(self.out)

    def straighten(self, folder: Path) -> None:
        """Take only the last phase, from the weights of a folder that holds the phases before them."""
        start, autoencoder, tokenizer = self._open(folder)
        self._write(self._straighten(start, autoencoder, tokenizer), autoencoder, tokenizer)
        facts = {
            **self._facts(),
            "device": f"{describe_device(self.device, self.precision)} for the last phase, which went "
            "on from the bf16 weights of the phases before it",
        }
        evaluate(self.out, self.device, self.precision, facts=facts, effort=self.effort)

    def train_base(self, folder: Path) -> None:
        """Train the base model from the weights of a folder, into a folder beside that of the distilled model."""
        start, autoencoder, tokenizer = self._open(folder)
        phase = replace(
            self._transformer_phase(autoencoder, tokenizer),
            steps=self.steps.base,
            batch=self.effort.base_batch,
            goes_on_from=start,
            for_base=True,
        )
        out = self.out.with_name(f"{self.out.name}-base")
        networks = phase.train()
        write_folder(
            out,
            autoencoder=autoencoder,
            transformer=networks.transformer,
            text_encoder=networks.text_encoder,
            tokenizer=tokenizer,
            is_distilled=False,
        )
        facts = {
            "steps": f"{self.steps.base:,} from the weights of the distilled model, at any noise level; "
            f"{UNPROMPTED_SHARE:.0%} of the examples had no prompt",
            "device": describe_device(self.device, self.precision),
            "seed": str(self.seed),
        }
        effort = replace(self.effort, share=BASE_SHARE * self.effort.share)
        evaluate(out, self.device, self.precision, facts=facts, effort=effort)

    def _open(self, folder: Path) -> tuple[Networks, Autoencoder, Tokenizer]:
        self.state.mkdir(parents=True, exist_ok=True)
        pipeline = open_pipeline(folder, self.device, torch.float32)
        start = Networks(transformer=pipeline.transformer, text_encoder=pipeline.text_encoder)
        if self.device.type == "cpu":
            use_plain_attention(start)
        return start, pipeline.vae, pipeline.tokenizer

    def estimate(self) -> timedelta:
        """Tell from a few steps how long all of them will take here, without the evaluation."""
        with TemporaryDirectory() as folder, redirect_stderr(StringIO()):  # no bars of these
            rehearsal = replace(self, state=Path(folder), resume=False, compiled=False)
            pictures = replace(rehearsal._autoencoder_phase(1), report=_keep_quiet)  # noqa: SLF001  its own class
            tokens = replace(
                rehearsal._transformer_phase(  # noqa: SLF001  the same
                    new_autoencoder().to(self.device), new_tokenizer(sentences=REHEARSAL.sentences)
                ),
                capacity=self.effort.batch,
                report=_keep_quiet,
            )
            seconds = (self.steps.autoencoder + self.steps.decoder) * _seconds_a_step(pictures)
            steps = self.steps.transformer + self.steps.transformer_again
            steps += round(STRAIGHT_STEP * self.steps.straighten)
            steps += round(self.steps.base * self.effort.base_batch / self.effort.batch)
            seconds += steps * _seconds_a_step(tokens)
            return timedelta(seconds=round(seconds))

    def _tokenizer(self) -> Tokenizer:
        kept = self.state / "tokenizer"
        if self.resume and kept.exists():  # a newer grammar may have led to other merges
            return Qwen2Tokenizer.from_pretrained(kept)
        tokenizer = new_tokenizer(sentences=self.effort.sentences)
        tokenizer.save_pretrained(kept)
        return tokenizer

    def _autoencoder(self) -> Autoencoder:
        done = self.state / "autoencoder.done.pt"
        if self.resume and done.exists():
            autoencoder = new_autoencoder().to(self.device)
            autoencoder.load_state_dict(torch.load(done, map_location=self.device))
        else:
            autoencoder = self._autoencoder_phase(self.steps.autoencoder).train()
            set_statistics(autoencoder, self.device, pictures=self.effort.statistics_pictures)
            checkpoint.write_whole(done, autoencoder.state_dict())
        return autoencoder.eval().requires_grad_(False)

    def _with_decoder(self, autoencoder: Autoencoder) -> Autoencoder:
        """Train its decoder further; the latents stay what the transformer has learned."""
        return self._autoencoder_phase(self.steps.decoder, only_decoder_of=autoencoder).train()

    def _autoencoder_phase(
        self, steps: int, *, only_decoder_of: Autoencoder | None = None
    ) -> AutoencoderPhase:
        return AutoencoderPhase(
            folder=self.state,
            steps=steps,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            only_decoder_of=only_decoder_of,
            batch=self.effort.autoencoder_batch,
            measured_pictures=self.effort.measured_pictures,
            resume=self.resume,
            report=tqdm.write,
        )

    def _transformer_phase(
        self, autoencoder: Autoencoder, tokenizer: Tokenizer
    ) -> TransformerPhase:
        return TransformerPhase(
            folder=self.state,
            steps=self.steps.transformer,
            seed=self.seed,
            device=self.device,
            encoder=Encoder(
                autoencoder=autoencoder,
                tokenizer=tokenizer,
                device=self.device,
                precision=self.precision,
            ),
            vocabulary=len(tokenizer),
            resume=self.resume,
            batch=self.effort.batch,
            capacity=min(CAPACITY, self.effort.batch * self.steps.transformer),
            compiled=self.compiled,
            report=tqdm.write,
        )

    def _straighten(
        self, networks: Networks, autoencoder: Autoencoder, tokenizer: Tokenizer
    ) -> Networks:
        fast = copy.deepcopy(autoencoder).eval().requires_grad_(False)
        phase = StraightenPhase(
            folder=self.state,
            steps=self.steps.straighten,
            seed=self.seed,
            encoder=Encoder(
                autoencoder=fast.to(memory_format=torch.channels_last),
                tokenizer=tokenizer,
                device=self.device,
                precision=self.precision,
            ),
            start=networks,
            batch=self.effort.straight_batch,
            resume=self.resume,
            report=tqdm.write,
            on_save=lambda averaged, _: self._look(averaged, autoencoder, tokenizer),
        )
        return mean_of(phase.train(), networks, share=UNSTRAIGHTENED_SHARE)

    def _write(self, networks: Networks, autoencoder: Autoencoder, tokenizer: Tokenizer) -> None:
        write_folder(
            self.out,
            autoencoder=autoencoder,
            transformer=networks.transformer,
            text_encoder=networks.text_encoder,
            tokenizer=tokenizer,
        )

    def _look(self, networks: Networks, autoencoder: Autoencoder, tokenizer: Tokenizer) -> str:
        self._write(networks, autoencoder, tokenizer)
        evaluation = Evaluation(
            pipeline=open_pipeline(self.out, self.device, self.precision),
            share=0.1 * self.effort.share,
        )
        if self.effort != REHEARSAL:
            sampler = Sampler(random.Random(11))  # noqa: S311  not for secrets
            write_grid(evaluation, sampler, self.out / "pictures.png")
        return ", ".join(f"{figure.name} {figure.value}" for figure in evaluation.look())

    def _facts(self) -> dict[str, str]:
        return {
            "steps": f"{self.steps.autoencoder:,} of the autoencoder, {self.steps.decoder:,} more of its decoder, "
            f"{self.steps.transformer:,} of transformer and text encoder, "
            f"{self.steps.transformer_again:,} more from their end, "
            f"{self.steps.straighten:,} that straighten its trajectories",
            "device": describe_device(self.device, self.precision),
            "seed": str(self.seed),
        }


def _keep_quiet(_: str) -> None:
    """Report nothing."""


def _seconds_a_step(phase: AutoencoderPhase | TransformerPhase) -> float:
    def seconds(steps: int) -> float:
        began_s = time.monotonic()
        replace(phase, steps=steps).train()
        return time.monotonic() - began_s

    few = seconds(TIMED_STEPS // 3)  # the first are slower: they set much up
    return (seconds(TIMED_STEPS) - few) / (TIMED_STEPS - TIMED_STEPS // 3)


def describe_device(device: torch.device, precision: torch.dtype) -> str:
    """Name the machine and the precision, for the card and before training starts."""
    numbers = str(precision).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} in {numbers}"
    return f"{torch.get_num_threads()} CPU threads of {os.cpu_count()} cores in {numbers}"


def evaluate(
    folder: Path,
    device: torch.device,
    precision: torch.dtype,
    *,
    facts: dict[str, str],
    effort: Effort,
) -> None:
    """Measure a folder, print the figures and write its card."""
    evaluation = Evaluation(pipeline=open_pipeline(folder, device, precision), share=effort.share)
    figures = evaluation.run()
    for figure in figures:
        sys.stdout.write(f"{figure.name:55} {figure.value:18} {figure.target}\n")
    sampler = Sampler(random.Random(11))  # noqa: S311  not for secrets
    write_grid(evaluation, sampler, folder / "pictures.png", columns=effort.columns)
    write_card(
        folder / "README.md",
        figures,
        facts,
        pictures="pictures.png",
        is_distilled=evaluation.pipeline.config.is_distilled,
    )
