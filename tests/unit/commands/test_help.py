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


def test_unknown_command_is_refused():
    """An unknown command is an error that names it."""
    result = CliRunner().invoke(main, ["nothing"])

    assert result.exit_code == 2
    assert "No such command 'nothing'" in result.output
