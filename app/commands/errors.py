"""Defines the errors of the client commands that have exit codes of their own (docs/cli.md)."""

import click


class NotSuccessful(click.ClickException):
    """The prediction failed or was cancelled."""

    exit_code = 3


class ServerUnavailable(click.ClickException):
    """The server does not answer, or cannot take the request now. Trying again later may work."""

    exit_code = 4
