"""All settings as they may be shown, without secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from watcher_server.kit.broker_url import SCHEMES, parse_broker_url
from watcher_server.kit.libpq import libpq_parameters
from watcher_server.settings import Settings

# The first field of each group of settings, or of a part of it.
_GROUPS = {
    "home": "Processes",
    "database_url": "Database, broker and Slack",
    "ingest_pool_size": "Limits of the api",
    "openlineage_max_event_bytes": "OpenLineage",
    "max_connections": "Limits of the api",
    "auto_create_anomaly_detection_rules": "Checks and alerts",
    "retention_days": "Retention",
    "relay_enabled": "Tasks",
    "worker_metrics_host": "Workers",
}
# Host and database of these URLs are shown. The whole webhook URL is a secret.
_PLACES = frozenset({"database_url", "database_direct_url", "broker_url"})
_WITHOUT_DEFAULT = {
    "database_url": "embedded",
    "broker_url": "embedded",
    "slack_webhook_url": "none: alerts are logged",
    "retention_days": "none: nothing is deleted",
}


@dataclass(frozen=True)
class ShownSetting:
    """A setting in force. ``source`` is set, default or embedded; ``meaning`` one sentence, with code in backticks."""

    variable: str
    value: str
    default: str
    source: str
    meaning: str

    @property
    def meaning_parts(self) -> Sequence[tuple[str, bool]]:
        """The parts of the meaning, each with whether it is code."""
        return [(part, place % 2 == 1) for place, part in enumerate(self.meaning.split("`")) if part]


def shown_settings(settings: Settings) -> Mapping[str, Sequence[ShownSetting]]:
    """Every setting by the name of its group, in the order of the documentation."""
    groups: dict[str, list[ShownSetting]] = {}
    group = ""
    for name, field in Settings.model_fields.items():
        group = _GROUPS.get(name, group)
        groups.setdefault(group, []).append(_show(settings, name, field))
    return groups


def _show(settings: Settings, name: str, field: FieldInfo) -> ShownSetting:
    value = getattr(settings, name)
    source = "set" if name in settings.model_fields_set else "default"
    if name in _PLACES and isinstance(value, SecretStr) and _is_embedded(value, settings.home):
        source = "embedded"
    return ShownSetting(
        variable=f"WATCHER_{name.upper()}",
        value=_value(name, value),
        default=_value(name, field.get_default(call_default_factory=True, validated_data={})),
        source=source,
        meaning=" ".join((field.description or "").split()),
    )


def _value(name: str, value: Any) -> str:
    if isinstance(value, SecretStr):
        return place_of(value.get_secret_value()) if name in _PLACES else "set"
    if value is None:
        return _WITHOUT_DEFAULT.get(name, "not set")
    return str(value).lower() if isinstance(value, bool) else str(value)


def place_of(url: str) -> str:
    """Scheme, host and port or socket, and database of a URL, without user and password."""
    return parse_broker_url(url).place if url.startswith(SCHEMES) else _place_of_database(url)


def _place_of_database(url: str) -> str:
    given = libpq_parameters(url)
    hosts = given.get("host", given.get("hostaddr", "")).split(",")
    # One port may be meant for all hosts.
    ports = given.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    named = [f"[{host}]" if ":" in host else host for host in hosts]
    places = [f"{host}:{port}" if port else host for host, port in zip(named, ports, strict=False)]
    database = _harmless(given.get("dbname", ""))
    place = f"{url.partition('://')[0]}://{','.join(map(_harmless, places))}"
    return place + (f", database {database}" if database else "")


def _harmless(part: str) -> str:
    # A password that is not percent-encoded can end up in any part.
    return "…" if "@" in part else part


def _is_embedded(url: SecretStr, home: Path) -> bool:
    """Whether the URL leads to a socket below WATCHER_HOME, as those of the embedded engines do."""
    text = url.get_secret_value()
    socket = parse_broker_url(text).path if text.startswith(SCHEMES) else libpq_parameters(text).get("host")
    return bool(socket) and str(socket).startswith("/") and Path(str(socket)).is_relative_to(home.absolute())
