"""What Prometheus reads of incidents; counters never fall."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, insert, text

from tests.incidents.records import add_incident
from tests.support.rows import add_pipeline, add_run, ago, now
from watcher_server.incidents.changes import change_incident
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.kinds import Kind
from watcher_server.incidents.models import IncidentEvent
from watcher_server.incidents.opening import Finding, open_incidents
from watcher_server.incidents.resolving import resolve
from watcher_server.incidents.schemas import IncidentPatch

pytestmark = pytest.mark.usefixtures("valkey")


async def read(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    answer = await client.get("/metrics")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def change(engine: Engine, id_: int, version: int, **fields: Any) -> None:
    with engine.begin() as connection:
        change_incident(connection, id_, IncidentPatch(version=version, **fields), "ada")


async def test_nothing_is_zero_and_no_gap(client: httpx.AsyncClient) -> None:
    values = await read(client)

    for kind in Kind:
        assert values["watcher_incident_opened_total", kind] == 0
    assert values["watcher_incidents", "failing", "ERROR", "open"] == 0
    for name in ("acknowledge", "resolve"):
        assert values[f"watcher_incident_{name}_seconds_count",] == 0
        assert values[f"watcher_incident_{name}_seconds_bucket", "60.0"] == 0
        assert values[f"watcher_incident_{name}_seconds_bucket", "+Inf"] == 0


async def test_open_ones_are_counted_by_kind_level_and_state(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        for name, state in (("orders", "open"), ("prices", "open"), ("sales", "acknowledged")):
            add_incident(connection, add_pipeline(connection, name), "stale", state=state)
        add_incident(connection, 1, "failing", level="CRITICAL")
        add_incident(connection, 1, "late", resolved_at=ago(hours=1))
    values = await read(client)

    assert values["watcher_incidents", "stale", "WARNING", "open"] == 2
    assert values["watcher_incidents", "stale", "WARNING", "acknowledged"] == 1
    assert values["watcher_incidents", "failing", "CRITICAL", "open"] == 1
    assert values["watcher_incidents", "late", "WARNING", "open"] == 0


async def test_what_opened_once_is_counted_once_and_for_ever(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection)
        for minutes in (3, 2):
            add_run(connection, orders, end_date=ago(minutes=minutes), completed_successfully=False)
            assert judge_failure(connection, orders, alert_max_age_hours=24) is not None
        tasks = [Finding(now(), "failed", subject=f"task {number}") for number in range(3)]
        open_incidents(connection, Kind.TASK, tasks)
        connection.execute(text("DELETE FROM incident"))
    values = await read(client)

    assert values["watcher_incident_opened_total", "failing"] == 1
    assert values["watcher_incident_opened_total", "task"] == 3


async def test_times_are_counted_when_it_happens_and_stay(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection)
        id_ = add_incident(connection, orders, "failing", opened_at=ago(hours=5))
        for change_, at in (("opened", ago(hours=5)), ("reopened", ago(minutes=10))):
            event = {"incident_id": id_, "change": change_, "actor": "watcher", "at": at}
            connection.execute(insert(IncidentEvent).values(event))
    change(engine, id_, 1, state="acknowledged")
    change(engine, id_, 2, state="open")
    change(engine, id_, 3, state="acknowledged", assignee="Ada")
    with engine.begin() as connection:
        assert resolve(connection, [id_]) == 1
        assert resolve(connection, [id_]) == 0
        connection.execute(text("DELETE FROM incident"))
    values = await read(client)

    # It was acknowledged and resolved ten minutes after it opened again.
    for name in ("acknowledge", "resolve"):
        buckets = {bound: values[f"watcher_incident_{name}_seconds_bucket", bound] for bound in ("300.0", "900.0")}
        assert buckets == {"300.0": 0, "900.0": 1}
        assert values[f"watcher_incident_{name}_seconds_bucket", "+Inf"] == 1
        assert values[f"watcher_incident_{name}_seconds_count",] == 1
        ten_minutes = timedelta(minutes=10).total_seconds()
        assert ten_minutes <= values[f"watcher_incident_{name}_seconds_sum",] < ten_minutes + 60


async def test_what_takes_months_is_in_the_last_bucket(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        resolve(connection, [add_incident(connection, add_pipeline(connection), opened_at=ago(days=200))])
    values = await read(client)

    assert values["watcher_incident_resolve_seconds_bucket", "604800.0"] == 0
    assert values["watcher_incident_resolve_seconds_bucket", "+Inf"] == 1
