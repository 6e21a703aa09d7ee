"""Makes one attempt: signs the body, posts it, and returns the result."""

from collections.abc import Callable
from datetime import datetime

from app.predictions.prediction import Webhook
from app.safe_http import SafeHttp, Unreachable
from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.sign import headers

ACKNOWLEDGE_S = 30.0
KEPT_BYTES = 1024  # of the response
CONTENT_HEADERS = {"Content-Type": "application/json", "User-Agent": "klein-webhooks/1"}
UNREACHABLE = "the receiver could not be reached, or did not answer in time"


def webhook_id(prediction_id: str) -> str:
    """Return the id of a delivery, the same in each attempt, by which receivers detect repeats."""
    return f"msg_{prediction_id}"


class Sender:
    """Posts webhooks."""

    def __init__(
        self, outbound: SafeHttp, clock: Callable[[], datetime], within_s: float = ACKNOWLEDGE_S
    ) -> None:
        self._outbound = outbound
        self._clock = clock
        self._within_s = within_s

    async def post(self, prediction_id: str, webhook: Webhook, body: bytes) -> DeliveryAttempt:
        """Post a body once; the attempt contains any error."""
        at = self._clock()
        signed = headers(
            webhook_id(prediction_id),
            webhook.secret,
            body,
            int(at.timestamp()),
            sends_secret=webhook.sends_secret,
        )
        try:
            reply = await self._outbound.send(
                "POST",
                webhook.url,
                headers=CONTENT_HEADERS | signed,
                content=body,
                max_bytes=KEPT_BYTES,
                within_s=self._within_s,
            )
        except Unreachable:
            return DeliveryAttempt(at=at, error=UNREACHABLE)
        attempt = DeliveryAttempt(
            at=at, status_code=reply.status, response=reply.body.decode("utf-8", "replace")
        )
        if attempt.is_acknowledged:
            return attempt
        return DeliveryAttempt(
            at=at,
            status_code=reply.status,
            response=attempt.response,
            error=f"the receiver answered {reply.status}",
        )
