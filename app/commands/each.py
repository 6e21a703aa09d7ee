"""Runs a command for each of several predictions, whatever happens to the others."""

from collections.abc import Callable, Iterable

import click


def run_for_each(prediction_ids: Iterable[str], run: Callable[[str], None]) -> int:
    """Call `run` with each id and print its errors. Returns the highest exit code of the errors, 0 if there was none."""
    exit_code = 0
    for prediction_id in prediction_ids:
        try:
            run(prediction_id)
        except click.ClickException as exc:
            exit_code = max(exit_code, exc.exit_code)
            click.echo(f"Error: {prediction_id}: {exc.format_message()}", err=True)
    return exit_code
