"""What `klein delete` refuses before it sends anything."""

import pytest
from click.testing import CliRunner

from app.commands.delete import delete

OPTIONS = ["--url", "http://127.0.0.1:9", "--key", "k"]


@pytest.mark.parametrize(
    "arguments", [[], ["p", "--all"], ["--all", "--older-than", "7d"], ["p", "--older-than", "7d"]]
)
def test_exactly_one_choice_is_needed(arguments):
    """Without a choice, and with two, nothing is deleted and the message names the choices."""
    result = CliRunner().invoke(delete, [*arguments, *OPTIONS])

    assert result.exit_code == 2
    assert "name the IDs to delete, or use either --all or --older-than" in result.output


@pytest.mark.parametrize("age", ["soon", "-1d", "999999999d", "3"])
def test_age_is_a_duration(age):
    """An age that is no duration is named with what to write."""
    result = CliRunner().invoke(delete, ["--older-than", age, *OPTIONS])

    assert result.exit_code == 2
    assert "Invalid value for --older-than" in result.output


def test_all_asks_first():
    """Without --yes the command asks, and an empty answer deletes nothing."""
    result = CliRunner().invoke(delete, ["--all", *OPTIONS], input="\n")

    assert result.exit_code == 1
    assert "Delete every prediction of this key at http://127.0.0.1:9?" in result.output
