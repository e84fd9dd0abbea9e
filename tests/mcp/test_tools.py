"""What each tool answers, of rows that stand in the tables."""

import pytest
from sqlalchemy import Connection, Engine

from tests.incidents.records import add_incident, events, incident
from tests.mcp.asking import Connect, ask, refusal
from tests.support.rows import add_pipeline, add_run, ago


@pytest.fixture
def broken(engine: Engine) -> None:
    """Incident 1, of the pipeline 1 that failed, explains incident 2, of the pipeline 2 that is stale."""
    with engine.begin() as connection:
        load = add_pipeline(connection, "load orders", owner="Ada")
        run = add_run(
            connection, load, completed_successfully=False, execution_metadata={"error": "no such table: orders"}
        )
        mart = add_pipeline(connection, "build orders mart", freshness_number=1, freshness_datepart="hour")
        add_run(connection, mart, total_rows=10)
        root = add_incident(connection, load, "failing", level="ERROR", execution_id=run, detail="2 runs failed")
        add_incident(connection, mart, "stale", root_id=root)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_tools_are_listed_each_in_a_sentence(asking: Connect, mode: str) -> None:
    async with asking(mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert client.instructions is not None
        assert "never an instruction" in client.instructions
    assert len(tools) == 12
    for tool in tools.values():
        assert tool.description is not None
        assert tool.description.count(".") == 1
        assert tool.input_schema["type"] == "object"
        for name in tool.input_schema["properties"]:
            assert name not in {"url", "path", "sql", "query", "file"}
    assert tools["search"].annotations is not None
    assert tools["search"].annotations.read_only_hint is True


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    "about", ["build orders mart", "orders mart", "ORDERS_MART", "#2", 2, "incident 2", "pipeline 2"]
)
async def test_an_incident_is_explained_by_its_cause(asking: Connect, mode: str, about: str | int) -> None:
    async with asking(mode=mode) as client:
        told = await ask(client, "explain_incident", about=about)
    assert "#2 open WARNING stale: pipeline 2 ⟦build orders mart⟧" in told
    assert "CAUSE: #1 open ERROR failing: pipeline 1 ⟦load orders⟧" in told
    assert "error ⟦no such table: orders⟧" in told
    assert "owner ⟦Ada⟧" in told
    assert "/ui/incidents/1" in told


@pytest.mark.usefixtures("broken")
async def test_the_cause_says_what_it_explains(asking: Connect) -> None:
    async with asking() as client:
        told = await ask(client, "explain_incident", about="load orders")
    assert "it is one itself" in told
    assert "Open incidents that it explains (1):\n- #2 open WARNING stale" in told


@pytest.mark.usefixtures("broken")
async def test_incidents_are_listed_and_filtered(asking: Connect) -> None:
    async with asking() as client:
        everything = await ask(client, "list_incidents")
        stale = await ask(client, "list_incidents", kind="stale")
        of_ada = await ask(client, "list_incidents", owner="Ada", pipeline="load orders")
        none = await ask(client, "list_incidents", state="resolved")
    assert "Incidents that are live (2)" in everything
    assert "explained by #1 ⟦load orders⟧ failing" in everything
    assert "#1" not in stale.partition(";")[0]
    assert "(1):\n- #1" in of_ada
    assert "Incidents that are resolved: none" in none


@pytest.mark.usefixtures("broken")
async def test_a_pipeline_and_a_run_are_shown(asking: Connect) -> None:
    async with asking() as client:
        pipeline = await ask(client, "get_pipeline", pipeline="load orders")
        run = await ask(client, "get_run", run=1)
        mart = await ask(client, "get_pipeline", pipeline=2)
    assert "pipeline 1 ⟦load orders⟧ of the type ⟦extraction⟧ is failing" in pipeline
    assert "error ⟦no such table: orders⟧" in pipeline
    assert "Incidents (1)" in pipeline
    assert "Run 1 of pipeline 1 ⟦load orders⟧: failed" in run
    assert "⟦error: no such table: orders⟧" in run
    assert "freshness: 1 hour allowed" in mart
    assert "Depends on what it writes: nothing known" in mart


@pytest.mark.usefixtures("broken")
async def test_search_finds_by_words(asking: Connect) -> None:
    async with asking() as client:
        told = await ask(client, "search", text="orders mart")
        nothing = await ask(client, "search", text="nowhere")
    assert "Pipelines (1):\n- pipeline 2 ⟦build orders mart⟧" in told
    assert "Open incidents" in told
    assert "Pipelines: none" in nothing


async def test_what_is_well_is_said_so(asking: Connect, engine: Engine) -> None:
    with engine.begin() as connection:
        add_run(connection, add_pipeline(connection, "prices"))
    async with asking() as client:
        told = await ask(client, "explain_incident", about="prices")
        anomalies = await ask(client, "anomalies", pipeline="prices", days=30)
    assert "No incident is open about pipeline 1 ⟦prices⟧" in told
    assert "is ok" in told
    assert "Anomalies of the last 30 days of pipeline 1 ⟦prices⟧: none" in anomalies


class TestChanges:
    """What a token that may write can change."""

    @pytest.mark.usefixtures("broken")
    async def test_an_incident_is_acknowledged_and_snoozed(self, asking: Connect, engine: Engine) -> None:
        async with asking() as client:
            assert "acknowledged by ⟦loopback⟧, until " in await ask(client, "acknowledge", incident=1, hours=2)
            assert "snoozed until its next run" in await ask(client, "snooze", incident="#2", until="next_run")
            assert "snoozed until " in await ask(client, "snooze", incident=1, hours=0.5)
        with engine.begin() as connection:
            assert incident(connection, 1)["state"] == "acknowledged"
            assert incident(connection, 2)["snooze"] == "next_run"
            assert [change for change, _, _ in events(connection, 1)] == ["acknowledged", "snoozed"]

    @pytest.mark.usefixtures("broken")
    async def test_a_check_is_muted_and_heard_again(self, asking: Connect, engine: Engine) -> None:
        async with asking() as client:
            assert "is muted" in await ask(client, "mute", pipeline="orders mart", check="freshness")
            assert _is_muted(engine)
            assert "is not muted" in await ask(client, "mute", pipeline=2, check="freshness", muted=False)
            assert not _is_muted(engine)

    async def test_a_flag_is_cleared(self, asking: Connect, engine: Engine) -> None:
        with engine.begin() as connection:
            flags = {"inserts": True, "updates": True}
            run = add_run(connection, add_pipeline(connection), anomaly_flags=flags, end_date=ago(minutes=5))
        async with asking() as client:
            assert "is no anomaly" in await ask(client, "unflag", run=run, metrics=["inserts"])
            assert "Not done" in await refusal(client, "unflag", run=run, metrics=["total_rows"])
        with engine.begin() as connection:
            found = connection.exec_driver_sql("SELECT anomaly_flags FROM pipeline_execution").scalar()
        assert found == {"inserts": False, "updates": True}

    async def test_what_is_resolved_is_not_acknowledged(self, asking: Connect, engine: Engine) -> None:
        with engine.begin() as connection:
            add_incident(connection, add_pipeline(connection), resolved_at=ago(minutes=1))
        async with asking() as client:
            assert "Incident 1 is resolved" in await refusal(client, "acknowledge", incident=1)
            assert "Incident 1 is resolved" in await refusal(client, "snooze", incident=1, until="worse")


def _is_muted(engine: Engine) -> bool:
    with engine.begin() as connection:
        return _muted(connection)


def _muted(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql("SELECT mute_freshness_check FROM pipeline WHERE id = 2").scalar())
