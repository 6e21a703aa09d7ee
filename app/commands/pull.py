"""`klein pull`: downloads a model before the first start. The download itself is the worker's."""

import os
import sys
from importlib.util import find_spec

import click

from app.commands.settings import read_settings


@click.command()
@click.argument("model", required=False)
def pull(model: str | None) -> None:
    """Download MODEL, a Hugging Face hub id such as black-forest-labs/FLUX.2-klein-4B, before the first start.

    Without MODEL, download what KLEIN_WEIGHTS, KLEIN_TRANSFORMER, KLEIN_TEXT_ENCODER and KLEIN_VAE name.
    A download that was interrupted continues. HF_HOME names the folder.
    """
    settings = read_settings()
    options = [
        *([("model", model)] if model else [("weights", weights) for weights in settings.weights]),
        ("transformer", settings.transformer),
        ("text-encoder", settings.text_encoder),
        ("vae", settings.vae),
    ]
    arguments = [f"--{name}={value}" for name, value in options if value]
    if not arguments:
        raise click.UsageError(
            "name a model, such as black-forest-labs/FLUX.2-klein-4B, or set KLEIN_WEIGHTS"
        )
    if find_spec("worker") is None or find_spec("huggingface_hub") is None:
        raise click.ClickException(
            "klein pull needs the packages of a worker; run pip install '.[worker]'"
        )
    arguments.append(f"--log-format={settings.log_format}")
    # -P: a package `worker` of the user's own in the current directory is not this one
    os.execv(sys.executable, [sys.executable, "-P", "-m", "worker.weights.pull", *arguments])  # noqa: S606
