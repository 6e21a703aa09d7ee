"""Extends uvicorn's server: logs when it listens, and ends long polls before shutdown, which would otherwise end in a 500."""

import socket
from datetime import timedelta

import uvicorn

from app.logs import log
from app.predictions.service import Service

FINISHING = 0.8  # of the grace period, after which calls that wait for an end get an error


class Server(uvicorn.Server):
    """Releases waiters at shutdown, and lets other requests finish."""

    def __init__(self, config: uvicorn.Config, service: Service, grace: timedelta) -> None:
        super().__init__(config)
        self._service = service
        self._grace_s = grace.total_seconds()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and log that requests are answered from now on."""
        await super().startup(sockets)
        if self.started:
            log.info("api_ready", host=self.config.host, port=self.config.port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Release all waiters, then close the server."""
        self._service.release_waiters(self._grace_s * FINISHING)
        await super().shutdown(sockets)
