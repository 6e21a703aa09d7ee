"""Tests of daemon threads that are used again."""

import threading

from app.daemon_threads import DaemonThreads
from tests.support.api_client import until


def test_idle_thread_is_used_again():
    """Work after work runs in one thread, and beside stuck work in another one."""
    threads, names, release = DaemonThreads("test"), [], threading.Event()

    def work():
        names.append(threading.current_thread().ident)

    for count in (1, 2, 3):
        before = threads.idle_count
        threads.run(work)
        until(
            lambda count=count, before=before: (
                len(names) == count and threads.idle_count == max(before, 1)
            )
        )
    threads.run(release.wait)
    threads.run(work)
    until(lambda: len(names) == 4)
    release.set()

    assert len(set(names[:3])) == 1
    assert names[3] != names[0]
