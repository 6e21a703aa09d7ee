"""The jobs that every server can do: one waits as a GPU would, the other one draws with the built-in model."""

import io
import os
import threading
import time
from collections.abc import Callable

from PIL import Image

JOB_S = 0.06
SIDE = 64  # px, of what the waiting job returns
SEED = 7  # of every picture
PICTURES = "pictures"
"""The value of PEER_JOB that selects the built-in model."""
_gpu = threading.Lock()  # one job at a time


def load_job() -> Callable[[str, int, int], bytes]:
    """Return the job: a function of a prompt, a width and a height, which returns a PNG."""
    if os.environ.get("PEER_JOB") != PICTURES:
        return draw
    from benchmarks.peer_servers.pictures import load_pipeline  # noqa: PLC0415 -- imports torch

    pipeline = load_pipeline()

    def draw_alone(prompt: str, width: int, height: int) -> bytes:
        with _gpu:
            return pipeline(prompt, width, height)

    return draw_alone


def draw(prompt: str, width: int = SIDE, height: int = SIDE) -> bytes:
    """Wait 60 ms without the processor, and draw a PNG whose colour depends on the prompt."""
    with _gpu:
        time.sleep(JOB_S)
    file = io.BytesIO()
    Image.new("RGB", (width, height), (len(prompt) % 256, 0, 0)).save(file, "PNG")
    return file.getvalue()
