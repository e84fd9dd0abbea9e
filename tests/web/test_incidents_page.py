"""The pages of incidents: what is wrong, who has it, and one incident whole."""

import re
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert

from tests.conftest import MakeClient
from tests.incidents.records import add_incident, events, incident
from tests.support.notifications import add_alert
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago
from tests.support.tasks import waiting_rows
from watcher_server.alerts.models import Notification
from watcher_server.alerts.service import Subject
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.auth.service import create_token
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.incidents.models import IncidentEvent
from watcher_server.missed_runs.models import MissedRunLog

LIST = "/ui/incidents"
HTML = {"Accept": "text/html"}


async def _open(client: httpx.AsyncClient, path: str = LIST, status: int = 200, **query: Any) -> str:
    answer = await client.get(path, params=query or None, headers=HTML)
    assert answer.status_code == status, answer.text
    return answer.text


async def _change(client: httpx.AsyncClient, incident_id: int, choice: str, **fields: Any) -> str:
    """Send the form of one incident; where the answer leads."""
    path = f"{LIST}/{incident_id}/change{fields.pop('query', '')}"
    answer = await client.post(path, data={"choice": choice, "version": "1", **fields})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def _shown(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'<li id="incident-(\d+)"', page)]


def _add_several(connection: Connection, number: int, **fields: Any) -> list[int]:
    return [
        add_incident(connection, add_pipeline(connection, f"{fields.get('kind', 'p')} {each}"), **fields)
        for each in range(number)
    ]


def _row(engine: Engine, incident_id: int) -> dict[str, Any]:
    with engine.connect() as connection:
        return incident(connection, incident_id)


async def test_with_nothing_wrong_it_says_since_when_and_what_would_appear(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    page = await _open(client)
    assert "All is well" in page
    assert "Nothing has ever been wrong" in page
    with engine.begin() as connection:
        add_incident(connection, add_pipeline(connection), opened_at=ago(hours=3), resolved_at=ago(hours=2))
    page = await _open(client)
    assert "Nothing is wrong since" in page
    assert "orders was stale" in page
    assert "after 1h" in page
    assert "No incident fits" in await _open(client, q="nothing")


async def test_the_worst_comes_first_and_effects_stand_below_their_root(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        root = add_incident(connection, add_pipeline(connection, "root"), opened_at=ago(hours=1), detail="too old")
        effects = _add_several(connection, 25, root_id=root, told_at=None)
        worst = add_incident(connection, None, "queue", subject="celery", level="CRITICAL", opened_at=ago(hours=2))

    page = await _open(client)

    assert _shown(page) == [worst, root]
    assert "25 more are wrong because of it" in page
    assert sum(f'href="/ui/incidents/{effect}"' in page for effect in effects) == 10
    assert f'href="/ui/incidents?root={root}"' in page
    assert len(_shown(await _open(client, root=root))) == 25


async def test_what_a_resolved_root_explained_stands_for_itself(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        root = add_incident(connection, add_pipeline(connection, "root"), resolved_at=ago(minutes=1))
        effect = add_incident(connection, add_pipeline(connection, "effect"), root_id=root)
    assert _shown(await _open(client)) == [effect]


async def test_it_says_what_is_known_of_each(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(
            connection,
            "orders",
            owner="finance",
            runbook_url="https://wiki.example/orders",
            pipeline_metadata={"tags": ["gold"]},
        )
        run = add_run(connection, pipeline, completed_successfully=False)
        add_incident(
            connection,
            pipeline,
            "failing",
            level="ERROR",
            detail="timed out",
            count=3,
            execution_id=run,
            state="acknowledged",
            acknowledged_by="ada",
            assignee="grace",
            flapping=True,
            snooze="worse",
        )

    page = await _open(client)

    for said in (
        "orders is failing",
        "timed out",
        "3 in a row",
        "acknowledged by ada",
        "assigned to grace",
        "flapping",
        "snoozed until it is worse",
        f'href="/ui/pipelines/{pipeline}"',
        f'href="/ui/executions/{run}"',
        'href="https://wiki.example/orders"',
        'href="/ui/incidents?owner=finance"',
        'href="/ui/incidents?tag=gold"',
    ):
        assert said in page


async def test_filters_show_effects_without_their_root(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        orders = add_pipeline(connection, "orders", owner="finance", pipeline_metadata={"tags": ["gold"]})
        root = add_incident(connection, add_pipeline(connection, "rates"), "missed", opened_at=ago(days=3))
        effect = add_incident(connection, orders, root_id=root)
        taken = add_incident(connection, None, "task", subject="x_task", state="acknowledged", acknowledged_by="ada")
        over = add_incident(connection, orders, "late", opened_at=ago(days=9), resolved_at=ago(days=8))

    async def shown(**query: Any) -> list[int]:
        return _shown(await _open(client, **query))

    assert await shown() == [root, taken]
    assert await shown(kind="stale") == [effect]
    assert await shown(owner="Finance") == [effect]
    assert await shown(tag="gold", state="all") == [effect, over]
    assert await shown(pipeline_id=orders) == [effect]
    assert await shown(q="x_task") == [taken]
    assert await shown(q=f"#{root}") == [root]
    assert await shown(days=1, state="open") == [effect]
    assert await shown(state="acknowledged") == [taken]
    assert await shown(state="resolved") == [over]
    assert await shown(kind="", owner=" ", q="", page="") == [root, taken]


async def test_paging_keeps_the_filters(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        ids = _add_several(connection, 60, kind="late", opened_at=ago(hours=1))
    first = await _open(client, kind="late")
    assert _shown(first) == ids[:9:-1]
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = await _open(client, following[1].replace("&amp;", "&"))
    assert _shown(second) == ids[9::-1]
    assert 'rel="next"' not in second


async def test_htmx_gets_the_part_with_what_is_ticked(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        one, other = _add_several(connection, 2)
    answer = await client.get(LIST, params={"selected": [f"{one}.7", "x"]}, headers={"HX-Request": "true"})
    assert "<html" not in answer.text
    assert re.search(rf'value="{one}.1"[^>]* checked', answer.text)
    assert not re.search(rf'value="{other}.1"[^>]* checked', answer.text)


@pytest.mark.parametrize(("choice", "hours"), [("acknowledge", None), ("acknowledge-1h", 1), ("acknowledge-4h", 4)])
async def test_acknowledging_in_place(
    client: httpx.AsyncClient, engine: Engine, choice: str, hours: float | None
) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
    assert await _change(client, found, choice, query="?kind=stale&page=1") == f"{LIST}?kind=stale&done=acknowledged"
    row = _row(engine, found)
    assert (row["state"], row["acknowledged_by"]) == ("acknowledged", "loopback")
    if hours is None:
        assert row["acknowledged_until"] is None
    else:
        assert abs(row["acknowledged_until"] - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=1)
    assert "acknowledged by loopback" in await _open(client, done="acknowledged")


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "UTC", "no/such zone", ""])
async def test_tomorrow_is_that_of_the_viewer(client: httpx.AsyncClient, engine: Engine, zone: str) -> None:
    known = ZoneInfo("Asia/Tokyo") if zone == "Asia/Tokyo" else UTC
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
    before = datetime.now(known).date()
    await _change(client, found, "acknowledge-tomorrow", zone=zone)
    until = _row(engine, found)["acknowledged_until"]
    assert until - datetime.combine(before + timedelta(days=1), time(9), known) in (timedelta(), timedelta(days=1))


@pytest.mark.parametrize(
    ("choice", "snooze"), [("snooze-4h", "time"), ("snooze-next_run", "next_run"), ("snooze-worse", "worse")]
)
async def test_snoozing_and_its_end(client: httpx.AsyncClient, engine: Engine, choice: str, snooze: str) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
    assert await _change(client, found, choice) == f"{LIST}?done=snoozed"
    assert _row(engine, found)["snooze"] == snooze
    assert await _change(client, found, "unsnooze", version="2") == f"{LIST}?done=unsnoozed"
    assert _row(engine, found)["snooze"] is None


async def test_snoozing_until_a_moment_that_is_typed(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
    moment = (datetime.now(UTC) + timedelta(days=2)).replace(hour=7, minute=30, second=0, microsecond=0)
    typed = {"at": f"{moment:%Y-%m-%dT%H:%M}", "zone": "Europe/Berlin", "single": "true"}
    assert await _change(client, found, "snooze-time", **typed) == f"{LIST}/{found}?done=snoozed"
    assert _row(engine, found)["snoozed_until"] == moment.replace(tzinfo=ZoneInfo("Europe/Berlin"))
    for wrong, said in (("", "Choose the day"), ("yesterday", "Choose the day"), ("2020-01-01T00:00", "in the future")):
        data = {"choice": "snooze-time", "version": "2", "at": wrong}
        answer = await client.post(f"{LIST}/{found}/change", data=data)
        assert answer.status_code == 422
        assert said in answer.text


async def test_assigning_and_taking_that_back(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
    await _change(client, found, "assign", assignee=" Ada ", single="true")
    assert _row(engine, found)["assignee"] == "Ada"
    await _change(client, found, "assign", assignee="", version="2")
    assert _row(engine, found)["assignee"] is None


async def test_who_was_slower_is_told_so_and_sees_what_is_so_now(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        found = add_incident(
            connection, add_pipeline(connection), state="acknowledged", acknowledged_by="ada", version=2
        )
    target = await _change(client, found, "acknowledge", query="?state=all")
    assert target == f"{LIST}?state=all&missed={found}"
    page = await _open(client, target)
    assert "Not changed, because it changed before you pressed the button" in page
    assert "is acknowledged now by ada" in page
    target = await _change(client, found, "snooze-worse", single="true")
    assert "it is acknowledged now by ada" in await _open(client, target)
    assert _row(engine, found)["snooze"] is None


async def test_many_at_once_and_each_that_was_changed_meanwhile_is_named(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        ids = _add_several(connection, 3)
        queue = add_incident(connection, None, "queue", subject="celery")
    selected = [f"{ids[0]}.1", f"{ids[1]}.1", f"{ids[2]}.9", f"{queue}.1"]
    answer = await client.post(f"{LIST}/bulk", data={"choice": "snooze-next_run", "selected": selected})
    assert answer.headers["location"] == f"{LIST}?done=snoozed&changed=2&missed={ids[2]}&unfit={queue}"
    assert [_row(engine, each)["snooze"] for each in (*ids, queue)] == ["next_run", "next_run", None, None]
    page = await _open(client, answer.headers["location"])
    assert "2 incidents are snoozed" in page
    assert "Not changed, because it is no pipeline" in page
    assert "Not changed, because it changed before" in page


async def test_many_at_once_with_none_ticked_changes_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{LIST}/bulk", data={"choice": "acknowledge"})
    assert answer.headers["location"] == LIST
    answer = await client.post(f"{LIST}/bulk", data={"choice": "acknowledge", "selected": ["x"]})
    assert answer.status_code == 422


async def test_resolving_what_still_holds_asks_first(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        run = add_run(connection, pipeline, completed_successfully=False)
        found = add_incident(connection, pipeline, "failing", execution_id=run)
    target = await _change(client, found, "resolve", single="true")
    assert target == f"{LIST}/{found}?holds=true"
    assert _row(engine, found)["state"] == "open"
    page = await _open(client, target)
    assert "It still holds: orders is failing" in page
    assert 'name="force" value="true"' in page
    assert await _change(client, found, "resolve", single="true", force="true") == f"{LIST}/{found}?done=resolved"
    row = _row(engine, found)
    assert (row["state"], row["resolution"], row["quiet"]) == ("resolved", "hand", True)


async def test_the_change_bears_the_name_of_the_login(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
        headers = {"Authorization": f"Bearer {create_token(connection, 'ada', 'write')}"}
    async with make_client() as client:
        data = {"choice": "acknowledge", "version": "1"}
        assert (await client.post(f"{LIST}/{found}/change", data=data, headers=headers)).status_code == 303
        await client.post(f"{LIST}/{found}/comment", data={"text": "the firewall\nagain"}, headers=headers)
    with engine.connect() as connection:
        assert events(connection, found) == [
            ("acknowledged", "ada", None),
            ("commented", "ada", "the firewall\nagain"),
        ]


async def test_an_incident_tells_what_happened_and_what_was_said(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection, runbook_url="javascript:alert(1)"))
        happened = [("opened", "watcher", "too old"), ("told", "watcher", "opened"), ("commented", "ada", "I look")]
        for change, actor, said in happened:
            values = {"incident_id": found, "change": change, "actor": actor, "text": said}
            connection.execute(insert(IncidentEvent).values(values))
    page = await _open(client, f"{LIST}/{found}")
    for said in ("orders is stale", "too old", "told people that it opened", "I look", "Nothing upstream explains it"):
        assert said in page
    assert 'href="javascript' not in page
    assert "Runbook: javascript:alert(1)" in page
    answer = await client.post(f"{LIST}/{found}/comment", data={"text": " "})
    assert answer.status_code == 422
    assert "The comment is not right" in answer.text
    await _open(client, f"{LIST}/99", status=404)


async def test_a_resolved_one_tells_how_long_it_took_and_takes_no_change(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection), opened_at=ago(hours=3), resolved_at=ago(hours=1))
    page = await _open(client, f"{LIST}/{found}")
    assert "orders was stale" in page
    assert "<strong>2h</strong>" in page
    assert "by itself" in page
    assert 'name="choice"' not in page
    assert await _change(client, found, "acknowledge", single="true") == f"{LIST}/{found}?missed=true"


async def test_the_evidence_of_a_failed_run_is_its_error(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        run = add_run(connection, pipeline, completed_successfully=False, execution_metadata={"error": "no route"})
        found = add_incident(connection, pipeline, "failing", execution_id=run)
    page = await _open(client, f"{LIST}/{found}")
    assert "<code>no route</code>" in page
    assert f'href="/ui/executions/{run}"' in page


async def test_the_evidence_of_an_anomaly_is_drawn_and_can_be_judged(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_rule(connection, pipeline)
        add_history(connection, pipeline, range(1_000, 1_020))
        run = add_run(connection, pipeline, total_rows=3, end_date=ago(minutes=2))
        detect_anomalies(connection, pipeline, run, alert_max_age_hours=24)
    page = await _open(client, f"{LIST}/1")
    assert "Total rows 3" in page
    assert 'aria-label="Total rows of 21 runs, 1 of them out of range"' in page
    assert f'href="/ui/pipelines/{pipeline}?tab=charts&amp;anomaly=1#anomaly-total_rows"' in page


async def test_the_evidence_of_the_checks_is_their_log(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        stale = add_incident(connection, pipeline, opened_at=ago(hours=2))
        missed = add_incident(connection, pipeline, "missed", opened_at=ago(hours=2))
        log = {"pipeline_id": pipeline, "evaluated_at": ago(hours=1)}
        due = {"freshness_number": 3, "freshness_datepart": "day", "used_child_config": True}
        connection.execute(insert(FreshnessPipelineLog).values(**log, **due, severity="failure"))
        grace = {"schedule": "0 7 * * *", "schedule_timezone": "Asia/Tokyo", "schedule_grace_minutes": 10}
        connection.execute(insert(MissedRunLog).values(**log, **grace, expected_at=ago(hours=1.5)))
    page = await _open(client, f"{LIST}/{stale}")
    assert "every 3 days" in page
    assert "<td>never</td>" in page
    assert "<code>0 7 * * *</code> Asia/Tokyo" in await _open(client, f"{LIST}/{missed}")


async def test_causes_and_effects_are_drawn_and_listed(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        root = add_incident(connection, add_pipeline(connection, "root"))
        effects = _add_several(connection, 8, root_id=root, told_at=None)
    page = await _open(client, f"{LIST}/{root}")
    assert page.count('class="arrow"') == 6
    assert "2 more are in the list" in page
    assert all(f'href="/ui/incidents/{effect}"' in page for effect in effects)
    page = await _open(client, f"{LIST}/{effects[0]}")
    assert "Because of" in page
    assert page.count('class="arrow"') == 1
    assert "speaks for it" in page


async def test_who_was_told_and_sending_it_again(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
        about = Subject(incident_id=found)
        arrived = {"state": "sent", "sent_to": "slack", "sent_at": ago(minutes=9), "attempts": 1}
        add_alert(connection, "a", about, change="opened", **arrived)
        lost = {"state": "given_up", "attempts": 4, "last_error": "Slack answered with status 404"}
        alert = add_alert(connection, "b", about, change="reminder", **lost)
        notification = connection.scalar(Notification.__table__.select().where(Notification.alert_id == alert))
    page = await _open(client, f"{LIST}/{found}")
    for said in ("delivered to slack", "That it opened", "That it is still so", "make a new one"):
        assert said in page
    answer = await client.post(f"{LIST}/{found}/notifications/{notification}/send")
    assert answer.headers["location"] == f"{LIST}/{found}?done=sent"
    with engine.connect() as connection:
        (task,) = waiting_rows(connection)
    assert task["kwargs"] == {"alert_id": alert}
    assert (await client.post(f"{LIST}/{found}/notifications/99/send")).status_code == 404


async def test_an_alert_leads_to_the_incident_that_it_told_of(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        found = add_incident(connection, add_pipeline(connection))
        add_alert(connection, "a", Subject(incident_id=found), kind="stale")
    assert f'href="/ui/incidents/{found}"' in await _open(client, "/ui/alerts")
    assert 'href="/ui/alerts"' in await _open(client)


async def test_the_pipeline_and_the_overview_show_them(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        live = add_incident(connection, pipeline)
        over = add_incident(connection, pipeline, "late", resolved_at=ago(minutes=5))
    page = await _open(client, f"/ui/pipelines/{pipeline}", tab="incidents")
    for found in (live, over):
        assert f'href="/ui/incidents/{found}"' in page
    assert page.index(f"incidents/{live}") < page.index(f"incidents/{over}")
    assert f'href="/ui/incidents/{live}"' in await _open(client, "/ui")
    for path in ("/ui", "/ui/pipelines", f"/ui/pipelines/{pipeline}"):
        link = f'href="/ui/incidents?pipeline_id={pipeline}&amp;kind=stale"'
        assert link in await _open(client, path), path


@pytest.mark.parametrize(
    "query",
    ["state=x", "kind=x", "days=0", "page=0", "page=100001", "page=100000", "q=%00", "owner=%00", "tag=%25_%5C",
     "pipeline_id=-1", "root=99999999999999999999", "missed=1&missed=x", "missed=99", "done=x", "selected=%ff"],
)  # fmt: skip
async def test_odd_parameters_never_break_it(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{LIST}?{query}")).status_code in {200, 422}
