"""What the keeper does for events: it has them applied, ends what was left, and keeps no more days than it should."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Engine

from tests.openlineage.kept import kept, put_failed, put_raw, query, queued, write
from tests.support.openlineage import job_type, later, parent, put, run_event, send
from tests.support.rows import ago, now
from tests.support.tasks import add_task
from watcher_server.incidents.endless import EndlessRuns
from watcher_server.incidents.resolving import resolve_what_is_over
from watcher_server.openlineage.days import keep_days
from watcher_server.openlineage.duties import keeper_duties
from watcher_server.openlineage.replaying import replay_these
from watcher_server.settings import load_settings

WAKE = "have events of OpenLineage applied"
END = "end the runs whose caller has ended"


def do(engine: Engine, name: str) -> None:
    (duty,) = [duty for duty in keeper_duties(load_settings()) if duty.name == name]
    duty.do(engine)


def lost(engine: Engine) -> list[tuple[str, datetime]]:
    statement = """
        SELECT name, end_date FROM pipeline_execution JOIN pipeline ON pipeline.id = pipeline_id
        WHERE outcome = 'lost' ORDER BY name
    """
    return [(name, end) for name, end in query(engine, statement)]


def messages(engine: Engine) -> list[str]:
    return [message for (message,) in query(engine, "SELECT message FROM alert ORDER BY id")]


def partitions(engine: Engine) -> list[str]:
    statement = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'openlineage_event'::regclass"
    return sorted(name for (name,) in query(engine, statement))


def name_of(day: date) -> str:
    return f"openlineage_event_{day:%Y%m%d}"


def make_day(engine: Engine, day: date) -> None:
    write(
        engine,
        f"CREATE TABLE IF NOT EXISTS {name_of(day)} PARTITION OF openlineage_event "
        f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')",
    )


@pytest.fixture
def today() -> date:
    return datetime.now(UTC).date()


def test_what_waits_is_applied_also_when_the_call_for_it_was_lost(engine: Engine) -> None:
    do(engine, WAKE)
    assert queued(engine) == 0
    put(engine, [run_event("START", now())])
    for _ in range(3):
        do(engine, WAKE)
    assert queued(engine) == 1


@pytest.mark.parametrize(("state", "expected"), [("PENDING", 0), ("PROGRESS", 1), ("SUCCESS", 1), ("FAILURE", 1)])
def test_a_task_that_waits_in_the_broker_is_enough(engine: Engine, state: str, expected: int) -> None:
    put(engine, [run_event("START", now())])
    with engine.begin() as connection:
        add_task(connection, state, "openlineage_apply_task")
    do(engine, WAKE)

    assert queued(engine) == expected


def test_a_run_whose_caller_ended_five_minutes_ago_is_lost_and_told_once(engine: Engine) -> None:
    start = ago(hours=1)
    send(
        engine,
        run_event("START", start, job="dag", run="p"),
        run_event("START", later(start, 1), job="load", run="c", run_facets=parent("dag", "p")),
        run_event("RUNNING", later(start, 60), job="load", run="c"),
        run_event("START", later(start, 2), job="model", run="m", run_facets=parent("dag", "p")),
        run_event("COMPLETE", later(start, 3), job="model", run="m"),
        run_event("START", start, job="alone", run="a"),
    )
    do(engine, END)
    assert lost(engine) == []
    send(engine, run_event("COMPLETE", ago(minutes=4), job="dag", run="p"))
    do(engine, END)
    assert lost(engine) == []
    write(
        engine,
        "UPDATE pipeline_execution SET end_date = now() - interval '301 s' WHERE end_date > now() - interval '5 m'",
    )
    for _ in range(3):
        do(engine, END)

    assert lost(engine) == [("demo/load", later(start, 60))]
    assert messages(engine) == ["1 run(s) lost"]


def test_its_late_end_repairs_it(engine: Engine) -> None:
    start = ago(hours=1)
    send(
        engine,
        run_event("START", start, job="dag", run="p"),
        run_event("START", start, job="load", run="c", run_facets=parent("dag", "p")),
        run_event("COMPLETE", later(start, 60), job="dag", run="p"),
    )
    do(engine, END)
    assert [name for name, _ in lost(engine)] == ["demo/load"]
    send(engine, run_event("COMPLETE", later(start, 90), job="load", run="c"))

    assert lost(engine) == []
    done = query(engine, "SELECT end_date, completed_successfully FROM pipeline_execution ORDER BY end_date DESC")
    assert done[0] == (later(start, 90), True)
    do(engine, END)
    assert lost(engine) == []
    with engine.begin() as connection:
        resolve_what_is_over(connection)
    assert query(engine, "SELECT kind, state FROM incident") == [("lost", "resolved")]


def test_a_stream_goes_on_after_the_program_that_started_it(engine: Engine) -> None:
    start = ago(hours=1)
    stream = job_type("FLINK", "JOB", "STREAMING")
    send(
        engine,
        run_event("START", start, job="submit", run="p"),
        run_event("START", start, job="stream", run="s", run_facets=parent("submit", "p"), job_facets=stream),
        run_event("COMPLETE", later(start, 60), job="submit", run="p"),
    )
    do(engine, END)

    assert lost(engine) == []


def test_while_events_wait_for_long_nobody_knows_whether_the_end_is_among_them(engine: Engine) -> None:
    start = ago(hours=1)
    send(
        engine,
        run_event("START", start, job="dag", run="p"),
        run_event("START", start, job="load", run="c", run_facets=parent("dag", "p")),
        run_event("COMPLETE", later(start, 60), job="dag", run="p"),
    )
    waiting = put_raw(engine, received_at=ago(minutes=2))
    put_raw(engine, received_at=ago(minutes=2), lane="elsewhere")
    do(engine, END)
    assert lost(engine) == []
    write(engine, "DELETE FROM openlineage_event WHERE id = :id", id=waiting)
    do(engine, END)
    assert [name for name, _ in lost(engine)] == ["demo/load"]


def test_a_run_that_is_silent_for_a_day_is_lost_told_once_and_repaired_by_its_end(engine: Engine) -> None:
    start = ago(hours=25)
    send(engine, run_event("START", start))
    # It was heard of when it began.
    write(engine, "UPDATE openlineage_run SET created_at = :start", start=start)
    silent = EndlessRuns(load_settings())
    for _ in range(4):
        silent.look(engine)
    assert lost(engine) == [("demo/etl", start)]
    assert messages(engine) == ["1 run(s) lost"]
    send(engine, run_event("COMPLETE", later(start, 7_200)))

    assert lost(engine) == []
    assert query(engine, "SELECT completed_successfully, duration_seconds FROM pipeline_execution") == [(True, 7_200)]


def test_the_days_to_come_have_partitions(engine: Engine, today: date) -> None:
    for _ in range(2):
        keep_days(engine, 7, 90)

    assert {name_of(today + timedelta(days=days)) for days in (1, 2, 3)} <= set(partitions(engine))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    event = put_raw(engine, received_at=tomorrow)
    assert query(engine, "SELECT tableoid::regclass::text FROM openlineage_event WHERE id = :id", id=event) == [
        (name_of(tomorrow.date()),)
    ]


def test_a_day_whose_events_are_in_the_default_partition_gets_none_and_nothing_fails(
    engine: Engine, today: date
) -> None:
    in_two_days = today + timedelta(days=2)
    write(engine, f"DROP TABLE IF EXISTS {name_of(in_two_days)}")
    put_raw(engine, received_at=datetime(in_two_days.year, in_two_days.month, in_two_days.day, 12, tzinfo=UTC))
    keep_days(engine, 7, 90)

    assert name_of(in_two_days) not in partitions(engine)
    assert name_of(today + timedelta(days=3)) in partitions(engine)
    assert len(kept(engine)) == 1


def test_an_old_day_goes_at_once_unless_something_in_it_waits(engine: Engine, today: date) -> None:
    old, older, recent = (today - timedelta(days=days) for days in (9, 10, 7))
    for day in (old, older, recent):
        make_day(engine, day)
    applied = put_raw(engine, received_at=_noon(old))
    waiting = put_raw(engine, received_at=_noon(older))
    young = put_raw(engine, received_at=_noon(recent))
    write(engine, "UPDATE openlineage_event SET applied_at = now() WHERE id <> :id", id=waiting)
    keep_days(engine, 7, 90)

    assert kept(engine) == {waiting: "waiting", young: "applied"}
    assert applied not in kept(engine)
    assert name_of(old) not in partitions(engine)
    assert {name_of(older), name_of(recent)} <= set(partitions(engine))
    write(engine, "UPDATE openlineage_event SET applied_at = now()")
    keep_days(engine, 1, 90)
    assert kept(engine) == {}
    assert not {name_of(older), name_of(recent)} & set(partitions(engine))


def test_while_others_use_the_table_the_days_are_kept_for_the_next_time(engine: Engine, today: date) -> None:
    old = today - timedelta(days=20)
    make_day(engine, old)
    with engine.begin() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM openlineage_event")
        keep_days(engine, 7, 90)
        assert name_of(old) in partitions(engine)
    keep_days(engine, 7, 90)
    assert name_of(old) not in partitions(engine)


def test_of_the_default_partition_old_applied_events_go_and_those_that_wait_stay(engine: Engine) -> None:
    old = [put_raw(engine, received_at=ago(days=30)) for _ in range(5)]
    new = put_raw(engine)
    write(engine, "UPDATE openlineage_event SET applied_at = now() WHERE id <> :id", id=old[2])
    keep_days(engine, 7, 90)

    assert kept(engine) == {old[2]: "waiting", new: "applied"}


def test_one_that_is_replayed_from_an_old_day_is_kept_until_it_is_applied(engine: Engine) -> None:
    old = put_raw(engine, received_at=ago(days=30))
    write(engine, "UPDATE openlineage_event SET applied_at = now()")
    assert replay_these(engine.begin, [old]).events == 1
    keep_days(engine, 7, 90)

    assert kept(engine) == {old: "waiting"}


def test_failed_events_are_kept_for_a_time_of_their_own(engine: Engine) -> None:
    event = run_event("START", now())
    put_failed(engine, event, failed_at=ago(days=91))
    young = put_failed(engine, event, failed_at=ago(days=89))
    keep_days(engine, 7, 90)

    assert kept(engine) == {young: "failed"}


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
