"""Every setting of Watcher, read once from the environment.

What stands below each field is shown to people, and is its row in the settings table of ``docs/settings.md``; a test
compares the two.
"""

import ipaddress
import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self

from celery.schedules import crontab
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from watcher_server.kit.public_url import check_public_url, root_of
from watcher_server.settings_files import FileSettingsSource, SettingsFileError
from watcher_server.settings_urls import check_broker_url, check_database_url, check_issuer, check_url


class SettingsError(Exception):
    """A setting has a value that cannot work; the message names it and says what would."""


def _default_home() -> Path:
    # The embedded PostgreSQL runs as a user of its own, who may not enter root's home.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    # A user id without an account, as containers have it: only `watcher up` needs a folder, and says so.
    with suppress(RuntimeError):
        if not is_root:
            return Path.home() / ".local" / "share" / "watcher"
    return Path("/var/lib/watcher")


def _expand_home(home: Path) -> Path:
    try:
        return home.expanduser()
    except RuntimeError:
        raise ValueError("begins with ~, which stands for no folder: write the whole path") from None


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


def _check_hosts(hosts: str | None) -> str | None:
    for host in split_hosts(hosts):
        if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
            raise ValueError(f"must be names such as watcher.example.com, without scheme and port, not {host}")
    return hosts


def _check_networks(networks: str | None) -> str | None:
    try:
        split_networks(networks)
    except ValueError as error:
        raise ValueError(f"must be addresses or networks such as 10.0.0.0/24, separated by commas ({error})") from None
    return networks


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def split_networks(networks: str | None) -> tuple[Network, ...]:
    """The networks of such a setting; an address is a network of its own."""
    return tuple(ipaddress.ip_network(each.strip()) for each in (networks or "").split(",") if each.strip())


def split_hosts(hosts: str | None) -> frozenset[str]:
    """The hosts of such a setting, lower case."""
    return frozenset(host.strip().lower() for host in (hosts or "").split(",") if host.strip())


def split_keys(keys: SecretStr | None) -> list[str]:
    """The keys of WATCHER_SECRET_KEY, the one that encrypts first."""
    return [key.strip() for key in (keys.get_secret_value() if keys else "").split(",") if key.strip()]


def _check_secret_keys(keys: SecretStr | None) -> SecretStr | None:
    # A shorter one can be guessed.
    if any(len(key) < 32 for key in split_keys(keys)):  # noqa: PLR2004 - as the message says
        raise ValueError("needs 32 characters at least in each key; `openssl rand -base64 32` makes one")
    return keys


def rate_per_second(limit: str) -> float | None:
    """The rate that ``15/s``, ``90/m`` or ``500/h`` means, per second; None for ``none``, which is no limit.

    Raises:
        ValueError: it is neither, or the rate is not above zero.
    """
    if limit.strip().lower() == "none":
        return None
    number, _, unit = limit.strip().lower().partition("/")
    try:
        rate = float(number) / {"s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        rate = 0.0
    # Beyond 100,000 per second the pacing costs more than the tasks, and `none` says the same.
    if not 0 < rate <= 100_000:  # noqa: PLR2004
        raise ValueError('must be a rate such as "15/s", "90/m" or "500/h", or "none"')
    return rate


def _check_rate(limit: str) -> str:
    rate_per_second(limit)
    return limit


RateLimit = Annotated[str, AfterValidator(_check_rate)]


def _ignore_service_link(port: object) -> object:
    """Kubernetes sets WATCHER_PORT=tcp://10.0.0.1:80 in every pod beside a Service named ``watcher``."""
    return _DEFAULT_PORT if isinstance(port, str) and port.startswith("tcp://") else port


_DEFAULT_PORT = 8000


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

    home: Annotated[Path, AfterValidator(_expand_home)] = Field(default_factory=_default_home)
    """Where the embedded engines keep their data, and `watcher up` its logs."""
    host: str = "127.0.0.1"
    """The address the api listens on; anything but loopback needs a token first (`watcher token create`)."""
    port: Annotated[int, Field(ge=1, le=65535), BeforeValidator(_ignore_service_link)] = _DEFAULT_PORT
    """The port the api listens on."""
    api_processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Api processes."""
    worker_processes: Annotated[int, Field(ge=1, le=256)] = 2
    """Processes of one worker."""
    allow_unauthenticated: bool = False
    """Without tokens, answer requests from anywhere: everybody who reaches the api may do everything."""
    require_token: bool = False
    """Ask for a token always, also from this machine and while there is none."""
    allowed_hosts: Annotated[str | None, AfterValidator(_check_hosts)] = None
    """Names and addresses by which the api may be called (the Host header), separated by commas; localhost and loopback
    addresses always may."""
    oidc_issuer: Annotated[str | None, AfterValidator(check_issuer)] = None
    """The provider that people log in with (OpenID Connect), such as `https://login.example/realms/data`: its issuer,
    to the letter. Needs `WATCHER_PUBLIC_URL`, and a client with the redirect URI `PUBLIC_URL/login/callback`."""
    oidc_client_id: str | None = None
    """Watcher's client id there."""
    oidc_client_secret: SecretStr | None = None
    """Its secret; without one the client is a public one."""
    oidc_scopes: str = "openid profile"
    """What is asked for, separated by spaces; some providers send roles or groups only for a scope of their own."""
    oidc_role_claim: str = "roles"
    """The claim that says what a person may do; a dot leads into an object: `realm_access.roles`."""
    roles: dict[str, Literal["viewer", "editor", "admin"]] = {}
    """Which values of that claim, or of the role header, give which role, as JSON: `{"data-team": "editor", "*":
    "viewer"}`. `*` is everybody who logs in; a person without a role cannot log in. The highest counts. By default
    the values are the roles themselves."""
    trusted_proxies: Annotated[str | None, AfterValidator(_check_networks)] = None
    """Addresses and networks, separated by commas, of proxies that ask people who they are."""
    trusted_user_header: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9-]+$")] = None
    """The header in which they name the person, such as `X-Forwarded-User`; from anywhere else it is ignored."""
    trusted_role_header: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9-]+$")] = None
    """The header in which they send roles or groups, separated by commas."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING, ERROR or CRITICAL."""
    log_format: Literal["text", "json"] = "text"
    """`text` or `json`."""
    telemetry: bool = False
    """Send traces (OpenTelemetry, Logfire); needs the extra `telemetry`."""

    database_url: Annotated[
        SecretStr | None,
        AfterValidator(check_database_url),
        Field(validation_alias=AliasChoices("WATCHER_DATABASE_URL", "DATABASE_URL")),
    ] = None
    """`postgresql://…`, PostgreSQL 16 or newer, with everything that libpq takes; `DATABASE_URL` is read too."""
    database_direct_url: Annotated[SecretStr | None, AfterValidator(check_database_url)] = None
    """The same database past the pooler, where `WATCHER_DATABASE_URL` leads through one in transaction mode."""
    broker_url: Annotated[
        SecretStr | None,
        AfterValidator(check_broker_url),
        Field(validation_alias=AliasChoices("WATCHER_BROKER_URL", "REDIS_URL")),
    ] = None
    """`redis://…`, `rediss://…`, `redis+socket://…`, `sentinel://…` or `sentinels://…`: Valkey, or Redis 6.2 or newer;
    `REDIS_URL` is read too."""
    slack_webhook_url: Annotated[
        SecretStr | None,
        check_url("https", "http"),
        Field(validation_alias=AliasChoices("WATCHER_SLACK_WEBHOOK_URL", "SLACK_WEBHOOK_URL")),
    ] = None
    """Where alerts go; `SLACK_WEBHOOK_URL` is read too."""
    alert_resolved: bool = True
    """People are told when an incident is over, too."""
    public_url: Annotated[
        str | None, Field(pattern=r"^https?://[^\s?#]+$", max_length=500), AfterValidator(check_public_url)
    ] = None
    """Where people reach Watcher, such as `https://watcher.example` or `https://example.com/watcher`: messages link to
    it, and a path in it is the one under which all pages are (under a path)."""

    alert_private_hosts: Annotated[str | None, AfterValidator(_check_hosts)] = None
    """Names and addresses, separated by commas, that channels may reach although they are no public addresses."""
    secret_key: Annotated[SecretStr | None, AfterValidator(_check_secret_keys)] = None
    """Encrypts the secrets of channels that are entered over HTTP; several, separated by commas, while it changes: the
    first encrypts, all of them decrypt."""
    heartbeat_url: Annotated[SecretStr | None, check_url("https", "http")] = None
    """Called once a minute while Watcher is well, so that somebody else notices when it is not."""
    apprise: bool = False
    """Channels of the type apprise may be used; needs the extra `apprise`."""

    ingest_pool_size: Annotated[int, Field(ge=1, le=200)] = 8
    """Database connections of an api process for what pipelines send with each run."""
    query_pool_size: Annotated[int, Field(ge=1, le=200)] = 5
    """Database connections of an api process for everything else; as many again at a peak."""
    query_timeout_seconds: Annotated[int, Field(ge=1)] = 30
    """The longest that a request's statement may run."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """A larger request body is answered with 413."""
    max_metadata_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    """A larger metadata object (of a pipeline, an address or an execution) is answered with 422."""
    long_names: bool = False
    """Names of pipelines and addresses may have 1,000 bytes instead of 150 characters, and the parts of an address 255
    characters instead of 50. Names that `watcher dbt upload` shortened to 150 characters get longer, too, and are those
    of new pipelines and addresses then."""
    dbt_max_bytes: Annotated[int, Field(ge=1024, le=1024**3)] = 64 * 1024 * 1024
    """The most that the files of a `watcher dbt upload` may have together, unpacked; more is answered with 413."""

    openlineage_max_event_bytes: Annotated[int, Field(ge=1024, le=256 * 1024**2)] = 8 * 1024 * 1024
    """The most that one event of OpenLineage may have, unpacked; more is answered with 413. A batch may unpack to eight
    times that."""
    openlineage_max_waiting: Annotated[int, Field(ge=1)] = 1_000_000
    """Events that were not applied yet; with more, new ones are answered with 503."""
    openlineage_event_days: Annotated[int, Field(ge=1, le=3_650)] = 7
    """How long events are kept after they came, for replays."""
    openlineage_failed_event_days: Annotated[int, Field(ge=1, le=3_650)] = 90
    """The same for events that could not be applied."""
    openlineage_roll_up: str = "DBT/SQL,AIRFLOW/QUERY"
    """Kinds of jobs, separated by commas, whose runs are a part of the run above them and no pipelines of their own:
    integration and job type, as their events say."""
    openlineage_ignore: str | None = None
    """Globs on `namespace/name`, separated by commas: events of these jobs change nothing."""
    openlineage_edge_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """An edge of the lineage that no run has shown for so many days leaves, if its pipeline ran meanwhile."""
    openlineage_schedules: bool = True
    """A DAG's pipeline gets the cron schedule that Airflow sends, unless a person set one."""
    openlineage_namespace_aliases: dict[str, str] = {}
    """Other names of the namespaces of datasets, as JSON from globs to names:
    `{"postgres://10.0.*:5432": "postgres://warehouse:5432"}`."""

    max_connections: Annotated[int, Field(ge=10, le=100_000)] = 2000
    """Open connections of an api process; one more is answered with 503 and closed."""
    max_connections_per_address: Annotated[int, Field(ge=1, le=100_000)] = 500
    """The same from one address (of IPv6: one /64 network); loopback and trusted proxies count towards the total
    only."""
    max_streams: Annotated[int, Field(ge=0, le=100_000)] = 500
    """Event streams of an api process; one more is answered with 503, and pages ask every few seconds instead."""
    max_streams_per_caller: Annotated[int, Field(ge=0, le=100_000)] = 100
    """The same for one token, or for one address without a token; answered with 429."""

    auto_create_anomaly_detection_rules: bool = False
    """A new pipeline gets one rule per metric."""
    alert_max_age_hours: Annotated[int, Field(ge=1)] = 24
    """An execution that ended, or a run that was missed, longer ago is flagged and logged, not alerted."""

    lost_after_hours: Annotated[float, Field(gt=0, le=87_600)] = 24
    """A run that was silent for so long is ended as lost, unless its pipeline says otherwise or has shown how long it
    usually takes."""

    freshness_check_schedule: Cron = "0 * * * *"
    """When freshness is checked."""
    timeliness_check_schedule: Cron = "*/15 * * * *"
    """When timeliness is checked."""
    timeliness_check_lookback_minutes: Annotated[int, Field(ge=5, le=5_256_000)] = 60
    """How far back that check looks for ends, or to the check before it; running executions are seen however old."""
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
    """Finished executions that began this number of days ago (90 at least) are deleted, with logs, alerts and daily
    figures of that age."""
    retention_schedule: Cron = "30 2 * * *"
    """When that is done."""
    audit_days: Annotated[int, Field(ge=30, le=36_500)] = 400
    """How long the entries of the audit trail are kept (30 days at least)."""

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

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read ``NAME_FILE`` besides what pydantic-settings reads by itself."""
        return (*sources, *named.values(), FileSettingsSource(settings_cls))

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if not self.queue_alert_info < self.queue_alert_warning < self.queue_alert_critical:
            raise ValueError("WATCHER_QUEUE_ALERT_INFO must be below ..._WARNING, and that below ..._CRITICAL")
        if self.database_direct_url is not None and self.database_url is None:
            raise ValueError("WATCHER_DATABASE_DIRECT_URL needs WATCHER_DATABASE_URL")
        if self.require_token and self.allow_unauthenticated:
            raise ValueError("WATCHER_REQUIRE_TOKEN and WATCHER_ALLOW_UNAUTHENTICATED contradict each other")
        if self.oidc_issuer is not None and (self.oidc_client_id is None or self.public_url is None):
            raise ValueError("WATCHER_OIDC_ISSUER needs WATCHER_OIDC_CLIENT_ID and WATCHER_PUBLIC_URL")
        if self.trusted_user_header is not None and not self.trusted_networks:
            raise ValueError("WATCHER_TRUSTED_USER_HEADER needs WATCHER_TRUSTED_PROXIES: else anybody could send it")
        return self

    @cached_property
    def allowed_host_names(self) -> frozenset[str]:
        """The names and addresses of WATCHER_ALLOWED_HOSTS, lower case."""
        return split_hosts(self.allowed_hosts)

    @cached_property
    def trusted_networks(self) -> tuple[Network, ...]:
        """The networks of WATCHER_TRUSTED_PROXIES."""
        return split_networks(self.trusted_proxies)

    @cached_property
    def root_path(self) -> str:
        """The path that Watcher has on its host, without a slash at its end; empty when it has the host to itself."""
        return root_of(self.public_url)

    @property
    def asks_always(self) -> bool:
        """Whether there is a way to log in, or must be, so that a server without tokens is not open."""
        return self.require_token or self.oidc_issuer is not None or self.trusted_user_header is not None

    @property
    def database(self) -> str:
        """The database as a ``postgresql://`` URL, for psycopg."""
        if self.database_url is None:
            raise SettingsError(
                "No database is configured: set WATCHER_DATABASE_URL, or run `watcher up`, which brings its own."
            )
        return _plain(self.database_url)

    @property
    def direct_url(self) -> str | None:
        """WATCHER_DATABASE_DIRECT_URL, likewise."""
        return None if self.database_direct_url is None else _plain(self.database_direct_url)

    @property
    def direct_database(self) -> str:
        """The database past any pooler: for what needs a session of its own."""
        return self.direct_url or self.database

    @property
    def pooled(self) -> bool:
        """Whether a session may be given to others after each transaction."""
        return self.database_direct_url is not None

    @property
    def broker(self) -> str:
        """The broker's URL, as :func:`parse_broker_url` takes it apart."""
        if self.broker_url is None:
            raise SettingsError(
                "No broker is configured: set WATCHER_BROKER_URL, or run `watcher up`, which brings its own."
            )
        return self.broker_url.get_secret_value()


def _plain(url: SecretStr) -> str:
    return "postgresql://" + url.get_secret_value().partition("://")[2]


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
    except SettingsFileError as error:
        raise SettingsError(str(error)) from None


@cache
def get_settings() -> Settings:
    """The settings of this process, read at the first call."""
    return load_settings()


def exit_with(message: str) -> NoReturn:
    """Print one sentence that says what to do, and end the process with status 1."""
    sys.stderr.write(f"watcher: {message}\n")
    raise SystemExit(1)
