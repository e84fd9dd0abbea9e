"""The settings of the receiver, as the parts that apply events use them."""

from collections.abc import Mapping
from dataclasses import dataclass

from watcher_server.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenLineageSettings:
    """What is rolled up and what is ignored, how namespaces are called, and what follows from what is new or fails."""

    roll_up_pairs: frozenset[tuple[str, str]]
    ignore: tuple[str, ...]
    namespace_aliases: Mapping[str, str]
    with_rules: bool
    takes_schedules: bool
    alert_max_age_hours: int


def openlineage_settings(settings: Settings) -> OpenLineageSettings:
    """Those of this process."""
    pairs = (pair.partition("/") for pair in settings.openlineage_roll_up.upper().split(",") if pair.strip())
    return OpenLineageSettings(
        roll_up_pairs=frozenset((integration.strip(), kind.strip()) for integration, _, kind in pairs),
        ignore=tuple(glob.strip() for glob in (settings.openlineage_ignore or "").split(",") if glob.strip()),
        namespace_aliases=settings.openlineage_namespace_aliases,
        with_rules=settings.auto_create_anomaly_detection_rules,
        takes_schedules=settings.openlineage_schedules,
        alert_max_age_hours=settings.alert_max_age_hours,
    )
