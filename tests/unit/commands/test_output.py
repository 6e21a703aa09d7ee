"""Tests of where `klein predict` writes images."""

from pathlib import Path

import click
import pytest

from app.commands.output import default_output, parse_output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "image_format", "expected"),
    [
        ("a.png", None, "png"),
        ("a.JPG", None, "jpeg"),
        ("a.jpeg", "jpeg", "jpeg"),
        ("a", "webp", "webp"),
        ("-", None, None),
        ("-", "jpeg", "jpeg"),
    ],
)
def test_the_ending_or_the_option_sets_the_format(name, image_format, expected):
    """The format is that of the ending, else that of --format."""
    assert parse_output(name, image_format).format == expected


@pytest.mark.parametrize(
    ("name", "image_format", "message"),
    [
        ("a.gif", None, "must end in .png, .jpg or .webp"),
        ("a", None, "must end in"),
        ("a.png", "jpeg", "a.png does not fit --format jpeg"),
    ],
)
def test_a_name_without_a_format_is_refused(name, image_format, message):
    """A name that says no format, or another one than --format, is an error."""
    with pytest.raises(click.BadParameter, match=message):
        parse_output(name, image_format)


def test_several_images_are_numbered():
    """Several images get the number before the ending."""
    assert parse_output("x/a.png").paths(1) == [Path("x/a.png")]
    assert parse_output("x/a.png").paths(2) == [Path("x/a-1.png"), Path("x/a-2.png")]


def test_the_default_name_is_free(folder):
    """Without -o no file is replaced: the default is the first name that is free."""
    assert default_output(None, 1).name == "picture.png"
    assert default_output("jpeg", 1).name == "picture.jpeg"
    (folder / "picture.png").touch()
    (folder / "picture-2.png").touch()

    assert default_output(None, 1).name == "picture-3.png"
    assert default_output(None, 2).paths(2) == [Path("picture-2-1.png"), Path("picture-2-2.png")]


def test_what_cannot_be_written_is_refused(folder):
    """A missing folder, and several images on stdout, are errors that say what to do."""
    with pytest.raises(click.BadParameter, match="nowhere does not exist"):
        parse_output("nowhere/a.png").check(1)
    with pytest.raises(click.BadParameter, match="- takes one image"):
        parse_output("-").check(2)
