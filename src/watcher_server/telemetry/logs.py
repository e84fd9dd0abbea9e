"""What log lines look like, as text for people or as JSON for programs."""

import copy
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pythonjsonlogger.core import LogData
from pythonjsonlogger.json import JsonFormatter

from watcher_server.kit.text import escape_controls
from watcher_server.settings import Settings
from watcher_server.telemetry.context import log_fields
from watcher_server.telemetry.redaction import redact

logger = logging.getLogger(__name__)


class JsonLogFormatter(JsonFormatter):
    """One JSON object per line.

    ``timestamp`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``; ``request_id``, ``task_id``, ``task_name``,
    ``pipeline_id``, ``execution_id`` and ``exception`` where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line; JSON itself escapes what is not ASCII, and every control character but DEL."""
        return super().format(record).replace("\x7f", "\\u007f")

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill the object, without the attributes that libraries attach to a record for their own formatters."""
        log_data["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = redact(record.getMessage())
        # A line of a worker's main process names the task that it is about; that process itself runs none.
        about = getattr(record, "data", None)
        if isinstance(about, dict) and {"id", "name"} <= about.keys():
            log_data.update(task_id=about["id"], task_name=about["name"])
        log_data.update(log_fields())
        if "exc_info" in message_dict:
            log_data["exception"] = redact(message_dict["exc_info"])


class TextFormatter(logging.Formatter):
    """Text, with what the line belongs to before its message; to be mixed with other formatters.

    Secrets are hidden, and control characters of the message and the traceback escaped: the colours of a terminal are
    for the other formatter to choose. ``names_task`` says that the other formatter names the task by itself.
    """

    names_task = False

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return redact(super().format(self._with_context(record)))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback."""
        return escape_controls(super().formatException(ei), keep_layout=True)

    def _with_context(self, record: logging.LogRecord) -> logging.LogRecord:
        fields = log_fields()
        original = record.getMessage()
        message = escape_controls(original, keep_layout=True)
        task_id = fields.get("task_id")
        words = []
        if task_id and not self.names_task and str(task_id) not in message:
            words.append(f"{fields['task_name']}[{task_id}]")
        if "request_id" in fields:
            words.append(f"request {fields['request_id']}")
        if words:
            message = f"{' '.join(words)}: {message}"
        if message == original:
            return record
        changed = copy.copy(record)
        changed.msg, changed.args = message, None
        # Uvicorn's second copy of the message, for terminals.
        changed.__dict__.pop("color_message", None)
        return changed


class PlainFormatter(TextFormatter):
    """Text for processes that have no log format of their own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")


class _SecretsHidden(logging.Filter):
    """Takes secrets out of the URLs of an access log, which has a formatter of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redact(value) if isinstance(value, str) else value for value in record.args)
        return True


# `watcher api` writes no access log; a uvicorn that was started by hand does.
logging.getLogger("uvicorn.access").addFilter(_SecretsHidden())


def configure_logging(settings: Settings) -> None:
    """Log to stderr in the configured format, unless the logging of this process is configured already."""
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonLogFormatter())
        log_uncaught_errors()
    else:
        handler.setFormatter(PlainFormatter())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])


def say(sentence: str, settings: Settings) -> None:
    """Print a sentence to stderr in the configured format, before logging is set up."""
    if settings.log_format == "json":
        fields = {"name": "watcher", "levelno": logging.WARNING, "levelname": "WARNING", "msg": sentence}
        line = JsonLogFormatter().format(logging.makeLogRecord(fields))
    else:
        line = redact(escape_controls(f"watcher: {sentence}", keep_layout=True))
    sys.stderr.write(f"{line}\n")


def log_uncaught_errors() -> None:
    """Log warnings, and errors that end a thread or the process; Python itself would print them as plain text."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logger.critical("The process ends: %s", error, exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None or issubclass(ended.exc_type, SystemExit):
        return
    name = ended.thread.name if ended.thread is not None else "A thread"
    about = ended.exc_type, ended.exc_value, ended.exc_traceback
    logger.critical("%s ends: %s", name, ended.exc_value, exc_info=about)
