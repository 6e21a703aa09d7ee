"""LitServe: one worker process does the job."""

import sys
from typing import Any

import litserve
from fastapi import Response

from benchmarks.peer_servers.job import load_job


class Draw(litserve.LitAPI):
    """Draws."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self._draw = load_job()

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take the request as it is."""
        return request

    def predict(self, request: dict[str, Any]) -> bytes:
        """Draw the PNG."""
        return self._draw(request["prompt"], request["width"], request["height"])

    def encode_response(self, output: bytes) -> Response:
        """Return the PNG."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(Draw(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
