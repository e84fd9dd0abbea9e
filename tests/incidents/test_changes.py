"""What people do with incidents, and who wins when several do something at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests.incidents.records import add_incident, events, incident
from tests.support.rows import add_pipeline, add_run, ago, alerts, change_pipeline, now
from watcher_server.incidents.changes import change_incident, change_incidents, comment_on
from watcher_server.incidents.failing import judge_failure
from watcher_server.incidents.reading import ListedIncident
from watcher_server.incidents.schemas import IncidentChanges, IncidentPatch, IncidentVersion
from watcher_server.incidents.sweep import sweep_incidents, tell_resolved
from watcher_server.kit.errors import ConflictError, InvalidFieldError, NotFoundError
from watcher_server.settings import Settings, load_settings

TOMORROW = now() + timedelta(days=1)


@pytest.fixture
def settings(database_url: str) -> Settings:
    return load_settings(database_url=database_url)


@pytest.fixture
def failing(engine: Engine) -> int:
    """The incident of a pipeline whose newest run failed."""
    with engine.begin() as connection:
        orders = add_pipeline(connection)
        run = add_run(connection, orders, completed_successfully=False)
        return add_incident(connection, orders, "failing", level="ERROR", execution_id=run)


def change(connection: Connection, id_: int, actor: str = "ada", version: int | None = None, **fields: Any) -> Any:
    """Change an incident at its present version, unless another is given."""
    seen = incident(connection, id_)["version"] if version is None else version
    return change_incident(connection, id_, IncidentPatch(version=seen, **fields), actor)


def succeed(connection: Connection, pipeline_id: int) -> None:
    add_run(connection, pipeline_id, end_date=now())


def test_acknowledging_says_who_has_it_and_until_when(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        found = change(connection, failing, state="acknowledged", acknowledged_until=TOMORROW)
        assert events(connection, failing) == [("acknowledged", "ada", f"Until {TOMORROW:%Y-%m-%d %H:%M} UTC")]

    assert (found.state, found.acknowledged_by, found.acknowledged_until) == ("acknowledged", "ada", TOMORROW)
    assert (found.acknowledged_at is not None, found.version) == (True, 2)


def test_an_acknowledgement_can_be_taken_back(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        change(connection, failing, state="acknowledged", acknowledged_until=TOMORROW)
        found = change(connection, failing, "bob", state="open")
        assert [event[:2] for event in events(connection, failing)] == [
            ("acknowledged", "ada"),
            ("unacknowledged", "bob"),
        ]

    assert (found.state, found.acknowledged_by, found.acknowledged_at) == ("open", None, None)
    assert found.acknowledged_until is None


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ({}, {"state": "open"}),
        ({}, {"assignee": None}),
        ({}, {"snooze": None}),
        ({"state": "acknowledged"}, {"state": "acknowledged"}),
        (
            {"state": "acknowledged", "acknowledged_until": TOMORROW},
            {"state": "acknowledged", "acknowledged_until": TOMORROW},
        ),
        ({"state": "acknowledged", "acknowledged_until": TOMORROW}, {"state": "acknowledged"}),
        ({"assignee": "Ada"}, {"assignee": "Ada"}),
        ({"snooze": "worse"}, {"snooze": "worse"}),
        ({"resolved_at": ago(hours=1)}, {"state": "resolved"}),
    ],
)
def test_what_is_so_already_changes_nothing(engine: Engine, before: dict[str, Any], fields: dict[str, Any]) -> None:
    with engine.begin() as connection:
        id_ = add_incident(connection, add_pipeline(connection), **before)
        stored = incident(connection, id_)
        change(connection, id_, **fields)
        assert incident(connection, id_) == stored
        assert events(connection, id_) == []


def test_an_acknowledgement_can_be_made_longer_or_without_end(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        first = change(connection, failing, state="acknowledged", acknowledged_until=TOMORROW)
        second = change(connection, failing, "bob", acknowledged_until=None)

    assert (second.acknowledged_until, second.acknowledged_by, second.version) == (None, "bob", first.version + 1)
    assert second.acknowledged_at == first.acknowledged_at


def test_an_end_without_an_acknowledgement_is_refused(engine: Engine, failing: int) -> None:
    with engine.begin() as connection, pytest.raises(InvalidFieldError, match=f"incident {failing} is open"):
        change(connection, failing, acknowledged_until=TOMORROW)


def test_somebody_has_it_and_then_nobody(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        assert change(connection, failing, assignee="Ada Lovelace").assignee == "Ada Lovelace"
        assert change(connection, failing, assignee=None).assignee is None
        assert [event[2] for event in events(connection, failing)] == ["To Ada Lovelace", "To nobody"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"snooze": "time", "snoozed_until": TOMORROW}, f"Until {TOMORROW:%Y-%m-%d %H:%M} UTC"),
        ({"snooze": "next_run"}, "Until the next run"),
        ({"snooze": "worse"}, "Until it is worse"),
    ],
)
def test_snoozing_says_until_what_and_can_be_ended(
    engine: Engine, failing: int, fields: dict[str, Any], said: str
) -> None:
    with engine.begin() as connection:
        found = change(connection, failing, **fields)
        assert (found.snooze, found.snoozed_until) == (fields["snooze"], fields.get("snoozed_until"))
        found = change(connection, failing, snooze=None)
        assert (found.snooze, found.snoozed_until) == (None, None)
        assert events(connection, failing) == [("snoozed", "ada", said), ("unsnoozed", "ada", None)]


def test_until_the_next_run_goes_with_a_pipeline(engine: Engine) -> None:
    with engine.begin() as connection:
        id_ = add_incident(connection, None, "queue", subject="scheduled")
        with pytest.raises(InvalidFieldError, match="scheduled is none"):
            change(connection, id_, snooze="next_run")


def test_a_snooze_until_the_next_run_ends_with_a_run_that_begins_later(
    engine: Engine, failing: int, settings: Settings
) -> None:
    with engine.begin() as connection:
        change(connection, failing, snooze="next_run")
    with engine.begin() as connection:
        sweep_incidents(connection, settings)
        assert incident(connection, failing)["snooze"] == "next_run"
        add_run(connection, 1, start_date=now(), end_date=None)
        sweep_incidents(connection, settings)
        assert incident(connection, failing)["snooze"] is None


def test_several_changes_at_once_are_one(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        found = change(connection, failing, state="acknowledged", assignee="Ada", snooze="worse")
        assert [event[0] for event in events(connection, failing)] == ["acknowledged", "assigned", "snoozed"]

    assert found.version == 2


def test_a_version_that_has_passed_changes_nothing_and_says_what_is_now(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        change(connection, failing, "bob", state="acknowledged")
        with pytest.raises(ConflictError) as refused:
            change(connection, failing, version=1, state="acknowledged")

    said = f"Incident {failing} is acknowledged by bob, and has the version 2, not 1: look at it again."
    assert str(refused.value) == said


def test_what_is_over_is_resolved_by_hand(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        succeed(connection, 1)
        found = change(connection, failing, state="resolved")
        assert events(connection, failing) == [("resolved", "ada", None)]

    assert (found.state, found.resolution, found.quiet) == ("resolved", "hand", False)


def test_what_still_holds_is_resolved_with_force_only(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        with pytest.raises(ConflictError, match="still holds: orders is failing"):
            change(connection, failing, state="resolved")
        found = change(connection, failing, state="resolved", force=True)
        assert events(connection, failing) == [("resolved", "ada", "It still held.")]

    assert (found.state, found.resolution, found.quiet) == ("resolved", "hand", True)


def test_what_was_resolved_while_it_held_is_quiet_until_it_was_over(engine: Engine, failing: int) -> None:
    settings = load_settings()
    with engine.begin() as connection:
        change(connection, failing, state="resolved", force=True)
    with engine.begin() as connection:
        add_run(connection, 1, end_date=now(), completed_successfully=False)
        silent = judge_failure(connection, 1, alert_max_age_hours=24)
        succeed(connection, 1)
        sweep_incidents(connection, settings)
        add_run(connection, 1, start_date=now(), end_date=now(), completed_successfully=False)
        told = judge_failure(connection, 1, alert_max_age_hours=24)

    assert silent is not None
    assert told is not None
    assert (silent.change, told.change) == ("silenced", "opened")


def test_what_was_resolved_while_it_held_opens_when_it_is_worse(engine: Engine, failing: int) -> None:
    with engine.begin() as connection:
        change(connection, failing, state="resolved", force=True)
        change_pipeline(connection, 1, criticality="high")
        add_run(connection, 1, end_date=now(), completed_successfully=False)
        opening = judge_failure(connection, 1, alert_max_age_hours=24)

    assert opening is not None
    assert (opening.change, opening.level) == ("opened", "CRITICAL")


def test_people_hear_that_it_was_resolved_by_hand(engine: Engine, failing: int, settings: Settings) -> None:
    with engine.begin() as connection:
        change(connection, failing, state="resolved", force=True)
        assert incident(connection, failing)["tell_resolved_at"] > now()
        connection.execute(text("UPDATE incident SET tell_resolved_at = now()"))
        tell_resolved(connection, settings)
        (alert,) = alerts(connection)

    assert (alert["level"], alert["message"]) == ("RESOLVED", "Pipeline 'orders' (ID: 1) resolved by hand")


@pytest.mark.parametrize(("kind", "holds"), [("queue", True), ("watcher", True), ("channel", True), ("task", False)])
def test_what_is_no_pipeline_holds_until_its_check_finds_it_well(engine: Engine, kind: str, holds: bool) -> None:
    with engine.begin() as connection:
        id_ = add_incident(connection, None, kind, subject="scheduled")
        if holds:
            with pytest.raises(ConflictError, match="still holds"):
                change(connection, id_, state="resolved")
        assert change(connection, id_, state="resolved", force=True).quiet is holds


@pytest.mark.parametrize(
    "fields",
    [{"state": "acknowledged"}, {"state": "open"}, {"acknowledged_until": TOMORROW}, {"snooze": "worse"}],
)
def test_what_is_resolved_stays_so(engine: Engine, fields: dict[str, Any]) -> None:
    with engine.begin() as connection:
        id_ = add_incident(connection, add_pipeline(connection), resolved_at=ago(hours=1))
        with pytest.raises(ConflictError, match=f"Incident {id_} is resolved since"):
            change(connection, id_, **fields)
        assert incident(connection, id_)["state"] == "resolved"


def test_each_of_many_is_done_or_refused_on_its_own(engine: Engine) -> None:
    with engine.begin() as connection:
        pipelines = [add_pipeline(connection, name) for name in ("orders", "prices", "sales")]
        first, passed, over = (add_incident(connection, pipeline_id) for pipeline_id in pipelines)
        change(connection, passed, "bob", assignee="Bob")
        connection.execute(text("UPDATE incident SET version = 7 WHERE id = :id"), {"id": over})
        seen = [
            IncidentVersion(id=id_, version=version) for id_, version in ((first, 1), (passed, 1), (99, 1), (over, 7))
        ]
        outcomes = change_incidents(connection, seen, IncidentChanges(state="acknowledged", assignee="Ada"), "ada")
        states = [incident(connection, id_)["state"] for id_ in (first, passed, over)]

    assert [outcome.id for outcome in outcomes] == [first, passed, 99, over]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), ConflictError, NotFoundError, type(None)]
    assert states == ["acknowledged", "open", "acknowledged"]


def test_a_comment_is_kept_as_it_was_written(engine: Engine, failing: int) -> None:
    said = "It is the network.\n\x1b[31mCalled\u202e the vendor."
    with engine.begin() as connection:
        event = comment_on(connection, failing, said, "ada")
        assert incident(connection, failing)["version"] == 1
        assert events(connection, failing) == [("commented", "ada", said)]

    assert (event.change, event.text) == ("commented", said)


def at_once(engine: Engine, *deeds: Callable[[Connection], object]) -> list[object]:
    """Do these in transactions of their own that begin at the same moment; what each returned, or its error."""
    barrier = Barrier(len(deeds))

    def run(deed: Callable[[Connection], object]) -> object:
        with engine.connect() as connection:
            barrier.wait()
            try:
                with connection.begin():
                    return deed(connection)
            except ConflictError as error:
                return error

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(run, deeds))


@pytest.mark.parametrize("turn", range(10))
def test_of_two_people_at_once_one_is_told_what_the_other_did(engine: Engine, failing: int, turn: int) -> None:
    people = [f"person {number}" for number in range(4)]
    found = at_once(
        engine,
        *(
            lambda connection, name=name: change(connection, failing, name, version=1, state="acknowledged")
            for name in people
        ),
    )

    (winner,) = [each for each in found if isinstance(each, ListedIncident)]
    assert [type(each) for each in found].count(ConflictError) == 3
    with engine.connect() as connection:
        assert events(connection, failing) == [("acknowledged", winner.acknowledged_by, None)]
        assert incident(connection, failing)["version"] == 2


@pytest.mark.parametrize("turn", range(10))
def test_an_acknowledgement_never_undoes_a_resolution(
    engine: Engine, failing: int, settings: Settings, turn: int
) -> None:
    with engine.begin() as connection:
        succeed(connection, 1)
    found = at_once(
        engine,
        lambda connection: sweep_incidents(connection, settings),
        lambda connection: change(connection, failing, version=1, state="acknowledged"),
        lambda connection: change(connection, failing, "bob", version=1, assignee="Bob"),
    )

    with engine.connect() as connection:
        stored, said = incident(connection, failing), [event[0] for event in events(connection, failing)]
    assert (stored["state"], stored["resolution"]) == ("resolved", "auto")
    assert said.count("resolved") == 1
    # What was done is in the timeline, and what is not there was refused.
    assert [type(each) for each in found].count(ConflictError) == 3 - len(said)
    assert stored["version"] == 1 + len(said)


@pytest.mark.parametrize("turn", range(5))
def test_a_failure_at_the_same_moment_is_not_lost(engine: Engine, failing: int, turn: int) -> None:
    with engine.begin() as connection:
        add_run(connection, 1, end_date=now(), completed_successfully=False)
    at_once(
        engine,
        lambda connection: judge_failure(connection, 1, alert_max_age_hours=24),
        lambda connection: change(connection, failing, state="acknowledged"),
    )

    with engine.connect() as connection:
        assert incident(connection, failing)["count"] == 2
