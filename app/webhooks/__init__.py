"""Webhooks: what is owed to whom, when it is sent, how it is signed, and what came of it."""
