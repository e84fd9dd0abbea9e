"""The reporting page and its file, as the server writes them."""

import csv
import io
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, Engine, insert, select, update

from tests.conftest import MakeClient
from tests.support.rows import add_pipeline, add_run, now
from watcher_server.auth.service import create_token
from watcher_server.reporting.models import DailyPipelineMetricChange, DailyPipelineMetricProgress
from watcher_server.reporting.tasks import daily_metrics_task
from watcher_server.tasking.models import OutboxMessage
from watcher_server.web.reporting import reading
from watcher_server.web.reporting.query import ReportView

PAGE = "/reporting"
FILE = "/reporting/daily-pipeline-metrics.csv"


def _day(days_ago: int) -> date:
    return now().date() - timedelta(days=days_ago)


def _add_run_on(connection: Connection, pipeline: int, days_ago: int, **fields: Any) -> None:
    """A run of a minute that began with the day."""
    start = datetime.combine(_day(days_ago), time(), UTC)
    values = {"start_date": start, "end_date": start + timedelta(minutes=1), "duration_seconds": 60, **fields}
    add_run(connection, pipeline, **values)


def _add_days(connection: Connection, days: int = 3, names: tuple[str, ...] = ("orders", "refunds")) -> None:
    """On each of the last days, every pipeline runs once and fails once."""
    for number, name in enumerate(names, start=1):
        pipeline = add_pipeline(connection, name)
        for days_ago in range(days):
            _add_run_on(connection, pipeline, days_ago, inserts=1_000 * number, total_rows=1_000 * number)
            _add_run_on(connection, pipeline, days_ago, completed_successfully=False)


async def _page(client: httpx.AsyncClient, address: str = PAGE, **query: Any) -> str:
    answer = await client.get(address, params=query or None)
    assert answer.status_code == 200, answer.text
    return answer.text


def _shown(page: str) -> list[tuple[str, str]]:
    """Day and pipeline of each row."""
    return re.findall(r'<td class="day"><a [^>]*>([^<]+)</a></td>\s*<th[^>]*><a [^>]*>([^<]+)</a>', page)


def _link(page: str, rel: str) -> str:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    assert found is not None, f"no {rel} in the page"
    return found[1].replace("&amp;", "&")


def _expected(days: int, names: tuple[str, ...] = ("orders", "refunds")) -> list[tuple[str, str]]:
    return [(str(_day(days_ago)), name) for days_ago in range(days) for name in names]


async def test_a_row_is_a_day_of_a_pipeline_with_its_figures(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_days(connection, days=1, names=("<b>bold</b>",))
    page = await _page(client)
    assert '<a href="/ui/pipelines/1">&lt;b&gt;bold&lt;/b&gt;</a>' in page
    assert "<b>bold" not in page
    assert '<td class="number">1,000</td>' in page
    assert "50.0 %" in page
    assert "1m</td>" in page


async def test_pages_lead_there_and_back(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One day at once, then two, so that pages are put together from several looks.
    monkeypatch.setattr(reading, "_LOOKED_AT_ONCE", 2)
    with engine.begin() as connection:
        _add_days(connection, days=4)

    first = await _page(client, page_size=3)
    second = await _page(client, _link(first, "next"))
    third = await _page(client, _link(second, "next"))

    assert [_shown(page) for page in (first, second, third)] == [
        _expected(4)[:3],
        _expected(4)[3:6],
        _expected(4)[6:],
    ]
    assert 'rel="prev"' not in first
    assert 'rel="next"' not in third
    assert "3 of 8 rows" in first
    back = await _page(client, _link(third, "prev"))
    assert _shown(back) == _shown(second)
    assert _shown(await _page(client, _link(back, "prev"))) == _shown(first)


@pytest.mark.parametrize("summed", [False, True])
async def test_figures_are_the_same_before_and_after_days_are_summed(
    client: httpx.AsyncClient, engine: Engine, *, summed: bool
) -> None:
    with engine.begin() as connection:
        _add_days(connection)
    if summed:
        daily_metrics_task()
        with engine.begin() as connection:
            # A day that is over changes: until it is summed again, its runs count.
            _add_run_on(connection, 1, 2, inserts=5, total_rows=5)
            connection.execute(insert(DailyPipelineMetricChange).values(date_recorded=_day(2), pipeline_id=1))
    page = await _page(client)
    assert _shown(page) == _expected(3)
    total = 9_005 if summed else 9_000
    assert f"<dt>Rows</dt><dd>{total:,}</dd>" in page
    assert f"<dt>Executions</dt><dd>{13 if summed else 12}</dd>" in page
    assert ('<span class="muted">46.2 %' if summed else '<span class="muted">50.0 %') in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, _expected),
        ({"pipeline_name": "ORDERS"}, lambda days: _expected(days, ("orders",))),
        ({"pipeline_name": "fun"}, lambda days: _expected(days, ("refunds",))),
        ({"pipeline_name": "%"}, lambda _: []),
        ({"pipeline_type_name": "extraction"}, _expected),
        ({"pipeline_type_name": "other"}, lambda _: []),
        ({"days": "2"}, lambda _: _expected(2)),
        ({"pipeline_name": "", "pipeline_type_name": "", "day": ""}, _expected),
    ],
)
async def test_filters_narrow_the_report(
    client: httpx.AsyncClient, engine: Engine, query: dict[str, str], found: Any
) -> None:
    with engine.begin() as connection:
        _add_days(connection)
    page = await _page(client, **query)
    assert _shown(page) == found(3)
    if not found(3):
        assert "No execution matches" in page


async def test_a_day_of_the_summary_is_the_whole_report(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_days(connection)
    page = await _page(client, day=_day(1))
    assert _shown(page) == _expected(3)[2:4]
    assert "<dt>Executions</dt><dd>4<" in page
    assert _shown(await _page(client, day="2001-01-01")) == []


async def test_the_summary_of_a_long_report_comes_after_the_page(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_SUMMED_AT_ONCE", 0)
    with engine.begin() as connection:
        _add_days(connection)
    page = await _page(client, pipeline_name="orders")
    assert "Day by day" not in page
    part = re.search(r'hx-get="(/reporting/summary[^"]*)"', page)
    assert part is not None
    assert "<dt>Executions</dt><dd>6</dd>" in await _page(client, part[1])
    assert "Day by day" in await _page(client, pipeline_name="orders", summary="true")


async def test_names_are_completed_by_any_part(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(30):
            add_pipeline(connection, f"orders {number:02}")
        add_pipeline(connection, '50% "off" & more')
    answer = await _page(client, "/reporting/names", pipeline_name="ORDERS 1")
    assert re.findall('value="([^"]+)"', answer) == [f"orders {number}" for number in range(10, 20)]
    assert (await _page(client, "/reporting/names", pipeline_name="orders")).count("<option") == 20
    assert 'value="50% &#34;off&#34; &amp; more"' in await _page(client, "/reporting/names", pipeline_name="%")
    assert "<option" not in await _page(client, "/reporting/names")


async def _read_file(client: httpx.AsyncClient, **query: Any) -> tuple[httpx.Response, list[list[str]]]:
    answer = await client.get(FILE, params=query)
    assert answer.status_code == 200
    return answer, list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_the_file_has_every_row_that_matches(client: httpx.AsyncClient, engine: Engine) -> None:
    with engine.begin() as connection:
        _add_days(connection, days=40)
    answer, (names, *lines) = await _read_file(client, pipeline_name="orders", page_size=1, after=f"{_day(3)}/x")

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    name = f"watcher-daily-pipeline-metrics-{_day(29)}-to-{_day(0)}.csv"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert names[:5] == [
        "date_recorded",
        "pipeline_name",
        "pipeline_type_name",
        "total_executions",
        "failed_executions",
    ]
    assert len(lines) == 30
    assert dict(zip(names, lines[0], strict=True)) == {
        "date_recorded": str(_day(0)),
        "pipeline_name": "orders",
        "pipeline_type_name": "extraction",
        "total_executions": "2",
        "failed_executions": "1",
        "error_percentage": "50.00",
        "daily_inserts": "1000",
        "daily_updates": "0",
        "daily_soft_deletes": "0",
        "daily_total_rows": "1000",
        "avg_duration_seconds": "60.00",
        "daily_throughput": "8.3333",
    }


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ('a "quoted", name', 'a "quoted", name'),
        ("two\nlines", "two\nlines"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@sum(a1)", "'@sum(a1)"),
        ("plain = not a formula", "plain = not a formula"),
    ],
)
async def test_a_name_in_the_file_is_a_text_and_no_formula(
    client: httpx.AsyncClient, engine: Engine, name: str, cell: str
) -> None:
    with engine.begin() as connection:
        _add_days(connection, days=1, names=(name,))
    _, (_, line) = await _read_file(client)
    assert line[1] == cell


async def test_a_file_without_rows_still_names_its_columns(client: httpx.AsyncClient, engine: Engine) -> None:
    assert engine is not None
    _, lines = await _read_file(client, day="2001-01-01")
    assert len(lines) == 1


async def test_an_empty_watcher_says_what_to_do_next(client: httpx.AsyncClient, engine: Engine) -> None:
    assert 'watcher run --pipeline "My first pipeline"' in await _page(client)
    with engine.begin() as connection:
        add_pipeline(connection)
    page = await _page(client, pipeline_name='"><script>')
    assert "Clear the filters" in page
    assert '"><script>' not in page


async def test_days_that_wait_to_be_summed_are_said_and_can_be_summed_now(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        _add_days(connection)
    daily_metrics_task()
    assert "are not summed yet" not in await _page(client)
    with engine.begin() as connection:
        connection.execute(update(DailyPipelineMetricProgress).values(summed_before=_day(5)))
    assert "4 days that are over are not summed yet" in await _page(client, days=7)

    answer = await client.post("/reporting/sum-days?days=7")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/reporting?days=7"
    with engine.connect() as connection:
        assert connection.scalars(select(OutboxMessage.task_name)).all() == ["daily_metrics_task"]


async def test_who_may_only_read_may_read_the_file_and_sum_nothing(make_client: MakeClient, engine: Engine) -> None:
    with engine.begin() as connection:
        token = create_token(connection, "reader", "read")
    async with make_client() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        await _read_file(client)
        assert (await client.post("/reporting/sum-days")).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "month=2026-13", "month=9999-12", "month=1970-01", "first=9999-12-31", "first=1970-01-01", "last=0001-01-01",
        "first=2026-02-01&last=2026-01-01", "first=2020-01-01&last=2026-01-01", "last=1970-01-01",
        "days=x", "days=0", "days=31", "days=", "page_size=0", "page_size=1001", "page_size=", "page=0", "page=-1",
        "pipeline_name=%00", "pipeline_name=%ff", "pipeline_name=" + "x" * 151, "pipeline_type_name=%00", "day=odd",
        "day=9999-12-31", "day=0001-01-01", "after=odd", "after=2026-11-22", "after=0001-01-01/%00",
        "before=9999-12-31/orders", "before=0001-01-01/", "after=2026-11-22/" + "x" * 151,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [PAGE, FILE, "/reporting/summary", "/reporting/names"])
async def test_odd_parameters_never_break_anything(client: httpx.AsyncClient, path: str, query: str) -> None:
    assert (await client.get(f"{path}?{query}")).status_code in {200, 422}


async def test_a_range_has_its_totals_for_each_pipeline_with_the_period_before_beside_them(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        orders, refunds = add_pipeline(connection, "Orders"), add_pipeline(connection, "refunds")
        for days_ago in (40, 41, 42):
            _add_run_on(connection, orders, days_ago, total_rows=100)
        _add_run_on(connection, orders, 43, total_rows=50)
        _add_run_on(connection, refunds, 45, completed_successfully=False)
    page = await _page(client, first=_day(42), last=_day(40))
    assert [day for day, _ in _shown(page)] == [str(_day(40)), str(_day(41)), str(_day(42))]
    assert '<dt>Rows</dt><dd>300<span class="muted small"> +500 %</span></dd>' in page
    assert f"the change from {_day(45)} to {_day(43)}, when 2 executions ran and 1 failed" in page
    totals = re.findall(r'<th scope="row" class="name"><a [^>]*>(\w+)</a></th><td class="muted">', page)
    assert totals == ["Orders", "refunds"]
    answer, (_, *lines) = await _read_file(client, first=_day(42), last=_day(40))
    assert answer.content.startswith(b"\xef\xbb\xbfdate_recorded,")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("query", "today", "span", "before"),
    [
        ("month=2026-02", "2026-11-30", ("2026-02-01", "2026-02-28"), ("2026-01-01", "2026-01-31")),
        ("month=2026-11", "2026-11-10", ("2026-11-01", "2026-11-10"), ("2026-10-01", "2026-10-10")),
        ("month=2026-03", "2026-03-30", ("2026-03-01", "2026-03-30"), ("2026-02-01", "2026-02-28")),
        ("days=7", "2026-11-10", ("2026-11-04", "2026-11-10"), ("2026-10-28", "2026-11-03")),
        ("first=2026-11-01", "2026-11-10", ("2026-11-01", "2026-11-10"), ("2026-10-22", "2026-10-31")),
        ("last=2026-11-01&days=2", "2026-11-10", ("2026-10-31", "2026-11-01"), ("2026-10-29", "2026-10-30")),
        ("first=2026-11-03&last=2026-11-03", "2026-11-10", ("2026-11-03", "2026-11-03"), ("2026-11-02", "2026-11-02")),
    ],
)
def test_a_period_is_compared_with_the_one_before(
    query: str, today: str, span: tuple[str, str], before: tuple[str, str]
) -> None:
    view = ReportView(**dict(part.split("=") for part in query.split("&")))
    now_ = date.fromisoformat(today)
    assert tuple(str(day) for day in view.span(now_)) == span
    assert tuple(str(day) for day in view.period_before(now_)) == before


async def test_days_that_nobody_summed_are_counted_from_their_executions(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    with engine.begin() as connection:
        pipeline = add_pipeline(connection, "orders")
        for days_ago in (1, 20, 50, 60):
            _add_run_on(connection, pipeline, days_ago, total_rows=7)
    daily_metrics_task()
    with engine.begin() as connection:
        # One that is told late, of a day that lies before all sums.
        _add_run_on(connection, pipeline, 50, total_rows=5)
        connection.execute(insert(DailyPipelineMetricChange).values(date_recorded=_day(50), pipeline_id=pipeline))
    page = await _page(client, first=_day(70), last=_day(0))
    assert "<dt>Rows</dt><dd>33" in page
    assert _shown(page) == [(str(_day(days_ago)), "orders") for days_ago in (1, 20, 50, 60)]
    daily_metrics_task()
    assert "<dt>Rows</dt><dd>33" in await _page(client, first=_day(70), last=_day(0))
