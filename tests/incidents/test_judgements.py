"""Schedules, clocks, outages and late reports at random: what is found is what a plain model finds."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, select, update

from tests.conftest import create_database
from tests.incidents.judged import LOOKBACK, LOST_AFTER, MINUTE, Judge, Known, Run, Setting
from tests.support.clock import DatabaseClock, stop_clock
from tests.support.emptying import empty_tables
from tests.support.rows import add_pipeline, add_run, rows
from tests.support.tasks import add_task
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.executions.models import PipelineExecution
from watcher_server.freshness.service import check_freshness
from watcher_server.incidents.endless import EndlessRuns
from watcher_server.incidents.models import Incident
from watcher_server.incidents.resolving import resolve_what_is_over
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.missed_runs.service import check_schedules
from watcher_server.pipelines.models import Pipeline
from watcher_server.settings import load_settings
from watcher_server.timeliness.models import TimelinessExecutionLog
from watcher_server.timeliness.service import CHECK_TASK, check_timeliness

BEGAN_AT = datetime(2026, 6, 10, 0, 0, tzinfo=UTC)
SPAN = 480
_KINDS = ("missed", "late", "stale", "lost")


@pytest.fixture(scope="module")
def clock_and_engine(worker_id: str) -> Iterator[tuple[DatabaseClock, Engine]]:
    url = create_database(f"watcher_judged_{worker_id}")
    with stop_clock(url) as clock:
        engine = create_engine(sqlalchemy_url(url), connect_args={"options": "-c timezone=UTC"})
        yield clock, engine
        engine.dispose()


# Freshness is set where no schedule says when data is due.
SETTINGS = st.one_of(
    st.builds(
        Setting,
        every=st.sampled_from([2, 10, 30, 60, 120]),
        grace=st.sampled_from([0, 3, 10, 45]),
        skips=st.booleans(),
        timely=st.none() | st.sampled_from([5, 45, 150]),
        fresh=st.none(),
        lost_after=st.none() | st.sampled_from([30, 120]),
    ),
    st.builds(
        Setting,
        every=st.none(),
        grace=st.just(10),
        skips=st.booleans(),
        timely=st.none() | st.sampled_from([5, 45]),
        fresh=st.sampled_from([15, 60, 240]),
        lost_after=st.none() | st.sampled_from([30, 120]),
    ),
)
RUNS = st.lists(
    st.builds(
        Run,
        began=st.integers(0, SPAN - 10),
        took=st.none() | st.sampled_from([1, 4, 20, 70, 200]),
        start_told=st.sampled_from([0, 0, 0, 1, 25, 90]),
        end_told=st.sampled_from([0, 0, 0, 2, 40]),
        succeeded=st.sampled_from([True, True, True, False]),
        backfill=st.sampled_from([False, False, False, False, True]),
    ),
    max_size=12,
    unique_by=lambda run: run.began,
)
# Minutes between two checks: usually beat calls, sometimes it is away.
GAPS = st.lists(st.sampled_from([1, 1, 5, 15, 15, 60, 150]), min_size=4, max_size=14)


def _add(connection: Connection, number: int, setting: Setting) -> int:
    fields: dict[str, Any] = {
        "name": f"pipeline {number}",
        "created_at": BEGAN_AT,
        "schedule_grace_minutes": setting.grace,
        "overlap": "skip" if setting.skips else "expected",
        "lost_after_hours": None if setting.lost_after is None else setting.lost_after / 60,
    }
    if setting.every is not None:
        cron = f"*/{setting.every} * * * *" if setting.every < 60 else f"0 */{setting.every // 60} * * *"
        fields |= {"schedule": cron, "expected_next_run": BEGAN_AT + setting.every * MINUTE}
    for check, minutes in (("timeliness", setting.timely), ("freshness", setting.fresh)):
        if minutes is not None:
            fields |= {f"{check}_number": minutes, f"{check}_datepart": "minute"}
    return add_pipeline(connection, **fields)


class Reported:
    """What the runs of a pipeline have reported, in the database."""

    def __init__(self, pipeline_id: int) -> None:
        self.pipeline_id = pipeline_id
        self.ids: dict[Run, int] = {}
        self._ended: set[Run] = set()

    def report(self, connection: Connection, known: Known, minute: int) -> None:
        """Store what is known by now and was not before."""
        run = known.run
        if run not in self.ids:
            self.ids[run] = add_run(
                connection, self.pipeline_id, start_date=known.start, end_date=None, backfill=run.backfill
            )
        if run.ended_known_from is not None and run.ended_known_from <= minute and run not in self._ended:
            self._ended.add(run)
            self._end(connection, known)

    def _end(self, connection: Connection, known: Known) -> None:
        run, pipeline = known.run, Pipeline
        ended = {
            "end_date": known.end,
            "completed_successfully": run.succeeded,
            "duration_seconds": 60 * (run.took or 0),
            "outcome": None,
        }
        connection.execute(update(PipelineExecution).where(PipelineExecution.id == self.ids[run]).values(ended))
        if run.succeeded and not run.backfill:
            newer = (pipeline.last_target_insert.is_(None)) | (pipeline.last_target_insert < known.end)
            moved = update(pipeline).where(pipeline.id == self.pipeline_id, newer)
            connection.execute(moved.values(last_target_insert=known.end))


def _check(engine: Engine, now: datetime, endless: EndlessRuns) -> None:
    with engine.begin() as connection:
        # The keeper sweeps once a minute, also while beat is away.
        resolve_what_is_over(connection)
        check_schedules(connection, now, alert_max_age_hours=24)
        check_timeliness(connection, LOOKBACK, alert_max_age_hours=24)
        add_task(connection, "SUCCESS", CHECK_TASK, created_at=now)
        check_freshness(connection)
    endless.look(engine)
    with engine.begin() as connection:
        resolve_what_is_over(connection)


def _found(connection: Connection, reported: Reported) -> dict[str, Any]:
    """What the database says of a pipeline."""
    live = select(Incident.kind, Incident.count, Incident.since).where(
        Incident.pipeline_id == reported.pipeline_id, Incident.state != "resolved", Incident.kind.in_(_KINDS)
    )
    incidents = {row.kind: row for row in connection.execute(live)}
    missed = incidents.get("missed")
    logged = [row for row in rows(connection, MissedRunLog) if row["pipeline_id"] == reported.pipeline_id]
    late = select(TimelinessExecutionLog.pipeline_execution_id).where(
        TimelinessExecutionLog.pipeline_id == reported.pipeline_id
    )
    lost = select(PipelineExecution.id).where(
        PipelineExecution.pipeline_id == reported.pipeline_id, PipelineExecution.outcome == "lost"
    )
    return {
        "wrong": set(incidents),
        "missed": [row["expected_at"] for row in sorted(logged, key=lambda row: row["expected_at"])],
        "counted": None if missed is None else (missed.count, missed.since),
        "late": set(connection.scalars(late)),
        "lost": set(connection.scalars(lost)),
    }


def _modelled(judge: Judge, reported: Reported, now: datetime) -> dict[str, Any]:
    """What the model says of it."""
    return {
        "wrong": judge.wrong(now),
        "missed": judge.missed,
        "counted": (judge.counted, judge.first_missed) if judge.is_missed else None,
        "late": {reported.ids[run] for run, known in judge.known.items() if known.late},
        "lost": {reported.ids[run] for run, known in judge.known.items() if known.lost},
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pipelines=st.lists(st.tuples(SETTINGS, RUNS), min_size=3, max_size=3), gaps=GAPS)
def test_what_the_checks_find_is_what_a_plain_model_finds(
    clock_and_engine: tuple[DatabaseClock, Engine], pipelines: Sequence[tuple[Setting, list[Run]]], gaps: Sequence[int]
) -> None:
    clock, engine = clock_and_engine
    clock.set(BEGAN_AT)
    empty_tables(engine)
    endless = EndlessRuns(load_settings(lost_after_hours=LOST_AFTER / 60))
    with engine.begin() as connection:
        reports = [Reported(_add(connection, number, setting)) for number, (setting, _) in enumerate(pipelines)]
    judges = [Judge(setting, BEGAN_AT) for setting, _ in pipelines]
    minute, looked_at = 0, None
    for gap in gaps:
        minute += gap
        # Not at a full minute, as no check ever is.
        now = BEGAN_AT + minute * MINUTE + MINUTE / 4
        clock.set(now)
        for (_, runs), judge, reported in zip(pipelines, judges, reports, strict=True):
            with engine.begin() as connection:
                for run in sorted(runs, key=lambda run: run.known_from):
                    judge.hear(run, minute)
                    if run in judge.known:
                        reported.report(connection, judge.known[run], minute)
        _check(engine, now, endless)
        for judge, reported in zip(judges, reports, strict=True):
            judge.check_schedule(now)
            judge.check_timeliness(now, looked_at)
            judge.look_for_lost(now)
            with engine.connect() as connection:
                assert _found(connection, reported) == _modelled(judge, reported, now)
        looked_at = now
