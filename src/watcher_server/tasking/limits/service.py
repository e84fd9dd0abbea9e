"""How fast tasks may start: what is configured, what holds now, and changing that for a while."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import Connection, delete, func, text
from sqlalchemy.dialects.postgresql import insert

from watcher_server.audit.service import Change, record
from watcher_server.kit.errors import NotFoundError
from watcher_server.settings import Settings, rate_per_second
from watcher_server.tasking.models import RateLimitOverride

# The whole table is a row per task that ever had another limit, so it needs no index but its key.
_OVERRIDES_IN_FORCE = "SELECT task_name, per_second, until FROM rate_limit_override WHERE until > now()"

_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class TaskLimit:
    """A task's limits per second, None for no limit; ``until`` (UTC) is when the configured one holds again."""

    task: str
    configured: float | None
    in_force: float | None
    until: datetime | None = None


def configured_limits(settings: Settings) -> dict[str, float | None]:
    """The configured limit per second of every task that can have one, None for no limit. Others have none."""
    limits = {
        "detect_anomalies_task": settings.detect_anomalies_rate_limit,
        "freshness_check_task": settings.freshness_check_rate_limit,
        "timeliness_check_task": settings.timeliness_check_rate_limit,
        "address_lineage_closure_rebuild_task": settings.lineage_closure_rate_limit,
        "pipeline_execution_closure_maintain_task": settings.execution_closure_rate_limit,
    }
    return {task: rate_per_second(limit) for task, limit in limits.items()}


def limits_in_force(
    connection: psycopg.Connection[Any], configured: Mapping[str, float | None]
) -> dict[str, float | None]:
    """The limit per second that holds now for each of these tasks, None for no limit; one query of a few rows."""
    overrides = {task: per_second for task, per_second, _ in connection.execute(_OVERRIDES_IN_FORCE)}
    return {task: overrides.get(task, per_second) for task, per_second in configured.items()}


def list_limits(connection: Connection, settings: Settings) -> list[TaskLimit]:
    """Every task that can have a limit, in the order of the settings."""
    overrides = {row.task_name: row for row in connection.execute(text(_OVERRIDES_IN_FORCE))}
    return [
        TaskLimit(task, configured, overrides[task].per_second, overrides[task].until)
        if task in overrides
        else TaskLimit(task, configured, configured)
        for task, configured in configured_limits(settings).items()
    ]


def override_limit(
    connection: Connection, settings: Settings, task: str, per_second: float | None, minutes: int
) -> TaskLimit:
    """Have another limit hold for so many minutes, whatever holds now; raises NotFoundError if no such task has one."""
    configured = _configured_limit(settings, task)
    values = {"per_second": per_second, "until": func.now() + func.make_interval(0, 0, 0, 0, 0, minutes)}
    statement = (
        insert(RateLimitOverride)
        .values(task_name=task, **values)
        .on_conflict_do_update(index_elements=[RateLimitOverride.task_name], set_=values)
        .returning(RateLimitOverride.until)
    )
    before = _in_force(connection, task, configured)
    changed = TaskLimit(task, configured, per_second, connection.execute(statement).scalar_one())
    # Also of the same limit it is told that it holds longer.
    after = {"limit": limit_text(per_second), "until": changed.until}
    record(connection, Change("override", "rate_limit", task, task, before, after))
    return changed


def reset_limit(connection: Connection, settings: Settings, task: str) -> TaskLimit:
    """Have the configured limit hold again, if another one does; raises NotFoundError if no such task has a limit."""
    configured = _configured_limit(settings, task)
    before = _in_force(connection, task, configured)
    connection.execute(delete(RateLimitOverride).where(RateLimitOverride.task_name == task))
    after = {"limit": limit_text(configured), "until": None}
    record(connection, Change("reset", "rate_limit", task, task, before, after))
    return TaskLimit(task, configured, configured)


def _in_force(connection: Connection, task: str, configured: float | None) -> dict[str, Any]:
    statement = text(f"{_OVERRIDES_IN_FORCE} AND task_name = :task")
    row = connection.execute(statement, {"task": task}).one_or_none()
    return {"limit": limit_text(configured if row is None else row.per_second), "until": row and row.until}


def _configured_limit(settings: Settings, task: str) -> float | None:
    limits = configured_limits(settings)
    if task not in limits:
        raise NotFoundError(f"No task of this name has a rate limit; those that do are {', '.join(limits)}.")
    return limits[task]


def limit_text(per_second: float | None) -> str:
    """The limit as it is written in settings: ``15/s``, ``90/m``, ``500/h`` or ``none``."""
    if per_second is None:
        return "none"
    for unit, seconds in _UNITS.items():
        number = round(per_second * seconds, 6)
        if number >= 1 and number.is_integer():
            return f"{number:.0f}/{unit}"
    return f"{per_second:g}/s" if per_second >= 1 else f"{per_second * _UNITS['h']:g}/h"
