"""Tests of the help texts of `klein`."""

import click
import pytest
from click.testing import CliRunner

from app.cli import SUMMARIES, main


@pytest.mark.parametrize("name", SUMMARIES)
def test_help_describes_each_command(name):
    """`klein --help` and `klein NAME --help` describe a command in a full sentence."""
    overview = CliRunner().invoke(main, ["--help"], terminal_width=200).output
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert command.name == name
    assert f"{name:7}  {SUMMARIES[name]}" in overview
    assert command.help is not None
    assert command.help.split()[0] == SUMMARIES[name].split()[0]
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["qqqqqq"], "there is no command 'qqqqqq'; see klein --help"),
        (["predic"], "there is no command 'predic'; did you mean predict?"),
        (["Queue"], "there is no command 'Queue'; did you mean queue?"),
        (["keys", "crate", "x"], "there is no command 'crate'; did you mean create?"),
        (["keys", "qqqqqq"], "there is no command 'qqqqqq'; see klein keys --help"),
    ],
)
def test_unknown_command_is_refused(arguments, message):
    """An unknown command is an error that names it, and the one that was probably meant."""
    result = CliRunner().invoke(main, arguments, prog_name="klein")

    assert result.exit_code == 2
    assert result.output.endswith(f"Error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("predict x --steps 4s", "'4s' is not a whole number of 1 or more"),
        ("predict x --steps 0", "'0' is not a whole number of 1 or more"),
        ("predict x --seed 1.5", "'1.5' is not a whole number"),
        ("predict x -n 9", "'9' is not a whole number from 1 to 4"),
        ("predict x --strength 50%", "'50%' is not a number above 0, up to 1"),
        ("predict x --guidance nan", "'nan' is not a number"),
        ("predict x --lora ink:1e400", "the scale of ink is not a number; write NAME:0.8"),
        ("list --limit 1k", "'1k' is not a whole number from 1 to 100"),
        ("usage --days 7d", "'7d' is not a whole number from 1 to 3660"),
        ("keys create x --dollars inf", "'inf' is not a number of 0 or more"),
        ("predict a red circle", 'put the prompt in quotes: klein predict "a red circle"'),
    ],
)
def test_wrong_value_is_refused_with_what_is_possible(arguments, message):
    """A number with a unit, outside of its range or endless, and a prompt without quotes, are errors of their own."""
    result = CliRunner().invoke(main, arguments.split(), env={"KLEIN_API_KEY": "k"})

    assert result.exit_code == 2
    assert result.output.strip().endswith(message)


def test_completion_after_an_unknown_command_is_silent():
    """Tab after a name that is no command completes nothing, and prints no error."""
    environ = {
        "_KLEIN_COMPLETE": "bash_complete",
        "COMP_WORDS": "klein nothing x",
        "COMP_CWORD": "2",
    }
    result = CliRunner().invoke(main, prog_name="klein", env=environ)

    assert (result.exit_code, result.output.strip()) == (0, "")


def test_help_shows_no_bounds_where_there_are_none():
    """A number that may be anything has no range in the help."""
    text = CliRunner().invoke(main, ["predict", "--help"], terminal_width=200).output

    assert "--guidance NUMBER" in text
    assert "None" not in text
