"""The text in image files that says how they were generated: what web UI writes is read, and what klein writes is read back."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.commands.image_settings import read_settings
from app.generation_text import Metadata, read_text, write_text
from app.predictions.parameters import AppliedLora
from tests.support.fakes import a_prediction
from worker.job.describe import describe
from worker.job.encode import encode

WEB_UI = """masterpiece, a (red:1.2) house: big
with two lines
Negative prompt: fog, "rain"
Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7.5, Seed: 965400086, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Lora hashes: "ink: 1a2b, pen: 3c4d", Version: v1.10.1"""
"""As AUTOMATIC1111 writes it (`create_infotext` in modules/processing.py)."""
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1)


def prediction(metadata, prompt="a zebra, “drawn”", **values):
    plain = a_prediction(input={"prompt": prompt, "seed": 7, "image_size": "square"})
    assert plain.parameters is not None
    loras = (AppliedLora(path="styles/ink, blue.safetensors", scale=0.8),)
    return replace(
        plain, parameters=replace(plain.parameters, metadata=metadata, loras=loras, **values)
    )


def test_text_of_web_ui_is_read():
    """What klein knows of a text of web UI is read, and the rest is left out."""
    assert read_text(WEB_UI) == {
        "prompt": "masterpiece, a (red:1.2) house: big\nwith two lines",
        "negative_prompt": 'fog, "rain"',
        "num_inference_steps": 20,
        "guidance_scale": 7.5,
        "seed": 965400086,
        "image_size": {"width": 512, "height": 768},
        "model": "v1-5",
    }


def test_text_without_settings_is_a_prompt():
    """A text without a line of settings is a prompt. An empty one says nothing."""
    assert read_text("a house, Seed: 7") == {"prompt": "a house, Seed: 7"}
    assert read_text("") == {}


@given(prompt=TEXTS, negative=TEXTS, seed=st.integers(-(2**63), 2**63 - 1))
def test_any_prompt_is_read_back(prompt, negative, seed):
    """Whatever the prompts say, they and the settings are read as they were written."""
    text = write_text(prompt, negative, {"Steps": 4, "Seed": seed, "Size": "64x32", "Model": "m"})
    read = read_text(text)

    assert read["seed"] == seed
    if not prompt.startswith("Negative prompt"):
        assert (read["prompt"], read["negative_prompt"]) == (prompt, negative)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("prompt", ["a zebra", "a zebra, “drawn” 🦓", "x" * 10_000, "🦓" * 10_000])
def test_file_holds_what_was_used(tmp_path, output_format, prompt):
    """A file of each format holds prompt, seed of its image, size and LoRAs, and klein reads them."""
    text = describe(prediction(Metadata.FULL, prompt, seeds=(7, 8)), 1, (64, 32))
    path = tmp_path / "image"
    path.write_bytes(encode(np.zeros((32, 64, 3), np.uint8), output_format, text=text))

    with Image.open(path) as image:
        image.load()
    read = read_settings(path)
    assert prompt.startswith(read["prompt"])
    if len(prompt) < 10_001 and prompt[0] != "🦓":
        assert read == {
            "prompt": prompt,
            "num_inference_steps": 4,
            "guidance_scale": 1.0,
            "seed": 8,
            "image_size": {"width": 64, "height": 32},
            "loras": [{"path": "styles/ink, blue.safetensors", "scale": 0.8}],
            "model": "flux-2-klein-4b-text-to-image",
        }


def test_files_of_web_ui_are_read(tmp_path):
    """The text chunk of a PNG and the EXIF comment of a JPEG, as web UI writes them, are read."""
    png = Image.new("RGB", (8, 8))
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", WEB_UI)
    png.save(tmp_path / "a.png", pnginfo=info)

    assert read_settings(tmp_path / "a.png") == read_text(WEB_UI)


def test_choice_of_caller_decides():
    """By default a file says nothing. With `seed` it has no words of the caller."""
    nothing = describe(prediction(Metadata.NONE), 0, (64, 32))
    seed = describe(prediction(Metadata.SEED), 0, (64, 32))
    plain = encode(np.zeros((8, 8, 3), np.uint8), "png", text=nothing)

    assert nothing == ""
    assert b"parameters" not in plain
    assert read_text(seed)["seed"] == 7
    assert "zebra" not in seed
    assert "ink" not in seed
    with Image.open(io.BytesIO(plain)) as image:
        assert set(image.text) == {"Software", "XML:com.adobe.xmp"}  # type: ignore[attr-defined]  # of a PNG
