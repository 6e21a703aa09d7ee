"""Straightening: schedules, trajectories, and the loss on their states."""

import random

import pytest
import torch

from worker.weights.recipe.edits import Edit, edit_example, text_example
from worker.weights.recipe.model import Pipeline, new_autoencoder, new_scheduler
from worker.weights.recipe.networks import new_networks
from worker.weights.recipe.pool import Encoder
from worker.weights.recipe.straighten import (
    StraightenPhase,
    Trajectories,
    roll_out,
    schedule,
    straight_line,
    straight_loss,
)
from worker.weights.recipe.tokenizer import new_tokenizer
from worker.weights.recipe.world import Canvas, Sampler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return Encoder(
        autoencoder=new_autoencoder().eval().requires_grad_(False),
        tokenizer=new_tokenizer(sentences=200),
        device=CPU,
        precision=torch.float32,
    )


@pytest.fixture(scope="module")
def networks(encoder):
    torch.manual_seed(0)
    return new_networks(len(encoder.tokenizer), CPU)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_schedule_is_the_pipelines(steps):
    """Noise levels are those that the shipped scheduler takes for as many steps."""
    scheduler: Pipeline = new_scheduler()
    scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)])

    assert pytest.approx(scheduler.sigmas.tolist(), abs=1e-5) == schedule(steps)


def test_trajectories_of_networks_that_predict_nothing(encoder, networks):
    """There is one state for each step, and each is the noise, as the end is."""
    batch = encoder.encode([text_example(Sampler(random.Random(1)), Canvas()) for _ in range(2)])
    noise = torch.randn(batch.target.shape)
    states, end = roll_out(networks, batch, noise, 4, torch.float32)

    assert [time for _, time in states] == schedule(4)[:-1]
    assert all(torch.equal(latents, noise) for latents in (*(state for state, _ in states), end))


def test_straight_line_leads_from_noise_to_target(encoder):
    """The first state is the noise. The last differs from the target by its share of noise."""
    batch = encoder.encode([text_example(Sampler(random.Random(1)), Canvas())])
    noise = torch.randn(batch.target.shape)
    (first, _), *_, (last, time) = straight_line(batch, noise, 4)

    assert torch.equal(first, noise)
    torch.testing.assert_close(last - batch.target, time * (noise - batch.target))


@pytest.mark.parametrize(
    ("edit", "own"),
    [
        (None, False),
        pytest.param(None, True, marks=pytest.mark.slow),
        pytest.param(Edit.RECOLOUR, True, marks=pytest.mark.slow),
        pytest.param(Edit.COLOUR_FROM_SECOND, True, marks=pytest.mark.slow),
    ],
)
def test_states_carry_what_the_loss_needs(encoder, networks, edit, own):
    """Texts and edits give whole batches. The loss is the distance to the target over the time left."""
    sampler = Sampler(random.Random(2))

    def make():
        return edit_example(sampler, Canvas(), edit) if edit else text_example(sampler, Canvas())

    trajectories = Trajectories(
        networks=networks,
        encoder=encoder,
        make=make,
        batch=3,
        rng=sampler.rng,
        own=own,
    )
    states = trajectories.draw()
    loss = straight_loss(networks, states, torch.float32)
    away = [((state.noisy - state.target) / state.time).pow(2).mean() for state in states]

    assert len(states) == 3
    torch.testing.assert_close(loss, torch.stack(away).mean())


def test_a_stopped_run_goes_on(encoder, networks, tmp_path):
    """The state on disk is taken up, and the networks it started from stay as they are."""
    before = [parameter.clone() for parameter in networks.parameters()]
    reports: list[str] = []
    for stop_after in (1, 2):
        StraightenPhase(
            folder=tmp_path,
            steps=9_000,
            seed=0,
            encoder=encoder,
            start=networks,
            resume=True,
            batch=2,
            stop_after=stop_after,
            report=reports.append,
        ).train()

    assert [r[:19] for r in reports] == ["straight: 1 of 9000", "straight: 2 of 9000"]
    assert all(map(torch.equal, networks.parameters(), before))
