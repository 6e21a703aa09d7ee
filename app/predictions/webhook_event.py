"""Defines the events of a prediction that a webhook can be sent for."""

from enum import StrEnum


class WebhookEvent(StrEnum):
    """What a receiver is told."""

    START = "start"  # the first attempt began
    OUTPUT = "output"  # there are images, which is at the end
    LOGS = "logs"  # a step is done
    COMPLETED = "completed"  # the end
