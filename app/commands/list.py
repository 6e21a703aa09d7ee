"""`klein list`: lists predictions."""

import click

from app.commands.client import Server
from app.commands.numbers import WholeNumber
from app.commands.results import echo_json
from app.commands.server_options import server_options
from app.commands.table import echo_table

STATUSES = ("created", "success", "error")


@click.command("list")
@click.option(
    "--limit",
    type=WholeNumber(1, 100),
    default=20,
    show_default=True,
    help="Most predictions to list.",
)
@click.option("--offset", type=WholeNumber(0), help="Newer predictions to skip.")
@click.option("--status", type=click.Choice(STATUSES), help="List only those with this status.")
@click.option("--model", help="List only those of this model.")
@click.option("--json", "is_json", is_flag=True, help="Print the page as one line of JSON.")
@server_options
def list_predictions(  # noqa: PLR0913 -- one argument an option
    *,
    server: Server,
    limit: int,
    offset: int | None,
    status: str | None,
    model: str | None,
    is_json: bool,
) -> None:
    """List the predictions of your API key, newest first.

    A row has the id, the status, the time of creation, the seconds of work, and the model.
    """
    page = server.list(limit=limit, offset=offset, status=status, model=model)
    if is_json:
        echo_json(page)
        return
    rows = [
        (e["id"], e["status"], e["created_at"][:19] + "Z", f"{e['run_time']:.1f}", e["model"])
        for e in page["executions"]
    ]
    echo_table(("id", "status", "created", "seconds", "model"), rows)
