"""Letting time pass: every moment in the database moves into the past, so nothing waits and no clock is faked."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, Table, text

from tests.support.rows import alerts, rows
from watcher_server.alerts.models import Alert
from watcher_server.anomalies.models import AnomalyDetectionRule, AnomalyEvent
from watcher_server.executions.models import PipelineExecution
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.incidents.models import Incident, IncidentEvent
from watcher_server.incidents.sweep import sweep_incidents, tell_resolved
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.pipelines.models import Pipeline
from watcher_server.settings import load_settings

_MOVED: tuple[type[Any], ...] = (
    Alert,
    AnomalyDetectionRule,
    AnomalyEvent,
    FreshnessPipelineLog,
    Incident,
    IncidentEvent,
    MissedRunLog,
    Pipeline,
    PipelineExecution,
)


def let_pass(connection: Connection, **duration: float) -> None:
    """Let that much time pass: ``let_pass(connection, minutes=3)``."""
    for model in _MOVED:
        table: Table = model.__table__
        moments = [column.name for column in table.columns if isinstance(column.type, DateTime)]
        moved = ", ".join(f"{name} = {name} - :by" for name in moments)
        connection.execute(text(f"UPDATE {table.name} SET {moved}"), {"by": timedelta(**duration)})


def sweep(engine: Engine, **settings: Any) -> int:
    """The sweep, and what is told to be over; how many incidents were resolved."""
    with engine.begin() as connection:
        resolved = sweep_incidents(connection, load_settings(**settings))
        tell_resolved(connection, load_settings(**settings))
    return resolved


def wait(engine: Engine, **duration: float) -> None:
    """Let time pass, and sweep."""
    with engine.begin() as connection:
        let_pass(connection, **duration)
    sweep(engine)


def told(engine: Engine) -> list[str]:
    """What people were told so far, oldest first: the level and the message."""
    with engine.connect() as connection:
        return [f"{alert['level']} {alert['message']}" for alert in alerts(connection)]


def incidents(engine: Engine) -> list[dict[str, Any]]:
    """All incidents, by id."""
    with engine.connect() as connection:
        return rows(connection, Incident)
