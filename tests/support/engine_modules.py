"""Runs the engine process until it has drawn an image from another one, and prints the names of its modules.

`python -m tests.support.engine_modules WEIGHTS` takes the place of both the worker and the process.
"""

import io
import os
import socket
import sys
import threading

from PIL import Image

from worker.engine_process.connection import EngineConnection
from worker.engine_process.main import main
from worker.engine_process.protocol import Done, Generate, Ready
from worker.engines import Order


def draw(connection: EngineConnection) -> None:
    """Wait for the engine, send it one order, wait for the image, and end the process."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    order = Order(
        prompt="a red circle",
        width=64,
        height=64,
        steps=2,
        guidance=1.0,
        seeds=(1,),
        reference_files=(file.getvalue(),),
        previews=True,
    )
    _wait_for(connection, Ready)
    connection.send(Generate(id="1", order=order))
    _wait_for(connection, Done)
    sys.stdout.write(" ".join(sorted(sys.modules)))
    sys.stdout.flush()
    os._exit(0)


def _wait_for(connection: EngineConnection, kind: type) -> None:
    message, _fd = connection.receive(60)
    while not isinstance(message, kind):
        message, _fd = connection.receive(60)


if __name__ == "__main__":
    ours, theirs = socket.socketpair()
    threading.Thread(target=draw, args=(EngineConnection(ours),), daemon=True).start()
    ends = ["--fd", str(theirs.detach()), "--parent", str(os.getppid())]
    sys.argv[1:] = ["--weights", sys.argv[1], *ends]
    main()
