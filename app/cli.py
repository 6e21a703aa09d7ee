"""The `klein` command. Each subcommand is a module that is imported only when it runs."""

from importlib import import_module

import click

from app.version import VERSION

SUMMARIES = {
    "up": "Start the whole system on this machine: Redis, API, worker and courier.",
    "api": "Start one API process.",
    "worker": "Start one worker, which runs the model.",
    "courier": "Start the courier, which delivers webhooks and does maintenance.",
    "predict": "Generate an image with a running server.",
    "queue": "Show waiting and running predictions, and the workers.",
    "keys": "Create, list and revoke API keys.",
    "doctor": "Check Redis, storage, weights and GPU, and say how to fix problems.",
}


class Commands(click.Group):
    """Imports a subcommand when it is called, so that `klein --version` and `--help` are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """List the names of the subcommands."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the subcommand of that name."""
        if cmd_name not in SUMMARIES:
            return None
        command: click.Command = getattr(import_module(f"app.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the subcommands into the help text."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="klein")
def main() -> None:
    """Run and manage a klein server, or generate images with one.

    `klein up` starts everything on this machine. Settings are environment variables, which docs/configuration.md lists.
    """


if __name__ == "__main__":
    main()
