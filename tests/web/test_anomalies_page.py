"""The anomalies page, as the server writes it."""

import re
from datetime import UTC, datetime, time, timedelta
from html import unescape
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert, update

from tests.conftest import MakeClient
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, flags, now, rows
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.auth.service import create_token
from watcher_server.web.anomalies import reading

PAGE = "/ui/anomalies"


def _today_at(hour: int, *, days_ago: int = 0) -> datetime:
    return datetime.combine(now().date() - timedelta(days=days_ago), time(hour), UTC)


def _add_event(connection: Connection, rule: int, runs: list[int], ended: list[datetime], **fields: Any) -> int:
    """An event of these runs, whose results say 12 where 90 to 110 was expected."""
    metric = fields.pop("metric_field", "total_rows")
    about = {"rule_id": rule, "metric_field": metric}
    event = {
        "pipeline_id": 1, "direction": "low", "first_execution_id": runs[0], "last_execution_id": runs[-1],
        "started_at": ended[0], "last_at": ended[-1], "execution_count": len(runs), **about, **fields,
    }  # fmt: skip
    event_id = connection.execute(insert(AnomalyEvent).values(event).returning(AnomalyEvent.id)).scalar_one()
    result = {
        "violation_value": 12, "z_score": -17.6, "historical_mean": 100, "historical_std": 5, "z_threshold": 3,
        "lower_bound": 90, "upper_bound": 110, "execution_count": 30, "context": {}, "event_id": event_id, **about,
    }  # fmt: skip
    for run in runs:
        connection.execute(insert(AnomalyDetectionResult).values(pipeline_execution_id=run, **result))
    return int(event_id)


def _add_bad_runs(connection: Connection, pipeline: int, ended: list[datetime]) -> list[int]:
    flagged = {"total_rows": True}
    return [add_run(connection, pipeline, end_date=end, total_rows=12, anomaly_flags=flagged) for end in ended]


def _add_bad_nights(connection: Connection, name: str = "orders", *, nights: int = 2, **fields: Any) -> int:
    """A pipeline with a usual history, and an event of its latest nights; the event's id."""
    pipeline = add_pipeline(connection, name)
    rule = add_rule(connection, pipeline, learning=False)
    ended = [_today_at(0, days_ago=night) for night in reversed(range(nights))]
    add_history(connection, pipeline, [100, 101, 99, 100, 102], before=ended[0])
    runs = _add_bad_runs(connection, pipeline, ended)
    return _add_event(connection, rule, runs, ended, pipeline_id=pipeline, **fields)


async def _page(client: httpx.AsyncClient, **query: Any) -> str:
    answer = await client.get(PAGE, params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


def _events(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<tbody id="event-(\d+)"', page)]


async def test_an_event_says_what_is_wrong_since_when_and_what_to_do(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_bad_nights(connection, "<i>orders</i>", alerted=True)

    page = await _page(client)

    assert "&lt;i&gt;orders&lt;/i&gt;" in page
    assert "<i>" not in page
    assert "total rows too low" in page
    assert "<strong>12</strong>" in page
    assert "expected 90 to 110" in page
    assert "going on" in page
    assert "alerted" in page
    assert "2 runs</summary>" in page
    assert "-17.6" in page
    assert 'href="/ui/executions/7"' in page
    assert 'href="/ui/pipelines/1?tab=charts#total_rows"' in page
    assert page.count('<circle class="meant"') == 2
    assert 'aria-label="total rows of 7 runs, 2 of them flagged"' in page


async def test_an_event_is_over_once_a_usual_run_has_followed(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_bad_nights(connection)
        add_run(connection, 1, end_date=now(), total_rows=100)
        add_run(connection, 1, end_date=now(), total_rows=None)
    page = await _page(client)
    assert "going on" not in page
    assert ">over<" in re.sub(r"<svg.*?</svg>", "", page)


async def test_an_event_whose_runs_are_gone_is_still_shown(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        rule = add_rule(connection, pipeline)
        ended = _today_at(0)
        values = {"pipeline_id": pipeline, "rule_id": rule, "metric_field": "total_rows", "direction": "high"}
        moments = {"started_at": ended, "last_at": ended, "execution_count": 3}
        gone = {"first_execution_id": 90, "last_execution_id": 91}
        connection.execute(insert(AnomalyEvent).values(values | moments | gone))
    page = await _page(client)
    assert "no longer kept" in page
    assert "3 runs" in page
    assert "no runs kept" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [3, 2]),
        ({"state": "accepted"}, [1]),
        ({"state": "all"}, [3, 2, 1]),
        ({"metric": "inserts"}, [2]),
        ({"direction": "high"}, [3]),
        ({"pipeline": "SALES"}, [2]),
        ({"pipeline": "%"}, []),
        ({"state": "all", "days": "1"}, [3]),
        ({"metric": "", "pipeline": "", "direction": "", "day": "", "days": "7"}, [3, 2]),
    ],
)
async def test_filters_narrow_the_list_newest_first(
    client: httpx.AsyncClient, engine: Engine, query: dict[str, str], found: list[int]
) -> None:
    with engine.begin() as connection:
        moments = [_today_at(0, days_ago=2), _today_at(0, days_ago=1), _today_at(0)]
        about: list[dict[str, Any]] = [
            {"accepted_at": now()},
            {"metric_field": "inserts"},
            {"direction": "high"},
        ]
        for name, moment, fields in zip(("orders", "sales", "refunds"), moments, about, strict=True):
            pipeline = add_pipeline(connection, name)
            rule = add_rule(connection, pipeline, fields.get("metric_field", "total_rows"))
            runs = _add_bad_runs(connection, pipeline, [moment])
            _add_event(connection, rule, runs, [moment], pipeline_id=pipeline, **fields)
    assert _events(await _page(client, **query)) == found


async def test_a_day_of_the_chart_leads_to_its_events(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_bad_nights(connection, "orders", nights=1)
        pipeline = add_pipeline(connection, "refunds")
        rule = add_rule(connection, pipeline)
        moment = _today_at(3, days_ago=4)
        _add_event(connection, rule, _add_bad_runs(connection, pipeline, [moment]), [moment], pipeline_id=pipeline)

    page = await _page(client)
    assert "2 events in 30 days" in page
    links = re.findall(r'<a href="(/ui/anomalies\?[^"]*day=[^"]+)"', page)
    assert len(links) == 2
    assert _events((await client.get(links[0].replace("&amp;", "&"))).text) == [2]


async def test_the_list_has_pages_that_keep_the_filters(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        rule = add_rule(connection, pipeline)
        moment = _today_at(0)
        run = _add_bad_runs(connection, pipeline, [moment])
        values = {
            "pipeline_id": pipeline, "rule_id": rule, "metric_field": "total_rows", "direction": "low",
            "first_execution_id": run[0], "last_execution_id": run[0], "started_at": moment, "last_at": moment,
            "execution_count": 1,
        }  # fmt: skip
        connection.execute(insert(AnomalyEvent), [values] * 51)

    first = await _page(client, direction="low")
    assert _events(first) == list(range(51, 1, -1))
    assert "of 51 events" in first
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = (await client.get(following[1].replace("&amp;", "&"))).text
    assert _events(second) == [1]
    assert 'rel="prev" href="/ui/anomalies?direction=low&amp;page=1"' in second


async def test_where_counting_takes_long_the_summary_comes_after_the_page(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_COUNTED_AT_ONCE", 0)
    with engine.begin() as connection:
        _add_bad_nights(connection)

    page = await _page(client, state="all")
    assert "Most events" not in page
    assert _events(page) == [1]
    part = re.search(r'hx-get="(/ui/anomalies/summary[^"]*)"', page)
    assert part is not None
    assert "1 event in 30 days" in (await client.get(part[1])).text
    assert "Most events" in await _page(client, state="all", summary="true")


async def test_rules_that_learn_are_counted_and_named(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        for metric in ("total_rows", "inserts"):
            add_rule(connection, pipeline, metric)
        add_rule(connection, pipeline, "updates", learning=False)
    page = await _page(client)
    assert "<strong>3</strong> active" in page
    assert "<strong>2</strong> of them" in page
    assert "No anomalies in 30 days" in page


async def test_an_empty_watcher_says_what_a_rule_is(client: httpx.AsyncClient, engine: Engine) -> None:
    assert engine is not None
    page = await _page(client)
    assert "No rule judges any pipeline yet" in page
    assert "curl -X POST http://localhost/anomaly_detection_rule" in page
    assert "No event matches" in await _page(client, pipeline='"><script>')


async def test_no_anomaly_is_good_news(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_rule(connection, add_pipeline(connection), learning=False)
    assert "No anomalies in 7 days" in await _page(client, days=7)


async def test_an_event_is_accepted_and_the_page_comes_back_as_it_was(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        event = _add_bad_nights(connection)
    page = await _page(client, days=7)
    target = re.search(rf'action="(/ui/anomalies/{event}/accept[^"]*)" data-confirm="Is this the new normal', page)
    assert target is not None

    answer = await client.post(target[1].replace("&amp;", "&"))

    assert answer.status_code == 303
    assert answer.headers["location"] == "/ui/anomalies?days=7"
    with engine.connect() as connection:
        (rule,) = rows(connection, AnomalyDetectionRule)
        (stored,) = rows(connection, AnomalyEvent)
    assert rule["normal_from"] == stored["started_at"]
    assert stored["accepted_at"] is not None
    accepted = await _page(client, state="accepted")
    assert _events(accepted) == [event]
    assert "/accept" not in accepted


async def test_all_runs_of_an_event_are_unflagged(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        event = _add_bad_nights(connection)
    answer = await client.post(f"{PAGE}/{event}/unflag")
    assert answer.status_code == 303
    with engine.connect() as connection:
        assert rows(connection, AnomalyEvent) == []
        assert flags(connection, 6) == flags(connection, 7) == {"total_rows": False}


async def test_unflagging_a_long_event_is_undone_for_all_its_runs(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        event = _add_bad_nights(connection, nights=45)
        before = rows(connection, AnomalyEvent), rows(connection, AnomalyDetectionResult)
    page = await client.get((await client.post(f"{PAGE}/{event}/unflag?days=7")).headers["location"])
    assert "45 flags are gone." in page.text
    form = re.search(r'action="(/ui/anomalies/reflag[^"]*)".*?</form>', page.text, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[0]))

    answer = await client.post(unescape(form[1]), data={name: unescape(value) for name, value in fields.items()})

    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?days=7")
    with engine.connect() as connection:
        assert (rows(connection, AnomalyEvent), rows(connection, AnomalyDetectionResult)) == before
        assert flags(connection, 6) == flags(connection, 50) == {"total_rows": True}
    # There is nothing left to put back.
    assert (await client.post(f"{PAGE}/reflag", data=fields)).status_code == 404


async def test_a_run_whose_flags_are_accepted_is_nowhere_called_anomalous(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        event = _add_bad_nights(connection, nights=1)

    async def shown() -> dict[str, int | str]:
        drawn = (await client.get("/ui/pipelines")).text + (await client.get("/ui")).text
        listed = (await client.get("/ui/pipelines/1?tab=runs&outcome=anomalous")).text
        run = (await client.get("/ui/executions/6")).text
        return {
            "bars": len(re.findall(r'<a href="/ui/executions/6"(?:(?!</a>).)*"bar anomalous"', drawn)),
            "in the list": listed.count('<th scope="row">'),
            "on its page": run.count('<tr class="anomalous"'),
            "accepted": run.count(">accepted<"),
        }

    assert await shown() == {"bars": 2, "in the list": 1, "on its page": 1, "accepted": 0}
    assert (await client.post(f"{PAGE}/{event}/accept")).status_code == 303
    assert await shown() == {"bars": 0, "in the list": 0, "on its page": 0, "accepted": 1}
    # That it was flagged, the API and its own numbers go on to say.
    assert (await client.get("/pipeline_execution/6")).json()["anomaly_flags"] == {"total_rows": True}
    assert "accepted" in (await client.get("/ui/pipelines/1?anomaly=1")).text


async def test_one_run_of_an_event_is_unflagged(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        event = _add_bad_nights(connection)
    answer = await client.post(f"{PAGE}/{event}/unflag", data={"execution_id": "7"})
    assert answer.status_code == 303
    with engine.connect() as connection:
        (stored,) = rows(connection, AnomalyEvent)
        assert (stored["execution_count"], stored["last_execution_id"]) == (1, 6)
        assert flags(connection, 6) == {"total_rows": True}


@pytest.mark.parametrize("change", ["accept", "unflag"])
async def test_an_event_that_is_gone_is_a_page_that_says_so(
    client: httpx.AsyncClient, engine: Engine, change: str
) -> None:
    assert engine is not None
    answer = await client.post(f"{PAGE}/99/{change}", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "No anomaly event has the id 99." in answer.text


async def test_who_may_only_read_changes_nothing(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        event = _add_bad_nights(connection)
        token = create_token(connection, "reader", "read")
    async with make_client() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        page = await _page(client)
        assert re.findall(r"<button[^>]*>Accept", page) == [
            '<button class="quiet" disabled title="This needs the role editor">Accept'
        ]
        assert (await client.post(f"{PAGE}/{event}/accept")).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "days=x", "days=0", "days=91", "days=", "page=0", "page=99999999999", "state=odd", "metric=odd", "pipeline=%00",
        "pipeline=%ff", "pipeline=" + "x" * 151, "day=odd", "day=9999-12-31", "day=0001-01-01", "direction=both",
    ],
)  # fmt: skip
async def test_odd_parameters_never_break_the_page(client: httpx.AsyncClient, query: str) -> None:
    for path in (PAGE, f"{PAGE}/summary"):
        assert (await client.get(f"{path}?{query}")).status_code in {200, 422}


async def test_other_numbers_are_in_their_units(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_bad_nights(connection, metric_field="duration_seconds")
        connection.execute(update(AnomalyDetectionResult).values(violation_value=3720))
    assert "<strong>1h 2m</strong>" in await _page(client)
