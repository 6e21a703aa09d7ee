"""The text encoder without what a picture never reads, and the embeddings of the latest prompts."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.manifest import Manifest

KEPT = 32  # texts; of the 4B checkpoint 250 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One encoded text."""

    embeds: torch.Tensor
    """1 x tokens x width."""
    token_count: int
    """Before the tokenizer cut it."""


def cut_text_encoder(pipe: Any, deepest: int) -> None:
    """Take away the language head and the layers above the deepest one that is read.

    The embeddings stay the same to the bit. The last layer's state would come back normed
    (transformers/utils/output_capturing.py); below a layer that was cut off it never was.
    """
    model = pipe.text_encoder.model
    if model.config.num_hidden_layers > deepest:
        model.layers = model.layers[:deepest]
        model.config.num_hidden_layers = deepest
        model.config.tie_last_hidden_states = False
    pipe.text_encoder = model


class TextEncoder:
    """Encodes texts for one pipeline; everything but the text is fixed while it lives."""

    def __init__(self, pipe: Any, manifest: Manifest, *, kept: int = KEPT) -> None:
        self._pipe = pipe
        self._limit = manifest.max_sequence_length
        self._out_layers = manifest.text_encoder_out_layers
        self._most = kept
        self._kept: OrderedDict[bytes, Embedded] = OrderedDict()

    def embed(self, text: str) -> Embedded:
        """Encode the text, or give what the same text gave before; the tensor is only to be read."""
        key = hashlib.sha256(text.encode(errors="surrogatepass")).digest()  # no prompt is kept
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        embeds, _ids = self._pipe.encode_prompt(
            prompt=text,
            max_sequence_length=self._limit,
            text_encoder_out_layers=self._out_layers,
        )
        embedded = Embedded(embeds=embeds, token_count=self._count(text))
        self._kept[key] = embedded
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return embedded

    def forget(self) -> None:
        """Free the embeddings that are kept."""
        self._kept.clear()

    def _count(self, text: str) -> int:
        tokenizer = self._pipe.tokenizer
        templated = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return len(tokenizer(templated)["input_ids"])
