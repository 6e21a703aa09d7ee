"""The numbers among the options of the commands, with errors that say which numbers are possible."""

import math
from typing import Any

import click


class WholeNumber(click.IntRange):
    """A whole number, from `min` to `max` where they are set."""

    name = "number"

    def _describe_range(self) -> str:
        """Describe the bounds for the help. click writes `x<=None` if there are none."""
        return "" if self.min is self.max is None else super()._describe_range()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of an option. Raises click.BadParameter."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a whole number{_bounds(self)}", param, ctx)


class Number(click.FloatRange):
    """A finite number, from `min` to `max` where they are set."""

    name = "number"

    def _describe_range(self) -> str:
        """Describe the bounds for the help. click writes `x<=None` if there are none."""
        return "" if self.min is self.max is None else super()._describe_range()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of an option. Raises click.BadParameter."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number{_bounds(self)}", param, ctx)
        return number


def _bounds(kind: click.IntRange | click.FloatRange) -> str:
    if kind.min is None:
        return ""
    if kind.max is None:
        return f" of {kind.min} or more"
    return (
        f" above {kind.min}, up to {kind.max}"
        if kind.min_open
        else f" from {kind.min} to {kind.max}"
    )
