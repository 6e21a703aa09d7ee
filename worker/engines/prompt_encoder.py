"""Encodes prompts with a truncated text encoder and caches recent embeddings."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.manifest import Manifest

CACHE_SIZE = 32  # prompts; 250 MB for the 4B checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEmbedding:
    """Holds the embedding of one prompt."""

    embeds: torch.Tensor
    """1 x max_sequence_length x (layers * hidden size), in the model's dtype. Shared: do not modify it."""
    token_count: int
    """Tokens of the prompt with its chat template, before truncation."""


def truncate_text_encoder(pipe: Any, last_layer: int) -> None:
    """Remove the language model head and all layers after `last_layer`, which no embedding uses.

    The embeddings stay the same, bit for bit. transformers normalises the hidden state of the last layer
    (transformers/utils/output_capturing.py). `tie_last_hidden_states=False` turns that off, because the layer
    was not the last one before.
    """
    model = pipe.text_encoder.model
    if model.config.num_hidden_layers > last_layer:
        model.layers = model.layers[:last_layer]
        model.config.num_hidden_layers = last_layer
        model.config.tie_last_hidden_states = False
    pipe.text_encoder = model


class PromptEncoder:
    """Encodes prompts for one pipeline, with a least-recently-used cache."""

    def __init__(self, pipe: Any, manifest: Manifest, *, cache_size: int = CACHE_SIZE) -> None:
        self._pipe = pipe
        self._max_sequence_length = manifest.max_sequence_length
        self._out_layers = manifest.text_encoder_out_layers
        self._cache_size = cache_size
        self._cache: OrderedDict[bytes, PromptEmbedding] = OrderedDict()

    def encode(self, prompt: str) -> PromptEmbedding:
        """Return the embedding of a prompt, from the cache if it is there."""
        key = hashlib.sha256(prompt.encode(errors="surrogatepass")).digest()  # keeps no plain text
        cached = self._cache.get(key)
        if cached is not None:
            self._cache.move_to_end(key)
            return cached
        embeds, _ids = self._pipe.encode_prompt(
            prompt=prompt,
            max_sequence_length=self._max_sequence_length,
            text_encoder_out_layers=self._out_layers,
        )
        embedding = PromptEmbedding(embeds=embeds, token_count=self._count_tokens(prompt))
        self._cache[key] = embedding
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return embedding

    def clear_cache(self) -> None:
        """Release all cached embeddings."""
        self._cache.clear()

    def _count_tokens(self, prompt: str) -> int:
        tokenizer = self._pipe.tokenizer
        templated = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return len(tokenizer(templated)["input_ids"])
