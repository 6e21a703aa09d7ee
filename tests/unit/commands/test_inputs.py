"""Tests of the inputs of `klein predict`."""

import io
from pathlib import Path

import click
import pytest

from app.commands.inputs import (
    PROMPT_MAX_BYTES,
    REFERENCE_MAX_BYTES,
    parse_lora,
    read_prompt,
    read_reference,
)
from app.images.data_uri import LARGEST_BYTES, parse_data_uri
from app.predictions.inputs import PROMPT_MAX_LENGTH


@pytest.mark.parametrize(
    ("text", "lora"),
    [
        ("ink.safetensors", {"path": "ink.safetensors"}),
        ("ink.safetensors:0.8", {"path": "ink.safetensors", "scale": 0.8}),
        ("styles/a: b.safetensors:-1", {"path": "styles/a: b.safetensors", "scale": -1.0}),
        ("a: b.safetensors", {"path": "a: b.safetensors"}),
    ],
)
def test_a_lora_is_a_name_with_or_without_a_scale(text, lora):
    """A number after the last colon is the scale. Any other colon belongs to the name."""
    assert parse_lora(text) == lora


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_prompt_is_refused(text):
    """A prompt without text is an error before anything is sent."""
    with pytest.raises(click.BadParameter, match="it is empty"):
        read_prompt(text)


def test_a_prompt_that_is_no_text_is_refused():
    """Bytes that the terminal's encoding does not know are an error."""
    with pytest.raises(click.BadParameter, match="not text in the encoding"):
        read_prompt("a \udcff circle")


def test_a_file_becomes_a_data_uri(tmp_path: Path):
    """A reference image is sent as a data URI that the server can read. A URL stays as it is."""
    file = tmp_path / "circle.png"
    file.write_bytes(b"\x89PNG")

    assert parse_data_uri(read_reference(str(file))) == b"\x89PNG"
    assert read_reference("https://example.com/a.png") == "https://example.com/a.png"


def test_a_reference_that_the_server_would_refuse_is_refused(tmp_path: Path):
    """A missing, empty or too large file is an error that names it."""
    empty, large = tmp_path / "empty.png", tmp_path / "large.png"
    empty.touch()
    with large.open("wb") as file:
        file.truncate(REFERENCE_MAX_BYTES + 1)

    for file_path, message in [
        (tmp_path / "missing.png", "missing.png: No such file"),
        (empty, "empty.png is empty"),
        (large, "large.png is larger than 20 MB"),
    ]:
        with pytest.raises(click.BadParameter, match=message):
            read_reference(str(file_path))


def test_the_limits_are_those_of_the_server():
    """The command refuses nothing that the server would take."""
    assert REFERENCE_MAX_BYTES == LARGEST_BYTES
    assert PROMPT_MAX_BYTES > 4 * PROMPT_MAX_LENGTH


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_prompt_from_stdin_has_no_byte_order_mark(start, monkeypatch):
    """The mark that some shells put in front of piped text does not belong to the prompt."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(start + b"a circle\r\n")))

    assert read_prompt("-") == "a circle"
