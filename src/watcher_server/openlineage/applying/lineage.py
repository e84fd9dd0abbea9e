"""The addresses that a turn's events name, and the edges between them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection

from watcher_server.openlineage.applying import edges
from watcher_server.openlineage.applying.inbox import Taken
from watcher_server.openlineage.applying.pipelines import DECLARED, Jobs
from watcher_server.openlineage.applying.places import Places
from watcher_server.openlineage.applying.runs import Run, Runs
from watcher_server.openlineage.deriving import Dataset, edges_of, exposure_of
from watcher_server.openlineage.envelope import DatasetName, EventKind, JobName
from watcher_server.openlineage.folding import Facet, value_of
from watcher_server.openlineage.reading import Reading, from_micros

# Pairs of a source and a target, and when they were shown, in microseconds since 1970.
Shown = dict[tuple[Dataset, Dataset], int]

# Edges that are seen all the time are written again once a day.
_DAY: Final = 86_400 * 1_000_000


def declared_job(reading: Reading) -> JobName:
    """The job of a dataset that says by itself what it is made of."""
    return JobName(DECLARED, reading.declared[0][0] if reading.declared else "")


class Lineage:
    """What the events of a turn show of the lineage."""

    def __init__(self, connection: Connection, runs: Runs, jobs: Jobs, places: Places, taken: Sequence[Taken]) -> None:
        self._connection = connection
        self._jobs = jobs
        self._runs = runs
        self._places = places
        self._taken = taken
        self._of_runs = [(run, shown) for run in runs.known.values() if (shown := self._shown_by(run))]
        self._of_events = [(one.reading, shown) for one in taken if (shown := _declares(one.reading))]

    def find_places(self) -> None:
        """Get or create the addresses of all datasets that are named."""
        for one in self._taken:
            reading = one.reading
            for dataset in reading.datasets.values():
                self._places.see(dataset.name, reading.integration, reading.state["last"], dataset.facts)
                if exposures := dataset.facts.get("dbt_exposures"):
                    self._see_exposures(dataset.name, exposures, reading.integration)
        for run, shown in self._of_runs:
            self._see(shown, self._jobs.known[run.job.key].integration)
        for reading, shown in self._of_events:
            self._see(shown, reading.integration)
        self._places.load()

    def write(self, pipelines: Mapping[UUID, int]) -> int:
        """Write the edges; how many are new. ``pipelines`` are by the key of a run."""
        found: dict[edges.Edge, datetime] = {}
        for run, shown in self._of_runs:
            owner = self._runs.nearest(run) if run.rolled_up else run
            if owner is not None and owner.key in pipelines:
                self._add(found, pipelines[owner.key], shown)
        declarations = []
        for reading, shown in self._of_events:
            job = self._jobs.known[(reading.job or declared_job(reading)).key]
            if job.pipeline_id is not None:
                self._add(found, job.pipeline_id, shown)
                target = self._places.address_of(*reading.declared[0]) if reading.declared else None
                declarations.append(edges.Declaration(job.pipeline_id, target, from_micros(reading.state["last"])))
        added = edges.store_edges(self._connection, found)
        edges.replace_edges(self._connection, declarations, found)
        edges.drop_edges(self._connection, self._places.dropped)
        return added

    def _see_exposures(self, dataset: DatasetName, exposures: Facet, integration: str) -> None:
        for exposure in (value_of(exposures) or {}).get("exposures", ()):
            name = DatasetName(*exposure_of((dataset.namespace, dataset.name), exposure))
            self._places.see(name, integration, exposures[0], {"exposure": [*exposures[:2], exposure]})

    def _see(self, shown: Shown, integration: str) -> None:
        for pair, at in shown.items():
            for end in pair:
                self._places.see(DatasetName(*end), integration, at)

    def _add(self, found: dict[edges.Edge, datetime], pipeline_id: int, shown: Shown) -> None:
        for (source, target), at in shown.items():
            ends = self._places.address_of(*source), self._places.address_of(*target)
            if ends[0] is None or ends[1] is None or any(self._is_dropped(end, at) for end in ends if end):
                continue
            edge = pipeline_id, ends[0], ends[1]
            seen = from_micros(at)
            found[edge] = max(seen, found.get(edge, seen))

    def _is_dropped(self, address_id: int, at: int) -> bool:
        dropped_at = self._places.dropped.get(address_id)
        return dropped_at is not None and from_micros(at) <= dropped_at

    def _shown_by(self, run: Run) -> Shown:
        """The edges that have to be written: those that it did not show before, all where it belongs to another now."""
        owner = self._runs.nearest(run) if run.rolled_up else run
        is_elsewhere = run.into_key != run.old_into_key or (owner is not None and owner.is_changed and owner.moved)
        if not run.is_changed and not is_elsewhere:
            return {}
        shown = edges_of(run.state)
        if run.old_state is None or is_elsewhere:
            return shown
        before = edges_of(run.old_state)
        return {pair: at for pair, at in shown.items() if pair not in before or at > before[pair] + _DAY}


def _declares(reading: Reading) -> Shown:
    """The edges that an event tells of which is of no run."""
    if reading.kind is EventKind.JOB:
        return edges_of(reading.state)
    if reading.kind is EventKind.DATASET and reading.declared is not None:
        target, sources = reading.declared
        return {(tuple(source), target): reading.state["last"] for source in sources}
    return {}
