"""The logs of workers and beat: Celery's, in the configured format."""

import logging
from typing import Any

from celery import signals
from celery.app.log import TaskFormatter
from celery.utils.log import ColorFormatter, get_multiprocessing_logger

from watcher_server.settings import get_settings
from watcher_server.telemetry.logs import JsonLogFormatter, TextFormatter, configure_logging, log_uncaught_errors


class WorkerFormatter(TextFormatter, ColorFormatter):
    """Text as Celery writes it."""


class WorkerTaskFormatter(TextFormatter, TaskFormatter):
    """Text of the loggers of tasks, as Celery writes it."""

    names_task = True


def install() -> None:
    """Format Celery's logs as configured, once Celery has set them up.

    The specification asks for it: "Log all errors with context".
    """
    signals.after_setup_logger.connect(_format_log)
    signals.after_setup_task_logger.connect(_format_task_log)
    signals.celeryd_init.connect(_begin_in_json)


def _format_log(logger: logging.Logger, format: str, colorize: bool, **_: Any) -> None:  # noqa: A002 - Celery's name
    if _wants_json():
        log_uncaught_errors()
    for each in filter(None, (logger, get_multiprocessing_logger())):
        _set_formatter(each, WorkerFormatter(format, use_color=colorize))


def _format_task_log(logger: logging.Logger, format: str, colorize: bool, **_: Any) -> None:  # noqa: A002 - as above
    _set_formatter(logger, WorkerTaskFormatter(format, use_color=colorize))


def _set_formatter(logger: logging.Logger, text: logging.Formatter) -> None:
    for handler in logger.handlers:
        handler.setFormatter(JsonLogFormatter() if _wants_json() else text)


def _begin_in_json(instance: Any, **_: Any) -> None:
    """Leave out the banner, and log as JSON already before Celery sets up its log."""
    if _wants_json():
        instance.quiet = True
        configure_logging(get_settings())


def _wants_json() -> bool:
    return get_settings().log_format == "json"
