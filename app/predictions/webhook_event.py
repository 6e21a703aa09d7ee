"""Defines the events of a prediction that a webhook can be sent for."""

from enum import StrEnum


class WebhookEvent(StrEnum):
    """The events for which a webhook is sent."""

    START = "start"  # the first attempt began
    OUTPUT = "output"  # there are images, which is at the end
    LOGS = "logs"  # a step is done
    COMPLETED = "completed"  # the end
