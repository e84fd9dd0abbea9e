"""The page of one pipeline: what is wrong, its numbers, its runs, its rules, and what can be said of its anomalies."""

import html
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert

from tests.conftest import MakeClient
from tests.support.checks import run_checks
from tests.support.logins import session_cookie
from tests.support.notifications import add_alert
from tests.support.rows import add_history, add_pipeline, add_rule, add_run, ago, change_pipeline, flags, now, rows
from watcher_server.addresses.models import Address, AddressType
from watcher_server.alerts.service import Subject
from watcher_server.anomalies.detection import detect_anomalies
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule
from watcher_server.auth.service import create_token
from watcher_server.freshness.models import FreshnessPipelineLog
from watcher_server.lineage.models import AddressLineage, AddressLineageClosure
from watcher_server.missed_runs.models import MissedRunLog
from watcher_server.timeliness.models import TimelinessExecutionLog

TABS = ("charts", "runs", "watermarks", "rules", "lineage", "alerts")


async def _text(client: httpx.AsyncClient, path: str, status: int = 200) -> str:
    """What a reader sees of the page: without tags, white space as one blank."""
    answer = await client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    body = re.sub(r"<script.*?</script>", " ", answer.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split()).replace(" ,", ",").replace(" .", ".")


def _add_anomaly(connection: Connection, value: int = 10, **rule: Any) -> tuple[int, int]:
    """A pipeline with ten days of 1,000 rows, and a run an hour ago that is far from it; pipeline and run."""
    pipeline = add_pipeline(connection)
    add_rule(connection, pipeline, **rule)
    add_history(connection, pipeline, [1_000 + day for day in range(10)])
    run = add_run(connection, pipeline, total_rows=value)
    assert detect_anomalies(connection, pipeline, run, alert_max_age_hours=24)
    return pipeline, run


@pytest.mark.parametrize("tab", TABS)
async def test_a_pipeline_that_has_done_nothing_says_what_to_do(
    client: httpx.AsyncClient, engine: Engine, tab: str
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "<b>bold</b>", pipeline_metadata={"tags": ["<i>"], "a": {"b": "<u>"}})
    answer = await client.get(f"/ui/pipelines/{pipeline}?tab={tab}")
    assert answer.status_code == 200
    assert 'class="empty"' in answer.text
    assert "<b>" not in answer.text
    assert "<i>" not in answer.text
    assert "<u>" not in answer.text
    assert "&lt;b&gt;bold&lt;/b&gt;" in answer.text


async def test_a_pipeline_that_is_unknown(client: httpx.AsyncClient) -> None:
    assert "No pipeline has the id 99" in await _text(client, "/ui/pipelines/99", 404)


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize(
    "query",
    ["runs=7", "outcome=x", "before=x", "after=-1", "before=99999", "until=x", "anomaly=77", "edit=77", "done=x",
     "runs=&outcome=", "before=9223372036854775808", "until=0001-01-01T00:00:00%2B14:00", "until=%00"],
)  # fmt: skip
async def test_odd_parameters_never_break_the_page(
    client: httpx.AsyncClient, engine: Engine, tab: str, query: str
) -> None:
    with engine.begin() as connection:
        pipeline, _ = _add_anomaly(connection)
    answer = await client.get(f"/ui/pipelines/{pipeline}?tab={tab}&{query}")
    assert answer.status_code in {200, 404, 422}


async def test_failures_since_the_last_success(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline, end_date=ago(days=3))
        first = add_run(connection, pipeline, end_date=ago(days=2), completed_successfully=False)
        error = {"error": "no <space> left"}
        last = add_run(connection, pipeline, completed_successfully=False, execution_metadata=error)
    run_checks(engine)
    page = await _text(client, f"/ui/pipelines/{pipeline}")
    assert "The last 2 runs failed, since" in page
    assert "the last success was 3d ago" in page
    assert "no <space> left" in page
    source = (await client.get(f"/ui/pipelines/{pipeline}")).text
    assert f'/ui/executions/{last}">Open the failed run' in source
    assert f'/ui/executions/{first}">the first that failed' in source


async def test_every_trouble_has_a_since_and_a_next_step(client: httpx.AsyncClient, engine: Engine) -> None:
    written = ago(days=2)
    with engine.begin() as connection:
        pipeline = add_pipeline(
            connection,
            freshness_number=1, freshness_datepart="day", timeliness_number=10, timeliness_datepart="minute",
            schedule="* * * * *", overlap="expected", expected_next_run=ago(hours=1), due_since=ago(hours=47),
            last_target_insert=written,
        )  # fmt: skip
        add_run(connection, pipeline, start_date=ago(hours=2), end_date=None)
    run_checks(engine)
    page = await _text(client, f"/ui/pipelines/{pipeline}")
    counted = (await client.get("/incident?kind=missed")).json()[0]["count"]
    assert f"the latest of {counted} that were missed, the first at" in page
    assert "missed The run expected at" in page
    assert "late The run that began 2h ago is still going; it should have ended by" in page
    assert "within 10 minutes" in page
    assert "stale It last wrote 2d ago" in page
    assert "it is to write every 1 day" in page
    assert "edit the freshness threshold" in page
    assert "running A run began" not in page


async def test_one_that_is_not_active_is_paused(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, active=False)
        add_run(connection, pipeline)
    assert "nothing is expected of it" in await _text(client, f"/ui/pipelines/{pipeline}")


async def test_what_it_touches_links_to_exactly_that(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = _add_lineage(connection)
        add_run(connection, pipeline)
    source = (await client.get(f"/ui/pipelines/{pipeline}")).text
    assert f'<a href="/ui/pipelines/{pipeline}?tab=lineage#touched">1 address downstream</a>' in source
    page = await _text(client, f"/ui/pipelines/{pipeline}?tab=lineage")
    assert "Reads 1 Address Status raw postgres unknown" in page
    assert "staging postgres ok 1" in page
    assert "Touches 1 address downstream Address Status Hops mart postgres" in page


def _add_lineage(connection: Connection) -> int:
    """A pipeline that reads raw and writes staging, from which mart is made."""
    connection.execute(insert(AddressType).values(name="postgres", group_name="database"))
    connection.execute(insert(Address).values([{"name": name, "address_type_id": 1} for name in _PLACES]))
    pipeline = add_pipeline(connection)
    edges = [{"pipeline_id": pipeline, "source_address_id": 1, "target_address_id": 2}]
    connection.execute(insert(AddressLineage).values(edges))
    reach = [{"source_address_id": 2, "target_address_id": 2, "depth": 0, "lineage_path": [2]}]
    reach.append({"source_address_id": 2, "target_address_id": 3, "depth": 1, "lineage_path": [2, 3]})
    connection.execute(insert(AddressLineageClosure).values(reach))
    return pipeline


_PLACES = ("raw", "staging", "mart")


async def test_thresholds_say_whose_they_are(client: httpx.AsyncClient, engine: Engine) -> None:
    of_type = {"freshness_number": 2, "freshness_datepart": "day", "mute_timeliness_check": True}
    with engine.begin() as connection:
        pipeline = add_pipeline(
            connection, type_fields=of_type, timeliness_number=1, timeliness_datepart="hour",
            freshness_warning_number=1, freshness_warning_datepart="day", mute_freshness_check=True,
        )  # fmt: skip
    page = await _text(client, f"/ui/pipelines/{pipeline}")
    assert "Writes at least every 2 days of the type warns after 1 day muted" in page
    assert "Runs at most for 1 hour own type muted" in page


async def test_the_charts_carry_the_series_and_its_anomalies(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline, run = _add_anomaly(connection)
        add_run(connection, pipeline, end_date=ago(minutes=5), completed_successfully=False, updates=0)
    source = (await client.get(f"/ui/pipelines/{pipeline}")).text
    data = re.search(r'id="series">(.*?)</script>', source)
    assert data is not None
    assert f'"{run}": {{"id": 1,' in data[1]
    assert '"failed": [' in data[1]
    page = await _text(client, f"/ui/pipelines/{pipeline}")
    assert "Out of what was expected since" in page
    assert "Total rows Its rule" in page
    assert "Not drawn, because always zero: updates." in page
    assert "10, expected 9" in page


async def test_the_numbers_behind_an_anomaly(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline, run = _add_anomaly(connection)
    page = await _text(client, f"/ui/pipelines/{pipeline}")
    assert "anomalous Out of what was expected since" in page
    assert "total rows 10, expected 9" in page
    page = await _text(client, f"/ui/pipelines/{pipeline}?anomaly=1")
    assert f"Run {run}" in page
    assert "flagged beyond ±3" in page
    assert "Learnt from 10 runs of the same hour, within 30 days" in page
    assert "Event 1 run too low" in page
    assert "Alert sent" in page
    part = await client.get(f"/ui/pipelines/{pipeline}/anomalies/1", headers={"HX-Request": "true"})
    assert part.text.strip().startswith("<article")
    whole = await client.get(f"/ui/pipelines/{pipeline}/anomalies/1")
    assert whole.headers["location"] == f"/ui/pipelines/{pipeline}?tab=charts&anomaly=1"


async def test_an_anomaly_of_another_pipeline_is_not_shown(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_anomaly(connection)
        other = add_pipeline(connection, "other")
        add_run(connection, other)
    assert "may have been unflagged" in await _text(client, f"/ui/pipelines/{other}?anomaly=1", 404)


async def test_unflag(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline, run = _add_anomaly(connection)
    form = {"execution_id": run, "metric": "total_rows"}
    answer = await client.post(f"/ui/pipelines/{pipeline}/unflag", data=form)
    assert answer.status_code == 303
    assert "The flag is gone" in await _text(client, answer.headers["location"])
    with engine.connect() as connection:
        assert flags(connection, run) == {"total_rows": False}
        assert rows(connection, AnomalyDetectionResult) == []
    again = await client.post(f"/ui/pipelines/{pipeline}/unflag", data={**form, "metric": "inserts"})
    assert again.status_code == 404


async def test_accept_as_new_normal_and_take_it_back(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline, run = _add_anomaly(connection)
    form = {"execution_id": run, "metric": "total_rows", "back": "//elsewhere.test/"}
    answer = await client.post(f"/ui/pipelines/{pipeline}/accept", data=form)
    assert answer.headers["location"] == f"/ui/pipelines/{pipeline}?tab=charts&done=accepted"
    assert "This level is the new normal" in await _text(client, answer.headers["location"])
    assert "The rule has a newer normal" in await _text(client, f"/ui/pipelines/{pipeline}?anomaly=1")
    assert "earlier runs do not count" in await _text(client, f"/ui/pipelines/{pipeline}?tab=rules&edit=1")
    answer = await client.post(f"/ui/pipelines/{pipeline}/rules/1/forget", headers={"HX-Request": "true"})
    assert answer.headers["hx-redirect"] == f"/ui/pipelines/{pipeline}?tab=rules&done=forgotten"
    assert "count again" in await _text(client, answer.headers["hx-redirect"])
    with engine.connect() as connection:
        assert rows(connection, AnomalyDetectionRule)[0]["normal_from"] is None


async def test_a_verdict_leads_back_to_the_page_where_it_was_given(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline, run = _add_anomaly(connection)
    form = {"execution_id": run, "metric": "total_rows", "back": "/ui/anomalies?page=2"}
    answer = await client.post(f"/ui/pipelines/{pipeline}/unflag", data=form)
    assert answer.headers["location"] == "/ui/anomalies?page=2"


async def test_runs_are_paged_in_both_directions(client: httpx.AsyncClient, engine: Engine) -> None:
    moment = ago(days=2)
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        # Three at each moment, so that pages end between equal ones.
        for number in range(120):
            start = moment + timedelta(minutes=number // 3)
            add_run(connection, pipeline, start_date=start, end_date=start + timedelta(seconds=30), inserts=number)
    seen: list[str] = []
    path: str | None = f"/ui/pipelines/{pipeline}?tab=runs"
    pages = []
    while path:
        page = (await client.get(path)).text
        pages.append(path)
        seen += re.findall(r'<th scope="row"><a href="/ui/executions/(\d+)"', page)
        path = _link(page, "next")
    assert [int(run) for run in seen] == list(range(120, 0, -1))
    back = _link(page, "prev")
    assert back is not None
    newer = re.findall(r'<th scope="row"><a href="/ui/executions/(\d+)"', (await client.get(back)).text)
    assert newer == seen[50:100]
    assert len(pages) == 3


def _link(page: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    return found and html.unescape(found[1])


@pytest.mark.parametrize(
    ("outcome", "shown"), [("", 4), ("failed", 1), ("anomalous", 1), ("running", 1), ("completed", 2)]
)
async def test_runs_by_outcome(client: httpx.AsyncClient, engine: Engine, outcome: str, shown: int) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline, anomaly_flags={"inserts": True, "updates": False}, watermark="1")
        add_run(connection, pipeline, anomaly_flags={"inserts": False})
        add_run(connection, pipeline, completed_successfully=False)
        add_run(connection, pipeline, start_date=ago(minutes=1), end_date=None)
    page = (await client.get(f"/ui/pipelines/{pipeline}?tab=runs&outcome={outcome}")).text
    assert page.count('<th scope="row">') == shown


async def test_an_outcome_without_a_run_leads_on(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline)
    assert "Show all its runs" in await _text(client, f"/ui/pipelines/{pipeline}?tab=runs&outcome=failed")


async def test_a_watermark_that_did_not_go_on_from_where_it_was(client: httpx.AsyncClient, engine: Engine) -> None:
    moves = [(None, "9"), ("9", "20"), ("25", "30"), ("28", "40"), ("40", "35"), ("35", "35"), ("x", "y")]
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        for days, (start, end) in enumerate(reversed(moves), start=1):
            add_run(connection, pipeline, end_date=ago(days=days), watermark=start, next_watermark=end)
    page = await _text(client, f"/ui/pipelines/{pipeline}?tab=watermarks")
    remarks = re.findall(r"other place|did not move|went backwards|read again|gap", page)
    assert remarks == ["other place", "did not move", "went backwards", "read again", "gap"]
    assert "the run before got to 20 : what lies between was not read" in page


async def test_a_rule_is_created_changed_and_turned_off(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
    path = f"/ui/pipelines/{pipeline}/rules"
    form = {"metric_field": "inserts", "method": "mad", "z_threshold": "2.5", "new_normal_after": ""}
    answer = await client.post(path, data=form)
    assert answer.status_code == 303
    assert (await client.post(path, data=form)).status_code == 409
    answer = await client.post(f"{path}/1", data={"z_threshold": " 4 ", "seasonality": "weekday"})
    page = await _text(client, answer.headers["location"])
    assert "Median and deviation of the same weekday" in page
    await client.post(f"{path}/1", data={"active": "false"})
    with engine.connect() as connection:
        rule = rows(connection, AnomalyDetectionRule)[0]
    assert (rule["method"], rule["z_threshold"], rule["new_normal_after"], rule["active"]) == ("mad", 4, None, False)


async def test_a_rule_that_cannot_be_keeps_what_was_filled_in(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_rule(connection, pipeline, "inserts")
    answer = await client.post(f"/ui/pipelines/{pipeline}/rules/1", data={"z_threshold": "0.5"})
    assert answer.status_code == 422
    assert "Z-score: Input should be greater than or equal to 1." in answer.text
    assert 'value="0.5"' in answer.text
    answer = await client.post(f"/ui/pipelines/{pipeline}/rules", data={"metric_field": "<b>"})
    assert answer.status_code == 422
    assert "<b>" not in answer.text


async def test_a_rule_of_another_pipeline_is_not_changed(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        add_rule(connection, add_pipeline(connection), "inserts")
        other = add_pipeline(connection, "other")
    for what in ("rules/1", "rules/1/forget"):
        answer = await client.post(f"/ui/pipelines/{other}/{what}", data={"active": "false"})
        assert answer.status_code == 404
    with engine.connect() as connection:
        assert rows(connection, AnomalyDetectionRule)[0]["active"]


async def test_what_the_checks_found_and_whether_it_was_told(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline, run = _add_anomaly(connection)
        change_pipeline(connection, pipeline, last_target_insert=ago(days=3))
        log = {"pipeline_id": pipeline, "used_child_config": False}
        stale = {"last_dml_timestamp": ago(days=3), "freshness_number": 1, "freshness_datepart": "day"}
        connection.execute(insert(FreshnessPipelineLog).values(**log, **stale))
        of_pipeline, of_run = Subject(pipeline_id=pipeline), Subject(pipeline_id=pipeline, execution_id=run)
        add_alert(connection, "a", of_pipeline, kind="stale", state="sent", sent_at=now(), sent_to="slack")
        add_alert(connection, "b", of_run, kind="late", attempts=1, last_error="Slack answered with status 500")
        late = {"pipeline_execution_id": run, "execution_status": "completed", "duration_seconds": 7_200}
        connection.execute(
            insert(TimelinessExecutionLog).values(
                **log, **late, timely_number=1, timely_datepart="hour", evaluated_at=ago(minutes=1)
            )
        )
        schedule = {"schedule": "0 3 * * *", "schedule_timezone": "UTC", "schedule_grace_minutes": 10}
        connection.execute(insert(MissedRunLog).values(pipeline_id=pipeline, expected_at=ago(hours=9), **schedule))
    page = await _text(client, f"/ui/pipelines/{pipeline}?tab=alerts")
    assert "expected every 1 day by its type delivered to slack" in page
    assert f"Run {run} took 2h, at most 1 hour by its type not delivered Slack answered with status 500" in page
    assert "No run by 10 minutes after" in page
    assert "Total rows 10, expected 9" in page
    assert "expected 974 to 1,035 waiting" in page


async def test_who_may_only_read_sees_what_cannot_be_changed(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline, run = _add_anomaly(connection)
    async with make_client() as client:
        cookie = {**session_cookie(engine, _token(engine)), "Sec-Fetch-Site": "same-origin"}
        page = (await client.get(f"/ui/pipelines/{pipeline}?anomaly=1", headers=cookie)).text
        assert page.count('disabled title="This needs the role editor"') == 3
        form = {"execution_id": run, "metric": "total_rows"}
        refused = await client.post(f"/ui/pipelines/{pipeline}/unflag", data=form, headers=cookie)
        assert refused.status_code == 403
    with engine.connect() as connection:
        assert flags(connection, run) == {"total_rows": True}


def _token(engine: Engine) -> str:
    with engine.begin() as connection:
        return create_token(connection, "a reader", "read")


async def test_the_status_alone_for_the_page_that_stays_open(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection)
        add_run(connection, pipeline, total_rows=5)
    part = await client.get(f"/ui/pipelines/{pipeline}/standing", headers={"HX-Request": "true"})
    assert part.text.strip().startswith('<section id="standing"')
    assert "Nothing is wrong. The last run ended" in part.text
