"""uvicorn's server, which sends home who waits before it leaves: it would cut them off at the end, with a 500."""

import socket
from datetime import timedelta

import uvicorn

from app.predictions.service import Service

FINISHING = 0.8  # of the grace may pass before who waits for an end hears that there will be none


class Server(uvicorn.Server):
    """Serves until told to stop; then long polls and streams end at once, and what runs may finish."""

    def __init__(self, config: uvicorn.Config, service: Service, grace: timedelta) -> None:
        super().__init__(config)
        self._service = service
        self._grace_s = grace.total_seconds()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and answer what is open."""
        self._service.release_waiters(self._grace_s * FINISHING)
        await super().shutdown(sockets)
