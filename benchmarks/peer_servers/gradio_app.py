"""Gradio: an interface whose function does the job, called by its HTTP API."""

import sys
from tempfile import NamedTemporaryFile

import gradio

from benchmarks.peer_servers.job import draw


def answer(prompt: str) -> str:
    """Draw, and return the path of the PNG."""
    with NamedTemporaryFile(suffix=".png", delete=False) as file:
        file.write(draw(prompt))
    return file.name


if __name__ == "__main__":
    interface = gradio.Interface(
        answer, gradio.Textbox(), gradio.Image(type="filepath"), api_name="draw"
    )
    interface.queue(default_concurrency_limit=1)
    interface.launch(server_port=int(sys.argv[1]), quiet=True)
