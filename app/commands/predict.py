"""`klein predict`: generates images with a running server."""

import base64
import mimetypes
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from app.commands import read_settings
from app.commands.client import Server, connect
from app.commands.size import parse_size

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@click.command()
@click.argument("prompt")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("picture.png"),
    show_default=True,
    help="File to write. Its ending sets the format: .png, .jpg or .webp.",
)
@click.option(
    "--image", "images", multiple=True, help="Reference image to edit: a file or URL. Up to four."
)
@click.option("--size", help="Size of the image: 1024x768, or a name such as square_hd.")
@click.option("--seed", type=int, help="Seed. The same seed and options give the same image.")
@click.option("--steps", type=int, help="Denoising steps. Default: that of the model.")
@click.option(
    "-n",
    "--count",
    type=int,
    default=1,
    help="Number of images, written as picture-1.png, picture-2.png …",
)
@click.option(
    "--url", help="URL of the server. Default: KLEIN_URL, else the server on this machine."
)
@click.option("--key", help="API key. Default: KLEIN_API_KEY, else the first of KLEIN_API_KEYS.")
def predict(  # noqa: PLR0913 -- one argument an option
    prompt: str,
    output: Path,
    images: tuple[str, ...],
    size: str | None,
    seed: int | None,
    steps: int | None,
    count: int,
    url: str | None,
    key: str | None,
) -> None:
    """Generate an image of PROMPT with a running server and write it to a file.

    Progress goes to stderr. Each written file is a line on stdout. Ctrl-C cancels the prediction.

    \b
    klein predict "a red circle" -o circle.png
    klein predict "make it green" --image circle.png -o green.png
    """  # noqa: D301 -- \b tells click to keep the line breaks
    settings = read_settings()
    key = key or settings.api_key or next(iter(settings.api_keys), None)
    if key is None:
        raise click.ClickException("no API key; set KLEIN_API_KEY or use --key")
    if not output.absolute().parent.is_dir():
        raise click.BadParameter(
            f"the folder {output.absolute().parent} does not exist", param_hint="-o"
        )
    kind = FORMATS.get(output.suffix.lower())
    if kind is None:
        raise click.BadParameter("the name must end in .png, .jpg or .webp", param_hint="-o")
    inputs: dict[str, Any] = {
        "prompt": prompt,
        "output_format": kind,
        "num_images": count,
        "image_size": _size(size),
        "seed": seed,
        "num_inference_steps": steps,
        "image_urls": [_reference(image) for image in images] or None,
    }
    with connect(url or settings.url or settings.address, key) as server:
        model = _choose(server.models(), "-edit" if images else "-text-to-image")
        final = _follow(
            server, server.create(model, {k: v for k, v in inputs.items() if v is not None})
        )
        outputs = final["output"] if isinstance(final["output"], list) else [final["output"]]
        for k, image_url in enumerate(outputs, 1):
            path = output if count == 1 else output.with_stem(f"{output.stem}-{k}")
            path.write_bytes(server.fetch(image_url))
            seconds = final["metrics"]["predict_time"]
            click.echo(f"{path}   seed {final['input']['seed'] + k - 1}   {seconds:.1f} s")


def _follow(server: Server, prediction_id: str) -> dict[str, Any]:
    """Show the progress on stderr until the prediction succeeds. Ctrl-C cancels it."""
    final: dict[str, Any] = {}
    try:
        with click.progressbar(
            length=1000, label="generating", show_eta=False, file=sys.stderr
        ) as bar:
            for name, data in server.follow(prediction_id):
                if name == "progress":
                    bar.update(1000 * data["step"] // data["steps"] - bar.pos)
                if name == "end":
                    final = data
                    bar.update(1000 - bar.pos)
    except KeyboardInterrupt:
        with suppress(click.ClickException):  # it may have ended meanwhile
            server.cancel(prediction_id)
        raise
    if final.get("error"):
        raise click.ClickException(f"the prediction failed: {final['error']}")
    if not final["output"]:
        raise click.ClickException("the prediction was cancelled")
    return final


def _choose(slugs: list[str], ending: str) -> str:
    for slug in slugs:
        if slug.endswith(ending):
            return slug
    raise click.ClickException(f"the server has no model whose name ends in {ending}")


def _size(text: str | None) -> str | dict[str, int] | None:
    if text is None:
        return None
    try:
        return parse_size(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--size") from None


def _reference(image: str) -> str:
    if image.startswith(("http://", "https://", "data:")):
        return image
    try:
        data = Path(image).read_bytes()
    except OSError as exc:
        raise click.BadParameter(f"{image}: {exc.strerror}", param_hint="--image") from None
    media_type = mimetypes.guess_type(image)[0] or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
