"""Tests of training: the Muon optimiser, the schedules and resumed runs."""

import random

import pytest
import torch

from worker.weights.recipe.autoencoder import AutoencoderPhase, draw_batch, mean_latents
from worker.weights.recipe.loop import learning_rate
from worker.weights.recipe.model import new_autoencoder
from worker.weights.recipe.muon import fused_rows, orthogonalise
from worker.weights.recipe.networks import mean_of
from worker.weights.recipe.pool import Batch, Encoder
from worker.weights.recipe.tokenizer import new_tokenizer
from worker.weights.recipe.transformer import TransformerPhase, sample_times, without_prompts
from worker.weights.recipe.world import Canvas, Sampler


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_orthogonalised_matrix_has_singular_values_near_one(precision):
    """All singular values of an orthogonalised matrix are near one."""
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(3, 24, 48), precision))

    assert values.min() > 0.4
    assert values.max() < 1.5


def test_fused_projection_is_split():
    """The rows of a fused projection are split into query, key, value and the two halves of the gated layer."""
    fused = torch.nn.Parameter(torch.empty(3 * 8 + 2 * 24, 8))

    assert fused_rows("attn.to_qkv_mlp_proj.weight", fused) == (8, 8, 8, 24, 24)


def test_learning_rate_schedule():
    """The factor of the learning rate rises during the warm-up, stays constant and falls at the end."""
    rates = [learning_rate(p, steps=s) for p, s in ((0.0, 0), (0.5, 500), (0.8, 900), (1.0, 999))]

    assert pytest.approx([0.05, 1.0, 0.5, 0.02]) == rates


def test_sampled_times_follow_schedules():
    """Sampled times are between the last step's and pure noise, and more than 5 % are exactly pure noise."""
    times = sample_times(4000, torch.device("cpu"))

    assert 0.1 < times.min() < times.max() == 1.0
    assert (times == 1.0).float().mean() > 0.05


def test_base_model_learns_at_any_time_and_also_without_a_prompt():
    """No time is sampled more often than others. About 15 % of the prompts become the empty one, whole."""
    torch.manual_seed(0)
    times = sample_times(4000, torch.device("cpu"), at_steps_share=0.0)
    ids, mask = torch.ones(4000, 3, dtype=torch.long), torch.ones(4000, 3, dtype=torch.long)
    empty = torch.tensor([[7, 7, 7]]), torch.tensor([[1, 0, 0]])
    batch = without_prompts(
        Batch(token_ids=ids, mask=mask, target=torch.zeros(4000, 1, 1, 1), references=()), empty
    )
    replaced = (batch.token_ids == empty[0]).all(1)

    assert len(times.unique()) > 3900
    assert 0.12 < replaced.float().mean() < 0.18
    assert torch.equal(batch.token_ids[~replaced], ids[~replaced])
    assert (batch.mask[replaced] == empty[1]).all()
    assert (batch.mask[~replaced] == 1).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch warns about autocast over a norm
def test_resumed_training_is_deterministic(tmp_path):
    """Two runs that resume from the same state end with the same weights, and a run that continues from them trains a copy."""
    tokenizer = new_tokenizer(sentences=200)
    torch.manual_seed(0)
    autoencoder = new_autoencoder().eval()
    device = torch.device("cpu")

    def run(folder, stop_after, goes_on_from=None):
        folder.mkdir(exist_ok=True)
        phase = TransformerPhase(
            folder=folder,
            steps=9_000,
            seed=0,
            device=device,
            encoder=Encoder(
                autoencoder=autoencoder,
                tokenizer=tokenizer,
                device=device,
                precision=torch.float32,
            ),
            vocabulary=len(tokenizer),
            resume=True,
            batch=2,
            capacity=4,
            stop_after=stop_after,
            goes_on_from=goes_on_from,
            report=lambda _: None,
        )
        return phase.train()

    random.seed(0)
    run(tmp_path / "one", 1)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "transformer.pt").write_bytes(
        (tmp_path / "one" / "transformer.pt").read_bytes()
    )
    ends = [run(tmp_path / name, 2) for name in ("one", "two")]

    assert all(map(torch.equal, *(end.parameters() for end in ends)))
    again = run(tmp_path / "one", 1, goes_on_from=ends[0])
    mean = mean_of(ends[0], again)
    assert all(map(torch.equal, *(end.parameters() for end in ends)))  # unchanged by the second run
    assert not all(map(torch.equal, again.parameters(), ends[0].parameters()))
    for middle, first, second in zip(
        mean.parameters(), ends[0].parameters(), again.parameters(), strict=True
    ):
        torch.testing.assert_close(middle, (first + second) / 2)


@pytest.mark.slow
def test_decoder_training_keeps_latents(tmp_path):
    """Training only the decoder changes the decoded images and not the latents."""
    torch.manual_seed(0)
    autoencoder = new_autoencoder().eval().requires_grad_(False)
    phase = AutoencoderPhase(
        folder=tmp_path,
        steps=9_000,
        seed=0,
        device=torch.device("cpu"),
        precision=torch.float32,
        only_decoder_of=autoencoder,
        stop_after=2,
        report=lambda _: None,
    )
    trained = phase.train()
    with torch.no_grad():
        pixels = draw_batch(Sampler(random.Random(1)), 2, Canvas())
        latents = mean_latents(autoencoder, pixels)
        decoded = [each.decode(latents).sample for each in (autoencoder, trained)]

        assert torch.equal(mean_latents(trained, pixels), latents)
    assert not torch.equal(*decoded)
