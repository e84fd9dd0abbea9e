"""What is known of runs follows from the set of their events, in whatever order and turns they were applied."""

import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.openlineage.events import some_events
from tests.support.openlineage import Event, send

# All that events make known, by names in place of ids. When an edge was last seen is kept to a day.
KNOWN = {
    "executions": """
        SELECT pipeline.name, execution.start_date, execution.end_date, execution.duration_seconds,
            execution.completed_successfully, execution.outcome, execution.total_rows, execution.throughput,
            execution.heard_at, execution.date_recorded, execution.hour_recorded, execution.execution_metadata,
            parent.start_date AS parent_start, parent.execution_metadata -> 'openlineage' -> 'name' AS parent,
            parent.execution_metadata -> 'openlineage' -> 'run_id' AS parent_run
        FROM pipeline_execution AS execution JOIN pipeline ON pipeline.id = execution.pipeline_id
        LEFT JOIN pipeline_execution AS parent ON parent.id = execution.parent_id
        WHERE pipeline.name LIKE :mine
    """,
    "closure": """
        SELECT above.execution_metadata -> 'openlineage' ->> 'name' AS above,
            above.execution_metadata -> 'openlineage' ->> 'run_id' AS above_run,
            below.execution_metadata -> 'openlineage' ->> 'name' AS below,
            below.execution_metadata -> 'openlineage' ->> 'run_id' AS below_run, depth, below.start_date
        FROM pipeline_execution_closure
        JOIN pipeline_execution AS above ON above.id = parent_execution_id
        JOIN pipeline_execution AS below ON below.id = child_execution_id
        JOIN pipeline ON pipeline.id = above.pipeline_id
        WHERE pipeline.name LIKE :mine
    """,
    "edges": """
        SELECT pipeline.name, source.name AS source, target.name AS target, origin
        FROM address_lineage JOIN pipeline ON pipeline.id = pipeline_id
        JOIN address AS source ON source.id = source_address_id JOIN address AS target ON target.id = target_address_id
        WHERE pipeline.name LIKE :mine
    """,
    "pipelines": """
        SELECT pipeline.name, pipeline_type.name AS type, pipeline.openlineage
        FROM pipeline JOIN pipeline_type ON pipeline_type.id = pipeline_type_id
        WHERE pipeline.name LIKE :mine AND forgotten_at IS NULL
    """,
    "addresses": "SELECT name, openlineage FROM address WHERE name LIKE :addresses",
    "runs": """
        SELECT job.name, run_id, rolled_up, state, execution_id IS NULL AS is_part, ended_at, failed,
            run.last_event_at
        FROM openlineage_run AS run JOIN openlineage_job AS job ON job.id = job_id WHERE job.namespace = :namespace
    """,
}


class World:
    """The same events as they would be in a world of their own: in a namespace that no other example has."""

    numbers = iter(range(10**9))

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.namespace = f"world{next(self.numbers)}"

    def apply(self, events: list[Event], most: int) -> None:
        said = json.dumps(events).replace('"demo"', f'"{self.namespace}"').replace("//wh:", f"//{self.namespace}:")
        send(self.engine, *json.loads(said), most=most)

    def read(self) -> dict[str, list[str]]:
        mine = {
            "mine": f"{self.namespace}/%",
            "namespace": self.namespace,
            "addresses": f"postgres://{self.namespace}:%",
        }
        with self.engine.connect() as connection:
            return {
                name: sorted(map(self._plain, connection.execute(text(statement), mine).mappings()))
                for name, statement in KNOWN.items()
            }

    def _plain(self, row: Any) -> str:
        values = dict(row)
        if "state" in values:
            # The keys of datasets and the digests of events are made of the namespace, too.
            values["state"] |= {side: list(values["state"][side].values()) for side in ("inputs", "outputs")}
            values["state"]["seen"] = len(values["state"]["seen"])
            for side in ("inputs", "outputs"):
                values["state"][side].sort(key=lambda one: one["n"])
        return json.dumps(values, sort_keys=True, default=str).replace(self.namespace, "demo")


@given(events=some_events, random=st.randoms(use_true_random=False), turn=st.integers(1, 7))
# To shrink an example, hundreds of others would have to be written to the database.
@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_order_the_turns_and_doubles_of_events_change_nothing(
    engine: Engine, events: list[Event], random: Any, turn: int
) -> None:
    at_once, in_turns = World(engine), World(engine)
    at_once.apply(events, most=1_000)
    shuffled = [*events, *random.sample(events, len(events) // 2)]
    random.shuffle(shuffled)
    in_turns.apply(shuffled, most=turn)
    found, expected = in_turns.read(), at_once.read()
    for name in KNOWN:
        odd, missing = set(found[name]) - set(expected[name]), set(expected[name]) - set(found[name])
        assert not odd | missing, "\n".join((f"{name} in turns:", *sorted(odd), "at once:", *sorted(missing)))
        assert found[name] == expected[name]
