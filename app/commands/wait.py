"""`klein wait`: waits for the end of a prediction."""

import click

from app.commands.client import Server
from app.commands.output import OUTPUT_OPTION, parse_output
from app.commands.results import finish
from app.commands.server_options import server_options
from app.commands.waiting import wait_for_end


@click.command()
@click.argument("prediction_id", metavar="ID")
@OUTPUT_OPTION
@click.option("--json", "is_json", is_flag=True, help="Print the prediction as one line of JSON.")
@click.option("--quiet", "-q", "is_quiet", is_flag=True, help="Print only errors and JSON.")
@server_options
def wait(
    *, server: Server, prediction_id: str, output: str | None, is_json: bool, is_quiet: bool
) -> None:
    """Wait until the prediction with this ID ends, then print the URLs of its images or write them with -o.

    Progress goes to stderr. Ctrl-C stops the waiting, not the prediction.
    The exit code is 0 if the prediction succeeded and 3 if it failed or was cancelled.
    """
    target = None if output is None else parse_output(output)
    if target is not None:
        target.check(1)
    final = wait_for_end(server, prediction_id, is_quiet=is_quiet)
    finish(server, final, target, is_json=is_json, is_quiet=is_quiet)
