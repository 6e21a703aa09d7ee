"""Tests of the tokenizer: it keeps every character, and the prompts of the world are short."""

import random

import pytest
import torch

from worker.weights.recipe.edits import text_example
from worker.weights.recipe.model import TEXT_LENGTH
from worker.weights.recipe.pool import Encoder
from worker.weights.recipe.tokenizer import new_tokenizer
from worker.weights.recipe.world import Canvas, Sampler


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer(sentences=2_000)


@pytest.mark.parametrize(
    "text", ["a red circle on blue", "naïve café, 日本 \n 😀", "", "<|im_end|>"]
)
def test_tokenizer_round_trip(tokenizer, text):
    """Decoding the tokens of a text gives the same text."""
    assert text == tokenizer.decode(tokenizer(text)["input_ids"])


def test_each_world_word_is_one_token(tokenizer):
    """Each word of the world is one token."""
    assert len(tokenizer(" red circle above yellow star background")["input_ids"]) == 6


def test_world_prompts_are_not_truncated(tokenizer):
    """No prompt of the world is truncated."""
    sampler = Sampler(random.Random(1))
    encoder = Encoder(
        autoencoder=None,
        tokenizer=tokenizer,
        device=torch.device("cpu"),
        precision=torch.float32,
    )
    ids, mask = encoder.tokens([text_example(sampler, Canvas()).prompt for _ in range(200)])

    assert tuple(ids.shape) == (200, TEXT_LENGTH)
    assert mask.sum(1).max() < TEXT_LENGTH


def test_tokens_ignore_case(tokenizer):
    """Upper-case and lower-case letters give the same tokens, because the chat template lower-cases the prompt."""
    encoder = Encoder(
        autoencoder=None,
        tokenizer=tokenizer,
        device=torch.device("cpu"),
        precision=torch.float32,
    )
    small, capital = encoder.tokens(["a red circle", "A Red CIRCLE"])[0]

    assert small.tolist() == capital.tolist()
