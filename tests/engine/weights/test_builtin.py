"""Tests of the built-in model's folder: its size, its files and its images."""

import json
from pathlib import Path

import pytest
import torch

from app.built_in_models import BUILT_IN_MODELS
from worker.weights.integrity import CHECKSUM_FILE, verify_checksums
from worker.weights.recipe.evaluate import Evaluation, open_pipeline
from worker.weights.recipe.ship import KLEIN, KLEIN_BASE
from worker.weights.recipe.world import Canvas

WEIGHTS = Path(__file__).parents[3] / "worker" / "weights"
LARGEST_BYTES = 15_000_000

each_model = pytest.mark.parametrize("name", BUILT_IN_MODELS)


@each_model
def test_folder_is_small_and_has_no_pickle(name):
    """The folder has at most 15 MB and stores weights only as safetensors."""
    files = [file for file in (WEIGHTS / name).rglob("*") if file.is_file()]

    assert sum(file.stat().st_size for file in files) <= LARGEST_BYTES
    assert {".json", ".jinja", ".safetensors"} >= {
        f.suffix for f in files if f.suffix not in {".md", ".png"} and f.name != CHECKSUM_FILE
    }


@each_model
def test_folder_matches_checksums(name):
    """Each weights file has its line in SHA256SUMS, and every checksum is right."""
    folder = WEIGHTS / name
    listed = {line.split()[1] for line in (folder / CHECKSUM_FILE).read_text().splitlines()}

    assert listed == {f.relative_to(folder).as_posix() for f in folder.rglob("*.safetensors")}
    verify_checksums(folder)


@pytest.mark.parametrize(("name", "expected"), [("builtin", KLEIN), ("builtin-base", KLEIN_BASE)])
def test_klein_json_matches_recipe(name, expected):
    """klein.json is the one that the recipe writes."""
    assert json.loads((WEIGHTS / name / "klein.json").read_text()) == expected


@each_model
@pytest.mark.filterwarnings("ignore")  # warnings of diffusers and transformers
def test_folder_loads_and_generates(name):
    """The same prompt and seed give the same image in the requested size, and an edit has that size too."""
    pipeline = open_pipeline(WEIGHTS / name, torch.device("cpu"), torch.float32)

    def draw(**more):
        return pipeline(
            height=96,
            width=176,
            num_inference_steps=1,
            guidance_scale=1.0,
            max_sequence_length=KLEIN["max_sequence_length"],
            text_encoder_out_layers=tuple(KLEIN["text_encoder_out_layers"]),
            **more,
        ).images

    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1)]
    one, two = draw(prompt=["a red circle"] * 2, generator=seeds)
    edited = draw(prompt="make it blue", image=[one, two], generator=[torch.Generator()])

    assert (Canvas(width=176, height=96).width, 96) == one.size == edited[0].size
    assert one.tobytes() == two.tobytes()
    assert Evaluation(pipeline=pipeline).steps == {"builtin": 4, "builtin-base": 28}[name]
