"""Provides the baseline of a prediction: calls the engine in a script, once for each line on stdin.

python -m benchmarks.bare_pipeline WEIGHTS SIDE
"""

import sys
import time
from pathlib import Path

from worker.engines import Order, open_engine

SIDE = 128


def main() -> None:
    """Load the engine, print `ready`, then generate one image a line and print the seconds."""
    weights, side = Path(sys.argv[1]), int(sys.argv[2])
    engine = open_engine(weights)
    engine.warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        order = Order(
            prompt=line.strip(), width=side, height=side, steps=4, guidance=1.0, seeds=(7,)
        )
        started = time.perf_counter()
        engine.generate(order, lambda _k, _n: None)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
