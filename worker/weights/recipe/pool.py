"""A rolling store of examples, already turned into token ids and latents."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.weights.recipe.autocast import autocast
from worker.weights.recipe.autoencoder import mean_latents, to_tensor
from worker.weights.recipe.draw import draw
from worker.weights.recipe.edits import Example
from worker.weights.recipe.model import PIPELINE, TEXT_LENGTH, Autoencoder, Tokenizer
from worker.weights.recipe.world import Picture

ENCODE_AT_ONCE = 4  # their activations fit the processor's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Examples of one kind and size, as the transformer takes them."""

    token_ids: Tensor  # [n, TEXT_LENGTH]
    mask: Tensor  # [n, TEXT_LENGTH]
    target: Tensor  # [n, channels, rows, columns]
    references: tuple[Tensor, ...]  # each like the target

    def __len__(self) -> int:
        return len(self.token_ids)

    def rows(self, index: Tensor) -> "Batch":
        """Give some of the examples."""
        return Batch(
            token_ids=self.token_ids[index],
            mask=self.mask[index],
            target=self.target[index],
            references=tuple(reference[index] for reference in self.references),
        )

    def put(self, index: Tensor, other: "Batch") -> None:
        """Replace some of the examples."""
        self.token_ids[index] = other.token_ids
        self.mask[index] = other.mask
        self.target[index] = other.target
        for mine, theirs in zip(self.references, other.references, strict=True):
            mine[index] = theirs


@dataclass(slots=True, kw_only=True)
class Encoder:
    """Turns examples into batches by the tokenizer and the frozen autoencoder."""

    autoencoder: Autoencoder
    tokenizer: Tokenizer
    device: torch.device
    precision: torch.dtype

    def encode(self, examples: list[Example]) -> Batch:
        """Encode examples that have the same size and number of references."""
        token_ids, mask = self.tokens([example.prompt for example in examples])
        references = zip(*(example.references for example in examples), strict=True)
        return Batch(
            token_ids=token_ids,
            mask=mask,
            target=self.latents([example.target for example in examples]),
            references=tuple(self.latents(list(pictures)) for pictures in references),
        )

    def tokens(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Tokenize as the pipeline does: chat template, padded to `TEXT_LENGTH`."""
        texts = [
            str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": prompt}],
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=False,
                )
            )
            for prompt in prompts
        ]
        tokens = self.tokenizer(
            texts,
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=TEXT_LENGTH,
        )
        return tokens["input_ids"].to(self.device), tokens["attention_mask"].to(self.device)

    @torch.no_grad()
    def latents(self, pictures: list[Picture]) -> Tensor:
        """Encode pictures to `[n, channels, rows, columns]`, normalised as the pipeline does."""
        statistics = self.autoencoder.bn
        parts = []
        for start in range(0, len(pictures), ENCODE_AT_ONCE):
            images = [draw(picture) for picture in pictures[start : start + ENCODE_AT_ONCE]]
            with autocast(self.device, self.precision):
                latents = mean_latents(self.autoencoder, to_tensor(images).to(self.device))
            parts.append(PIPELINE._patchify_latents(latents.float()))  # noqa: SLF001  the order must be the pipeline's
        mean = statistics.running_mean.view(1, -1, 1, 1)
        deviation = (statistics.running_var + statistics.eps).sqrt().view(1, -1, 1, 1)
        normal: Tensor = (torch.cat(parts) - mean) / deviation
        return normal


@dataclass(slots=True, kw_only=True)
class Pool:
    """Holds `capacity` examples, of which every draw renews a few."""

    encoder: Encoder
    make: Callable[[], Example]
    capacity: int
    renewed_share: float = 0.25  # of a batch: each example is seen about four times
    _held: Batch | None = field(default=None, init=False)
    _oldest: int = field(default=0, init=False)

    def draw(self, count: int) -> Batch:
        """Give a random batch."""
        if self._held is None:
            self._held = self._fresh(self.capacity)
        else:
            renewed = max(1, int(count * self.renewed_share))
            places = torch.arange(self._oldest, self._oldest + renewed) % self.capacity
            self._held.put(places.to(self.encoder.device), self._fresh(renewed))
            self._oldest = (self._oldest + renewed) % self.capacity
        index = torch.randint(self.capacity, (count,))
        return self._held.rows(index.to(self.encoder.device))

    def _fresh(self, count: int) -> Batch:
        return self.encoder.encode([self.make() for _ in range(count)])
