"""The recipe as one command: train the built-in model, or measure a folder of weights."""

import argparse
import os
import random
import sys
import time
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm import tqdm
from transformers import Qwen2Tokenizer

from worker.engines.device import choose_device
from worker.engines.pipeline import silence_libraries
from worker.engines.precision import choose_compute_dtype
from worker.weights.recipe import checkpoint
from worker.weights.recipe.autoencoder import AutoencoderPhase, set_statistics
from worker.weights.recipe.card import write_card
from worker.weights.recipe.evaluate import Evaluation, open_pipeline
from worker.weights.recipe.grid import write_grid
from worker.weights.recipe.model import Autoencoder, Tokenizer, new_autoencoder
from worker.weights.recipe.pool import Encoder
from worker.weights.recipe.ship import write_folder
from worker.weights.recipe.tokenizer import new_tokenizer
from worker.weights.recipe.transformer import BATCH, CAPACITY, Networks, TransformerPhase, mean_of
from worker.weights.recipe.world import Sampler

REHEARSED_STEPS = 3
TRIAL_SHARE = 0.01  # of the samples: below it nobody looks at pictures while it trains


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How many steps each phase takes; each goes on from the one before."""

    autoencoder: int = 2_000
    transformer: int = 13_000
    transformer_again: int = 2_000
    decoder: int = 4_000  # which learns on once the transformer has learned the latents

    def scaled(self, scale: float) -> "Steps":
        """Give so much more or less of each, at least one."""
        return Steps(**{name: max(1, round(steps * scale)) for name, steps in asdict(self).items()})


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
    share: float  # of the evaluation's samples

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
        self._write(networks, self._with_decoder(autoencoder), tokenizer)
        evaluate(self.out, self.device, self.precision, facts=self._facts(), share=self.share)

    def estimate(self) -> timedelta:
        """Tell from a few steps how long all of them will take here, without the evaluation."""
        with TemporaryDirectory() as folder, redirect_stderr(StringIO()):  # no bars of these
            rehearsal = replace(self, state=Path(folder), resume=False, compiled=False)
            pictures = replace(rehearsal._autoencoder_phase(1), report=_keep_quiet)  # noqa: SLF001  its own class
            tokens = replace(
                rehearsal._transformer_phase(new_autoencoder().to(self.device), new_tokenizer()),  # noqa: SLF001  the same
                capacity=BATCH,
                report=_keep_quiet,
            )
            seconds = (self.steps.autoencoder + self.steps.decoder) * _seconds_a_step(pictures)
            steps = self.steps.transformer + self.steps.transformer_again
            return timedelta(seconds=round(seconds + steps * _seconds_a_step(tokens)))

    def _tokenizer(self) -> Tokenizer:
        kept = self.state / "tokenizer"
        if self.resume and kept.exists():  # a newer grammar may have led to other merges
            return Qwen2Tokenizer.from_pretrained(kept)
        tokenizer = new_tokenizer()
        tokenizer.save_pretrained(kept)
        return tokenizer

    def _autoencoder(self) -> Autoencoder:
        done = self.state / "autoencoder.done.pt"
        if self.resume and done.exists():
            autoencoder = new_autoencoder().to(self.device)
            autoencoder.load_state_dict(torch.load(done, map_location=self.device))
        else:
            autoencoder = self._autoencoder_phase(self.steps.autoencoder).train()
            set_statistics(autoencoder, self.device)
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
            capacity=min(CAPACITY, BATCH * self.steps.transformer),
            compiled=self.compiled,
            report=tqdm.write,
        )

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
            pipeline=open_pipeline(self.out, self.device, self.precision), share=0.1 * self.share
        )
        if self.share > TRIAL_SHARE:
            sampler = Sampler(random.Random(11))  # noqa: S311  not for secrets
            write_grid(evaluation, sampler, self.out / "pictures.png")
        return ", ".join(f"{figure.name} {figure.value}" for figure in evaluation.look())

    def _facts(self) -> dict[str, str]:
        return {
            "steps": f"{self.steps.autoencoder:,} of the autoencoder, {self.steps.decoder:,} more of its decoder, "
            f"{self.steps.transformer:,} of transformer and text encoder, "
            f"{self.steps.transformer_again:,} more from their end",
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

    few = seconds(REHEARSED_STEPS // 3)  # the first are slower: they set much up
    return (seconds(REHEARSED_STEPS) - few) / (REHEARSED_STEPS - REHEARSED_STEPS // 3)


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
    share: float = 1.0,
) -> None:
    """Measure a folder, print the figures and write its card."""
    evaluation = Evaluation(pipeline=open_pipeline(folder, device, precision), share=share)
    figures = evaluation.run()
    for figure in figures:
        sys.stdout.write(f"{figure.name:55} {figure.value:18} {figure.target}\n")
    write_grid(evaluation, Sampler(random.Random(11)), folder / "pictures.png")  # noqa: S311
    write_card(folder / "README.md", figures, facts, pictures="pictures.png")


def main() -> None:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(prog="python -m worker.weights.recipe", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/weights/builtin"))
    parser.add_argument(
        "--state", type=Path, default=Path("build/weights/state"), help="where --resume looks"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the steps; 0.01 is a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="only measure this folder")
    parser.add_argument("--share", type=float, default=1.0, help="of the evaluation's samples")
    parser.add_argument("--facts", nargs="*", default=[], metavar="NAME=VALUE", help="for the card")
    parser.add_argument("--no-compile", action="store_true", help="there is no C++ compiler")
    args = parser.parse_args()
    silence_libraries()
    device = choose_device()
    precision = choose_compute_dtype(device)
    if args.evaluate:
        facts = dict(fact.split("=", 1) for fact in args.facts)
        evaluate(args.evaluate, device, precision, facts=facts, share=args.share)
        return
    recipe = Recipe(
        out=args.out,
        state=args.state,
        steps=Steps().scaled(args.scale),
        seed=args.seed,
        device=device,
        precision=precision,
        resume=args.resume,
        compiled=not args.no_compile,
        share=args.share,
    )
    if args.resume and args.state.exists():
        tqdm.write(
            f"going on from what {args.state} holds, on {describe_device(device, precision)}"
        )
    else:
        tqdm.write(f"timing a few steps on {describe_device(device, precision)}")
        tqdm.write(f"about {recipe.estimate()} for all steps here, and some minutes to measure")
    recipe.run()


if __name__ == "__main__":
    main()
