"""The header `Cancel-After`, in every spelling that Replicate documents."""

from datetime import timedelta

import pytest

from app.dialects.replicate.lifetime import read_cancel_after
from app.predictions.errors import InvalidInput
from app.predictions.prediction import Timeouts

MAXIMUM = Timeouts(queue=timedelta(days=1), run=timedelta(hours=1))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("90s", 90), ("15m", 900), ("1m30s", 90), ("0h10m5", 605), (" 1h ", 3600)],
)
def test_duration_limits_waiting_and_running(text, seconds):
    """Units may be combined, and seconds need none."""
    lifetime = timedelta(seconds=seconds)

    assert read_cancel_after(text, MAXIMUM) == Timeouts(queue=lifetime, run=lifetime)


def test_server_has_the_last_word():
    """A longer time than the server allows is that of the server, and no header none of its own."""
    day = timedelta(days=1)

    assert read_cancel_after("48h", MAXIMUM) == MAXIMUM
    assert read_cancel_after("24h", MAXIMUM) == Timeouts(queue=day, run=MAXIMUM.run)
    assert read_cancel_after(None, MAXIMUM) is None


@pytest.mark.parametrize(
    "text", ["", "4", "0h", "soon", "-5", "5d", "1s1m", "9" * 99 + "s", "\u0665"]
)
def test_wrong_duration_is_refused(text):
    """Anything else is refused by name, and so is a time below five seconds."""
    with pytest.raises(InvalidInput, match="Cancel-After: send at least 5 seconds"):
        read_cancel_after(text, MAXIMUM)
