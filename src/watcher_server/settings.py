"""Every setting of Watcher, read once from the environment.

What stands below each field is shown to people, and is its row in the settings table of ``docs/settings.md``; a test
compares the two.
"""

import os
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self
from urllib.parse import urlsplit

from celery.schedules import crontab
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting has a value that cannot work; the message names it and says what would."""


def _default_home() -> Path:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # The embedded PostgreSQL runs as a user of its own, who may not enter root's home.
        return Path("/var/lib/watcher")
    return Path.home() / ".local" / "share" / "watcher"


def _check_url(*schemes: str) -> AfterValidator:
    def check(url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.get_secret_value())
            _ = parts.port
        except ValueError:
            # The error would quote a part of the password.
            raise ValueError("is not a URL; a password with special characters must be percent-encoded") from None
        if parts.scheme not in schemes:
            *others, last = [f"{scheme}://" for scheme in schemes]
            listed = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"must start with {listed}, not {parts.scheme or 'nothing'}://")
        return url

    return AfterValidator(check)


def _check_cron(expression: str) -> str:
    try:
        schedule = crontab.from_string(expression)
    except ValueError as error:
        raise ValueError(f"is not a five-field cron expression ({error})") from error
    try:
        schedule.remaining_estimate(datetime.now(UTC))
    except RuntimeError:
        raise ValueError("is a moment that never comes") from None
    return expression


Cron = Annotated[str, AfterValidator(_check_cron)]

_SECONDS_PER = {"s": 1, "m": 60, "h": 3600}


def rate_per_second(limit: str) -> float | None:
    """The rate that ``15/s``, ``90/m`` or ``500/h`` means, per second; None for ``none``, which is no limit.

    Raises:
        ValueError: it is neither, or the rate is not above zero.
    """
    if limit.strip().lower() == "none":
        return None
    number, _, unit = limit.strip().lower().partition("/")
    try:
        rate = float(number) / _SECONDS_PER[unit]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate <= _HIGHEST_RATE:
        raise ValueError('must be a rate such as "15/s", "90/m" or "500/h", or "none"')
    return rate


# Beyond this the pacing costs more than the tasks; no limit says the same.
_HIGHEST_RATE = 100_000


def _check_rate(limit: str) -> str:
    rate_per_second(limit)
    return limit


RateLimit = Annotated[str, AfterValidator(_check_rate)]


class Settings(BaseSettings):
    """What the environment says, checked.

    Durations are in the unit that the name ends with; sizes are in bytes; schedules are five-field cron in UTC.
    """

    model_config = SettingsConfigDict(
        env_prefix="WATCHER_",
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
        use_attribute_docstrings=True,
    )

    home: Path = Field(default_factory=_default_home)
    """Where the embedded engines keep their data, and `watcher up` its logs."""
    host: str = "127.0.0.1"
    """The address the api listens on; anything but loopback needs a token first (`watcher token create`)."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """The port the api listens on."""
    api_processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Api processes."""
    worker_processes: Annotated[int, Field(ge=1, le=256)] = 2
    """Processes of one worker."""
    allow_unauthenticated: bool = False
    """Listen on any address without a token all the same."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    log_format: Literal["text", "json"] = "text"
    """`text` or `json`."""
    telemetry: bool = False
    """Send traces (OpenTelemetry, Logfire); needs the extra `telemetry`."""

    database_url: Annotated[
        SecretStr | None,
        _check_url("postgresql", "postgres", "postgresql+psycopg"),
        Field(validation_alias=AliasChoices("WATCHER_DATABASE_URL", "DATABASE_URL")),
    ] = None
    """`postgresql://…`, PostgreSQL 16 or newer; `DATABASE_URL` is read too."""
    broker_url: Annotated[
        SecretStr | None,
        _check_url("redis", "rediss", "redis+socket"),
        Field(validation_alias=AliasChoices("WATCHER_BROKER_URL", "REDIS_URL")),
    ] = None
    """`redis://…`, `rediss://…` or `redis+socket://…`, Valkey or Redis; `REDIS_URL` is read too."""
    slack_webhook_url: Annotated[
        SecretStr | None,
        _check_url("https", "http"),
        Field(validation_alias=AliasChoices("WATCHER_SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL")),
    ] = None
    """Where alerts go; `SLACK_WEBHOOK_URL` is read too."""

    ingest_pool_size: Annotated[int, Field(ge=1, le=200)] = 8
    """Database connections of an api process for starts and ends of executions."""
    query_pool_size: Annotated[int, Field(ge=1, le=200)] = 5
    """Database connections of an api process for everything else; as many again at a peak."""
    query_timeout_seconds: Annotated[int, Field(ge=1)] = 30
    """The longest that a request's statement may run."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """A larger request body is answered with 413."""

    auto_create_anomaly_detection_rules: bool = False
    """A new pipeline gets one rule per metric."""
    alert_max_age_hours: Annotated[int, Field(ge=1)] = 24
    """An execution that ended, or a run that was missed, longer ago is flagged and logged, not alerted."""

    freshness_check_schedule: Cron = "0 * * * *"
    """When freshness is checked."""
    timeliness_check_schedule: Cron = "*/15 * * * *"
    """When timeliness is checked."""
    timeliness_check_lookback_minutes: Annotated[int, Field(ge=5, le=5_256_000)] = 60
    """How far back that check looks for starts; running executions are seen however old."""
    schedule_check_schedule: Cron = "* * * * *"
    """When schedules are checked for missed runs."""
    celery_queue_health_check_schedule: Cron = "*/5 * * * *"
    """When the queues are looked at."""
    queue_alert_info: Annotated[int, Field(ge=1)] = 20
    """Pending messages from which an INFO alert is sent."""
    queue_alert_warning: Annotated[int, Field(ge=1)] = 50
    """The same for WARNING."""
    queue_alert_critical: Annotated[int, Field(ge=1)] = 100
    """The same for CRITICAL."""

    retention_days: Annotated[int | None, Field(ge=90, le=365_000)] = None
    """Finished executions that began so many days ago (90 at least) are deleted, with logs, alerts and daily figures of
    that age."""
    retention_schedule: Cron = "30 2 * * *"
    """When that is done."""

    relay_enabled: bool = True
    """Whether this process publishes the outbox (api processes and workers do)."""
    detect_anomalies_rate_limit: RateLimit = "15/s"
    """How fast these tasks start, in the whole cluster: `15/s`, `90/m`, `500/h` or `none`."""
    freshness_check_rate_limit: RateLimit = "1/s"
    """The same for freshness checks."""
    timeliness_check_rate_limit: RateLimit = "1/s"
    """The same for timeliness checks."""
    lineage_closure_rate_limit: RateLimit = "1/s"
    """The same for rebuilds of the lineage closure."""
    execution_closure_rate_limit: RateLimit = "10/s"
    """The same for the closure of executions."""
    task_max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a task is tried again after an error that can pass."""
    task_retry_delay_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    """The delay before the first retry; it doubles, and up to half of it is taken away at random."""
    closure_retry_delay_seconds: Annotated[int, Field(ge=1, le=86_400)] = 30
    """The same for the execution closure."""
    task_retry_delay_cap_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    """The longest that these delays grow."""
    task_time_limit_seconds: Annotated[int, Field(ge=20, le=86_400)] = 300
    """A task that runs longer is killed and fails; 5 seconds before, it is interrupted and tried again; 10 seconds
    before, the database gives up on its statement."""
    task_history_days: Annotated[int, Field(ge=1)] = 7
    """How long finished tasks are kept."""
    failed_task_history_days: Annotated[int, Field(ge=1)] = 90
    """The same for tasks that failed."""
    worker_metrics_host: str = "127.0.0.1"
    """The address of a worker's port for Prometheus and probes."""
    worker_metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9808
    """That port; when it is taken, the next free one of the following 20; `0` is none."""
    worker_stop_seconds: Annotated[int, Field(ge=1)] = 30
    """How long a worker that is told to stop (SIGTERM) may finish what it runs; then it is given back."""
    lost_task_after_seconds: Annotated[int, Field(ge=4)] = 30
    """A task whose worker was not seen for so long, or that the broker has lost, runs again."""

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if not self.queue_alert_info < self.queue_alert_warning < self.queue_alert_critical:
            raise ValueError("WATCHER_QUEUE_ALERT_INFO must be below ..._WARNING, and that below ..._CRITICAL")
        return self

    @property
    def database(self) -> str:
        """The database as a ``postgresql://`` URL, for psycopg."""
        if self.database_url is None:
            raise SettingsError(
                "No database is configured: set WATCHER_DATABASE_URL, or run `watcher up`, which brings its own."
            )
        url = self.database_url.get_secret_value()
        return "postgresql://" + url.split("://", 1)[1]

    @property
    def broker(self) -> str:
        """The broker's URL, as Celery takes it."""
        if self.broker_url is None:
            raise SettingsError(
                "No broker is configured: set WATCHER_BROKER_URL, or run `watcher up`, which brings its own."
            )
        return self.broker_url.get_secret_value()


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if not first["loc"]:
        return first["msg"].removeprefix("Value error, ") + "."
    name = str(first["loc"][0])
    variable = name if name.isupper() else f"WATCHER_{name.upper()}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{variable} {message[0].lower()}{message[1:]}."


def load_settings(**overrides: Any) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a value cannot work; the message is one sentence that names the variable.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


@cache
def get_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return load_settings()


def exit_with(message: str) -> NoReturn:
    """Print one sentence that says what to do, and end the process with status 1."""
    sys.stderr.write(f"watcher: {message}\n")
    raise SystemExit(1)
