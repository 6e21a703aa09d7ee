"""Counts what clients send to Redis, by MONITOR."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

BY_TIME = ("CLIENT", "HELLO", "SCRIPT", "TIME", "ZMSCORE", "SUBSCRIBE", "UNSUBSCRIBE")
"""Commands that are sent for a connection, a worker or a second, whatever the number of predictions."""
OF_WORKERS = ("klein:worker", "rq:worker", "klein:keys")
"""Keys of what changes by time, too."""
READS = {
    "GET", "MGET", "HGETALL", "TIME", "ZRANGE", "ZCARD", "ZSCORE", "EXISTS", "HLEN", "HGET", "LLEN"
}  # fmt: skip
END = "klein:end-of-count"


class Count:
    """What clients send: each script with its commands, and each transaction, is one call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []  # without those that belong to no prediction
        self.by_time: list[list[str]] = []  # those

    @property
    def writes(self) -> int:
        """How many calls Redis syncs to disk before it replies."""
        passive = READS | {"PUBLISH", "EVALSHA", "MULTI", "EXEC"}
        return sum(any(c.split()[0].upper() not in passive for c in call) for call in self.calls)


@contextmanager
def counting(connection) -> Iterator[Count]:
    """Count what all clients send to Redis while the body runs."""
    count = Count()
    begun = threading.Event()

    def listen() -> None:
        is_transaction = False
        with connection.monitor() as monitor:
            begun.set()
            for line in monitor.listen():
                command = line["command"]
                if END in command:
                    return
                if line["client_type"] == "lua" or is_transaction:
                    count.calls[-1].append(command)
                else:
                    count.calls.append([command])
                is_transaction = (is_transaction or command == "MULTI") and command != "EXEC"

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    begun.wait()
    yield count
    connection.get(END)
    thread.join()
    count.by_time = [call for call in count.calls if is_by_time(call)]
    count.calls = [call for call in count.calls if not is_by_time(call)]


def is_by_time(call: list[str]) -> bool:
    """Return whether a call belongs to no prediction."""
    is_outlook = "klein:samples" in call[0] and "klein:turns" in call[0]  # once a second
    return (
        is_outlook
        or call[0].startswith(BY_TIME)
        or any(key in c for c in call for key in OF_WORKERS)
    )
