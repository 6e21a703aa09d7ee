"""Shows the progress of a prediction on stderr: a bar that is drawn again on a terminal, elsewhere lines."""

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

import click

BAR_WIDTH = 36  # characters
BAR_MIN_WIDTH = 8
LINE_EVERY_S = 2.0  # between lines of the same stage; a log should stay short


class Progress:
    """The stage of a prediction, such as `generating`, and its steps. `close` ends the line of a terminal."""

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream is not None and self._stream.isatty()
        self._clock = clock
        self._columns = columns
        self._kind = (
            "",
            False,
            False,
        )  # of the last line: the stage, what it says, whether it is the last step
        self._steps = ("", 0)  # the stage, and how many steps it has
        self._shown = ""  # on the line of a terminal, or in the last line
        self._shown_at = float("-inf")

    def show(self, stage: str, about: str = "", step: int = 0, steps: int = 0) -> None:
        """Show a stage, more about it, and how many of its steps are done."""
        self._steps = (stage, steps)
        done = f"step {step} of {steps}" if steps else ""
        text = ", ".join(filter(None, (f"{stage} {about}".rstrip(), done)))
        if self._is_terminal:
            self._draw(text, step / steps if steps else None)
            return
        kind = (stage, bool(about), bool(steps) and step == steps)
        is_due = kind != self._kind or self._clock() - self._shown_at >= LINE_EVERY_S
        if text != self._shown and is_due:
            click.echo(text, file=self._stream, err=True)
            self._kind, self._shown, self._shown_at = kind, text, self._clock()

    def finish(self) -> None:
        """Show that all steps are done, if there were any: the last one may come with the end."""
        stage, steps = self._steps
        if steps:
            self.show(stage, step=steps, steps=steps)

    def close(self) -> None:
        """End the line of a terminal, so that what follows begins a new one."""
        if self._is_terminal and self._shown:
            click.echo(file=self._stream, err=True)
        self._shown = ""

    def _draw(self, text: str, share: float | None) -> None:
        """Draw the line again. It must fit: a terminal that wraps it keeps the rows above."""
        width = self._columns() - 1
        bar_width = min(BAR_WIDTH, width - len(text) - len("  [] 100%"))
        if share is not None and bar_width >= BAR_MIN_WIDTH:
            full = round(share * bar_width)
            text += f"  [{'#' * full}{'-' * (bar_width - full)}] {share:4.0%}"
        text = text[:width]
        click.echo(
            f"\r{text:{min(len(self._shown), width)}}", file=self._stream, err=True, nl=False
        )
        self._shown = text
