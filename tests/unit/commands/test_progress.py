"""The progress of a prediction on a terminal and elsewhere."""

import io
from itertools import pairwise

import pytest

from app.commands.progress import LINE_EVERY_S, Progress

PLACE = "at 3, starts in 120 s, ends in 240 s"


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def run_steps(progress: Progress, now: list[float], step_s: float, steps: int) -> None:
    progress.show("waiting")
    progress.show("waiting", PLACE)
    for step in range(1, steps + 1):
        now[0] += step_s
        progress.show("generating", step=step, steps=steps)
    progress.close()


@pytest.mark.parametrize(
    ("step_s", "steps", "shown"),
    [(0.1, 4, [1, 4]), (LINE_EVERY_S, 4, [1, 2, 3, 4]), (LINE_EVERY_S / 8, 50, [1, 9, 17, 25, 33, 41, 49, 50])],
)  # fmt: skip
def test_elsewhere_lines_appear_at_a_limited_rate(step_s, steps, shown):
    """Without a terminal each stage is a line, and so are steps every two seconds and the last one."""
    stream, now = Stream(is_terminal=False), [0.0]
    run_steps(Progress(stream, lambda: now[0]), now, step_s, steps)

    assert stream.getvalue().splitlines() == [
        "waiting",
        f"waiting {PLACE}",
        *(f"generating, step {step} of {steps}" for step in shown),
    ]


@pytest.mark.parametrize("columns", [12, 20, 40, 80, 200])
def test_a_terminal_shows_one_line_that_fits(columns):
    """On a terminal no state of the line is wider than it, and each hides the one before."""
    stream, now = Stream(is_terminal=True), [0.0]
    run_steps(Progress(stream, lambda: now[0], lambda: columns), now, 0.1, 50)
    _, *states = stream.getvalue().removesuffix("\n").split("\r")

    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().count("\n") == 1
    assert all(len(state) < columns for state in states)
    assert all(len(after) >= len(before.rstrip()) for before, after in pairwise(states))
    assert not any("\x1b" in state for state in states)


def test_a_wide_terminal_shows_step_and_share():
    """The line has the number of the step, a bar and the share."""
    stream = Stream(is_terminal=True)
    Progress(stream, columns=lambda: 80).show("generating", step=25, steps=50)

    assert stream.getvalue() == f"\rgenerating, step 25 of 50  [{'#' * 18}{'-' * 18}]  50%"
