"""`klein predict`: generates images with a running server."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from app.commands.client import Server
from app.commands.image_settings import read_settings
from app.commands.inputs import STDIN, parse_lora, read_prompt, read_reference
from app.commands.numbers import Number, WholeNumber
from app.commands.output import FORMATS, OUTPUT_OPTION, default_output, parse_output
from app.commands.results import echo_json, finish
from app.commands.server_options import server_options
from app.commands.size import parse_size
from app.commands.waiting import create_and_wait
from app.predictions.sizes import NAMED_SIZES


def _parse_size(
    _ctx: click.Context, _option: click.Parameter, text: str | None
) -> str | dict[str, int] | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


def _parse_prompt(
    _ctx: click.Context, _argument: click.Parameter, words: tuple[str, ...]
) -> str | None:
    if len(words) > 1:
        raise click.UsageError(f'put the prompt in quotes: klein predict "{" ".join(words)}"')
    return words[0] if words else None


@click.command()
@click.argument("prompt", metavar="PROMPT", nargs=-1, callback=_parse_prompt)
@OUTPUT_OPTION
@click.option(
    "--format",
    "image_format",
    type=click.Choice(FORMATS),
    help="Format of the image. Default: by the ending of the file, else png.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(allow_dash=True),
    help="Reference image to edit: a file, a URL, or - for stdin. Up to four.",
)
@click.option(
    "--mask",
    type=click.Path(allow_dash=True),
    help="Part of the first --image to redraw, in white: a file, a URL, or - for stdin.",
)
@click.option(
    "--strength",
    type=Number(0, 1, min_open=True),
    help="How much the first --image may change, above 0 to 1. Default: 1.",
)
@click.option(
    "--lora",
    "loras",
    multiple=True,
    metavar="NAME[:SCALE]",
    help="LoRA to apply, from the folder of the server. Up to three.",
)
@click.option(
    "--size",
    callback=_parse_size,
    metavar="SIZE",
    shell_complete=lambda _ctx, _option, start: [n for n in NAMED_SIZES if n.startswith(start)],
    help="Size of the image: 1024x768, or a name such as square_hd.",
)
@click.option(
    "--seed", type=WholeNumber(), help="Seed. The same seed and options give the same image."
)
@click.option("--steps", type=WholeNumber(1), help="Denoising steps. Default: that of the model.")
@click.option(
    "--guidance", type=Number(), help="How closely to follow the prompt. Base models only."
)
@click.option("--negative", help="What the image should not show. Base models only.")
@click.option(
    "--model", help="Model, as in GET /v1/models. Default: the first that fits the options."
)
@click.option(
    "-n",
    "--count",
    type=WholeNumber(1, 4),
    default=1,
    help="Number of images, written as picture-1.png, picture-2.png …",
)
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False),
    help="Image file whose settings to use, where it holds them. Other options replace them.",
)
@click.option(
    "--metadata",
    type=click.Choice(("none", "seed", "full")),
    help="What the image file says: nothing, the seed and settings, or the prompt too.",
)
@click.option("--no-wait", is_flag=True, help="Print the id and exit. `klein wait ID` waits.")
@click.option("--json", "is_json", is_flag=True, help="Print the prediction as one line of JSON.")
@click.option(
    "--quiet", "-q", "is_quiet", is_flag=True, help="Print only errors, warnings and JSON."
)
@server_options
def predict(  # noqa: PLR0913 -- one argument an option
    *,
    server: Server,
    prompt: str | None,
    output: str | None,
    image_format: str | None,
    images: tuple[str, ...],
    mask: str | None,
    strength: float | None,
    loras: tuple[str, ...],
    size: str | dict[str, int] | None,
    seed: int | None,
    steps: int | None,
    guidance: float | None,
    negative: str | None,
    model: str | None,
    count: int,
    like: str | None,
    metadata: str | None,
    no_wait: bool,
    is_json: bool,
    is_quiet: bool,
) -> None:
    """Generate an image of PROMPT with a running server and write it to a file.

    PROMPT - reads the prompt from stdin. Progress goes to stderr. Each written file is a line on stdout.
    Without -o the file is picture.png, or the next free name.
    Ctrl-C cancels the prediction. docs/cli.md lists the exit codes.

    \b
    klein predict "a red circle" -o circle.png
    klein predict "make it green" --image circle.png -o green.png
    klein predict "a blue star" --image circle.png --mask corner.png -o star.png
    echo "a red circle" | klein predict - -o - > circle.png
    """  # noqa: D301 -- \b tells click to keep the line breaks
    if no_wait and output is not None:
        raise click.UsageError("--no-wait writes no image: leave out -o")
    if output == "-" and is_json:
        raise click.UsageError(
            "stdout takes either the image or the JSON: leave out --json or -o -"
        )
    like_inputs = read_settings(Path(like)) if like else {}
    if prompt is None and "prompt" not in like_inputs:
        raise click.UsageError(
            f"{like} holds no prompt: add PROMPT" if like else "Missing argument 'PROMPT'."
        )
    if [prompt, *images, mask].count(STDIN) > 1:
        raise click.UsageError("stdin can be only one of PROMPT, --image and --mask")
    if not images and (mask is not None or strength is not None):
        raise click.UsageError("--mask and --strength need the --image that they apply to")
    target = parse_output(output, image_format) if output else default_output(image_format, count)
    if not no_wait:
        target.check(count)
    inputs: dict[str, Any] = {
        "prompt": None if prompt is None else read_prompt(prompt),
        "output_format": target.format,
        "num_images": count,
        "image_size": size,
        "seed": seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "negative_prompt": negative,
        "loras": [parse_lora(lora) for lora in loras] or None,
        "image_urls": [read_reference(image) for image in images] or None,
        "mask_url": read_reference(mask, "--mask") if mask is not None else None,
        "strength": strength,
        "metadata": metadata,
    }
    like_model = like_inputs.pop("model", None)
    inputs = like_inputs | {name: value for name, value in inputs.items() if value is not None}
    is_guided = guidance is not None or negative is not None
    if model is None:
        slugs = server.models()
        fits = like_model in slugs and like_model.endswith("-edit") == bool(images)
        model = like_model if fits else _choose(slugs, is_edit=bool(images), is_guided=is_guided)
    if is_guided and "-base-" not in model:
        click.echo(f"Warning: {model} ignores --guidance and --negative", err=True)
    create = partial(server.create, model, inputs)
    if no_wait:
        accepted = create()
        echo_json(accepted) if is_json else click.echo(accepted["predictionID"])
        return
    final = create_and_wait(server, create, is_quiet=is_quiet)
    finish(server, final, target, is_json=is_json, is_quiet=is_quiet)


def _choose(slugs: list[str], *, is_edit: bool, is_guided: bool) -> str:
    """Return the first model for the task. A request with guidance prefers a base model."""
    ending = "-edit" if is_edit else "-text-to-image"
    fitting = [slug for slug in slugs if slug.endswith(ending)]
    if not fitting:
        raise click.ClickException(f"the server has no model whose name ends in {ending}")
    return next((slug for slug in fitting if is_guided and "-base-" in slug), fitting[0])
