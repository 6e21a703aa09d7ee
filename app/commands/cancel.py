"""`klein cancel`: cancels predictions."""

import click

from app.commands.client import Server
from app.commands.each import run_for_each
from app.commands.server_options import server_options


@click.command()
@click.argument("prediction_ids", metavar="ID...", nargs=-1, required=True)
@server_options
def cancel(*, server: Server, prediction_ids: tuple[str, ...]) -> None:
    """Cancel the predictions with these IDs, whether they wait or run.

    A prediction that has already ended is an error. The others are cancelled all the same.
    """

    def cancel_one(prediction_id: str) -> None:
        server.cancel(prediction_id)
        click.echo(f"cancelled {prediction_id}")

    if exit_code := run_for_each(prediction_ids, cancel_one):
        raise SystemExit(exit_code)
