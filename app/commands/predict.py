"""`klein predict`: a picture from the command line."""

import base64
import mimetypes
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from app.commands import read_settings
from app.commands.client import Server, asking

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_SIZE = re.compile(r"(\d+)x(\d+)")


@click.command()
@click.argument("prompt")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("picture.png"),
    show_default=True,
    help="File to write: .png, .jpg or .webp.",
)
@click.option("--image", "images", multiple=True, help="File or URL to edit; up to four.")
@click.option("--size", help="1024x768, or a name such as square_hd.")
@click.option("--seed", type=int, help="The same seed and prompt draw the same picture.")
@click.option("--steps", type=int, help="Denoising steps.")
@click.option("-n", "--count", type=int, default=1, help="ImageLinks: out-1.png, out-2.png …")
@click.option("--url", help="The server; else KLEIN_URL, else the one on this machine.")
@click.option("--key", help="The key to it; else KLEIN_API_KEY, else the first of KLEIN_API_KEYS.")
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
    """Draw PROMPT with a running server and write the picture.

    \b
    klein predict "a red circle" -o circle.png
    klein predict "make it green" --image circle.png -o green.png
    """  # noqa: D301 -- click's mark for lines that are kept
    settings = read_settings()
    key = key or settings.api_key or next(iter(settings.api_keys), None)
    if key is None:
        raise click.ClickException("no key; name one with --key or KLEIN_API_KEY")
    if not output.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {output.absolute().parent}", param_hint="-o")
    kind = FORMATS.get(output.suffix.lower())
    if kind is None:
        raise click.BadParameter("end the name in .png, .jpg or .webp", param_hint="-o")
    given: dict[str, Any] = {
        "prompt": prompt,
        "output_format": kind,
        "num_images": count,
        "image_size": _size(size),
        "seed": seed,
        "num_inference_steps": steps,
        "image_urls": [_reference(image) for image in images] or None,
    }
    with asking(url or settings.url or settings.address, key) as server:
        model = _choose(server.models(), "-edit" if images else "-text-to-image")
        ended = _follow(
            server, server.create(model, {k: v for k, v in given.items() if v is not None})
        )
        pictures = ended["output"] if isinstance(ended["output"], list) else [ended["output"]]
        for k, picture in enumerate(pictures, 1):
            path = output if count == 1 else output.with_stem(f"{output.stem}-{k}")
            path.write_bytes(server.fetch(picture))
            seconds = ended["metrics"]["predict_time"]
            click.echo(f"{path}   seed {ended['input']['seed'] + k - 1}   {seconds:.1f} s")


def _follow(server: Server, prediction_id: str) -> dict[str, Any]:
    """Show how it gets on, to its successful end; Ctrl-C cancels it."""
    ended: dict[str, Any] = {}
    try:
        with click.progressbar(length=1000, label="drawing", show_eta=False) as bar:
            for name, data in server.follow(prediction_id):
                if name == "progress":
                    bar.update(1000 * data["step"] // data["steps"] - bar.pos)
                if name == "end":
                    ended = data
                    bar.update(1000 - bar.pos)
    except KeyboardInterrupt:
        with suppress(click.ClickException):  # it may just have ended
            server.cancel(prediction_id)
        raise
    if ended.get("error"):
        raise click.ClickException(f"the prediction failed: {ended['error']}")
    if not ended["output"]:
        raise click.ClickException("the prediction was cancelled")
    return ended


def _choose(slugs: list[str], ending: str) -> str:
    for slug in slugs:
        if slug.endswith(ending):
            return slug
    raise click.ClickException(f"the server has no model that ends in {ending}")


def _size(text: str | None) -> str | dict[str, int] | None:
    found = _SIZE.fullmatch(text or "")
    return {"width": int(found[1]), "height": int(found[2])} if found else text


def _reference(image: str) -> str:
    if image.startswith(("http://", "https://", "data:")):
        return image
    try:
        data = Path(image).read_bytes()
    except OSError as exc:
        raise click.BadParameter(f"{image}: {exc.strerror}", param_hint="--image") from None
    media_type = mimetypes.guess_type(image)[0] or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
