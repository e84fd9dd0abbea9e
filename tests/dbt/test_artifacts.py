"""What the files of a real dbt become: runs, edges, addresses, facts, incidents."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, text

from tests.archive.test_archive import run_tasks
from tests.conftest import MakeClient
from tests.dbt.conftest import Files, ReadTarget, upload
from watcher_server.freshness.service import check_freshness
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.sweep import sweep_incidents
from watcher_server.lineage.closure import rebuild_part
from watcher_server.lineage.walk import ClosureChange
from watcher_server.settings import load_settings

TEST = "dbt/test.shop."
TABLES = (
    "pipeline_type",
    "pipeline",
    "pipeline_execution",
    "pipeline_execution_closure",
    "address",
    "address_type",
    "address_lineage",
    "outbox",
    "dbt_artifact",
    "daily_pipeline_metric_change",
    "anomaly_detection_rule",
)


def rows(engine: Engine, statement: str, **parameters: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement), parameters))


def moment(told: str) -> datetime:
    return datetime.fromisoformat(told)


def everything(engine: Engine) -> dict[str, list[Any]]:
    """Every row that an upload may write, with the version of each."""
    return {table: rows(engine, f"SELECT xmin::text, row.* FROM {table} AS row ORDER BY 1, 2, 3") for table in TABLES}


async def runs(client: httpx.AsyncClient, execution_id: int) -> dict[str, dict[str, Any]]:
    """The invocation and the runs below it, by the names of their pipelines."""
    names = {row["id"]: row["name"] for row in (await client.get("/pipeline")).json()}
    tree = (await client.get(f"/pipeline_execution/{execution_id}")).json()
    return {names[run["pipeline_id"]]: run for run in (tree, *tree["child_executions"])}


async def pipeline(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    (found,) = [row for row in (await client.get("/pipeline")).json() if row["name"] == name]
    return dict(found)


async def test_an_invocation_has_a_run_below_it_for_each_node(
    client: httpx.AsyncClient, read_target: ReadTarget
) -> None:
    files = read_target("broken")
    answer = await upload(client, files)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert (body["files"], body["executions"], body["sources"]) == (2, 11, 2)
    found = await runs(client, body["execution_id"])
    outcomes = {name: run["execution_metadata"]["dbt"].get("status") for name, run in found.items()}
    assert outcomes == {
        "dbt/dbt-run-shop": None,
        "dbt/shop.main.shop.orders.build.run": "success",
        "dbt/shop.main.shop.revenue.build.run": "success",
        "dbt/shop.main.shop.broken.build.run": "error",
        "dbt/shop.main.shop.below_broken.build.run": "skipped",
        "dbt/shop.main.shop.countries.build.seed": "success",
        "dbt/shop.main.shop.orders_history.build.snapshot": "success",
        f"{TEST}not_null_orders_id.84ef11d8fe": "pass",
        f"{TEST}not_null_revenue_revenue.ae135ff215": "pass",
        f"{TEST}accepted_values_orders_amount__false__1__2.37d9a0d495": "warn",
        f"{TEST}no_great_revenue": "fail",
    }
    succeeded = {name for name, run in found.items() if run["completed_successfully"]}
    assert {outcomes[name] for name in succeeded} == {"success", "pass", "warn"}
    assert {outcomes[name] for name in found.keys() - succeeded} == {None, "error", "skipped", "fail"}
    assert found["dbt/shop.main.shop.countries.build.seed"]["total_rows"] == 2
    assert found["dbt/shop.main.shop.orders.build.run"]["inserts"] is None
    broken = found["dbt/shop.main.shop.broken.build.run"]["execution_metadata"]
    assert "no_such_column" in broken["error"]
    assert found["dbt/dbt-run-shop"]["execution_metadata"]["error"].startswith("2 of 11 failed: model.shop.broken")


async def test_runs_have_the_times_that_dbt_says(client: httpx.AsyncClient, read_target: ReadTarget) -> None:
    files = read_target("broken")
    found = await runs(client, (await upload(client, files)).json()["execution_id"])
    told = json.loads(files["run_results.json"])
    timing = next(each["timing"] for each in told["results"] if each["unique_id"] == "model.shop.orders")
    orders = found["dbt/shop.main.shop.orders.build.run"]
    moments = [moment(orders[name]) for name in ("start_date", "end_date")]
    assert moments == [moment(timing[step][at]) for step, at in ((0, "started_at"), (-1, "completed_at"))]
    invocation = found["dbt/dbt-run-shop"]
    assert moment(invocation["end_date"]) == moment(told["metadata"]["generated_at"])
    assert all(run["start_date"] >= invocation["start_date"] for run in found.values())
    skipped = found["dbt/shop.main.shop.below_broken.build.run"]
    assert (skipped["duration_seconds"], skipped["end_date"]) == (None, invocation["end_date"])


async def test_files_replace_what_was_declared_and_not_what_events_show(
    client: httpx.AsyncClient, engine: Engine, read_target: ReadTarget
) -> None:
    await upload(client, read_target("broken"))
    orders = "(SELECT id FROM pipeline WHERE name = 'dbt/shop.main.shop.orders.build.run')"
    with engine.begin() as connection:
        # So that the same files are applied once more.
        connection.execute(text("DELETE FROM dbt_artifact"))
        # One that dbt declares as well, and one that it does not.
        connection.execute(text(f"UPDATE address_lineage SET origin = 'openlineage' WHERE pipeline_id = {orders}"))
        edge = connection.execute(
            text(f"""
                INSERT INTO address_lineage (pipeline_id, source_address_id, target_address_id, origin)
                SELECT pipeline_id, target_address_id, source_address_id, 'openlineage' FROM address_lineage
                WHERE pipeline_id = {orders}
                RETURNING pipeline_id, source_address_id, target_address_id
            """)
        ).one()

    assert (await upload(client, read_target("broken"))).status_code == 201

    seen = rows(
        engine,
        """SELECT pipeline_id, source_address_id, target_address_id FROM address_lineage
        WHERE origin = 'openlineage'""",
    )
    assert seen == [edge]


async def test_edges_follow_depends_on_through_what_is_not_kept(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    await upload(client, read_target("broken"))
    edges = rows(
        engine,
        """SELECT pipeline.name, source.name, target.name FROM address_lineage
        JOIN pipeline ON pipeline.id = pipeline_id
        JOIN address AS source ON source.id = source_address_id
        JOIN address AS target ON target.id = target_address_id""",
    )
    assert {tuple(edge) for edge in edges} == {
        ("dbt/source.shop.raw.orders", "shop.main.raw_orders", "shop.main.raw_orders"),
        ("dbt/source.shop.raw.customers", "shop.main.raw_customers", "shop.main.raw_customers"),
        ("dbt/shop.main.shop.countries.build.seed", "shop.main.countries", "shop.main.countries"),
        ("dbt/shop.main.shop.orders.build.run", "shop.main.raw_orders", "shop.main.orders"),
        ("dbt/shop.main.shop.broken.build.run", "shop.main.countries", "shop.main.broken"),
        ("dbt/shop.main.shop.below_broken.build.run", "shop.main.broken", "shop.main.below_broken"),
        ("dbt/shop.main.shop.orders_history.build.snapshot", "shop.main.orders", "shop.main.orders_history"),
        ("dbt/shop.main.shop.revenue.build.run", "shop.main.orders", "shop.main.revenue"),
        ("dbt/shop.main.shop.revenue.build.run", "shop.main.countries", "shop.main.revenue"),
        ("dbt/shop.main.shop.revenue.build.run", "shop.main.revenue", "exposure.shop.revenue_dashboard"),
    }
    # The ends of all edges, so that the closure around them is rebuilt.
    (rebuild, *_) = rows(engine, "SELECT kwargs FROM outbox WHERE task_name = 'address_lineage_closure_rebuild_task'")
    assert rebuild.kwargs["pipeline_id"] == 0
    assert rows(engine, "SELECT count(*) FROM address_lineage_closure WHERE depth = 0") == [(9,)]


async def test_owners_tags_and_descriptions_are_kept(client: httpx.AsyncClient, read_target: ReadTarget) -> None:
    await upload(client, read_target("broken"))
    orders = (await pipeline(client, "dbt/shop.main.shop.orders.build.run"))["pipeline_metadata"]
    assert (orders["description"], orders["owner"]) == ("Every order, once.", "Team Orders")
    assert orders["tags"] == ["nightly", "finance"]
    assert orders["dbt"]["unique_id"] == "model.shop.orders"
    assert orders["dbt"]["file"] == "models/orders.sql"
    addresses = {row["name"]: row for row in (await client.get("/address")).json()}
    table = addresses["shop.main.orders"]
    assert (table["database_name"], table["schema_name"], table["table_name"]) == ("shop", "main", "orders")
    assert table["address_metadata"]["description"] == "Every order, once."
    dashboard = addresses["exposure.shop.revenue_dashboard"]["address_metadata"]
    assert (dashboard["url"], dashboard["owner"]) == ("https://bi.example/revenue", "Team Finance")
    types = {row["name"]: row["group_name"] for row in (await client.get("/address_type")).json()}
    assert types == {"duckdb": "database", "exposure": "other"}


async def test_what_others_noted_and_set_stays(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    await upload(client, read_target("broken"))
    noted = await pipeline(client, "dbt/shop.main.shop.orders.build.run")
    metadata = {**noted["pipeline_metadata"], "tags": ["ours"], "wiki": "https://wiki.example"}
    change = {"id": noted["id"], "pipeline_metadata": metadata, "freshness_number": 3, "freshness_datepart": "day"}
    assert (await client.patch("/pipeline", json=change)).status_code == 200
    source = await pipeline(client, "dbt/source.shop.raw.orders")
    warned = {"id": source["id"], "freshness_warning_number": 5, "freshness_warning_datepart": "hour"}
    assert (await client.patch("/pipeline", json=warned)).status_code == 200
    renewed = dict(read_target("mended"))
    renewed["manifest.json"] = renewed["manifest.json"].replace(b"Every order, once.", b"Orders.")
    assert (await upload(client, renewed)).status_code == 201
    orders = await pipeline(client, "dbt/shop.main.shop.orders.build.run")
    assert orders["pipeline_metadata"]["tags"] == ["ours"]
    assert orders["pipeline_metadata"]["wiki"] == "https://wiki.example"
    assert orders["pipeline_metadata"]["description"] == "Orders."
    assert orders["freshness_number"] == 3
    after = await pipeline(client, "dbt/source.shop.raw.orders")
    assert (after["freshness_warning_number"], after["freshness_number"]) == (5, 1)


async def test_dbts_new_thresholds_replace_its_old_ones(client: httpx.AsyncClient, read_target: ReadTarget) -> None:
    await upload(client, read_target("broken"))
    changed = read_target("mended")
    changed["sources.json"] = changed["sources.json"].replace(
        b'"error_after": {"count": 1, "period": "day"}', b'"error_after": {"count": 90, "period": "minute"}'
    )
    await upload(client, changed)
    source = await pipeline(client, "dbt/source.shop.raw.orders")
    assert (source["freshness_number"], source["freshness_datepart"]) == (90, "minute")
    changed["sources.json"] = (
        changed["sources.json"]
        .replace(b'"count": 90', b'"count": null')
        .replace(json.loads(changed["sources.json"])["metadata"]["invocation_id"].encode(), b"a-third-one")
    )
    await upload(client, changed)
    source = await pipeline(client, "dbt/source.shop.raw.orders")
    assert (source["freshness_number"], source["freshness_datepart"]) == (None, None)


async def test_a_second_upload_changes_nothing(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    await upload(client, read_target("broken"))
    before = everything(engine)
    again = await upload(client, read_target("broken"))
    assert (again.status_code, again.json()["files"], again.json()["execution_id"]) == (200, 0, None)
    assert "applied before" in again.json()["message"]
    assert everything(engine) == before


async def test_of_uploads_at_once_one_is_applied(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:

    answers = await asyncio.gather(*(upload(client, read_target("broken")) for _ in range(4)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 503}
    assert rows(engine, "SELECT count(*) FROM pipeline_execution") == [(11,)]


async def test_each_file_counts_by_itself(client: httpx.AsyncClient, read_target: ReadTarget) -> None:
    files = read_target("broken")
    runs_only = {name: files[name] for name in ("manifest.json", "run_results.json")}
    assert (await upload(client, runs_only)).json()["files"] == 1
    body = (await upload(client, files)).json()
    assert (body["files"], body["execution_id"], body["sources"]) == (1, None, 2)


async def test_freshness_json_is_sources_json_by_another_name(
    client: httpx.AsyncClient, read_target: ReadTarget
) -> None:
    files = read_target("broken", "manifest.json", "sources.json")
    renamed = {"manifest.json": files["manifest.json"], "freshness.json": files["sources.json"]}
    assert (await upload(client, renamed)).json()["sources"] == 2
    assert (await upload(client, files)).status_code == 200
    assert (await upload(client, files | renamed)).status_code == 200


async def test_a_run_of_models_alone_is_named_as_openlineage_names_it(
    client: httpx.AsyncClient, read_target: ReadTarget
) -> None:
    body = (await upload(client, read_target("run"), namespace="Prod", job_name="nightly")).json()
    assert {"prod/nightly", "prod/shop.main.shop.orders"} <= (await runs(client, body["execution_id"])).keys()


async def test_a_namespace_for_addresses_names_them_as_openlineage_does(
    client: httpx.AsyncClient, read_target: ReadTarget
) -> None:
    await upload(client, read_target("run"), dataset_namespace="duckdb://shop.duckdb")
    names = {row["name"] for row in (await client.get("/address")).json()}
    assert "duckdb://shop.duckdb/shop.main.orders" in names


async def test_only_what_can_be_judged_is_queued(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    rule = await client.post("/pipeline", json={"name": f"{TEST}no_great_revenue", "pipeline_type_name": "dbt test"})
    assert rule.status_code == 201
    seed = {"name": "dbt/shop.main.shop.countries.build.seed", "pipeline_type_name": "dbt seed"}
    seed_id = (await client.post("/pipeline", json=seed)).json()["id"]
    await client.post("/anomaly_detection_rule", json={"pipeline_id": seed_id, "metric_field": "total_rows"})
    await upload(client, read_target("broken", "manifest.json", "run_results.json"))
    queued = rows(
        engine,
        """SELECT task_name, queue, pipeline.name FROM outbox
        JOIN pipeline ON pipeline.id = CAST(kwargs ->> 'pipeline_id' AS integer)
        WHERE task_name <> 'address_lineage_closure_rebuild_task'""",
    )
    assert {tuple(row) for row in queued} == {
        ("judge_failure_task", "scheduled", "dbt/dbt-run-shop"),
        ("judge_failure_task", "scheduled", "dbt/shop.main.shop.broken.build.run"),
        ("judge_failure_task", "scheduled", f"{TEST}no_great_revenue"),
        ("detect_anomalies_task", "celery", "dbt/shop.main.shop.countries.build.seed"),
    }


async def test_new_pipelines_get_the_rules_that_fit_where_new_pipelines_get_rules(
    make_client: MakeClient, read_target: ReadTarget, engine: Engine
) -> None:
    async with make_client(auto_create_anomaly_detection_rules=True) as client:
        await upload(client, read_target("run"))
    metrics = rows(engine, "SELECT DISTINCT metric_field FROM anomaly_detection_rule ORDER BY 1")
    assert metrics == [("duration_seconds",), ("total_rows",)]


async def test_a_success_is_a_write_of_what_it_builds(client: httpx.AsyncClient, read_target: ReadTarget) -> None:
    files = read_target("broken")
    body = (await upload(client, files)).json()
    found = await runs(client, body["execution_id"])
    name = "dbt/shop.main.shop.orders.build.run"
    assert moment((await pipeline(client, name))["last_target_update"]) == moment(found[name]["end_date"])
    for unwritten in ("dbt/shop.main.shop.broken.build.run", "dbt/dbt-run-shop", f"{TEST}no_great_revenue"):
        assert (await pipeline(client, unwritten))["last_target_update"] is None


async def test_a_past_day_is_noted_for_the_daily_figures(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    files = read_target("broken", "manifest.json", "run_results.json")
    told = json.loads(files["run_results.json"])
    day = moment(told["metadata"]["generated_at"]) - timedelta(days=2)
    moved = files["run_results.json"].replace(
        told["metadata"]["generated_at"][:10].encode(), day.date().isoformat().encode()
    )
    await upload(client, files | {"run_results.json": moved})
    assert rows(engine, "SELECT DISTINCT date_recorded FROM daily_pipeline_metric_change") == [(day.date(),)]


def sweep(engine: Engine) -> None:
    with engine.begin() as connection:
        sweep_incidents(connection, load_settings())


def judge_everything(connection: Connection) -> None:
    """What the queued tasks do."""
    addresses = list(connection.scalars(text("SELECT id FROM address")))
    rebuild_part(connection, addresses, ClosureChange())
    check_freshness(connection)
    failed = "SELECT CAST(kwargs ->> 'pipeline_id' AS integer) FROM outbox WHERE task_name = 'judge_failure_task'"
    for pipeline_id in list(connection.scalars(text(failed))):
        judge_failure(connection, pipeline_id, alert_max_age_hours=24)


def live_incidents(engine: Engine) -> dict[tuple[str, str], Any]:
    found = rows(
        engine,
        """SELECT incident.kind, pipeline.name, incident.detail, root.name AS root FROM incident
        JOIN pipeline ON pipeline.id = incident.pipeline_id
        LEFT JOIN incident AS cause ON cause.id = incident.root_id
        LEFT JOIN pipeline AS root ON root.id = cause.pipeline_id
        WHERE incident.state <> 'resolved'""",
    )
    return {(row.kind, row.name): row for row in found}


async def test_failures_and_stale_sources_are_incidents_until_they_are_over(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    await upload(client, read_target("broken"))
    with engine.begin() as connection:
        judge_everything(connection)
    sweep(engine)
    incidents = live_incidents(engine)
    assert incidents.keys() == {
        ("failing", "dbt/dbt-run-shop"),
        ("failing", "dbt/shop.main.shop.broken.build.run"),
        ("failing", f"{TEST}no_great_revenue"),
        ("stale", "dbt/source.shop.raw.customers"),
    }
    assert "no_such_column" in incidents["failing", "dbt/shop.main.shop.broken.build.run"].detail
    assert "expected every 1 day" in incidents["stale", "dbt/source.shop.raw.customers"].detail
    # What failed in it explains the invocation.
    assert incidents["failing", "dbt/dbt-run-shop"].root in {
        "dbt/shop.main.shop.broken.build.run",
        f"{TEST}no_great_revenue",
    }
    await upload(client, read_target("mended"))
    sweep(engine)
    assert live_incidents(engine) == {}


async def test_a_stale_source_explains_what_lies_below_it(
    client: httpx.AsyncClient, read_target: ReadTarget, engine: Engine
) -> None:
    files = read_target("broken")
    told = json.loads(files["sources.json"])
    told["results"] = [dict(result, max_loaded_at="2024-01-01T00:00:00Z") for result in told["results"]]
    await upload(client, files | {"sources.json": json.dumps(told).encode()})
    revenue = await pipeline(client, "dbt/shop.main.shop.revenue.build.run")
    change = {"id": revenue["id"], "freshness_number": 1, "freshness_datepart": "minute"}
    assert (await client.patch("/pipeline", json=change)).status_code == 200
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE pipeline SET last_target_update = now() - interval '1 hour' WHERE id = :id"),
            {"id": revenue["id"]},
        )
        judge_everything(connection)
    sweep(engine)
    incidents = live_incidents(engine)
    assert incidents["stale", revenue["name"]].root == "dbt/source.shop.raw.orders"
    assert incidents["stale", "dbt/source.shop.raw.orders"].root is None


async def test_a_source_that_could_not_be_asked_keeps_what_is_known(
    client: httpx.AsyncClient, read_target: ReadTarget
) -> None:
    await upload(client, read_target("broken"))
    known = (await pipeline(client, "dbt/source.shop.raw.orders"))["last_target_update"]
    files = read_target("mended")
    told = json.loads(files["sources.json"])
    told["results"] = [
        {"unique_id": result["unique_id"], "status": "runtime error", "error": "the table is gone"}
        for result in told["results"]
    ]
    assert (await upload(client, files | {"sources.json": json.dumps(told).encode()})).status_code == 201
    source = await pipeline(client, "dbt/source.shop.raw.orders")
    assert source["last_target_update"] == known
    assert source["freshness_number"] == 1
    assert source["pipeline_metadata"]["dbt"]["error"] == "the table is gone"


def as_version(files: Files, *, manifest: int, run_results: int) -> Files:
    """The files as older versions of dbt write them: what came later is left out."""
    old = json.loads(files["manifest.json"])
    old["metadata"]["dbt_schema_version"] = f"https://schemas.getdbt.com/dbt/manifest/v{manifest}.json"
    for name in ("unit_tests", "saved_queries", "semantic_models", "functions"):
        old.pop(name, None)
    for name in ("project_name", "invocation_started_at", "run_started_at", "quoting"):
        old["metadata"].pop(name, None)
    for node in old["nodes"].values():
        node.pop("doc_blocks", None)
        node.pop("primary_key", None)
    results = json.loads(files["run_results.json"])
    results["metadata"]["dbt_schema_version"] = f"https://schemas.getdbt.com/dbt/run-results/v{run_results}.json"
    results["metadata"].pop("invocation_started_at", None)
    for result in results["results"]:
        for name in ("compiled", "compiled_code", "relation_name", "batch_results"):
            result.pop(name, None)
    return files | {"manifest.json": json.dumps(old).encode(), "run_results.json": json.dumps(results).encode()}


@pytest.mark.parametrize(("manifest", "run_results"), [(9, 4), (10, 4), (11, 5), (12, 6)])
async def test_every_version_that_is_accepted_says_the_same(
    client: httpx.AsyncClient, read_target: ReadTarget, manifest: int, run_results: int
) -> None:
    files = as_version(read_target("broken"), manifest=manifest, run_results=run_results)
    answer = await upload(client, files)
    assert answer.status_code == 201, answer.text
    found = await runs(client, answer.json()["execution_id"])
    assert len(found) == 11
    assert "dbt/dbt-run-shop" in found


async def test_an_upload_brings_back_what_it_names(
    client: httpx.AsyncClient, engine: Engine, read_target: ReadTarget
) -> None:
    await upload(client, read_target("broken"))
    pipelines = [row["id"] for row in (await client.get("/pipeline")).json()]
    addresses = [row["id"] for row in (await client.get("/address")).json()]
    edges = rows(engine, "SELECT count(*) FROM address_lineage")
    for path, ids in (("pipeline", pipelines), ("address", addresses)):
        for id_ in ids:
            assert (await client.delete(f"/{path}/{id_}")).status_code == 200
    assert rows(engine, "SELECT count(*) FROM address_lineage") == [(0,)]

    await upload(client, read_target("mended"))
    run_tasks(engine)

    assert {row["id"] for row in (await client.get("/pipeline")).json()} >= set(pipelines)
    assert {row["id"] for row in (await client.get("/address")).json()} >= set(addresses)
    assert rows(engine, "SELECT count(*) FROM address_lineage") >= edges
    assert rows(engine, "SELECT count(*) FROM archived_address_lineage") == [(0,)]
