"""Attacks through bodies: JSON of many values, and bytes beside the body."""

import socket

from tests.abuse.attacks.attack import Attack, Target

VALUES = b"[" + b"{}," * 300_000 + b"{}]"
TRAILER = b"A: " + b"b" * 8000 + b"\r\n"
TRAILERS = 4096  # 32 MB


def _many_values(target: Target) -> None:
    with target.client() as client:
        client.post("/v1/prediction", content=VALUES)


def _trailers(target: Target) -> None:
    with socket.create_connection(target.address, timeout=30) as connection:
        connection.sendall(
            b"POST /v1/prediction HTTP/1.1\r\nHost: klein\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        )
        for _ in range(TRAILERS):
            connection.sendall(TRAILER)


ATTACKS = (
    Attack(kind="json", run=_many_values),
    Attack(kind="trailers", run=_trailers, is_of_stranger=True),
)
