"""What people are told besides incidents: checks of data that failed, fields that changed, events that failed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from watcher_server.alerts.levels import Level
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.openlineage.applying.places import SchemaChange
from watcher_server.openlineage.applying.runs import Run
from watcher_server.openlineage.deriving import Tests
from watcher_server.telemetry.redaction import redact

_MOST_LINES = 20
_MOST_NAMES = 10

_STORE_CHANGE = """
INSERT INTO address_schema_change (address_id, at, added, removed, retyped)
SELECT :address_id, :at, CAST(:added AS jsonb), CAST(:removed AS jsonb), CAST(:retyped AS jsonb)
"""


def tell_findings(
    connection: Connection,
    runs: Iterable[Run],
    pipelines: Mapping[UUID, int],
    changes: Sequence[SchemaChange],
    *,
    max_age_hours: int,
) -> None:
    """Tell of checks of data that failed in these runs, and of fields that changed, unless that is long ago."""
    oldest = datetime.now(UTC) - timedelta(hours=max_age_hours)
    _tell_tests(connection, [run for run in runs if _is_news(run, oldest)], pipelines)
    _tell_changes(connection, changes, oldest)


def tell_failed_event(connection: Connection, event_id: int, error: Exception) -> None:
    """Tell that an event could not be applied; once an hour for each kind of error."""
    kind = type(error).__name__
    what_to_do = f"`watcher openlineage show {event_id}`, and `watcher openlineage replay --failed` later"
    alert = NewAlert(
        dedupe_key=f"openlineage:failed:{kind}:{datetime.now(UTC):%Y-%m-%dT%H}",
        level=Level.WARNING,
        title="OpenLineage Event Failed",
        message=f"Event {event_id} could not be applied - {kind}. The others go on.",
        details=[("Error", redact(str(error))[:500]), ("What to do", what_to_do)],
    )
    raise_alert(connection, alert)


def _is_news(run: Run, oldest: datetime) -> bool:
    tests = run.view.tests
    if tests is None or not (tests.failed or tests.warned) or run.view.heard_at < oldest:
        return False
    before = run.old_view.tests if run.old_view else None
    return before is None or (before.names, before.warned) != (tests.names, tests.warned)


def _tell_tests(connection: Connection, runs: Sequence[Run], pipelines: Mapping[UUID, int]) -> None:
    if not runs:
        return
    statement = """
        SELECT id, coalesce(display_name, name) AS name FROM pipeline
        WHERE id = ANY(CAST(:ids AS bigint[])) AND active
    """
    ids = sorted({pipelines[run.key] for run in runs})
    names = {row.id: row.name for row in connection.execute(text(statement), {"ids": ids})}
    found = [(run, tests) for run in runs if pipelines[run.key] in names and (tests := run.view.tests) is not None]
    for level in (Level.ERROR, Level.INFO):
        told = [(run, tests) for run, tests in found if bool(tests.failed) is (level is Level.ERROR)]
        if told:
            _tell_tests_of(connection, level, told, pipelines, names)


def _tell_tests_of(
    connection: Connection,
    level: Level,
    told: Sequence[tuple[Run, Tests]],
    pipelines: Mapping[UUID, int],
    names: Mapping[int, str],
) -> None:
    details, subjects = [], []
    for run, tests in told[:_MOST_LINES]:
        failed = f"{tests.failed:,} of {tests.total:,} checks failed" if tests.failed else f"{tests.warned:,} warned"
        shown = ", ".join(tests.names[:_MOST_NAMES]) + (", ..." if len(tests.names) > _MOST_NAMES else "")
        details.append((names[pipelines[run.key]], redact(f"{failed}: {shown}" if shown else failed)))
        subjects.append(Subject(pipeline_id=pipelines[run.key], execution_id=run.execution_id))
    latest = max(told, key=lambda one: one[0].view.heard_at)[0]
    word = "failed" if level is Level.ERROR else "warned"
    alert = NewAlert(
        dedupe_key=f"openlineage:tests:{level}:{latest.key}:{latest.state['last']}",
        level=level,
        title="Data Quality",
        message=f"Data Quality - checks {word} in {len(told):,} run(s)",
        details=details,
        subjects=subjects,
    )
    raise_alert(connection, alert)


def _tell_changes(connection: Connection, changes: Sequence[SchemaChange], oldest: datetime) -> None:
    for change in changes:
        connection.execute(
            text(_STORE_CHANGE),
            {"address_id": change.address_id, "at": change.at}
            | {name: json.dumps(getattr(change, name)) for name in ("added", "removed", "retyped")},
        )
    told = [change for change in changes if change.at >= oldest]
    if not told:
        return
    ids = sorted({change.address_id for change in told})
    statement = "SELECT id, coalesce(display_name, name) AS name FROM address WHERE id = ANY(CAST(:ids AS bigint[]))"
    names = {row.id: row.name for row in connection.execute(text(statement), {"ids": ids})}
    lines = [(names[change.address_id], describe_change(change)) for change in told]
    first = f"{lines[0][0]}: {lines[0][1]}"
    alert = NewAlert(
        dedupe_key=f"openlineage:schema:{told[0].address_id}:{told[0].at.isoformat()}:{len(told)}",
        level=Level.INFO,
        title="Schema Changed",
        message=f"Schema changed: {first}" if len(told) == 1 else f"The fields of {len(told):,} addresses changed",
        details=lines[:_MOST_LINES],
    )
    raise_alert(connection, alert)


def describe_change(change: SchemaChange) -> str:
    """What changed, in one line: ``column x removed; y added``."""
    said = [
        f"{'column' if len(names) == 1 else 'columns'} {', '.join(names[:_MOST_NAMES])}"
        f"{', ...' if len(names) > _MOST_NAMES else ''} {what}"
        for names, what in ((change.removed, "removed"), (change.added, "added"), (change.retyped, "changed type"))
        if names
    ]
    return "; ".join(said)
