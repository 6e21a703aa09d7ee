"""The two networks that are trained together, transformer and text encoder, and how a run trains them."""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from worker.weights.recipe.average import Average
from worker.weights.recipe.loop import Loop
from worker.weights.recipe.model import (
    PIPELINE,
    TEXT_LAYERS,
    TextEncoder,
    Transformer,
    new_text_encoder,
    new_transformer,
)
from worker.weights.recipe.muon import optimisers
from worker.weights.recipe.pool import Batch

MUON_LR = 0.02
ADAM_LR = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """A transformer and the text encoder whose hidden states it takes."""

    transformer: Transformer
    text_encoder: TextEncoder

    def parameters(self) -> list[nn.Parameter]:
        """Return every parameter, each once."""
        return [*self.transformer.parameters(), *self.text_encoder.parameters()]


def new_networks(vocabulary: int, device: torch.device) -> Networks:
    """Build the networks, untrained."""
    networks = Networks(
        transformer=new_transformer().to(device),
        text_encoder=new_text_encoder(vocabulary).to(device),
    )
    if device.type == "cpu":
        use_plain_attention(networks)
    return networks


def use_plain_attention(networks: Networks) -> None:
    """Choose the attention that learns faster than the fused one on a CPU."""
    networks.transformer.set_attention_backend("_native_math")
    networks.text_encoder.set_attn_implementation("eager")


def mean_of(one: Networks, other: Networks, *, share: float = 0.5) -> Networks:
    """Return the networks between two ends of training, with so large a share of the other.

    Half-way, they draw better than either.

    It needs the second to have gone on from the first: the ends then lie in one valley of the loss.
    """
    mean = copy.deepcopy(one)
    with torch.no_grad():
        for kept, further in zip(mean.parameters(), other.parameters(), strict=True):
            kept.lerp_(further, share)
    return mean


def embed(networks: Networks, batch: Batch) -> Tensor:
    """Encode the prompts of a batch, as the pipeline does."""
    hidden = networks.text_encoder.model(
        input_ids=batch.token_ids,
        attention_mask=batch.mask,
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states
    return torch.cat([hidden[layer] for layer in TEXT_LAYERS], dim=-1)


def velocity(
    transform: Callable[..., tuple[Tensor]],
    text: Tensor,
    noisy: Tensor,
    times: Tensor,
    references: tuple[Tensor, ...],
) -> Tensor:
    """Predict the velocity `[n, tokens, channels]` of noisy latents.

    Tokens and positions are the pipeline's own; `transform` is the transformer, or it compiled.
    """
    tokens = [PIPELINE._pack_latents(part) for part in (noisy, *references)]  # noqa: SLF001
    ids = [PIPELINE._prepare_latent_ids(noisy[:1])]  # noqa: SLF001
    if references:
        first = [reference[:1] for reference in references]
        ids.append(PIPELINE._prepare_image_ids(first))  # noqa: SLF001
    predicted = transform(
        hidden_states=torch.cat(tokens, dim=1),
        encoder_hidden_states=text,
        timestep=times,
        img_ids=torch.cat([part.to(noisy.device) for part in ids], dim=1),
        txt_ids=PIPELINE._prepare_text_ids(text[:1]).to(noisy.device),  # noqa: SLF001
        return_dict=False,
    )[0]
    return predicted[:, : tokens[0].shape[1]]


@dataclass(slots=True, kw_only=True)
class NetworkTraining:
    """One run that trains networks and follows them with their average."""

    start: Networks  # stays as it is
    path: Path  # of the state
    steps: int
    seed: int
    rate: float  # of the learning rates above
    longest_average: float
    precision: torch.dtype
    device: torch.device
    resume: bool
    stop_after: int | None
    report: Callable[[str], None]
    on_save: Callable[[Networks, int], str]

    def run(self, lessons: "Lessons") -> Networks:
        """Take the steps that are left, and return the averaged networks."""
        torch.manual_seed(self.seed)
        rng = random.Random(self.seed)  # noqa: S311  not for secrets
        networks, averaged = copy.deepcopy(self.start), copy.deepcopy(self.start)
        muon, adam = optimisers(
            [networks.transformer, networks.text_encoder],
            inside=lambda name: "blocks." in name or "layers." in name,
            muon_lr=MUON_LR,
            adam_lr=ADAM_LR,
            precision=self.precision,
        )
        loop = Loop(
            path=self.path,
            steps=self.steps,
            parts={
                "transformer": networks.transformer,
                "text_encoder": networks.text_encoder,
                "average.transformer": averaged.transformer,
                "average.text_encoder": averaged.text_encoder,
            },
            optimisers=((muon, self.rate * MUON_LR), (adam, self.rate * ADAM_LR)),
            average=Average(
                live=networks.parameters(),
                kept=averaged.parameters(),
                longest=self.longest_average,
            ),
            rng=rng,
            report=self.report,
            stop_after=self.stop_after,
        )
        if self.resume:
            loop.resume(self.device)
        loop.run(lessons(networks, averaged, rng), lambda steps: self.on_save(averaged, steps))
        return averaged


Lessons = Callable[[Networks, Networks, random.Random], Callable[[float, int], Tensor]]
"""Makes the loss of each step, from the networks, their average and a source of chance."""
