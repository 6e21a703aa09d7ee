"""LitServe: one worker process does the job."""

import sys
from typing import Any

import litserve
from fastapi import Response

from benchmarks.peer_servers.job import draw


class Draw(litserve.LitAPI):
    """Draws."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request: dict[str, Any]) -> str:
        """Read the prompt."""
        return str(request["prompt"])

    def predict(self, prompt: str) -> bytes:
        """Draw the PNG."""
        return draw(prompt)

    def encode_response(self, output: bytes) -> Response:
        """Return the PNG."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(Draw(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
