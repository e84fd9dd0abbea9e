"""What became of the events of a namespace."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Engine, text

_RUNS = """
SELECT execution.id, execution.parent_id, execution.start_date, execution.end_date, execution.outcome,
    execution.completed_successfully AS succeeded, execution.total_rows, execution.execution_metadata AS metadata,
    pipeline.name AS pipeline, pipeline_type.name AS type, pipeline.openlineage AS facts,
    pipeline.schedule, pipeline.schedule_timezone, pipeline.last_output
FROM pipeline_execution AS execution
JOIN pipeline ON pipeline.id = execution.pipeline_id
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
WHERE pipeline.openlineage ->> 'namespace' = :namespace
ORDER BY execution.start_date, execution.id
"""
_EDGES = """
SELECT pipeline.name AS pipeline, source.name AS source, target.name AS target
FROM address_lineage AS edge JOIN pipeline ON pipeline.id = edge.pipeline_id
JOIN address AS source ON source.id = edge.source_address_id
JOIN address AS target ON target.id = edge.target_address_id
WHERE pipeline.openlineage ->> 'namespace' = :namespace
ORDER BY 1, 2, 3
"""
_ADDRESSES = "SELECT name, openlineage FROM address WHERE openlineage IS NOT NULL"


@dataclass(frozen=True)
class Ran:
    """A run, as Watcher knows it; ``said`` is what its events said of it, ``facts`` what they said of its pipeline."""

    id: int
    parent_id: int | None
    pipeline: str
    type: str
    succeeded: bool | None
    outcome: str | None
    total_rows: int | None
    seconds: float | None
    said: dict[str, Any]
    facts: dict[str, Any]
    schedule: str | None
    schedule_timezone: str | None
    wrote: bool

    @property
    def error(self) -> str:
        """What went wrong."""
        return str(self.said.get("error", {}).get("message", ""))

    def checks(self) -> tuple[int, int, int]:
        """How many checks of data it made, how many failed, how many warned; zeros where it made none."""
        tests = self.said.get("tests", {})
        return tests.get("total", 0), tests.get("failed", 0), tests.get("warned", 0)

    def told(self) -> str:
        """In one line."""
        end = self.outcome or {True: "succeeded", False: "failed", None: "runs"}[self.succeeded]
        details = [f"{self.seconds:.0f} s" if self.seconds is not None else "", self.error.partition("\n")[0]]
        for name in ("tests", "statements"):
            counts = self.said.get(name, {})
            details.append(f"{counts['failed']} of {counts['total']} {name} failed" if counts else "")
        details.append(f"{self.total_rows:,} rows" if self.total_rows is not None else "")
        return f"{self.pipeline} ({self.type}): {end}{''.join(f', {detail}' for detail in details if detail)}"


class Findings:
    """The runs, edges and addresses of a namespace, read once."""

    def __init__(self, engine: Engine, namespace: str) -> None:
        with engine.connect() as connection:
            runs = connection.execute(text(_RUNS), {"namespace": namespace}).all()
            edges = connection.execute(text(_EDGES), {"namespace": namespace})
            self.edges = [(row.pipeline, row.source, row.target) for row in edges]
            self.addresses: dict[str, dict[str, Any]] = {
                row.name: row.openlineage for row in connection.execute(text(_ADDRESSES))
            }
        self._namespace = namespace
        self.runs = [
            Ran(
                id=row.id,
                parent_id=row.parent_id,
                pipeline=row.pipeline,
                type=row.type,
                succeeded=row.succeeded,
                outcome=row.outcome,
                total_rows=row.total_rows,
                seconds=(row.end_date - row.start_date).total_seconds() if row.end_date else None,
                said=row.metadata["openlineage"],
                facts=row.facts,
                schedule=row.schedule,
                schedule_timezone=row.schedule_timezone,
                wrote=row.last_output is not None,
            )
            for row in runs
        ]

    def all_of(self, name: str) -> list[Ran]:
        """The runs of a job, the earliest first."""
        return [run for run in self.runs if run.pipeline == f"{self._namespace}/{name}"]

    def last(self, name: str) -> Ran:
        """The latest run of a job."""
        return self.all_of(name)[-1]

    def jobs(self) -> set[str]:
        """The names of all jobs that ran."""
        return {run.pipeline.removeprefix(f"{self._namespace}/") for run in self.runs}

    def told(self) -> str:
        """All of it, as a tree of runs and a list of edges."""
        lines = [*self._tree(None, "  "), *(f"  {source} -> {target}" for _, source, target in self.edges)]
        counted = ((line, len(list(same))) for line, same in groupby(lines))
        return "\n".join(f"{line} ({number} times)" if number > 1 else line for line, number in counted)

    def _tree(self, parent_id: int | None, indent: str) -> list[str]:
        return [
            line
            for run in self.runs
            if run.parent_id == parent_id
            for line in (f"{indent}{run.told()}", *self._tree(run.id, f"{indent}  "))
        ]
