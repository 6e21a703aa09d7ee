"""Groups of commands: an unknown name is an error that says which one was probably meant."""

from typing import Any

import click


class Group(click.Group):
    """A group of commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name. Raises click.UsageError."""
        name = args[0]
        is_known = self.get_command(ctx, name) is not None
        # resilient: the shell completes what is being typed
        if not (is_known or name.startswith("-") or ctx.resilient_parsing):
            from difflib import get_close_matches  # noqa: PLC0415 -- rarely needed

            names = self.list_commands(ctx)
            matches: list[Any] = get_close_matches(name.lower(), names)
            advice = (
                f"did you mean {' or '.join(matches)}?"
                if matches
                else f"see {ctx.command_path} --help"
            )
            ctx.fail(f"there is no command {name!r}; {advice}")
        return super().resolve_command(ctx, args)
