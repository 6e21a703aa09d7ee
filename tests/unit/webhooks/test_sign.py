"""Tests of webhook signatures against the library that receivers use."""

import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.webhooks.sign import headers

BODY = '{"exec_id":"p","output":"ü"}'.encode()
KEY = b"thirty-two bytes of a secret key"
STANDARD = "whsec_" + base64.b64encode(KEY).decode()


def signed(secret, body=BODY):
    return headers("msg_p", secret, body, int(time.time()))


@pytest.mark.parametrize("secret", [STANDARD, STANDARD.rstrip("=")])
def test_standard_secret_verifies_unchanged(secret):
    """A `whsec_` secret verifies unchanged, padded or not."""
    assert Webhook(secret).verify(BODY, signed(secret))["exec_id"] == "p"


@pytest.mark.parametrize("secret", ["hush", "a/b+c=", "whsec_not base64", "whsec_ä", "whsec_"])
def test_other_secret_verifies_encoded(secret):
    """Any other secret verifies as `whsec_` and its base64."""
    encoded = "whsec_" + base64.b64encode(secret.encode()).decode()

    assert Webhook(encoded).verify(BODY, signed(secret))["exec_id"] == "p"


def test_changed_body_does_not_verify():
    """A signature does not verify a changed body."""
    with pytest.raises(WebhookVerificationError):
        Webhook(STANDARD).verify(BODY.replace(b"p", b"q"), signed(STANDARD))


def test_hosted_headers():
    """The hosted headers have the secret itself, and the hex HMAC of timestamp and body."""
    sent = headers("msg_p", "hush", BODY, 1234)
    expected = hmac.new(b"hush", b"1234." + BODY, hashlib.sha256).hexdigest()

    assert sent["X-Webhook-Secret"] == "hush"
    assert sent["X-Webhook-Timestamp"] == sent["webhook-timestamp"] == "1234"
    assert sent["X-Webhook-Signature"] == expected


def test_secret_header_is_optional():
    """Without the secret header, the standard headers verify and the hosted ones are missing."""
    sent = headers("msg_p", STANDARD, BODY, int(time.time()), sends_secret=False)

    assert Webhook(STANDARD).verify(BODY, sent)["exec_id"] == "p"
    assert [name for name in sent if not name.startswith("webhook-")] == []


def test_without_secret_nothing_is_signed():
    """Without a secret there are only the id and the timestamp."""
    assert headers("msg_p", None, BODY, 5) == {"webhook-id": "msg_p", "webhook-timestamp": "5"}
