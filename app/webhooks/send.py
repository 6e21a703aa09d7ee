"""Makes one attempt: signs the body, posts it, and returns the result."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from app.predictions.prediction import Webhook
from app.safe_http import Resolution, SafeHttp, Unreachable
from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.messages import Message
from app.webhooks.sign import headers

ACKNOWLEDGE_S = 30.0
PROGRESS_S = 10.0  # for a message before the end, which the end waits for
KEPT_BYTES = 1024  # of the response
CONTENT_HEADERS = {"Content-Type": "application/json", "User-Agent": "klein-webhooks/1"}
UNREACHABLE = "the receiver could not be reached, or did not answer in time"


class Sender:
    """Posts webhooks."""

    def __init__(
        self, http: SafeHttp, clock: Callable[[], datetime], within_s: float = ACKNOWLEDGE_S
    ) -> None:
        self._http = http
        self._clock = clock
        self._within_s = within_s

    async def resolve(self, webhook: Webhook, key_id: str) -> Resolution:
        """Resolve the receiver. Raises LookupsBusy if the key has too many look-ups in progress."""
        return await self._http.resolve(webhook.url, key_id)

    async def post(
        self, message: Message, webhook: Webhook, body: bytes, receiver: Resolution
    ) -> DeliveryAttempt:
        """Post a body once. The attempt contains any error."""
        at = self._clock()
        signature_headers = headers(
            message.id,
            webhook.secret,
            body,
            int(at.timestamp()),
            sends_secret=webhook.sends_secret,
        )
        try:
            reply = await self._http.send(
                "POST",
                webhook.url,
                headers=CONTENT_HEADERS | signature_headers,
                content=body,
                max_bytes=KEPT_BYTES,
                within_s=self._within_s if message.is_end else min(self._within_s, PROGRESS_S),
                resolution=receiver,
            )
        except Unreachable:
            return DeliveryAttempt(at=at, error=UNREACHABLE)
        attempt = DeliveryAttempt(
            at=at,
            took=self._clock() - at,
            status_code=reply.status,
            response=reply.body.decode("utf-8", "replace"),
        )
        if attempt.is_acknowledged:
            return attempt
        return replace(attempt, error=f"the receiver answered {reply.status}")
