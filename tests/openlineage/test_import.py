"""Events from files are applied as if they had been sent, however old they are, and alert nobody of the past."""

import gzip
import io
import json
import sys
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.openlineage.conftest import Run
from tests.openlineage.kept import kept, query, queued, run_tasks, state_of
from tests.support.emptying import empty_tables
from tests.support.openlineage import Event, dataset, later, output, parent, run_event, send
from tests.support.rows import add_history, add_pipeline, add_rule, ago, change_pipeline
from watcher_server.incidents.endless import EndlessRuns
from watcher_server.openlineage.duties import keeper_duties
from watcher_server.settings import load_settings

OLD = ago(days=7).replace(microsecond=0)


def write_lines(path: Path, lines: Iterable[Event | str | bytes]) -> Path:
    """A file as the client's file transport writes it; a line that is no event is written as it is."""
    parts = [
        line if isinstance(line, bytes) else line.encode() if isinstance(line, str) else json.dumps(line).encode()
        for line in lines
    ]
    path.write_bytes(b"".join(part + b"\n" for part in parts))
    return path


def week() -> list[Event]:
    """A run that called two others, one of which failed and one of which changed its fields and failed a check."""
    fields: list[dict[str, Any]] = [
        {"schema": {"fields": [{"name": name, "type": "int"} for name in names]}} for names in ("ab", "b")
    ]
    check = {"dataQualityAssertions": {"assertions": [{"assertion": "not_null", "success": False, "column": "b"}]}}
    return [
        run_event("START", OLD, job="dag", run="p"),
        run_event(
            "START", later(OLD, 1), job="load", run="c", run_facets=parent("dag", "p"), inputs=[dataset("s.t.a")]
        ),
        run_event("FAIL", later(OLD, 2), job="load", run="c", run_facets={"errorMessage": {"message": "no table"}}),
        run_event("START", later(OLD, 3), job="model", run="m", run_facets=parent("dag", "p")),
        run_event("RUNNING", later(OLD, 4), job="model", run="m", outputs=[output("s.t.b", **fields[0])]),
        run_event(
            "COMPLETE",
            later(OLD, 5),
            job="model",
            run="m",
            inputs=[{**dataset("s.t.a"), "inputFacets": check}],
            outputs=[output("s.t.b", rows=3, **fields[1])],
        ),
        run_event("COMPLETE", later(OLD, 6), job="dag", run="p"),
        run_event("START", later(OLD, 7), job="endless", run="e"),
        run_event("COMPLETE", later(OLD, 8), job="calm", run="q"),
        run_event("START", later(OLD, 8), job="left", run="l", run_facets=parent("calm", "q")),
        *(run_event("START", later(OLD, 10 + number), job="crowd", run=f"{number}") for number in range(12)),
    ]


def take_in(engine: Engine, run: Run, folder: Path, events: list[Event]) -> None:
    """Import events in two files, the second one after the first was applied, so that a change of fields is seen."""
    for number, part in enumerate((events[:5], events[5:])):
        run("import", write_lines(folder / f"{number}.jsonl", part))
        assert "openlineage_apply_task" in run_tasks(engine)


def test_a_file_gives_the_state_that_its_events_would_have_given(engine: Engine, run: Run, tmp_path: Path) -> None:
    events = week()
    send(engine, *events)
    sent = state_of(engine)
    empty_tables(engine)
    ended = run("import", write_lines(tmp_path / "events.jsonl", events))
    assert (ended.status, f"{len(events)} events stored." in ended.out, ended.error) == (0, True, "")
    run_tasks(engine)

    assert state_of(engine) == sent
    assert query(engine, "SELECT count(*) FROM pipeline_execution WHERE start_skew IS NOT NULL") == [(0,)]
    run("import", tmp_path / "events.jsonl")
    run_tasks(engine)
    assert state_of(engine) == sent
    assert query(engine, "SELECT sum(repeated) FROM openlineage_source") == [(len(events),)]


def test_what_lies_long_back_alerts_nobody(engine: Engine, run: Run, tmp_path: Path) -> None:
    settings = load_settings()
    with engine.begin() as connection:
        # Judged by its history, 3 rows are far too few.
        model = add_pipeline(connection, "demo/model", display_name="demo/model")
        add_rule(connection, model)
        add_history(connection, model, [1000 + number for number in range(20)], before=OLD)
        change_pipeline(connection, model, created_at=ago(days=60))
    take_in(engine, run, tmp_path, week())
    lost = EndlessRuns(settings)
    for _ in range(3):
        lost.look(engine)
        for duty in keeper_duties(settings):
            duty.do(engine)
        run_tasks(engine)

    assert query(engine, "SELECT title, message FROM alert") == []
    assert query(engine, "SELECT kind FROM incident WHERE state <> 'resolved'") == []
    outcomes = "SELECT count(*) FROM pipeline_execution WHERE outcome = 'lost' AND end_date < now() - interval '6 days'"
    assert query(engine, outcomes) == [(14,)]


def test_the_same_events_of_today_do_alert(engine: Engine, run: Run, tmp_path: Path) -> None:
    shift = ago(minutes=10) - OLD
    moved = [{**event, "eventTime": (later(OLD, number) + shift).isoformat()} for number, event in enumerate(week())]
    take_in(engine, run, tmp_path, moved)
    for duty in keeper_duties(load_settings()):
        duty.do(engine)

    titles = {title for (title,) in query(engine, "SELECT title FROM alert")}
    assert {"Data Quality", "Schema Changed", "Pipeline Runs Lost"} <= titles
    assert "failing" in {kind for (kind,) in query(engine, "SELECT kind FROM incident")}


def test_bad_lines_are_named_and_the_others_are_taken(engine: Engine, run: Run, tmp_path: Path) -> None:
    good = run_event("START", OLD)
    file = write_lines(
        tmp_path / "mixed.jsonl",
        [
            good,
            "",
            "not json",
            "[]",
            {"run": {}},
            b"\xff\xfe",
            {**good, "eventTime": "never"},
            {**good, "x": "y" * 3_000},
        ],
    )
    ended = run("import", file)

    assert ended.status == 1
    assert "1 events stored, 6 lines are none." in ended.out or "2 events stored, 5 lines are none." in ended.out
    named = [line.partition(": ")[0].rpartition(" ")[2] for line in ended.error.splitlines()]
    assert named == ["3", "4", "5", "6", "7"]
    assert "line 3: The body is not JSON" in ended.error
    assert "line 7: eventTime must be a moment" in ended.error
    assert len(kept(engine)) == 2


def test_an_event_over_the_limit_is_a_bad_line(
    engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SimpleNamespace(openlineage_max_event_bytes=1_024)
    monkeypatch.setattr("watcher_server.cli.openlineage.get_settings", lambda: small)
    long = {**run_event("START", OLD), "x": "y" * 2_000}
    ended = run("import", write_lines(tmp_path / "events.jsonl", [long, run_event("START", OLD)]))

    assert (ended.status, "1,024 are allowed" in ended.error) == (1, True)
    assert len(kept(engine)) == 1


def test_several_files_gzip_and_standard_input_are_taken(
    engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write_lines(tmp_path / "one.jsonl", [run_event("START", OLD, run="1")])
    two = tmp_path / "two.jsonl.gz"
    two.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(run_event("START", OLD, run="2")).encode() + b"\r\n"))
    piped = json.dumps(run_event("START", OLD, run="3")).encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(piped)))
    ended = run("import", one, two, "-")

    assert (ended.status, ended.error) == (0, "")
    assert "standard input: 1 events stored." in ended.out
    assert len(kept(engine)) == 3
    assert queued(engine) == 1


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(engine: Engine, run: Run, tmp_path: Path) -> None:
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(json.dumps(run_event("START", OLD)).encode() * 50)[:60])
    for file in (tmp_path / "none.jsonl", tmp_path, torn):
        ended = run("import", file)
        assert (ended.status, f"{file} cannot be read" in ended.error) == (1, True), ended
    assert kept(engine) == {}


def test_many_events_are_stored_in_batches_in_the_order_of_their_lines(
    engine: Engine, run: Run, tmp_path: Path
) -> None:
    events = [run_event("START", OLD + timedelta(seconds=number), run=str(number)) for number in range(1_203)]
    run("import", write_lines(tmp_path / "events.jsonl", events))
    run_tasks(engine)

    starts = query(engine, "SELECT start_date FROM pipeline_execution ORDER BY id")
    assert starts == [(OLD + timedelta(seconds=number),) for number in range(1_203)]
