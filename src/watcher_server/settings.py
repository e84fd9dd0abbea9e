"""Every setting of Watcher, read once from the environment.

Each field is documented in the settings table of ``docs/settings.md``; a test compares the two.
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
        env_prefix="WATCHER_", extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    home: Path = Field(default_factory=_default_home)
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    api_processes: Annotated[int, Field(ge=1, le=64)] = 2
    worker_processes: Annotated[int, Field(ge=1, le=256)] = 2
    allow_unauthenticated: bool = False
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"
    telemetry: bool = False

    database_url: Annotated[
        SecretStr | None,
        _check_url("postgresql", "postgres", "postgresql+psycopg"),
        Field(validation_alias=AliasChoices("WATCHER_DATABASE_URL", "DATABASE_URL")),
    ] = None
    broker_url: Annotated[
        SecretStr | None,
        _check_url("redis", "rediss", "redis+socket"),
        Field(validation_alias=AliasChoices("WATCHER_BROKER_URL", "REDIS_URL")),
    ] = None
    slack_webhook_url: Annotated[
        SecretStr | None,
        _check_url("https", "http"),
        Field(validation_alias=AliasChoices("WATCHER_SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL")),
    ] = None

    ingest_pool_size: Annotated[int, Field(ge=1, le=200)] = 8
    query_pool_size: Annotated[int, Field(ge=1, le=200)] = 5
    query_timeout_seconds: Annotated[int, Field(ge=1)] = 30
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024

    auto_create_anomaly_detection_rules: bool = False
    alert_max_age_hours: Annotated[int, Field(ge=1)] = 24

    freshness_check_schedule: Cron = "0 * * * *"
    timeliness_check_schedule: Cron = "*/15 * * * *"
    timeliness_check_lookback_minutes: Annotated[int, Field(ge=5, le=5_256_000)] = 60
    schedule_check_schedule: Cron = "* * * * *"
    celery_queue_health_check_schedule: Cron = "*/5 * * * *"
    queue_alert_info: Annotated[int, Field(ge=1)] = 20
    queue_alert_warning: Annotated[int, Field(ge=1)] = 50
    queue_alert_critical: Annotated[int, Field(ge=1)] = 100

    retention_days: Annotated[int | None, Field(ge=90, le=365_000)] = None
    retention_schedule: Cron = "30 2 * * *"

    relay_enabled: bool = True
    detect_anomalies_rate_limit: RateLimit = "15/s"
    freshness_check_rate_limit: RateLimit = "1/s"
    timeliness_check_rate_limit: RateLimit = "1/s"
    lineage_closure_rate_limit: RateLimit = "1/s"
    execution_closure_rate_limit: RateLimit = "10/s"
    task_max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    task_retry_delay_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    closure_retry_delay_seconds: Annotated[int, Field(ge=1, le=86_400)] = 30
    task_retry_delay_cap_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    task_time_limit_seconds: Annotated[int, Field(ge=20, le=86_400)] = 300
    task_history_days: Annotated[int, Field(ge=1)] = 7
    failed_task_history_days: Annotated[int, Field(ge=1)] = 90
    worker_metrics_host: str = "127.0.0.1"
    worker_metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9808
    worker_stop_seconds: Annotated[int, Field(ge=1)] = 30
    lost_task_after_seconds: Annotated[int, Field(ge=4)] = 30

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
