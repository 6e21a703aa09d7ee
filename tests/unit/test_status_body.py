"""The body of `GET /v1/status`."""

from datetime import timedelta

import pytest

from app.api.status_body import status_body
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.stats import SystemStats, Waiting


@pytest.mark.parametrize(
    ("expected_wait", "shown"),
    [(None, None), (timedelta(0), 0.0), (timedelta(seconds=2.34), 2.3)],
)
def test_no_wait_differs_from_an_unknown_one(expected_wait, shown):
    """A prediction that starts at once has a wait of 0; without an estimate there is none."""
    line = Waiting(count=0, oldest=timedelta(0), expected_wait=expected_wait)
    stats = SystemStats(
        waiting={CheckpointKind.DISTILLED: line}, running=0, workers=[], webhooks=0, overdue=0
    )

    assert status_body(stats).queues[0].expected_wait_s == shown
