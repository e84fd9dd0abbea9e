"""Events of OpenLineage as producers send them, and applying them as a worker does."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text

from watcher_server.openlineage.applying import inbox
from watcher_server.openlineage.applying.turn import apply_rows
from watcher_server.openlineage.settings import OpenLineageSettings

SETTINGS = OpenLineageSettings(
    roll_up_pairs=frozenset({("DBT", "SQL"), ("AIRFLOW", "QUERY")}),
    ignore=(),
    namespace_aliases={},
    with_rules=False,
    takes_schedules=True,
    alert_max_age_hours=24,
)
PRODUCER = "https://github.com/OpenLineage/OpenLineage/tree/1.54.0/client/python"

Event = dict[str, Any]


def dataset(name: str, namespace: str = "postgres://wh:5432", **facets: Any) -> dict[str, Any]:
    """A dataset, with facets of its own."""
    return {"namespace": namespace, "name": name, "facets": facets}


def output(
    name: str, namespace: str = "postgres://wh:5432", *, rows: int | None = None, **facets: Any
) -> dict[str, Any]:
    """A dataset that a run wrote, and how many rows."""
    statistics = {} if rows is None else {"outputFacets": {"outputStatistics": {"rowCount": rows}}}
    return dataset(name, namespace, **facets) | statistics


def run_event(
    kind: str,
    at: datetime,
    *,
    job: str = "etl",
    namespace: str = "demo",
    run: str = "11111111-1111-4111-8111-111111111111",
    inputs: Sequence[Mapping[str, Any]] = (),
    outputs: Sequence[Mapping[str, Any]] = (),
    run_facets: Mapping[str, Any] | None = None,
    job_facets: Mapping[str, Any] | None = None,
) -> Event:
    """An event of a run."""
    return {
        "eventType": kind,
        "eventTime": at.isoformat(),
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run, "facets": dict(run_facets or {})},
        "job": {"namespace": namespace, "name": job, "facets": dict(job_facets or {})},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def job_type(integration: str, kind: str | None = None, processing: str = "BATCH") -> dict[str, Any]:
    """The facet that says what kind of job it is."""
    return {"jobType": {"processingType": processing, "integration": integration, "jobType": kind}}


def parent(job: str, run: str, namespace: str = "demo") -> dict[str, Any]:
    """The facet that says which run called this one."""
    return {"parent": {"run": {"runId": run}, "job": {"namespace": namespace, "name": job}}}


def put(engine: Engine, events: Iterable[Event]) -> list[int]:
    """Put events into the inbox; their ids."""
    statement = text("INSERT INTO openlineage_event (lane, body) VALUES (:lane, :body) RETURNING id")
    with engine.begin() as connection:
        return [
            connection.scalar(
                statement,
                {
                    "lane": (event.get("job") or event.get("dataset") or {}).get("namespace", "")[:200],
                    "body": zlib.compress(json.dumps(event).encode(), 1),
                },
            )
            for event in events
        ]


def apply_waiting(engine: Engine, settings: OpenLineageSettings = SETTINGS, most: int = 1_000) -> int:
    """Apply all that waits, ``most`` events a turn; how many turns it took."""
    turns = 0
    while True:
        with engine.begin() as connection:
            assert inbox.may_apply(connection)
            rows = inbox.take(connection, most)
            if not rows:
                return turns
            apply_rows(connection, rows, settings)
        turns += 1


def send(engine: Engine, *events: Event, settings: OpenLineageSettings = SETTINGS, most: int = 1_000) -> None:
    """Put events into the inbox and apply them."""
    put(engine, events)
    apply_waiting(engine, settings, most)


def later(moment: datetime, seconds: float) -> datetime:
    """So many seconds after a moment."""
    return moment + timedelta(seconds=seconds)
