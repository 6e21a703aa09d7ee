"""Signs and delivers webhooks, and records the attempts."""
