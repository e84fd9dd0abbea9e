"""One turn: all that follows from some events, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from watcher_server.openlineage.applying import executions, tree
from watcher_server.openlineage.applying.inbox import Taken, Tally, mark_applied, read
from watcher_server.openlineage.applying.lineage import Lineage, declared_job
from watcher_server.openlineage.applying.pipelines import Jobs
from watcher_server.openlineage.applying.places import Places
from watcher_server.openlineage.applying.runs import Runs
from watcher_server.openlineage.applying.schedules import job_facts, write_schedules
from watcher_server.openlineage.envelope import EventKind, JobName
from watcher_server.openlineage.folding import State
from watcher_server.openlineage.settings import OpenLineageSettings
from watcher_server.openlineage.telling import tell_findings


@dataclass(frozen=True, slots=True)
class TurnDone:
    """How many events a turn applied, how many of them were known already, and how many edges are new."""

    events: int
    repeated: int
    edges: int


def apply_rows(connection: Connection, rows: Sequence[Row[Any]], settings: OpenLineageSettings) -> TurnDone:
    """Apply these events of the inbox; they are marked as applied in the same transaction."""
    tally = Tally()
    taken = [read(row, settings.ignore) for row in rows]
    turn = _Turn(connection, settings, [one for one in taken if not one.ignored])
    turn.apply()
    for one in taken:
        tally.add(one, "ignored" if one.ignored else "repeated" if one.id in turn.repeated else "applied")
    mark_applied(connection, taken, tally)
    return TurnDone(len(taken), len(turn.repeated), turn.added_edges)


class _Turn:
    def __init__(self, connection: Connection, settings: OpenLineageSettings, taken: Sequence[Taken]) -> None:
        self._connection = connection
        self._settings = settings
        self._taken = taken
        self._runs = Runs(connection, settings.roll_up_pairs)
        self._jobs = Jobs(connection)
        self._places = Places(connection, settings.namespace_aliases)
        self.repeated: set[int] = set()
        self.added_edges = 0

    def apply(self) -> None:
        self._join_runs()
        self._make_pipelines()
        lineage = Lineage(self._connection, self._runs, self._jobs, self._places, self._taken)
        lineage.find_places()
        self._write_executions()
        pipelines = self._pipelines()
        self.added_edges = lineage.write(pipelines)
        if self._settings.takes_schedules:
            write_schedules(self._connection, self._jobs.known.values())
        self._jobs.store()
        told = [run for run in self._runs.changed() if not run.rolled_up and run.key in pipelines]
        tell_findings(
            self._connection, told, pipelines, self._places.schema_changes,
            max_age_hours=self._settings.alert_max_age_hours,
        )  # fmt: skip

    def _join_runs(self) -> None:
        states: dict[UUID, tuple[JobName, str, list[State]]] = {}
        for one in self._taken:
            reading = one.reading
            if reading.run_key is not None and reading.job is not None and reading.run_id is not None:
                states.setdefault(reading.run_key, (reading.job, reading.run_id, []))[2].append(reading.state)
        self._runs.join(states)
        # What says nothing new was sent twice: within the turn, or before.
        known = {key: set(run.old_state["seen"] or ()) for key, run in self._runs.known.items() if run.old_state}
        for one in self._taken:
            key = one.reading.run_key
            if key is None:
                continue
            seen = known.setdefault(key, set())
            digest = one.reading.state["seen"][0]
            if digest in seen:
                self.repeated.add(one.id)
            seen.add(digest)

    def _make_pipelines(self) -> None:
        for one in self._taken:
            reading = one.reading
            if reading.job is not None:
                job = self._jobs.see(reading.job, reading.state["last"], job_facts(reading))
                job.needs_pipeline = job.needs_pipeline or reading.kind is EventKind.JOB
            elif reading.declared:
                self._jobs.see(declared_job(reading), reading.state["last"]).needs_pipeline = True
        for run in self._runs.known.values():
            job = self._jobs.see(run.job, run.state["first"])
            job.needs_pipeline = job.needs_pipeline or (run.is_changed and not run.rolled_up)
        if not self._jobs.known:
            return
        self._jobs.load()
        self._jobs.make_pipelines(with_rules=self._settings.with_rules)
        self._jobs.lock_pipelines()
        self._jobs.revive()
        for run in self._runs.known.values():
            run.job_id = self._jobs.known[run.job.key].id

    def _write_executions(self) -> None:
        self._unmake_parts()
        pipelines = self._pipelines()
        runs = [run for run in self._runs.known.values() if not run.rolled_up and run.key in pipelines]
        adopted = {job.pipeline_id for job in self._jobs.known.values() if job.adopted and job.pipeline_id}
        executions.give_ids(self._connection, [run for run in runs if run.is_changed], pipelines, adopted)
        # The parts are read from the table, so they are there first.
        self._runs.store()
        into = {run.into_key for run in self._runs.known.values() if run.is_changed or run.into_key != run.old_into_key}
        into |= {run.old_into_key for run in self._runs.known.values() if run.into_key != run.old_into_key}
        into |= {run.view.parent_key for run in self._runs.changed() if run.view.failed != run.was_failed}
        written = [run for run in runs if run.execution_id and (run.is_changed or run.key in into)]
        parts = executions.read_parts(self._connection, [run.key for run in written]) if written else {}
        counted = executions.store_executions(self._connection, written, pipelines, parts)
        if self._settings.with_rules and counted:
            ours = {job.pipeline_id for job in self._jobs.known.values() if job.pipeline_id and not job.adopted}
            self._jobs.add_rules(sorted(counted & ours), "total_rows")
        wanted: dict[int, int | None] = {}
        for run in runs:
            above = self._runs.nearest(run)
            if above is not None or run.view.parent_key is None or run.is_changed:
                for view, execution_id in run.attempts:
                    if execution_id is not None:
                        wanted[execution_id] = above.execution_at(view.started_at) if above else None
        tree.link(self._connection, wanted)

    def _unmake_parts(self) -> None:
        """A run that turned out to be a part of another, because only a later event says of what kind it is."""
        parts = [
            run
            for run in self._runs.known.values()
            if run.rolled_up and (run.execution_id or (run.old_views and not run.was_rolled_up))
        ]
        if not parts:
            return
        jobs = [self._jobs.known[run.job.key] for run in parts]
        ids = {id_ for run in parts for _, id_ in run.attempts if id_}
        for run in parts:
            run.execution_id, run.earlier_ids = None, []
        self._runs.store()
        ours = {job.pipeline_id for job in jobs if job.pipeline_id and not job.adopted}
        forgotten = tree.unmake(self._connection, ids, ours)
        for job in jobs:
            if job.pipeline_id in forgotten:
                job.pipeline_id = None

    def _pipelines(self) -> dict[UUID, int]:
        """The pipeline of each run, by key."""
        jobs = {key: self._jobs.known.get(run.job.key) for key, run in self._runs.known.items()}
        return {key: job.pipeline_id for key, job in jobs.items() if job is not None and job.pipeline_id is not None}
