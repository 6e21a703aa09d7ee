"""The packages that an engine process hides from the libraries that would load them."""

import pytest

from worker.engine_process.unused_packages import unused_packages
from worker.engines import Tuning
from worker.engines.tuning import Quantization


def test_packages_of_plain_weights_are_unused(tmp_path):
    """Weights that are neither quantised nor in GGUF files need none of the packages."""
    (tmp_path / "model.safetensors").touch()

    assert list(unused_packages(tmp_path, Tuning())) == ["peft", "torchao", "gguf"]


@pytest.mark.parametrize(
    "tuning",
    [
        Tuning(quantization=Quantization.FP8),
        Tuning(text_encoder_quantization=Quantization.INT8_WEIGHT_ONLY),
    ],
)
def test_quantization_needs_torchao(tmp_path, tuning):
    """What is quantised is quantised by torchao."""
    assert "torchao" not in unused_packages(tmp_path, tuning)


def test_gguf_files_need_gguf(tmp_path):
    """A GGUF file is found in the folder, in its subfolders, and in place of a component."""
    folder = tmp_path / "weights" / "transformer"
    folder.mkdir(parents=True)
    file = folder / "model.GGUF"
    file.touch()

    assert "gguf" not in unused_packages(folder.parent, Tuning())
    assert "gguf" not in unused_packages(tmp_path / "other", Tuning(vae=file))
    assert "gguf" not in unused_packages(file, Tuning())
