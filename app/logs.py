"""Configures structured logs: one event per line, as JSON or as text. No prompts, keys or signatures."""

import json
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from app.log_format import LogFormat
from app.structlog_alone import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()
_EVENT_WIDTH = 20  # characters


def configure_logs(process: str, log_format: LogFormat = LogFormat.AUTO) -> None:
    """Send this process's events to standard error. In JSON each has the process's name."""
    is_text = log_format.settle() is LogFormat.TEXT
    structlog.configure(
        processors=_text_processors() if is_text else _json_processors(process),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # RQ and uvicorn log what klein logs as events: keep only their warnings
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryHandler()])
    logging.getLogger("rq").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_crash
    threading.excepthook = lambda crash: _log_crash(
        crash.exc_type, crash.exc_value, crash.exc_traceback
    )


class _LibraryHandler(logging.Handler):
    """Logs the messages of libraries as events, so that each is one line in the format of the others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one message."""
        try:
            message = record.getMessage().strip()
        except (TypeError, ValueError):  # the library passed wrong arguments
            message = str(record.msg)
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        log.log(record.levelno, "library_message", logger=record.name, message=message, **fields)


def _log_crash(
    kind: type[BaseException], exc: BaseException | None, trace: TracebackType | None
) -> None:
    """Log the error that ends a process or a thread."""
    if issubclass(kind, Exception):
        log.critical("crashed", exc_info=(kind, exc, trace))


def _json_processors(process: str) -> list[structlog.typing.Processor]:
    encoder = json.JSONEncoder(default=repr)

    def write_json(
        logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.ProcessorReturnValue:
        """Do in one step what structlog does in four with three layers of JSON: each line is on the way of a caller."""
        event["process"] = process
        event["level"] = "error" if method == "exception" else method
        event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        return encoder.encode(event)

    return [write_json]


def _text_processors() -> list[structlog.typing.Processor]:
    return [
        _name_bad_levels,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
            pad_event_to=_EVENT_WIDTH,
            pad_level=False,
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _name_bad_levels(
    _logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if method != "info":
        event["level"] = method
    return event
