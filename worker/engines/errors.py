"""The errors of an engine. The first line of each docstring is the default message, which a caller may read.

EngineError
├── WeightsError        the weights cannot be served
├── UnusableSetting     this machine cannot run the engine with these settings
├── DeviceLost          only a new process can use the device again
├── Cancelled           the caller cancelled the request
└── RequestFailed       one request failed with a cause, and the engine serves the next one
    ├── EngineFault     the model produced no usable image
    │   └── InvalidOutput   the output is not an image, twice
    ├── UnusableLora    a LoRA is missing or does not fit the model
    ├── Withheld        the safety checker found unsafe content
    ├── OutOfMemory     the request needs more memory than the device has
    └── TimedOut        the request reached its run timeout
"""

from app.predictions.failure import Cause, Failure


class EngineError(Exception):
    """The engine could not do what it was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])


class WeightsError(EngineError):
    """The weights cannot be served; point KLEIN_WEIGHTS at a FLUX.2 [klein] checkpoint."""


class UnusableSetting(EngineError):
    """The engine cannot run as it is set on this machine; change the setting."""


class DeviceLost(EngineError):
    """The device failed; the engine restarts."""


class Cancelled(EngineError):
    """The request was cancelled before its last step."""


class RequestFailed(EngineError):
    """The request failed; try again."""

    cause = Cause.ENGINE

    def __init__(self, message: str | None = None, cause: Cause | None = None) -> None:
        super().__init__(message)
        if cause is not None:
            self.cause = cause

    @property
    def failure(self) -> Failure:
        """The cause and message as the prediction records them."""
        return Failure(cause=self.cause, message=str(self))


class EngineFault(RequestFailed):
    """The model did not produce a usable image; try again, or with another seed."""


class InvalidOutput(EngineFault):
    """The model's output is not an image; try again, or with another seed."""


class UnusableLora(RequestFailed):
    """The LoRA is not on this server or does not fit its model; name another one."""

    cause = Cause.INPUT


class Withheld(RequestFailed):
    """The safety checker withholds the image; change the prompt."""

    cause = Cause.WITHHELD


class OutOfMemory(RequestFailed):
    """The device has too little memory for this request; ask for fewer or smaller images."""

    cause = Cause.OUT_OF_MEMORY


class TimedOut(RequestFailed):
    """The request took longer than it may; ask for fewer steps, or fewer or smaller images."""

    cause = Cause.TIMEOUT
