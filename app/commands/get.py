"""`klein get`: shows a prediction, or downloads its images."""

from typing import Any

import click

from app.commands.client import Server
from app.commands.output import OUTPUT_OPTION, parse_output
from app.commands.results import ENDED, echo_json, finish, image_urls
from app.commands.server_options import server_options


@click.command()
@click.argument("prediction_id", metavar="ID")
@OUTPUT_OPTION
@click.option("--json", "is_json", is_flag=True, help="Print the prediction as one line of JSON.")
@server_options
def get(*, server: Server, prediction_id: str, output: str | None, is_json: bool) -> None:
    """Show the prediction with this ID, or download its images with -o.

    The command does not wait. Without -o its exit code is 0 also if the prediction failed.
    """
    if output is None:
        prediction = server.get(prediction_id)
        if is_json:
            echo_json(prediction)
        else:
            click.echo("\n".join(_lines(prediction)))
        return
    target = parse_output(output)
    prediction = server.get(prediction_id)
    target.check(len(image_urls(prediction)) or 1)
    if prediction["status"] not in ENDED:
        raise click.ClickException(
            f"the prediction has not ended yet ({prediction['status']}); use `klein wait`"
        )
    finish(server, prediction, target, is_json=is_json, is_quiet=False)


def _lines(prediction: dict[str, Any]) -> list[str]:
    inputs, metrics = prediction["input"], prediction["metrics"]
    rows = [
        ("id", prediction["id"]),
        ("status", prediction["status"]),
        ("prompt", inputs.get("prompt")),
        ("seed", inputs.get("seed")),
        ("seconds", f"{metrics['predict_time']:.1f}" if metrics["predict_time"] else None),
        ("dollars", f"{metrics['cost']:.6f}" if metrics["cost"] else None),
        ("error", prediction.get("error")),
        *(("image", url) for url in image_urls(prediction)),
    ]
    return [f"{name:9}{value}" for name, value in rows if value not in {None, ""}]
