"""Tests of the list of the LoRA folder: links are followed, and a link to a folder above ends the walk."""

from app.loras.library import Library
from tests.support.lora_headers import lora_shapes, write_header


def names(folder):
    return [file.name for file in Library(folder).list_files()]


def test_linked_folder_is_listed(tmp_path):
    """A folder that the operator links into the LoRA folder is listed, as predictions may name its files."""
    write_header(tmp_path / "elsewhere" / "ink.safetensors", lora_shapes("proj_out", 128, 3072))
    folder = tmp_path / "loras"
    folder.mkdir()
    (folder / "styles").symlink_to(tmp_path / "elsewhere")

    assert names(folder) == ["styles/ink.safetensors"]


def test_circle_of_links_ends(tmp_path):
    """A link to a folder above, and one to itself, list each file once."""
    write_header(tmp_path / "styles" / "ink.safetensors", lora_shapes("proj_out", 128, 3072))
    (tmp_path / "styles" / "up").symlink_to("..")
    (tmp_path / "styles" / "self").symlink_to("self")
    (tmp_path / "gone.safetensors").symlink_to("nowhere")

    assert names(tmp_path) == ["styles/ink.safetensors"]
