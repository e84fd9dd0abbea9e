"""Joining what events say with what is known of their runs, and finding what each run belongs to."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from watcher_server.openlineage.deriving import RunView, is_rolled_up, view_attempts
from watcher_server.openlineage.envelope import JobName
from watcher_server.openlineage.folding import State, join_all
from watcher_server.openlineage.reading import from_micros

RollUp = Collection[tuple[str, str]]

# More runs that are each a part of the other than any tool makes.
_MOST_LEVELS = 50

_COLUMNS = """
SELECT run.key, run.job_id, job.namespace, job.name, run.run_id, run.parent_key, run.into_key, run.rolled_up,
    run.execution_id, run.earlier_ids, run.state
FROM openlineage_run AS run JOIN openlineage_job AS job ON job.id = run.job_id
"""
_BY_KEY = _COLUMNS + "WHERE run.key = ANY(CAST(:keys AS uuid[])) ORDER BY run.key FOR UPDATE OF run"
_BELOW = (
    _COLUMNS
    + "WHERE run.parent_key = ANY(CAST(:keys AS uuid[])) OR run.into_key = ANY(CAST(:keys AS uuid[])) "
    + "ORDER BY run.key FOR UPDATE OF run"
)

_STORE = """
INSERT INTO openlineage_run AS run (
    key, job_id, run_id, parent_key, into_key, rolled_up, execution_id, earlier_ids, ended_at, failed,
    last_event_at, state
)
SELECT key, job_id, run_id, parent_key, into_key, rolled_up, execution_id, earlier_ids, ended_at, failed,
    last_event_at, state
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
    key uuid, job_id bigint, run_id text, parent_key uuid, into_key uuid, rolled_up boolean, execution_id bigint,
    earlier_ids bigint[], ended_at timestamptz, failed boolean, last_event_at timestamptz, state jsonb
)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET
    parent_key = excluded.parent_key, into_key = excluded.into_key, rolled_up = excluded.rolled_up,
    execution_id = excluded.execution_id, earlier_ids = excluded.earlier_ids, ended_at = excluded.ended_at,
    failed = excluded.failed, last_event_at = excluded.last_event_at, state = excluded.state
"""


@dataclass(slots=True)
class Run:
    """A run while a turn looks at it: as it was stored, and as it is now.

    ``is_changed``: its events said something new. ``into_key`` is the first run above it that is not rolled up, or that
    nothing is known of; None for one that is not rolled up itself. ``views`` has every attempt of a stream, the
    latest last; of any other run there is one. ``earlier_ids`` are the executions of the attempts before the latest.
    """

    key: UUID
    job: JobName
    run_id: str
    state: State
    views: list[RunView]
    rolled_up: bool
    job_id: int = 0
    old_state: State | None = None
    old_views: list[RunView] = field(default_factory=list)
    old_parent_key: UUID | None = None
    was_rolled_up: bool = False
    old_into_key: UUID | None = None
    execution_id: int | None = None
    earlier_ids: list[int] = field(default_factory=list)
    into_key: UUID | None = None
    is_changed: bool = False

    @property
    def view(self) -> RunView:
        """The run, or the latest attempt of a stream."""
        return self.views[-1]

    @property
    def old_view(self) -> RunView | None:
        return self.old_views[-1] if self.old_views else None

    @property
    def was_failed(self) -> bool:
        return self.old_view is not None and self.old_view.failed

    @property
    def attempts(self) -> list[tuple[RunView, int | None]]:
        ids: list[int | None] = [*self.earlier_ids, self.execution_id]
        return list(zip(self.views, ids, strict=False)) if len(ids) == len(self.views) else [(self.view, ids[-1])]

    def execution_at(self, moment: datetime | None) -> int | None:
        """The execution that went on then, or began last before."""
        attempts = self.attempts
        for view, execution_id in reversed(attempts[1:]):
            if moment is None or (view.started_at is not None and view.started_at <= moment):
                return execution_id
        return attempts[0][1]

    @property
    def moved(self) -> bool:
        """Whether what belongs to it, or is rolled up into it, has to be looked at again."""
        return (
            self.old_view is None
            or self.rolled_up != self.was_rolled_up
            or (self.view.started_at is None) != (self.old_view.started_at is None)
            or [view.started_at for view in self.views[1:]] != [view.started_at for view in self.old_views[1:]]
            or (self.rolled_up and self.view.parent_key != self.old_parent_key)
        )


@dataclass
class Runs:
    """The runs that a turn looks at, by key."""

    connection: Connection
    roll_up: RollUp
    known: dict[UUID, Run] = field(default_factory=dict)
    missing: set[UUID] = field(default_factory=set)

    def join(self, states: dict[UUID, tuple[JobName, str, list[State]]]) -> None:
        """Join the states of these events with what is stored, and find all runs that they concern."""
        self.load(states)
        for key, (job, run_id, new) in states.items():
            known = self.known.get(key)
            state = join_all(new if known is None else [known.state, *new])
            if known is None:
                self.missing.discard(key)
                self.known[key] = Run(key, job, run_id, state, [], rolled_up=False)
            run = self.known[key]
            if known is None or state != run.state:
                run.state, run.is_changed = state, True
                run.views = view_attempts(state, job, run_id)
                run.rolled_up = is_rolled_up(state, self.roll_up)
        self._load_below()
        self._load_above()
        for run in self.known.values():
            run.into_key = self._above(run) if run.rolled_up else None

    def load(self, keys: Iterable[UUID]) -> None:
        """Read these runs, unless they were read before."""
        wanted = [key for key in keys if key not in self.known and key not in self.missing]
        if wanted:
            self._add(self.connection.execute(text(_BY_KEY), {"keys": wanted}))
            self.missing |= {key for key in wanted if key not in self.known}

    def changed(self) -> Iterator[Run]:
        """The runs of which something new was said."""
        return (run for run in self.known.values() if run.is_changed)

    def nearest(self, run: Run) -> Run | None:
        """The first run above it that is not rolled up; None while that is not known."""
        key = self._above(run)
        return self.known.get(key) if key else None

    def store(self) -> None:
        """Write what is known of every run that a turn looked at and that is not as it was stored."""
        rows = [
            _row(run)
            for run in self.known.values()
            if run.is_changed or (run.into_key, run.rolled_up) != (run.old_into_key, run.was_rolled_up)
        ]
        if rows:
            self.connection.execute(text(_STORE), {"rows": json.dumps(rows)})

    def _add(self, rows: Any) -> list[Run]:
        added = []
        for row in rows:
            if row.key in self.known:
                continue
            job = JobName(row.namespace, row.name)
            views = view_attempts(row.state, job, row.run_id)
            run = Run(
                row.key, job, row.run_id, row.state, views, row.rolled_up,
                job_id=row.job_id, old_state=row.state, old_views=views, old_parent_key=row.parent_key,
                was_rolled_up=row.rolled_up, old_into_key=row.into_key,
                execution_id=row.execution_id, earlier_ids=list(row.earlier_ids),
            )  # fmt: skip
            # The setting may be another one than when it was stored.
            run.rolled_up = is_rolled_up(row.state, self.roll_up)
            self.missing.discard(row.key)
            self.known[row.key] = run
            added.append(run)
        return added

    def _load_below(self) -> None:
        """What waits for runs that came up, or are others now: their children, and through rolled-up ones theirs."""
        moved = {run.key for run in self.known.values() if run.is_changed and run.moved}
        for _ in range(_MOST_LEVELS):
            if not moved:
                return
            self._add(self.connection.execute(text(_BELOW), {"keys": sorted(moved)}))
            moved = {
                run.key
                for run in self.known.values()
                if run.rolled_up and run.view.parent_key in moved and run.key not in moved
            }

    def _load_above(self) -> None:
        """What these belong to, and through rolled-up ones what that belongs to."""
        for _ in range(_MOST_LEVELS):
            keys = {run.view.parent_key for run in self.known.values() if run.view.parent_key}
            keys |= {run.old_into_key for run in self.known.values() if run.old_into_key}
            wanted = keys - self.known.keys() - self.missing
            if not wanted:
                return
            self.load(sorted(wanted))
            if not any(self.known[key].rolled_up for key in wanted if key in self.known):
                return

    def _above(self, run: Run) -> UUID | None:
        key, seen = run.view.parent_key, {run.key}
        while key is not None and key not in seen:
            above = self.known.get(key)
            if above is None or not above.rolled_up:
                return key
            seen.add(key)
            key = above.view.parent_key
        return None


def _row(run: Run) -> dict[str, Any]:
    view = run.view
    return {
        "key": str(run.key),
        "job_id": run.job_id,
        "run_id": run.run_id,
        "parent_key": view.parent_key and str(view.parent_key),
        "into_key": run.into_key and str(run.into_key),
        "rolled_up": run.rolled_up,
        "execution_id": run.execution_id,
        "earlier_ids": run.earlier_ids,
        "ended_at": view.ended_at.isoformat() if view.ended_at else None,
        "failed": view.failed,
        "last_event_at": from_micros(run.state["last"]).isoformat(),
        "state": run.state,
    }
