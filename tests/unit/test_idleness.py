"""The idle timer tells when an engine without work is unloaded."""

from worker.engine_client.idleness import IdleTimer


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def test_engine_is_unloaded_after_limit():
    """The time passes while nothing works, and not before its limit."""
    clock = Clock()
    timer = IdleTimer(900, clock)
    passed = []
    for seconds in (0, 899, 1):
        clock.now_s += seconds
        timer.look(is_working=False, completed=0)
        passed.append(timer.has_passed)

    assert passed == [False, False, True]


def test_work_starts_time_again():
    """Running work and work that has ended since the last look start the time again."""
    clock = Clock()
    timer = IdleTimer(900, clock)
    passed = []
    for is_working, completed in ((True, 0), (False, 1), (False, 1)):
        clock.now_s += 900
        timer.look(is_working=is_working, completed=completed)
        passed.append(timer.has_passed)

    assert passed == [False, False, True]


def test_engine_without_limit_stays_loaded():
    """Without a limit the time never passes."""
    clock = Clock()
    timer = IdleTimer(None, clock)
    clock.now_s += 1e9

    assert not timer.has_passed
