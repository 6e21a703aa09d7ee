"""Compares the truncated text encoder with the one on disk, and tests the cache of embeddings."""

import pytest
import torch
from diffusers import Flux2KleinPipeline

from tests.support.tiny_weights import make_tiny_weights
from worker.engines.manifest import read_manifest
from worker.engines.prompt_encoder import PromptEncoder, truncate_text_encoder
from worker.weights.locate import BUILT_IN

PROMPTS = ["a red circle on a blue background", "", "ein Häuschen 🏠 <|im_end|>", "word " * 700]


def open_pipe(folder, dtype=torch.float32):
    return Flux2KleinPipeline.from_pretrained(folder, local_files_only=True, dtype=dtype)


@pytest.fixture(scope="module")
def shallow_weights(tmp_path_factory):
    """Return weights of 27 layers, of which the ninth is the last one that is used."""
    folder = tmp_path_factory.mktemp("shallow") / "weights"
    return make_tiny_weights(folder, text_encoder_out_layers=[3, 6, 9])


def encode(pipe, manifest, text):
    embeds, _ = pipe.encode_prompt(
        prompt=text,
        max_sequence_length=manifest.max_sequence_length,
        text_encoder_out_layers=manifest.text_encoder_out_layers,
    )
    return embeds


@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "weights", ["shallow_weights", pytest.param("tiny_weights", marks=pytest.mark.slow), "built-in"]
)
def test_truncated_encoder_gives_same_embeddings(weights, dtype, request):
    """Without its head and upper layers the encoder gives the embeddings of the original pipeline."""
    folder = BUILT_IN if weights == "built-in" else request.getfixturevalue(weights)
    manifest = read_manifest(folder)
    original, truncated = open_pipe(folder, dtype), open_pipe(folder, dtype)
    truncate_text_encoder(truncated, max(manifest.text_encoder_out_layers))
    with torch.inference_mode():
        pairs = [(encode(original, manifest, p), encode(truncated, manifest, p)) for p in PROMPTS]

    assert all(torch.equal(*pair) for pair in pairs)


def test_truncated_encoder_has_no_unused_layers(shallow_weights):
    """The upper layers and the head are removed, not only skipped."""
    pipe = open_pipe(shallow_weights)
    truncate_text_encoder(pipe, 9)
    names = {name for name, _ in pipe.text_encoder.named_parameters()}

    assert len(pipe.text_encoder.layers) == 9
    assert not any("lm_head" in name or "layers.9." in name for name in names)


@pytest.fixture
def counted(tiny_weights):
    """Return a pipeline, and the list of prompts that it encoded."""
    pipe = open_pipe(tiny_weights)
    truncate_text_encoder(pipe, 27)
    encoded = []
    encode_prompt = pipe.encode_prompt

    def count(prompt, **options):
        encoded.append(prompt)
        return encode_prompt(prompt=prompt, **options)

    pipe.encode_prompt = count
    with torch.inference_mode():
        yield pipe, encoded


def test_cache_hit_equals_miss(counted, tiny_weights):
    """A prompt is encoded once, and its cached embedding is that of a new encoder."""
    pipe, encoded = counted
    encoder = PromptEncoder(pipe, read_manifest(tiny_weights))
    first, second = encoder.encode("a cat"), encoder.encode("a cat")
    other = encoder.encode("a cat ")

    assert encoded == ["a cat", "a cat "]
    assert torch.equal(
        second.embeds, PromptEncoder(pipe, read_manifest(tiny_weights)).encode("a cat").embeds
    )
    assert first.token_count == second.token_count
    assert not torch.equal(first.embeds, other.embeds)


def test_least_recently_used_prompt_is_evicted(counted, tiny_weights):
    """With a cache of two, the third prompt evicts the least recently used one."""
    pipe, encoded = counted
    encoder = PromptEncoder(pipe, read_manifest(tiny_weights), cache_size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        encoder.encode(text)

    assert encoded == ["a", "b", "c", "b"]


def test_cleared_cache_encodes_again(counted, tiny_weights):
    """`clear_cache` releases all embeddings."""
    pipe, encoded = counted
    encoder = PromptEncoder(pipe, read_manifest(tiny_weights))
    for text in ("a", "a"):
        encoder.encode(text)
        encoder.clear_cache()

    assert encoded == ["a", "a"]
