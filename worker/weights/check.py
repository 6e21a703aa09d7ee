"""Checks a checkpoint as the worker does before it loads one: `python -P -m worker.weights.check FOLDER`.

Prints one line, and exits with 1 if a worker would refuse the folder. `klein doctor` runs it.
"""

import sys
from pathlib import Path

from worker.engines.errors import WeightsError
from worker.engines.folder import inspect_folder
from worker.engines.pipeline import silence_libraries
from worker.engines.tensor_check import check_tensors


def main() -> None:
    """Check the folder that the command line names."""
    path = Path(sys.argv[1])
    silence_libraries()
    try:
        folder = inspect_folder(path)
        check_tensors(path)
    except WeightsError as exc:
        print(exc)  # noqa: T201 -- the output of a command
        raise SystemExit(1) from None
    print(f"{folder.size_bytes / 1e6:,.0f} MB, complete")  # noqa: T201


if __name__ == "__main__":
    main()
