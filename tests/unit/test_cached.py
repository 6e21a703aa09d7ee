"""Values that are kept for a moment."""

from app.cached import SOON_S, Cached


def test_fresh_value_is_returned_at_once():
    """A value is fresh until shortly before `get` would make it again."""
    now = [0.0]
    cached = Cached(lambda: now[0], keep_s=1.0, clock=lambda: now[0])

    assert not cached.is_fresh
    assert cached.get() == 0
    assert cached.is_fresh
    now[0] = 1.0 - SOON_S
    assert not cached.is_fresh
    assert cached.get() == 0
    now[0] = 1.0
    assert cached.get() == 1
