"""Tests of daemon threads that are used again."""

import threading

from app.daemon_threads import DaemonThreads
from tests.support.api_client import until


def test_idle_thread_is_used_again():
    """Work after work runs in one thread, and beside stuck work in another one."""
    threads, names, release = DaemonThreads("test"), [], threading.Event()

    def work() -> None:
        names.append(threading.current_thread().ident)

    def stick() -> None:
        release.wait()

    for _ in range(3):
        threads.run(work)
        until(lambda: threads.idle_count == 1)
    threads.run(stick)
    threads.run(work)
    until(lambda: len(names) == 4)
    release.set()

    assert len(set(names[:3])) == 1
    assert names[3] != names[0]
