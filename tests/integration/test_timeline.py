"""The timeline of a prediction with a webhook, over HTTP and on a real Redis."""

from datetime import timedelta

from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.outbox import Outbox
from tests.integration.test_delete import create, system

__all__ = ["system"]  # a fixture


def test_timeline_includes_acknowledgement(system):
    """`told` and the total grow by the time from the end to the first 2xx response, and by nothing before."""
    with system.client() as client:
        prediction_id = create(client)
        system.rig.work()
        ended = system.rig.ended(prediction_id)
        outbox = Outbox(system.connection, system.rig.store, (timedelta(seconds=1),))
        second = timedelta(seconds=1)

        def timeline():
            return client.get(f"/v1/prediction/{prediction_id}/timeline").json()

        before = timeline()
        outbox.record(ended, DeliveryAttempt(at=ended.finished_at + second, status_code=500))
        refused = timeline()
        acknowledgement = DeliveryAttempt(
            at=ended.finished_at + 2 * second, took=second, status_code=204
        )
        outbox.record(ended, acknowledgement)
        after = timeline()

    assert refused == before
    assert after["total_ms"] == before["total_ms"] + 3000
    assert after["stages"][-1]["ms"] - before["stages"][-1]["ms"] == 3000
