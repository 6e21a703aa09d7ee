"""The fixed engine with images of 0.2 s, as a GPU draws them in a few steps."""

import sys

from benchmarks.fixed_engine import serve_fixed

STEPS = 4
IMAGE_S = 0.2

if __name__ == "__main__":
    sys.exit(serve_fixed(IMAGE_S / STEPS))
