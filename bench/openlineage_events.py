"""Events as dbt and Airflow send them: about 4 KB each, in the order in which a run sends them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

PRODUCER = "https://github.com/OpenLineage/OpenLineage/tree/1.54.0/integration/dbt"
_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_WAREHOUSE = "postgres://warehouse:5432"
_IDS = UUID("5a0f7c1e-3b39-4b34-9d1a-6b8f4f1f0c11")
_COLUMNS = [
    {"name": f"column_{number}", "type": "VARCHAR", "description": "what the column holds"} for number in range(12)
]
_SQL = "select " + ", ".join(f"o.column_{number}" for number in range(12)) + " from shop.public.orders as o\n" * 4

Event = dict[str, Any]


def run_id(*parts: object) -> str:
    """The same id for the same parts."""
    return str(uuid5(_IDS, "/".join(map(str, parts))))


def _dataset(name: str, *, rows: int | None = None) -> dict[str, Any]:
    facets = {"schema": {"_producer": PRODUCER, "_schemaURL": _SCHEMA, "fields": _COLUMNS}}
    statistics = {} if rows is None else {"outputFacets": {"outputStatistics": {"rowCount": rows, "size": 64 * rows}}}
    return {"namespace": _WAREHOUSE, "name": name, "facets": facets, **statistics}


def _event(  # noqa: PLR0917 - what every event has, in its own order
    kind: str,
    at: datetime,
    namespace: str,
    job: str,
    run: str,
    job_type: tuple[str, str],
    *,
    parent: tuple[str, str] | None = None,
    inputs: list[dict[str, Any]] | None = None,
    outputs: list[dict[str, Any]] | None = None,
) -> Event:
    integration, kind_of_job = job_type
    facets: dict[str, Any] = {
        "processing_engine": {"_producer": PRODUCER, "_schemaURL": _SCHEMA, "version": "1.11.1", "name": "dbt"},
        "nominalTime": {"_producer": PRODUCER, "_schemaURL": _SCHEMA, "nominalStartTime": at.isoformat()},
    }
    if parent is not None:
        job_of_parent, run_of_parent = parent
        facets["parent"] = {
            "_producer": PRODUCER,
            "_schemaURL": _SCHEMA,
            "run": {"runId": run_of_parent},
            "job": {"namespace": namespace, "name": job_of_parent},
        }
    return {
        "eventType": kind,
        "eventTime": at.isoformat(),
        "producer": PRODUCER,
        "schemaURL": _SCHEMA,
        "run": {"runId": run, "facets": facets},
        "job": {
            "namespace": namespace,
            "name": job,
            "facets": {
                "jobType": {
                    "_producer": PRODUCER,
                    "_schemaURL": _SCHEMA,
                    "processingType": "BATCH",
                    "integration": integration,
                    "jobType": kind_of_job,
                },
                "sql": {"_producer": PRODUCER, "_schemaURL": _SCHEMA, "query": _SQL},
            },
        },
        "inputs": inputs or [],
        "outputs": outputs or [],
    }


def dbt_events(namespace: str, models: int, invocation: int, began: datetime) -> Iterator[Event]:
    """An invocation of dbt: its own two events, and ten of each model, of which eight are of its statements."""
    job, run = "dbt-run-shop", run_id(namespace, invocation)
    yield _event("START", began, namespace, job, run, ("DBT", "JOB"))
    for number in range(models):
        name = f"shop.public.shop.model_{number}"
        mine = run_id(namespace, invocation, number)
        at = began + timedelta(milliseconds=10 * number)
        inputs = [_dataset(f"shop.public.model_{max(0, number - step)}") for step in (1, 7)]
        output = _dataset(f"shop.public.model_{number}", rows=1_000 + number)
        common: dict[str, Any] = {"parent": (job, run), "inputs": inputs}
        yield _event("START", at, namespace, name, mine, ("DBT", "MODEL"), **common)
        for statement in range(4):
            part, part_run = f"{name}.sql.{statement}", run_id(namespace, invocation, number, statement)
            part_at = at + timedelta(milliseconds=statement)
            of_model: dict[str, Any] = {"parent": (name, mine)}
            yield _event("START", part_at, namespace, part, part_run, ("DBT", "SQL"), **of_model)
            part_at += timedelta(milliseconds=1)
            yield _event("COMPLETE", part_at, namespace, part, part_run, ("DBT", "SQL"), **of_model)
        ended = at + timedelta(milliseconds=9)
        yield _event("COMPLETE", ended, namespace, name, mine, ("DBT", "MODEL"), **common, outputs=[output])
    yield _event("COMPLETE", began + timedelta(seconds=models), namespace, job, run, ("DBT", "JOB"))


def airflow_events(namespace: str, tasks: int, number: int, began: datetime) -> Iterator[Event]:
    """A run of a DAG, and two events of each of its tasks, with the tables that it reads and writes."""
    dag, run = f"dag_{number % 50}", run_id(namespace, "dag", number)
    yield _event("START", began, namespace, dag, run, ("AIRFLOW", "DAG"))
    for step in range(tasks):
        name, mine = f"{dag}.task_{step}", run_id(namespace, "dag", number, step)
        common: dict[str, Any] = {
            "parent": (dag, run),
            "inputs": [_dataset(f"lake.raw.{dag}_{step}")],
            "outputs": [_dataset(f"lake.raw.{dag}_{step + 1}", rows=500)],
        }
        at = began + timedelta(seconds=step)
        yield _event("START", at, namespace, name, mine, ("AIRFLOW", "TASK"), **common)
        yield _event("COMPLETE", at + timedelta(seconds=1), namespace, name, mine, ("AIRFLOW", "TASK"), **common)
    yield _event("COMPLETE", began + timedelta(seconds=tasks), namespace, dag, run, ("AIRFLOW", "DAG"))


def mixed_events(most: int, *, prefix: str = "mix") -> list[Event]:
    """So many events of dbt and Airflow, half of each."""
    now = datetime.now(UTC) - timedelta(minutes=10)
    events: list[Event] = []
    number = 0
    while len(events) < most:
        events += dbt_events(f"{prefix}-dbt", 25, number, now + timedelta(seconds=number))
        for dag in range(10):
            events += airflow_events(f"{prefix}-airflow", 12, 10 * number + dag, now + timedelta(seconds=number))
        number += 1
    return events[:most]


def first_contact(jobs: int, targets: int) -> list[Event]:
    """One run of so many jobs that were never heard of, each with this number of edges, in ten layers."""
    now = datetime.now(UTC) - timedelta(minutes=10)
    width = max(1, jobs // 10)
    events = []
    for number in range(jobs):
        layer, place = divmod(number, width)
        inputs = [_dataset(f"dwh.layer_{layer}.table_{(place + step) % width}") for step in range(targets)]
        output = _dataset(f"dwh.layer_{layer + 1}.table_{place}", rows=10)
        events.append(
            _event(
                "COMPLETE", now, "contact", f"job_{number}", run_id("contact", number), ("SPARK", "SQL_JOB"),
                inputs=inputs, outputs=[output],
            )
        )  # fmt: skip
    return events


def as_bytes(event: Event) -> bytes:
    """The body of a request."""
    return json.dumps(event).encode()
