"""The packages of diffusers that an engine process loads only when it needs all of their models."""

import sys

import pytest

from tests.support import processes
from worker.engines.lazy_packages import PACKAGES

pytestmark = pytest.mark.timeout(120)

LAZY = "from worker.engines.lazy_packages import load_lazily; load_lazily()\n"


def run(code):
    return processes.run([sys.executable, "-c", code])


def test_engine_process_loads_few_models(tiny_weights):
    """An engine draws an image from another one, and loads few of the models that diffusers knows."""
    result = processes.run([sys.executable, "-m", "tests.support.engine_modules", tiny_weights])

    modules = result.stdout.split()
    models = [name for name in modules if name.startswith(tuple(f"{p}." for p in PACKAGES))]
    assert "diffusers.models.transformers.transformer_flux2" in models, result.stderr
    assert len(models) < 15


def test_every_model_can_be_used():
    """Any model is there, taken from a package or from diffusers. A name that no package has is missing."""
    result = run(
        f"""{LAZY}
from diffusers.models.transformers import FluxTransformer2DModel
from diffusers import UNet2DModel
print(FluxTransformer2DModel.__name__, UNet2DModel.__name__)
from diffusers.models.unets import Nothing
"""
    )

    assert result.stdout == "FluxTransformer2DModel UNet2DModel\n", result.stderr
    assert "ImportError: cannot import name 'Nothing'" in result.stderr


def test_modules_are_imported_once():
    """A module that was imported before its package is the same afterwards, and an attribute of it."""
    result = run(
        f"""{LAZY}
import diffusers.models.transformers.transformer_flux2 as before
from diffusers.models.transformers import Flux2Transformer2DModel
import diffusers.models.transformers as package
print(package.transformer_flux2 is before, before.Flux2Transformer2DModel is Flux2Transformer2DModel)
"""
    )

    assert result.stdout == "True True\n", result.stderr
