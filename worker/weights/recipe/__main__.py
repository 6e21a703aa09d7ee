"""The recipe as one command: train the built-in model, or measure a folder of weights."""

import argparse
import os
import random
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import Qwen2Tokenizer

from worker.weights.recipe.autoencoder import AutoencoderPhase, set_statistics
from worker.weights.recipe.card import write_card
from worker.weights.recipe.evaluate import Evaluation, open_pipeline
from worker.weights.recipe.grid import write_grid
from worker.weights.recipe.model import Autoencoder, Tokenizer, new_autoencoder
from worker.weights.recipe.pool import Encoder
from worker.weights.recipe.ship import write_folder
from worker.weights.recipe.tokenizer import new_tokenizer
from worker.weights.recipe.transformer import Networks, TransformerPhase, mean_of
from worker.weights.recipe.world import Sampler

# of the minutes, each going on from the one before; the decoder learns on once the transformer has learned the latents
AUTOENCODER_SHARE = 0.2
TRANSFORMER_SHARE = 0.5
TRANSFORMER_AGAIN_SHARE = 0.1
DECODER_SHARE = 0.2
DEFAULT_MINUTES = {"cuda": 30.0, "cpu": 480.0}
EVALUATION_MINUTES = {"cuda": 3, "cpu": 12}


@dataclass(slots=True, kw_only=True)
class Recipe:
    """Everything from nothing to the shipped folder."""

    out: Path
    state: Path
    minutes: float
    seed: int
    device: torch.device
    resume: bool
    compiled: bool
    share: float  # of the evaluation's samples

    def run(self) -> None:
        """Train all phases, write the folder, measure it and write its card."""
        self.state.mkdir(parents=True, exist_ok=True)
        tokenizer = self._tokenizer()
        autoencoder = self._autoencoder()
        phase = TransformerPhase(
            folder=self.state,
            minutes=self.minutes * TRANSFORMER_SHARE,
            seed=self.seed,
            device=self.device,
            encoder=Encoder(autoencoder=autoencoder, tokenizer=tokenizer, device=self.device),
            vocabulary=len(tokenizer),
            resume=self.resume,
            batch=256 if self.device.type == "cuda" else 64,
            compiled=self.compiled,
            report=tqdm.write,
            on_save=lambda networks, _: self._look(networks, autoencoder, tokenizer),
        )
        first = phase.train()
        minutes = self.minutes * TRANSFORMER_AGAIN_SHARE
        second = replace(phase, goes_on_from=first, minutes=minutes).train()
        networks = mean_of(first, second)
        self._write(networks, self._with_decoder(autoencoder), tokenizer)
        evaluate(self.out, self.device, facts=self._facts(), share=self.share)

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
            autoencoder = self._autoencoder_phase(AUTOENCODER_SHARE).train()
            set_statistics(autoencoder, self.device)
            torch.save(autoencoder.state_dict(), done)
        return autoencoder.eval().requires_grad_(False)

    def _with_decoder(self, autoencoder: Autoencoder) -> Autoencoder:
        """Train its decoder further; the latents stay what the transformer has learned."""
        return self._autoencoder_phase(DECODER_SHARE, only_decoder_of=autoencoder).train()

    def _autoencoder_phase(
        self, share: float, *, only_decoder_of: Autoencoder | None = None
    ) -> AutoencoderPhase:
        return AutoencoderPhase(
            folder=self.state,
            minutes=self.minutes * share,
            seed=self.seed,
            device=self.device,
            only_decoder_of=only_decoder_of,
            resume=self.resume,
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
            pipeline=open_pipeline(self.out, self.device), share=0.1 * self.share
        )
        sampler = Sampler(random.Random(11))  # noqa: S311  not for secrets
        write_grid(evaluation, sampler, self.out / "pictures.png")
        return ", ".join(f"{figure.name} {figure.value}" for figure in evaluation.look())

    def _facts(self) -> dict[str, str]:
        return {
            "time": f"{self.minutes:.0f} minutes, two fifths of them for the autoencoder",
            "device": describe_device(self.device),
            "seed": str(self.seed),
        }


def describe_device(device: torch.device) -> str:
    """Name the machine for the card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads of {os.cpu_count()} cores"


def evaluate(
    folder: Path, device: torch.device, *, facts: dict[str, str], share: float = 1.0
) -> None:
    """Measure a folder, print the figures and write its card."""
    evaluation = Evaluation(pipeline=open_pipeline(folder, device), share=share)
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
    parser.add_argument("--minutes", type=float, help="of training; 30 on a GPU, 480 on a CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="only measure this folder")
    parser.add_argument("--share", type=float, default=1.0, help="of the evaluation's samples")
    parser.add_argument("--facts", nargs="*", default=[], metavar="NAME=VALUE", help="for the card")
    parser.add_argument("--no-compile", action="store_true", help="there is no C++ compiler")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.evaluate:
        facts = dict(fact.split("=", 1) for fact in args.facts)
        evaluate(args.evaluate, device, facts=facts, share=args.share)
        return
    minutes = args.minutes or DEFAULT_MINUTES[device.type]
    total = timedelta(minutes=minutes + EVALUATION_MINUTES[device.type])
    sys.stdout.write(f"on {describe_device(device)}: about {total} with the evaluation\n")
    Recipe(
        out=args.out,
        state=args.state,
        minutes=minutes,
        seed=args.seed,
        device=device,
        resume=args.resume,
        compiled=not args.no_compile,
        share=args.share,
    ).run()


if __name__ == "__main__":
    main()
