"""Who is told, and when: the first route that matches, its hours, its digest, its cap; what is over is told as well."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from tests.incidents.records import add_incident
from tests.support import routing
from tests.support.routing import (
    come_due,
    deliveries,
    put_channel,
    put_object,
    put_route,
    put_window,
    raise_about,
    remove,
    send_due,
    told,
)
from tests.support.rows import add_pipeline, alerts, now
from watcher_server.alerts.composing import compose
from watcher_server.alerts.config.schemas import DEFAULT_ROUTE, Match, Route
from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.book import Book
from watcher_server.alerts.routing.matching import Facts, matches
from watcher_server.settings import load_settings

GOLD = {"owner": "finance", "tags": ["gold"]}


def stale(engine: Engine, name: str = "orders", level: str = "WARNING", **fields: Any) -> int:
    """An open incident of a pipeline, which people were told of; its number."""
    with engine.begin() as connection:
        return add_incident(connection, add_pipeline(connection, name, **fields), level=level)


def resolve(engine: Engine, incident: int) -> None:
    with engine.begin() as connection:
        over = "UPDATE incident SET state = 'resolved', resolved_at = now(), resolution = 'auto' WHERE id = :id"
        connection.execute(text(over), {"id": incident})


def test_without_routes_everything_goes_to_default_at_once(engine: Engine) -> None:
    raise_about(engine, stale(engine))
    (delivery,) = deliveries(engine)
    assert (delivery["channel"], delivery["reason"], delivery["route"]) == ("default", None, None)
    assert delivery["next_try_at"] == delivery["created_at"]


@pytest.mark.parametrize(
    "match",
    [
        {"owner": ["Finance"]},
        {"tag": ["silver", "gold"]},
        {"type": ["extr*"]},
        {"pipeline": ["Orders *"]},
        {"kind": ["failing", "stale"]},
        {"level": ">=WARNING"},
        {"owner": ["finance"], "tag": ["gold"], "kind": ["stale"]},
    ],
)
def test_a_route_takes_what_it_is_for_and_the_last_one_the_rest(engine: Engine, match: dict[str, Any]) -> None:
    put_route(engine, "finance", match=match)
    metadata: dict[str, Any] = {"pipeline_metadata": {"owner": "finance", "tags": ["gold"]}}
    mine = raise_about(engine, stale(engine, "orders [eu]", **metadata))
    other_match = {**match, "pipeline": ["customers"]}
    remove(engine, "finance")
    put_route(engine, "finance", match=other_match)
    others = raise_about(engine, stale(engine, "orders [us]", **metadata))
    assert told(engine, mine) == {"finance": "waiting"}
    assert told(engine, others) == {"default": "waiting"}


def test_the_first_route_that_matches_is_the_only_one_unless_it_continues(engine: Engine) -> None:
    going_on: dict[str, Any] = {"continue": True}
    put_route(engine, "log", match={"kind": ["stale"]}, **going_on)
    put_route(engine, "first", match={"pipeline": ["orders"]})
    put_route(engine, "second")
    assert told(engine, raise_about(engine, stale(engine))) == {"log": "waiting", "first": "waiting"}


def test_what_is_about_several_reaches_everybody_it_concerns(engine: Engine) -> None:
    put_route(engine, "orders", match={"pipeline": ["orders"]})
    both = (stale(engine, "orders"), stale(engine, "customers"))
    assert set(told(engine, raise_about(engine, *both))) == {"orders", "default"}


def test_outside_its_hours_a_route_holds_what_is_not_critical(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office", "except": "CRITICAL"})
    mild = raise_about(engine, stale(engine))
    worst = raise_about(engine, stale(engine, "customers", "CRITICAL"), level=Level.CRITICAL)

    (held,), (at_once,) = deliveries(engine, mild), deliveries(engine, worst)

    assert held["next_try_at"] > now() + timedelta(hours=10)
    assert held["reason"] == f"held until {held['next_try_at']:%Y-%m-%d %H:%M} UTC"
    assert (at_once["reason"], at_once["state"]) == (None, "waiting")


def test_a_route_may_drop_what_comes_outside_its_hours_and_says_so(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office", "outside": "drop"})
    raise_about(engine, stale(engine))
    (delivery,) = deliveries(engine)
    assert (delivery["state"], delivery["reason"]) == ("skipped", "outside the hours of office")


def test_when_the_hours_begin_what_still_holds_is_told_in_one_message(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office"})
    incidents = [stale(engine, name) for name in ("orders", "customers", "prices")]
    for incident in incidents:
        raise_about(engine, incident)
    resolve(engine, incidents[1])
    raise_about(engine, incidents[1], change="resolved", level=Level.RESOLVED)
    assert send_due(engine, "team") == []

    come_due(engine)

    assert send_due(engine, "team") == ["WARNING While It Was Quiet: 2 alerts in one: 2 open"]
    assert [row["state"] for row in deliveries(engine)] == ["merged"] * 4 + ["sent"]


def test_messages_name_pipelines_as_they_were_first_spelt(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office"})
    for name in ("Orders", "Prices"):
        raise_about(engine, stale(engine, name.lower(), display_name=name))
    come_due(engine)
    send_due(engine, "team")

    with engine.connect() as connection:
        gathered = alerts(connection)[-1]
        last = deliveries(engine)[-1]["id"]
        subjects = [about.subject for about in compose(connection, last, [], load_settings()).incidents]
    assert ("Orders (#1)" in gathered["text"], "Prices (#2)" in gathered["text"]) == (True, True)
    assert subjects == ["Orders", "Prices"]


def test_what_was_over_before_its_hours_began_is_never_told(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office"})
    incident = stale(engine)
    raise_about(engine, incident)
    resolve(engine, incident)
    raise_about(engine, incident, change="resolved", level=Level.RESOLVED)
    come_due(engine)
    assert send_due(engine, "team") == []
    assert {row["state"] for row in deliveries(engine)} == {"skipped"}


def test_one_alone_that_was_held_is_told_as_it_was_written(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office"})
    raise_about(engine, stale(engine))
    come_due(engine)
    assert send_due(engine, "team") == ["WARNING Alert: wrong"]


def test_what_was_held_for_days_is_not_too_old_to_be_told(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office"})
    raise_about(engine, stale(engine))
    come_due(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE notification SET created_at = now() - interval '3 days'"))
    assert send_due(engine, "team") == ["WARNING Alert: wrong"]


def test_what_gets_worse_while_it_is_held_is_told_once(engine: Engine) -> None:
    put_object(engine, "calendar", "office", routing.closed_now())
    put_route(engine, "team", hours={"calendar": "office", "except": "CRITICAL"})
    incident = stale(engine)
    raise_about(engine, incident)
    with engine.begin() as connection:
        connection.execute(text("UPDATE incident SET level = 'CRITICAL'"))
    raise_about(engine, incident, change="worse", level=Level.CRITICAL, message="worse")
    assert send_due(engine, "team") == ["CRITICAL Alert: worse"]
    come_due(engine)
    assert send_due(engine, "team") == ["CRITICAL Alert: worse"]


def test_a_digest_says_once_a_day_what_opened_and_what_was_over_by_then(engine: Engine) -> None:
    put_route(engine, "team", digest={"at": "08:30", "zone": "Europe/Berlin"})
    incidents = [stale(engine, name) for name in ("orders", "customers")]
    for incident in incidents:
        raise_about(engine, incident)
    resolve(engine, incidents[0])
    raise_about(engine, incidents[0], change="resolved", level=Level.RESOLVED)
    moments = {row["next_try_at"] for row in deliveries(engine)}
    assert len(moments) == 1
    assert now() < moments.pop() <= now() + timedelta(hours=25)
    come_due(engine)
    assert send_due(engine, "team") == ["WARNING Daily Digest: 2 alerts in one: 1 open, 1 over"]


def test_what_opens_within_the_wait_of_a_group_is_one_message_for_each_value(engine: Engine) -> None:
    put_route(engine, "team", group_wait="1h", group_by=["root", "owner"])
    for name, owner in (("orders", "ana"), ("customers", "ana"), ("prices", "bo")):
        raise_about(engine, stale(engine, name, owner=owner), message=name)
    moments = {(row["reason"], row["next_try_at"]) for row in deliveries(engine)}
    assert {reason for reason, _ in moments} == {
        "gathered for 3600 s by team: owner ana", "gathered for 3600 s by team: owner bo"
    }  # fmt: skip
    assert len(moments) == 2
    come_due(engine)
    assert sorted(send_due(engine, "team")) == [
        "WARNING Alert: prices", "WARNING Several Incidents: 2 alerts in one: 2 open"
    ]  # fmt: skip


def test_a_route_without_updates_tells_the_beginning_and_the_end(engine: Engine) -> None:
    put_route(engine, "team", updates="none")
    incident = stale(engine)
    states = [told(engine, raise_about(engine, incident, change=change))["team"]
              for change in ("opened", "worse", "reminder", "resolved")]  # fmt: skip
    assert states == ["waiting", "skipped", "skipped", "waiting"]


def test_the_end_is_told_where_the_beginning_was_whatever_the_routes_are_by_now(engine: Engine) -> None:
    put_route(engine, "team", match={"kind": ["stale"]})
    incident = stale(engine)
    raise_about(engine, incident)
    send_due(engine, "team")
    remove(engine, "team")
    put_route(engine, "others")
    put_window(engine)
    resolve(engine, incident)
    assert told(engine, raise_about(engine, incident, change="resolved", level=Level.RESOLVED)) == {"team": "waiting"}


def test_what_is_over_the_cap_is_one_message_and_what_is_critical_passes(engine: Engine) -> None:
    put_channel(engine, "team", spec={"cap": "2/1h"})
    put_route(engine, "team")
    for number in range(30):
        raise_about(engine, stale(engine, f"p{number}"), message=f"p{number}")
    assert send_due(engine, "team") == ["WARNING Alert: p0", "WARNING Alert: p1"]
    raise_about(engine, stale(engine, "worst", "CRITICAL"), level=Level.CRITICAL, message="worst")
    assert send_due(engine, "team")[2:] == ["CRITICAL Alert: worst"]
    come_due(engine)
    # By then there is a token again.
    with engine.begin() as connection:
        connection.execute(text("UPDATE channel SET cap_at = now() - interval '30 minutes'"))

    assert send_due(engine, "team")[3:] == ["WARNING Many Incidents: 28 alerts in one: 28 open"]
    with engine.connect() as connection:
        details = connection.scalar(text("SELECT details FROM alert ORDER BY id DESC LIMIT 1"))
    assert isinstance(details, list)
    assert (details[0][0], details[-1]) == ("p2 (#3)", ["Others", "and 8 more"])


def test_what_waits_for_its_time_is_no_delivery_that_is_late(engine: Engine) -> None:
    put_route(engine, "team", digest={"at": "08:30"})
    raise_about(engine, stale(engine))
    with engine.begin() as connection:
        connection.execute(text("UPDATE notification SET created_at = now() - interval '25 hours'"))
    assert send_due(engine, "team") == []
    assert told(engine) == {"team": "waiting"}


texts = st.sampled_from(["ana", "Bo", "orders", "orders eu", "gold", "x[1]"])
some = st.none() | st.lists(texts, min_size=1, max_size=2)
facts = st.builds(
    Facts,
    level=st.sampled_from(["INFO", "WARNING", "ERROR", "CRITICAL"]),
    kind=st.sampled_from(["failing", "stale", "late"]),
    pipeline=st.none() | texts,
    type=st.none() | texts,
    owner=st.none() | texts,
    tags=st.lists(texts, max_size=3).map(tuple),
)
routes = st.builds(
    lambda match, goes_on: Route.model_validate({"name": "a", "to": ["a"], "match": match, "continue": goes_on}),
    st.fixed_dictionaries({}, optional={
        "owner": some.filter(bool), "tag": some.filter(bool), "pipeline": some.filter(bool), "type": some.filter(bool),
        "kind": st.just(["failing", "late"]), "level": st.sampled_from([">=ERROR", "WARNING"]),
    }),
    st.booleans(),
)  # fmt: skip


def fits(match: Match, of: Facts) -> bool:
    """The same rule said plainly: every field that is given, by one of its values, whatever the case."""
    ranks = ["INFO", "WARNING", "ERROR", "CRITICAL"]
    lists = [(match.owner, [of.owner]), (match.tag, of.tags), (match.pipeline, [of.pipeline]), (match.type, [of.type])]
    ok = all(
        wanted is None or any(each.lower() == (have or "").lower() for each in wanted for have in has)
        for wanted, has in lists
    )
    if match.level is not None:
        wanted = match.level.removeprefix(">=")
        ok &= ranks.index(of.level) >= ranks.index(wanted) if match.level[0] == ">" else of.level == wanted
    return ok and (match.kind is None or of.kind in {kind.value for kind in match.kind})


@given(configured=st.lists(routes, max_size=5), of=facts)
def test_routes_are_taken_in_order_until_one_does_not_continue(configured: list[Route], of: Facts) -> None:
    book = Book([*configured, DEFAULT_ROUTE], {}, [], is_classic=False)
    taken = book.taken_by(of)
    assert taken
    expected = []
    for route in book.routes:
        assert matches(route.match, of) == fits(route.match, of)
        if fits(route.match, of):
            expected.append(route)
            if not route.continue_:
                break
    assert taken == expected
