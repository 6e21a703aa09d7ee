"""Configures structured logs: one event per line, as JSON or as text; no prompts, keys or signatures."""

import logging
import os
import sys

from app.log_format import LogFormat
from app.structlog_alone import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger()
_EVENT_WIDTH = 20  # characters


def configure_logs(process: str, log_format: LogFormat = LogFormat.AUTO) -> None:
    """Send this process's events to standard error; in JSON each has the process's name."""
    is_text = log_format.settle() is LogFormat.TEXT
    structlog.configure(
        processors=_text_processors() if is_text else _json_processors(process),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # RQ and uvicorn log what klein logs as events: keep only their warnings
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("rq").setLevel(logging.WARNING)


def _json_processors(process: str) -> list[structlog.typing.Processor]:
    def name_process(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return [
        name_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]


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
