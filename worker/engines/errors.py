"""What can go wrong inside an engine; each docstring is the message a caller may read.

EngineError
├── WeightsError    the weights folder cannot be served
├── UnusableSetting this machine cannot run the engine as it is set
├── EngineFault     one picture failed, the engine is fine
│   └── InvalidOutput   the model drew what is no picture, twice
├── UnusableLora    a LoRA of the order is missing or does not fit, the engine is fine
├── Withheld        the safety checker found something, the engine is fine
├── OutOfMemory     one order was too large, the engine is fine
├── TimedOut        one order took longer than it may
├── DeviceLost      the device is in a state that only a new process cures
└── Cancelled       the caller asked to stop
"""


class EngineError(Exception):
    """The engine could not do what it was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])


class WeightsError(EngineError):
    """The weights folder cannot be served; point KLEIN_WEIGHTS at a Flux2KleinPipeline folder."""


class UnusableSetting(EngineError):
    """The engine cannot run as it is set on this machine; change the setting."""


class EngineFault(EngineError):
    """The model did not produce a usable picture; try again, or with another seed."""


class InvalidOutput(EngineFault):
    """The model's output is no picture; try again, or with another seed."""


class UnusableLora(EngineError):
    """The LoRA is not on this server or does not fit its model; name another one."""


class Withheld(EngineError):
    """The safety checker withholds the picture; change the prompt."""


class OutOfMemory(EngineError):
    """The device has too little memory for this request; ask for fewer or smaller images."""


class TimedOut(EngineError):
    """The order took longer than it may; ask for fewer steps, or fewer or smaller images."""


class DeviceLost(EngineError):
    """The device failed; the engine restarts."""


class Cancelled(EngineError):
    """The order was cancelled before its last step."""
