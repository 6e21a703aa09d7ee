"""Signs webhooks. Does no I/O.

The hosted API sends the secret itself as `X-Webhook-Secret`. klein adds `X-Webhook-Signature`, the hex HMAC-SHA256 of
`timestamp.body`, and the three headers of standardwebhooks.com. Its libraries expect a base64 key. A secret other than
`whsec_` and base64 is used as the key unchanged, so give the library `"whsec_" + base64(secret)`.
"""

import base64
import hashlib
import hmac

PREFIX = "whsec_"


def headers(
    webhook_id: str, secret: str | None, body: bytes, timestamp_s: int, *, sends_secret: bool = True
) -> dict[str, str]:
    """Return the signature headers of an attempt. `sends_secret` adds those of the hosted API."""
    plain = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp_s)}
    if secret is None:
        return plain
    signed = f"{timestamp_s}.".encode() + body
    standard = hmac.digest(_key(secret), f"{webhook_id}.".encode() + signed, "sha256")
    plain["webhook-signature"] = f"v1,{base64.b64encode(standard).decode()}"
    if not sends_secret:
        return plain
    return plain | {
        "X-Webhook-Secret": secret,
        "X-Webhook-Timestamp": str(timestamp_s),
        "X-Webhook-Signature": hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest(),
    }


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix(PREFIX)
    if encoded == secret or not encoded:
        return secret.encode()
    try:
        # libraries also accept keys without padding
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        return secret.encode()
