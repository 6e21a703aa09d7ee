"""Downloads the checkpoint and components that the command line names: `python -P -m worker.weights.pull --weights …`.

`klein pull` runs it.
"""

import argparse
import sys
from typing import Any

from tqdm import tqdm

from app.log_format import LogFormat
from app.logs import configure_logs
from worker.engines.errors import EngineError
from worker.engines.tensor_names import Component
from worker.weights.locate import REPORT_S, Report, locate_components, locate_weights, log_progress
from worker.weights.progress import Progress

_BAR_S = 0.5  # between two updates


def main() -> None:
    """Download what is missing, and print the folders and files."""
    arguments = _parse_arguments()
    configure_logs("pull", LogFormat(arguments.log_format))
    is_terminal = sys.stderr.isatty()
    report, report_s = (_bar(), _BAR_S) if is_terminal else (log_progress, REPORT_S)
    try:
        components = locate_components(
            {component: getattr(arguments, component.value) for component in Component},
            report=report,
            report_s=report_s,
        )
        models = [("MODEL", model) for model in arguments.model]
        for name, setting in models + [("KLEIN_WEIGHTS", weights) for weights in arguments.weights]:
            weights = locate_weights(
                setting, name=name, replaced=components, report=report, report_s=report_s
            )
            print(weights)  # noqa: T201 -- the output of a command
    except EngineError as exc:
        raise SystemExit(f"klein pull: {exc}") from None
    for path in components.values():
        print(path)  # noqa: T201 -- as above


def _bar() -> Report:
    """Return a report that draws a progress bar on the terminal."""
    bars: dict[str, Any] = {}

    def report(setting: str, progress: Progress) -> None:
        if setting not in bars:
            bars[setting] = tqdm(
                total=progress.total_bytes, unit="B", unit_scale=True, desc=setting
            )
        bar = bars[setting]
        bar.update(progress.done_bytes - bar.n)
        if progress.done_bytes >= progress.total_bytes:
            bar.close()

    return report


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker.weights.pull", description=main.__doc__)
    for name in ("--model", "--weights"):
        parser.add_argument(name, action="append", default=[])
    parser.add_argument("--log-format", default="auto")
    for component in Component:
        parser.add_argument(f"--{component.replace('_', '-')}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
