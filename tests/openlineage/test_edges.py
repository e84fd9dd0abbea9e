"""Which edges events show, and when edges leave."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from tests.openlineage.known import addresses, edges, executions, rows, write
from tests.support.openlineage import Event, dataset, job_type, later, output, run_event, send
from watcher_server.openlineage.applying.edges import expire_edges

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WAREHOUSE = "postgres://wh:5432"


def column(*sources: str) -> dict[str, Any]:
    """A facet that says of which datasets the columns are made."""
    fields = [{"namespace": WAREHOUSE, "name": source, "field": "x"} for source in sources]
    return {"columnLineage": {"fields": {"x": {"inputFields": fields}}}}


def reads_and_writes(*, at: datetime = START, **given: Any) -> list[Event]:
    """A successful run."""
    return [run_event("START", at, **given), run_event("COMPLETE", later(at, 9), **given)]


def test_all_inputs_lead_to_all_outputs(engine: Engine) -> None:
    inputs, outputs = [dataset("a.b.one"), dataset("a.b.two")], [output("c.d.one"), output("c.d.two")]
    send(engine, *reads_and_writes(inputs=inputs, outputs=outputs))
    assert edges(engine) == {(source, target) for source in ("a.b.one", "a.b.two") for target in ("c.d.one", "c.d.two")}


def test_an_edge_is_there_with_the_first_event_that_shows_it(engine: Engine) -> None:
    send(engine, run_event("START", START, inputs=[dataset("a.b.c")], outputs=[output("a.b.d")]))
    assert edges(engine) == {("a.b.c", "a.b.d")}


def test_sources_of_columns_are_edges_though_they_are_no_inputs(engine: Engine) -> None:
    send(engine, *reads_and_writes(outputs=[output("a.b.d", **column("a.b.c"))]))
    assert edges(engine) == {("a.b.c", "a.b.d")}
    assert f"{WAREHOUSE}/a.b.c" in addresses(engine)


def test_columns_say_which_input_leads_where(engine: Engine) -> None:
    outputs = [output("c.d.one", **column("a.b.one")), output("c.d.two", **column("a.b.two"))]
    inputs = [dataset("a.b.one"), dataset("a.b.two"), dataset("a.b.unseen")]
    send(engine, *reads_and_writes(inputs=inputs, outputs=outputs))
    assert edges(engine) == {
        ("a.b.one", "c.d.one"),
        ("a.b.two", "c.d.two"),
        # No column is made of it, as far as the parser saw.
        ("a.b.unseen", "c.d.one"),
        ("a.b.unseen", "c.d.two"),
    }


def test_an_explicit_lineage_counts_for_more_than_columns(engine: Engine) -> None:
    explicit: dict[str, Any] = {
        "lineage": {"inputs": [{"namespace": WAREHOUSE, "name": "a.b.said", "type": "DATASET"}]}
    }
    send(
        engine, *reads_and_writes(inputs=[dataset("a.b.input")], outputs=[output("c.d", **column("a.b.c"), **explicit)])
    )
    assert edges(engine) == {("a.b.said", "c.d")}


def test_the_lineage_of_a_job_counts_for_more_than_anything(engine: Engine) -> None:
    said = {"namespace": WAREHOUSE, "name": "a.b.said", "type": "DATASET"}
    entries = [
        {"namespace": WAREHOUSE, "name": "c.d.e", "type": "DATASET", "inputs": [said]},
        {"namespace": "demo", "name": "etl", "type": "JOB", "inputs": [said]},
    ]
    given: dict[str, Any] = {"inputs": [dataset("a.b.input")], "outputs": [output("c.d.other", **column("a.b.c"))]}
    send(engine, *reads_and_writes(**given, job_facets={"lineage": {"entries": entries}}))
    assert edges(engine) == {("a.b.said", "c.d.e")}


def test_what_tests_write_and_what_lies_in_memory_are_no_edges(engine: Engine) -> None:
    inputs = [dataset("a.b.c"), dataset("view 1", namespace="inmemory://")]
    audit = output("a.audit.nulls", dbt_model={"config": {"materialized": "test"}})
    send(engine, *reads_and_writes(inputs=inputs, outputs=[output("a.b.d"), audit]))
    send(
        engine,
        *reads_and_writes(job="test", inputs=inputs, outputs=[output("a.b.e")], job_facets=job_type("DBT", "TEST")),
    )
    assert edges(engine) == {("a.b.c", "a.b.d")}
    assert not [name for name in addresses(engine) if "inmemory" in name]


def test_nothing_that_an_event_leaves_out_takes_an_edge_away(engine: Engine) -> None:
    send(engine, *reads_and_writes(inputs=[dataset("a.b.c")], outputs=[output("a.b.d")]))
    send(engine, run_event("START", later(START, 60), run="2"), run_event("FAIL", later(START, 70), run="2"))
    send(engine, run_event("OTHER", later(START, 80), run="2"))
    send(engine, *reads_and_writes(at=later(START, 90), run="3", inputs=[dataset("a.b.c")], outputs=[output("a.b.e")]))
    assert edges(engine) == {("a.b.c", "a.b.d"), ("a.b.c", "a.b.e")}


def test_an_edge_that_no_run_shows_any_more_leaves(engine: Engine) -> None:
    long_ago, lately = datetime.now(UTC) - timedelta(days=40), datetime.now(UTC) - timedelta(days=1)
    send(engine, *reads_and_writes(at=long_ago, inputs=[dataset("a.b.c")], outputs=[output("a.b.d")]))
    with engine.begin() as connection:
        # Its pipeline did not run since: it may be a job of each quarter.
        expire_edges(connection, 30)
    assert edges(engine) == {("a.b.c", "a.b.d")}
    send(engine, *reads_and_writes(at=lately, run="2", inputs=[dataset("a.b.c")], outputs=[output("a.b.e")]))
    write(engine, "DELETE FROM outbox")
    with engine.begin() as connection:
        expire_edges(connection, 30)
    assert edges(engine) == {("a.b.c", "a.b.e")}
    (rebuild,) = rows(engine, "SELECT task_name, kwargs FROM outbox")
    assert rebuild["task_name"] == "address_lineage_closure_rebuild_task"
    assert len(rebuild["kwargs"]["connected_addresses"]) == 2


def test_one_rebuild_of_the_closure_follows_a_turn(engine: Engine) -> None:
    for_each = [
        reads_and_writes(job=f"job {number}", inputs=[dataset("a.b.c")], outputs=[output(f"a.b.d{number}")])
        for number in range(5)
    ]
    send(engine, *(event for events in for_each for event in events))
    rebuilds = rows(engine, "SELECT kwargs FROM outbox WHERE task_name = 'address_lineage_closure_rebuild_task'")
    assert [len(row["kwargs"]["connected_addresses"]) for row in rebuilds] == [6]


def test_a_table_that_was_dropped_is_in_no_edge(engine: Engine) -> None:
    send(engine, *reads_and_writes(inputs=[dataset("a.b.c")], outputs=[output("a.b.d")]))
    drop: dict[str, Any] = {"lifecycleStateChange": {"lifecycleStateChange": "DROP"}}
    dropping = reads_and_writes(
        at=later(START, 60), job="drop", inputs=[dataset("a.b.c")], outputs=[output("a.b.d", **drop)]
    )
    send(engine, *dropping)
    assert edges(engine) == set()
    assert addresses(engine)[f"{WAREHOUSE}/a.b.d"]["openlineage"]["dropped"] is True
    # That is no write.
    assert [
        row["last_output"] for row in rows(engine, "SELECT last_output FROM pipeline WHERE name = 'demo/drop'")
    ] == [None]
    create: dict[str, Any] = {"lifecycleStateChange": {"lifecycleStateChange": "CREATE"}}
    again = {"inputs": [dataset("a.b.c")], "outputs": [output("a.b.d", **create)]}
    send(engine, *reads_and_writes(at=later(START, 90), run="2", **again))
    assert edges(engine) == {("a.b.c", "a.b.d")}
    assert "dropped" not in addresses(engine)[f"{WAREHOUSE}/a.b.d"]["openlineage"]


def test_a_renamed_table_keeps_its_address(engine: Engine) -> None:
    send(engine, *reads_and_writes(inputs=[dataset("a.b.c")], outputs=[output("a.b.old")]))
    before = {"namespace": WAREHOUSE, "name": "a.b.old"}
    rename: dict[str, Any] = {"lifecycleStateChange": {"lifecycleStateChange": "RENAME", "previousIdentifier": before}}
    send(engine, *reads_and_writes(at=later(START, 60), job="rename", outputs=[output("a.b.new", **rename)]))
    send(
        engine,
        *reads_and_writes(at=later(START, 90), job="read", inputs=[dataset("a.b.new")], outputs=[output("a.b.x")]),
    )
    assert edges(engine) == {("a.b.c", "a.b.old"), ("a.b.old", "a.b.x")}


def test_another_name_of_a_dataset_leads_to_its_address(engine: Engine) -> None:
    other = {"namespace": "hive://metastore:9083", "name": "shop.orders", "type": "TABLE"}
    place = dataset("warehouse/shop.db/orders", namespace="s3://lake", symlinks={"identifiers": [other]})
    send(engine, *reads_and_writes(job="spark", inputs=[dataset("a.b.c")], outputs=[place]))
    send(
        engine,
        *reads_and_writes(
            job="trino", inputs=[dataset("shop.orders", namespace="hive://metastore:9083")], outputs=[output("a.b.d")]
        ),
    )
    assert edges(engine) == {
        ("a.b.c", "s3://lake/warehouse/shop.db/orders"),
        ("s3://lake/warehouse/shop.db/orders", "a.b.d"),
    }


def test_a_name_that_two_datasets_claim_names_neither(engine: Engine) -> None:
    session = {"namespace": "flink", "name": "default_catalog.default_database.t", "type": "TABLE"}
    for number in (1, 2):
        place = output(f"a.b.t{number}", symlinks={"identifiers": [session]})
        send(engine, *reads_and_writes(job=f"job {number}", outputs=[place]))
    read = dataset("default_catalog.default_database.t", namespace="flink")
    send(engine, *reads_and_writes(job="read", inputs=[read], outputs=[output("a.b.d")]))
    assert edges(engine) == {("flink/default_catalog.default_database.t", "a.b.d")}


def test_dashboards_that_dbt_knows_lie_downstream(engine: Engine) -> None:
    exposures = {
        "exposures": [
            {"name": "Weekly", "type": "dashboard", "url": "https://bi.example.com/1", "label": "Weekly sales"}
        ]
    }
    send(engine, *reads_and_writes(inputs=[dataset("a.b.c")], outputs=[output("a.b.d", dbt_exposures=exposures)]))
    assert edges(engine) == {("a.b.c", "a.b.d"), ("a.b.d", "exposure://wh:5432/weekly")}
    exposure = addresses(engine)["exposure://wh:5432/weekly"]
    assert (exposure["type"], exposure["display_name"]) == ("exposure", "exposure://wh:5432/Weekly")
    assert exposure["openlineage"]["exposure"]["url"] == "https://bi.example.com/1"


def job_event(at: datetime, **given: Any) -> Event:
    """What a job is, whether it runs or not."""
    event = run_event("", at, **given)
    return {name: value for name, value in event.items() if name not in {"run", "eventType"}}


def test_a_job_says_its_edges_as_a_whole(engine: Engine) -> None:
    send(engine, job_event(START, inputs=[dataset("a.b.c")], outputs=[output("a.b.d")]))
    assert executions(engine) == []
    assert edges(engine) == {("a.b.c", "a.b.d")}
    send(engine, *reads_and_writes(at=later(START, 120), inputs=[dataset("a.b.c")], outputs=[output("a.b.seen")]))
    send(engine, job_event(later(START, 60), inputs=[dataset("a.b.c")], outputs=[output("a.b.e")]))
    # What a later run showed stays.
    assert edges(engine) == {("a.b.c", "a.b.e"), ("a.b.c", "a.b.seen")}
    # That a job says nothing of datasets is not that it has none.
    send(engine, job_event(later(START, 180)))
    assert edges(engine) == {("a.b.c", "a.b.e"), ("a.b.c", "a.b.seen")}


def test_a_dataset_may_say_what_it_is_made_of(engine: Engine) -> None:
    def event(at: datetime, *sources: str) -> Event:
        inputs = [{"namespace": WAREHOUSE, "name": source, "type": "DATASET"} for source in sources]
        said: dict[str, Any] = {"documentation": {"description": "All of it"}, "lineage": {"inputs": inputs}}
        return {"eventTime": at.isoformat(), "producer": "me", "dataset": dataset("a.b.d", **said)}

    send(engine, event(START, "a.b.c", "a.b.x"))
    assert edges(engine) == {("a.b.c", "a.b.d"), ("a.b.x", "a.b.d")}
    assert addresses(engine)[f"{WAREHOUSE}/a.b.d"]["openlineage"]["description"] == "All of it"
    (pipeline,) = rows(
        engine,
        "SELECT name, type_name AS type, freshness_muted, timeliness_muted, schedule FROM pipeline_effective",
    )
    assert (pipeline["name"], pipeline["type"]) == (f"declared lineage/{WAREHOUSE}", "declared lineage")
    assert (pipeline["freshness_muted"], pipeline["timeliness_muted"], pipeline["schedule"]) == (True, True, None)
    assert rows(engine, "SELECT FROM anomaly_detection_rule") == []
    send(engine, event(later(START, 60), "a.b.c"))
    assert edges(engine) == {("a.b.c", "a.b.d")}
