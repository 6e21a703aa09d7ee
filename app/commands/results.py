"""Writes the images of an ended prediction, and says how it ended: in lines for people, or as JSON."""

import json
from pathlib import Path
from typing import Any

import click

from app.commands.client import Server
from app.commands.errors import NotSuccessful
from app.commands.output import Output

SUCCESS, CANCELLED = "success", "cancelled"
ENDED = {SUCCESS, CANCELLED, "error", "failed"}


def image_urls(prediction: dict[str, Any]) -> list[str]:
    """Return the URLs of the images, or an empty list unless the prediction succeeded."""
    if prediction["status"] != SUCCESS:
        return []
    output = prediction["output"]
    return output if isinstance(output, list) else [output]


def finish(
    server: Server,
    final: dict[str, Any],
    output: Output | None,
    *,
    is_json: bool,
    is_quiet: bool,
) -> None:
    """Write the images and report them. Raises NotSuccessful if the prediction failed or was cancelled."""
    files = [] if output is None else _save(server, final, output)
    if is_json:
        echo_json(final | {"files": [str(path) for path in files]})
    elif not is_quiet:
        lines = [str(path) for path in files] or image_urls(final)
        for k, line in enumerate(lines):
            seconds = final["metrics"]["predict_time"]
            to_stderr = output is not None and output.is_stdout
            click.echo(
                f"{line}   seed {final['input']['seed'] + k}   {seconds:.1f} s", err=to_stderr
            )
    if final["status"] == CANCELLED:
        raise NotSuccessful(f"prediction {final['id']} was cancelled")
    if final["status"] != SUCCESS:
        raise NotSuccessful(f"prediction {final['id']} failed: {final.get('error')}")


def echo_json(value: Any) -> None:
    """Print a value as one line of ASCII, which no terminal encoding can break."""
    click.echo(json.dumps(value))


def _save(server: Server, final: dict[str, Any], output: Output) -> list[Path]:
    urls = image_urls(final)
    if not urls:
        return []
    stored = final["input"].get("output_format") or "png"
    if output.format not in {None, stored}:
        raise click.BadParameter(
            f"the image is a {stored} file; give {output.name} that ending", param_hint="-o"
        )
    output.check(len(urls))
    paths = output.paths(len(urls))
    for path, url in zip(paths, urls, strict=True):
        image = server.fetch(url)
        try:
            output.write(path, image)
        except BrokenPipeError:
            raise  # click ends the command quietly
        except OSError as exc:
            raise click.ClickException(
                f"cannot write {path}: {exc.strerror}; `klein get {final['id']} -o FILE` downloads it again"
            ) from None
    return paths
