"""The cut text encoder against the pipeline as it is on disk, and the kept embeddings."""

import pytest
import torch
from diffusers import Flux2KleinPipeline

from tests.support.tiny_weights import make_tiny_weights
from worker.engines.manifest import read_manifest
from worker.engines.prompt_encoder import PromptEncoder, truncate_text_encoder
from worker.main import BUILT_IN

pytestmark = pytest.mark.timeout(60)
PROMPTS = ["a red circle on a blue background", "", "ein Häuschen 🏠 <|im_end|>", "word " * 700]


def open_pipe(folder, dtype=torch.float32):
    return Flux2KleinPipeline.from_pretrained(folder, local_files_only=True, dtype=dtype)


@pytest.fixture(scope="module")
def shallow_weights(tmp_path_factory):
    """Give weights of 27 layers whose deepest layer that is read is the ninth."""
    folder = tmp_path_factory.mktemp("shallow") / "weights"
    return make_tiny_weights(folder, text_encoder_out_layers=[3, 6, 9])


def encode(pipe, manifest, text):
    embeds, _ = pipe.encode_prompt(
        prompt=text,
        max_sequence_length=manifest.max_sequence_length,
        text_encoder_out_layers=manifest.text_encoder_out_layers,
    )
    return embeds


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weights", ["shallow_weights", "tiny_weights", "built-in"])
def test_cut_encoder_gives_the_same_bits(weights, dtype, request):
    """Without its head and upper layers the encoder gives the uncut pipeline's embeddings."""
    folder = BUILT_IN if weights == "built-in" else request.getfixturevalue(weights)
    manifest = read_manifest(folder)
    whole, cut = open_pipe(folder, dtype), open_pipe(folder, dtype)
    truncate_text_encoder(cut, max(manifest.text_encoder_out_layers))
    with torch.inference_mode():
        pairs = [(encode(whole, manifest, t), encode(cut, manifest, t)) for t in PROMPTS]

    assert all(torch.equal(*pair) for pair in pairs)


def test_cut_encoder_holds_nothing_unread(shallow_weights):
    """The layers above and the head are gone, not merely skipped."""
    pipe = open_pipe(shallow_weights)
    truncate_text_encoder(pipe, 9)
    names = {name for name, _ in pipe.text_encoder.named_parameters()}

    assert len(pipe.text_encoder.layers) == 9
    assert not any("lm_head" in name or "layers.9." in name for name in names)


@pytest.fixture
def counted(tiny_weights):
    """Give a pipeline, and the list of texts that it was really asked to encode."""
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


def test_a_hit_gives_the_bytes_of_a_miss(counted, tiny_weights):
    """The second time a text is not encoded, and its embeddings are those of a fresh encoder."""
    pipe, encoded = counted
    texts = PromptEncoder(pipe, read_manifest(tiny_weights))
    first, second = texts.encode("a cat"), texts.encode("a cat")
    other = texts.encode("a cat ")

    assert encoded == ["a cat", "a cat "]
    assert torch.equal(
        second.embeds, PromptEncoder(pipe, read_manifest(tiny_weights)).encode("a cat").embeds
    )
    assert first.token_count == second.token_count
    assert not torch.equal(first.embeds, other.embeds)


def test_the_least_recently_used_goes_first(counted, tiny_weights):
    """Two texts fit: the one that was read longest ago makes room for the third."""
    pipe, encoded = counted
    texts = PromptEncoder(pipe, read_manifest(tiny_weights), cache_size=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        texts.encode(text)

    assert encoded == ["a", "b", "c", "b"]


def test_what_is_forgotten_is_encoded_anew(counted, tiny_weights):
    """Forgetting frees everything that was kept."""
    pipe, encoded = counted
    texts = PromptEncoder(pipe, read_manifest(tiny_weights))
    for text in ("a", "a"):
        texts.encode(text)
        texts.clear_cache()

    assert encoded == ["a", "a"]
