"""The `klein` command. Each subcommand is a module that is imported only when it runs."""

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from app.commands.group import Group
from app.garbage import collect_rarely
from app.version import VERSION

SUMMARIES = {
    "up": "Start the whole system on this machine: Redis, API, worker and courier.",
    "api": "Start one API process.",
    "worker": "Start one worker, which runs the model.",
    "courier": "Start the courier, which delivers webhooks and does maintenance.",
    "keys": "Create, list and revoke API keys.",
    "pull": "Download a model before the first start.",
    "doctor": "Check Redis, storage, weights and GPU, and say how to fix problems.",
    "unload": "Unload the model of workers that have no work, to free their GPU memory.",
    "load": "Load the model of workers that are asleep.",
    "queue": "Show waiting and running predictions, and the workers.",
    "ledger": "Name accepted predictions that have not ended within their limits.",
    "predict": "Generate an image with a running server.",
    "get": "Show a prediction, or download its images.",
    "wait": "Wait until a prediction ends.",
    "cancel": "Cancel predictions.",
    "usage": "Show what your API key used, by day and model.",
    "delete": "Delete predictions with everything that belongs to them.",
    "list": "List the predictions of your API key.",
}
PROCESSES = ("up", "api", "worker", "courier")  # that end their start themselves
FUNCTIONS = {"list": "list_predictions"}  # elsewhere a function has the name of its command
WRONG_ARGUMENT = 2  # exit codes, as docs/cli.md lists them
INTERRUPTED = 130  # the exit code after Ctrl-C, as in shells

UNWRITABLE = {errno.ENOSPC, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Commands(Group):
    """Imports a subcommand when it is called, so that `klein --version` and `--help` are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """List the names of the subcommands."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the subcommand of that name."""
        if cmd_name not in SUMMARIES:
            return None
        if cmd_name in PROCESSES:
            collect_rarely()
        module = import_module(f"app.commands.{cmd_name}")
        command: click.Command = getattr(module, FUNCTIONS.get(cmd_name, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the subcommands into the help text."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of the subcommands without importing them, and the options."""
        names = [
            CompletionItem(name, help=summary)
            for name, summary in SUMMARIES.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run `klein`. Ends with one line if an argument is not text, or if the output cannot be written."""
        try:
            return super().main(*args, **kwargs)
        except UnicodeEncodeError:
            _exit_with("an argument is not text in the encoding of this terminal", WRONG_ARGUMENT)
        except OSError as exc:
            if exc.errno not in UNWRITABLE:
                raise
            _exit_with(f"cannot write the output: {exc.strerror}", 1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand. Ctrl-C ends it with the exit code of shells."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(err=True)
            sys.exit(INTERRUPTED)


def _exit_with(message: str, code: int) -> NoReturn:
    with suppress(OSError):  # stderr may be the full disk
        click.echo(f"Error: {message}", err=True)
    with suppress(OSError):  # what could not be written would be an error again when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="klein")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Run and manage a klein server, or generate images with one.

    `klein up` starts everything on this machine. `klein predict` generates an image.
    Settings are environment variables, which docs/configuration.md lists. docs/cli.md describes the commands.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a terminal's encoding may lack a character: print ? then
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a TextIO may lack it


if __name__ == "__main__":
    main()
