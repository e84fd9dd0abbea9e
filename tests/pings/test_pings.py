"""Pings as they come: what each URL answers, and the run that comes of it."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.pings.conftest import MakeToken
from tests.support.factories import make_pipeline, make_rule, start
from watcher_server.incidents.failing import judge_failure


async def url_of(client: httpx.AsyncClient, pipeline_id: int) -> str:
    """The path of a pipeline's ping URL."""
    shown = (await client.get(f"/pipeline/{pipeline_id}")).json()["ping_url"]
    return str(httpx.URL(shown).path)


async def runs_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Every run, by id."""
    found: list[dict[str, Any]] = (await client.get("/pipeline_execution")).json()
    return found


def queued(engine: Engine) -> list[str]:
    """The names of the tasks in the outbox, in order."""
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT task_name FROM outbox ORDER BY id")))


def output_of(engine: Engine, execution_id: int) -> str | None:
    """What is stored as the output of a run."""
    with engine.connect() as connection:
        statement = text("SELECT output FROM pipeline_execution WHERE id = :id")
        stored: str | None = connection.scalar(statement, {"id": execution_id})
        return stored


async def test_a_start_and_its_end_are_a_run(client: httpx.AsyncClient, engine: Engine) -> None:
    url = await url_of(client, await make_pipeline(client))
    began = await client.get(f"{url}/start")
    assert (began.status_code, began.text, began.headers["ping-body-limit"]) == (200, "OK", "100000")
    assert began.headers["content-type"] == "text/plain; charset=utf-8"
    assert began.headers["watcher-execution-id"] == "1"
    assert (await runs_of(client))[0]["end_date"] is None
    assert (await client.get(url)).text == "OK"
    run, *others = await runs_of(client)
    assert not others
    assert (run["completed_successfully"], run["duration_seconds"]) == (True, 0)
    assert queued(engine) == []


async def test_an_end_without_a_start_is_a_run_that_began_and_ended_at_once(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    url = await url_of(client, await make_pipeline(client))
    assert (await client.post(f"{url}/fail", content="disk full\n")).text == "OK"
    (run,) = await runs_of(client)
    assert (run["completed_successfully"], run["duration_seconds"], run["throughput"]) == (False, None, None)
    assert run["start_date"] == run["end_date"]
    assert queued(engine) == ["judge_failure_task"]
    assert output_of(engine, 1) == "disk full\n"
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT depth FROM pipeline_execution_closure WHERE child_execution_id = 1")) == 0


@pytest.mark.parametrize(
    ("suffix", "succeeded", "metadata"),
    [
        ("", True, None),
        ("/", True, None),
        ("/0", True, {"exit_status": 0}),
        ("/000", True, {"exit_status": 0}),
        ("/1", False, {"exit_status": 1}),
        ("/255", False, {"exit_status": 255}),
        ("/fail", False, None),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_the_end_of_the_url_says_how_it_went(
    client: httpx.AsyncClient, suffix: str, succeeded: bool, metadata: dict[str, int] | None, method: str
) -> None:
    url = await url_of(client, await make_pipeline(client))
    answer = await client.request(method, url + suffix)
    assert (answer.status_code, answer.text) == (200, "" if method == "HEAD" else "OK")
    (run,) = await runs_of(client)
    assert (run["completed_successfully"], run["execution_metadata"]) == (succeeded, metadata)


WRONG: list[tuple[str, int, str]] = [
    ("{url}/256", 400, "invalid exit status"),
    ("{url}/" + "9" * 5_000, 400, "invalid exit status"),
    ("{url}/-1", 404, "not found"),
    ("{url}/1.5", 404, "not found"),
    ("{url}/start/1", 404, "not found"),
    ("{url}/START", 404, "not found"),
    ("{url}//start", 404, "not found"),
    ("{url}/%00", 404, "not found"),
    ("{url}/%F0%9F%92%A5", 404, "not found"),
    ("{url}/1%0A", 404, "not found"),
    ("{url}?rid=1", 400, "invalid uuid format"),
    ("{url}?rid=%00", 400, "invalid uuid format"),
    ("{url}?rid={other}x", 400, "invalid uuid format"),
    ("{url}?" + "&".join(f"a{n}=1" for n in range(30)), 400, "too many fields"),
    ("/ping/{other}", 404, "not found"),
    ("/ping/{other}/start", 404, "not found"),
    ("/ping/{other}?create=1", 404, "not found"),
    ("/ping/", 404, "not found"),
    ("/ping/x", 404, "not found"),
    ("/ping/00000000-0000-0000-0000-00000000000", 404, "not found"),
    ("/ping/no-such-key/orders", 404, "not found"),
    ("/ping/no-such-key/orders?create=1", 404, "not found"),
    ("/ping/no-such-key/" + "s" * 151, 404, "not found"),
    ("/ping/no-such-key/Orders?create=1", 400, "invalid slug"),
    ("/ping/no-such-key/-?create=1", 400, "invalid slug"),
    ("/ping/../ping/{other}", 404, "not found"),
]


@pytest.mark.parametrize(("path", "status", "line"), WRONG)
async def test_a_wrong_url_gets_a_line_and_changes_nothing(
    client: httpx.AsyncClient, path: str, status: int, line: str
) -> None:
    url = await url_of(client, await make_pipeline(client))
    answer = await client.post(path.format(url=url, other=uuid4()), content="text")
    assert (answer.status_code, answer.text[: len(line)]) == (status, line)
    assert answer.headers["content-type"].startswith("text/plain")
    assert await runs_of(client) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused(client: httpx.AsyncClient, method: str) -> None:
    url = await url_of(client, await make_pipeline(client))
    answer = await client.request(method, url)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert await runs_of(client) == []


async def test_a_run_id_pairs_a_start_with_its_end(client: httpx.AsyncClient) -> None:
    url = await url_of(client, await make_pipeline(client))
    first, second = uuid4(), uuid4()
    for rid in (first, second):
        await client.get(f"{url}/start?rid={rid}")
    await client.get(f"{url}/3?rid={first}")
    runs = await runs_of(client)
    assert [run["completed_successfully"] for run in runs] == [False, None]
    await client.get(f"{url}?rid={str(second).upper()}")
    assert [run["completed_successfully"] for run in await runs_of(client)] == [False, True]


async def test_without_a_run_id_an_end_belongs_to_the_latest_open_run(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    url = await url_of(client, pipeline_id)
    await start(client, pipeline_id)
    await client.get(f"{url}/start")
    await client.get(url)
    assert [run["completed_successfully"] for run in await runs_of(client)] == [None, True]
    await client.get(f"{url}/fail")
    assert [run["completed_successfully"] for run in await runs_of(client)] == [False, True]


async def test_what_is_sent_again_under_a_run_id_changes_nothing(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    await make_rule(client, pipeline_id)
    url = await url_of(client, pipeline_id)
    rid = uuid4()
    for path in ("/start", "/start", "", "", "/fail", "/start"):
        answer = await client.get(f"{url}{path}?rid={rid}")
        assert (answer.text, answer.headers["watcher-execution-id"]) == ("OK", "1")
    (run,) = await runs_of(client)
    assert run["completed_successfully"] is True
    assert queued(engine) == ["detect_anomalies_task"]
    assert [await client.get(f"{url}/1?rid={uuid4()}") for _ in range(2)]
    assert len(await runs_of(client)) == 3


async def test_numbers_come_as_json(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    url = await url_of(client, pipeline_id)
    body = {"inserts": 5, "updates": 4, "soft_deletes": 3, "total_rows": 12, "watermark": "2026-01-02", "other": [1]}
    await client.get(f"{url}/start")
    assert (await client.post(url, json=body)).status_code == 200
    (run,) = await runs_of(client)
    assert [run[name] for name in ("inserts", "updates", "soft_deletes", "total_rows")] == [5, 4, 3, 12]
    assert run["next_watermark"] == "2026-01-02"
    pipeline = (await client.get(f"/pipeline/{pipeline_id}")).json()
    assert pipeline["watermark"] == "2026-01-02"
    assert pipeline["last_target_insert"] == pipeline["last_target_update"] == run["end_date"]
    assert pipeline["load_lineage"] is False


async def test_a_failed_run_moves_nothing(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    url = await url_of(client, pipeline_id)
    await client.post(f"{url}/fail", json={"inserts": 5, "watermark": "2026-01-02"})
    pipeline = (await client.get(f"/pipeline/{pipeline_id}")).json()
    assert (pipeline["watermark"], pipeline["last_target_insert"]) == (None, None)
    assert (await runs_of(client))[0]["inserts"] == 5


async def test_a_report_that_comes_late_has_its_true_times(client: httpx.AsyncClient, engine: Engine) -> None:
    pipeline_id = await make_pipeline(client)
    url = await url_of(client, pipeline_id)
    body = {"start_date": "2026-01-01T00:00:00+01:00", "end_date": "2026-01-01T00:10:00+01:00", "total_rows": 1200}
    await client.post(url, json=body)
    (run,) = await runs_of(client)
    assert (run["start_date"], run["end_date"]) == ("2025-12-31T23:00:00Z", "2025-12-31T23:10:00Z")
    assert (run["duration_seconds"], run["throughput"]) == (600, 2.0)
    with engine.connect() as connection:
        changed = connection.execute(text("SELECT date_recorded::text FROM daily_pipeline_metric_change")).scalars()
        assert list(changed) == ["2025-12-31"]


async def test_an_end_never_lies_before_its_start(client: httpx.AsyncClient) -> None:
    url = await url_of(client, await make_pipeline(client))
    await client.post(f"{url}/start", json={"start_date": "2026-01-01T00:00:00Z"})
    await client.post(url, json={"end_date": "2025-12-31T23:59:00Z"})
    (run,) = await runs_of(client)
    assert (run["start_date"], run["end_date"], run["duration_seconds"]) == (
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z",
        0,
    )


async def test_a_run_hangs_below_its_parent_and_below_none_that_is_gone(client: httpx.AsyncClient) -> None:
    url = await url_of(client, await make_pipeline(client))
    await client.get(f"{url}/start")
    await client.post(f"{url}/start", json={"parent_id": 1})
    await client.post(url, json={"parent_id": 77})
    await client.post(f"{url}/start", json={"parent_id": 77})
    assert [run["parent_id"] for run in await runs_of(client)] == [None, 1, None]


async def test_a_body_is_the_output_of_the_run(client: httpx.AsyncClient, engine: Engine) -> None:
    url = await url_of(client, await make_pipeline(client))
    await client.post(f"{url}/start", content="begins")
    await client.post(f"{url}/log", content="goes on")
    await client.post(url, content="ends")
    await client.post(f"{url}/log", content="and more")
    assert output_of(engine, 1) == "begins\ngoes on\nends\nand more"
    shown = await client.get("/pipeline_execution/1/output")
    assert (shown.text, shown.headers["content-type"]) == (
        "begins\ngoes on\nends\nand more",
        "text/plain; charset=utf-8",
    )


async def test_a_log_before_the_first_run_is_taken_and_stored_nowhere(client: httpx.AsyncClient) -> None:
    url = await url_of(client, await make_pipeline(client))
    assert (await client.post(f"{url}/log", content="line")).text == "OK"
    assert await runs_of(client) == []


async def test_the_first_100_kb_of_a_body_are_kept(client: httpx.AsyncClient, engine: Engine) -> None:
    url = await url_of(client, await make_pipeline(client))
    await client.post(url, content=b"a" * 100_000 + b"b" * 20_000_000)
    assert output_of(engine, 1) == "a" * 100_000


async def test_of_many_bodies_of_a_run_the_last_100_000_characters_are_kept(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    url = await url_of(client, await make_pipeline(client))
    await client.post(f"{url}/start", content=b"a" * 100_000)
    await client.post(url, content=b"the end")
    kept = output_of(engine, 1)
    assert kept is not None
    assert (len(kept), kept[-9:]) == (100_000, "a\nthe end")


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"caf\xe9", "caf\ufffd"),
        (b"a\x00b", "a\ufffdb"),
        (b"\xff\xfe\x00", "\ufffd\ufffd\ufffd"),
        ("größe \U0001f4a5".encode(), "größe \U0001f4a5"),
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
    ],
)
async def test_any_bytes_can_be_output(client: httpx.AsyncClient, engine: Engine, body: bytes, kept: str) -> None:
    url = await url_of(client, await make_pipeline(client))
    assert (await client.post(f"{url}/fail", content=body)).status_code == 200
    assert output_of(engine, 1) == kept


@pytest.mark.parametrize(
    "body",
    ['{"status": "firing"}', "[1, 2]", '"text"', "{", '{"a": NaN}', "", '{"inserts": 1', "null", "[" * 100_000],
)
async def test_json_that_is_no_report_is_output(client: httpx.AsyncClient, engine: Engine, body: str) -> None:
    url = await url_of(client, await make_pipeline(client))
    answer = await client.post(url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert output_of(engine, 1) == (body or None)


async def test_a_report_that_is_not_announced_as_json_is_output(client: httpx.AsyncClient, engine: Engine) -> None:
    url = await url_of(client, await make_pipeline(client))
    await client.post(url, content='{"inserts": 1}', headers={"Content-Type": "text/plain"})
    assert (await runs_of(client))[0]["inserts"] is None
    assert output_of(engine, 1) == '{"inserts": 1}'


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"inserts": -1}', "inserts: "),
        ('{"inserts": "many"}', "inserts: "),
        ('{"inserts": 1e30}', "inserts: "),
        ('{"total_rows": 9223372036854775808}', "total_rows: "),
        ('{"watermark": "' + "x" * 51 + '"}', "watermark: "),
        ('{"watermark": {}}', "watermark: "),
        ('{"watermark": "a\\u0000"}', "watermark: "),
        ('{"start_date": "yesterday"}', "start_date: "),
        ('{"end_date": "0001-01-01T00:00:00+14:00"}', "end_date: "),
        ('{"parent_id": "x"}', "parent_id: "),
        ('{"execution_metadata": [1]}', "execution_metadata: "),
        ('{"execution_metadata": {"a": 1e400}}', "execution_metadata: "),
        ('{"output": 5}', "output: "),
    ],
)
@pytest.mark.parametrize("suffix", ["", "/start", "/fail"])
async def test_a_wrong_value_of_a_report_gets_a_line_that_names_it(
    client: httpx.AsyncClient, body: str, line: str, suffix: str
) -> None:
    url = await url_of(client, await make_pipeline(client))
    answer = await client.post(url + suffix, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.text[: len(line)]) == (400, line)
    assert await runs_of(client) == []


async def test_a_nul_in_a_report_can_be_stored(client: httpx.AsyncClient, engine: Engine) -> None:
    url = await url_of(client, await make_pipeline(client))
    body = '{"output": "a\\u0000b"}'
    answer = await client.post(url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert output_of(engine, 1) == "a\ufffdb"


async def test_too_many_pings_of_one_url_wait_and_others_do_not(client: httpx.AsyncClient) -> None:
    url = await url_of(client, await make_pipeline(client))
    other = await url_of(client, await make_pipeline(client, "other"))
    answers = [await client.get(url) for _ in range(40)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:25] == [200] * 25
    assert 429 in statuses
    limited = answers[statuses.index(429)]
    assert 1 <= int(limited.headers["retry-after"]) <= 2
    assert limited.text.startswith("too many pings")
    assert (await client.get(other)).status_code == 200


async def test_the_limit_holds_for_all_api_processes_together(make_client: MakeClient) -> None:
    async with make_client() as one, make_client() as another:
        url = await url_of(one, await make_pipeline(one))
        taken = [client for client in (one, another) * 40 if (await client.get(url)).status_code == 200]
        assert 25 <= len(taken) <= 35


@pytest.fixture
async def key(client: httpx.AsyncClient) -> str:
    """A ping key."""
    answer = await client.post("/ping_key", json={"name": "nightly"})
    assert answer.status_code == 201
    made: str = answer.json()["key"]
    return made


async def test_a_key_reaches_a_pipeline_by_its_slug(client: httpx.AsyncClient, key: str) -> None:
    await make_pipeline(client, "orders & more: daily")
    assert (await client.get(f"/ping/{key}/orders-more-daily/start")).text == "OK"
    assert (await client.get(f"/ping/{key}/orders-more-daily/7")).text == "OK"
    assert (await runs_of(client))[0]["execution_metadata"] == {"exit_status": 7}
    assert (await client.get(f"/ping/{key}/orders")).status_code == 404


async def test_two_names_with_one_slug_are_ambiguous(client: httpx.AsyncClient, key: str) -> None:
    for name in ("orders daily", "orders: daily", "orders? daily"):
        await make_pipeline(client, name)
    answer = await client.get(f"/ping/{key}/orders-daily?create=1")
    assert (answer.status_code, answer.text) == (409, "ambiguous slug")
    assert await runs_of(client) == []


async def test_a_pipeline_is_made_when_it_is_missing(client: httpx.AsyncClient, key: str) -> None:
    made = await client.get(f"/ping/{key}/new-one/start?create=1")
    assert (made.status_code, made.text) == (201, "Created")
    again = await client.get(f"/ping/{key}/new-one?create=1")
    assert (again.status_code, again.text) == (200, "OK")
    assert [run["completed_successfully"] for run in await runs_of(client)] == [True]
    assert [pipeline["name"] for pipeline in (await client.get("/pipeline")).json()] == ["new-one"]


async def test_keys_are_listed_without_themselves_and_revoked(client: httpx.AsyncClient, key: str) -> None:
    await make_pipeline(client)
    (listed,) = (await client.get("/ping_key")).json()
    assert sorted(listed) == ["created_at", "id", "name"]
    assert (await client.post("/ping_key", json={"name": "nightly"})).status_code == 409
    assert (await client.delete(f"/ping_key/{listed['id']}")).status_code == 204
    assert (await client.delete(f"/ping_key/{listed['id']}")).status_code == 404
    assert (await client.get(f"/ping/{key}/orders")).status_code == 404


async def test_a_renewed_url_is_another_and_the_old_one_is_not_found(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    old = await url_of(client, pipeline_id)
    renewed = (await client.post(f"/pipeline/{pipeline_id}/ping_url")).json()
    assert renewed["pipeline_id"] == pipeline_id
    assert (await client.get(old)).status_code == 404
    assert (await client.get(httpx.URL(renewed["ping_url"]).path)).status_code == 200
    assert (await client.post("/pipeline/77/ping_url")).status_code == 404


async def test_the_url_of_a_name_is_found_or_made(client: httpx.AsyncClient) -> None:
    made = await client.post("/ping_url", json={"name": "Orders Daily", "schedule": "0 2 * * *"})
    assert made.status_code == 201
    again = await client.post("/ping_url", json={"name": "orders daily"})
    assert (again.status_code, again.json()) == (200, made.json())
    changed = {"name": "orders daily", "schedule": "0 3 * * *", "schedule_timezone": "Europe/Berlin"}
    assert (await client.post("/ping_url", json=changed)).status_code == 200
    pipeline = (await client.get(f"/pipeline/{made.json()['pipeline_id']}")).json()
    assert (pipeline["schedule"], pipeline["schedule_timezone"]) == ("0 3 * * *", "Europe/Berlin")
    assert (await client.post("/ping_url", json={"name": "x", "schedule": "often"})).status_code == 422
    assert len((await client.get("/pipeline")).json()) == 1


async def test_the_url_keeps_the_type_of_a_pipeline_that_exists(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client, "orders")
    before = (await client.get(f"/pipeline/{pipeline_id}")).json()
    await client.post("/ping_url", json={"name": "orders"})
    assert (await client.get(f"/pipeline/{pipeline_id}")).json() == before


async def test_pings_show_no_token_and_only_writers_see_the_url(
    make_client: MakeClient, engine: Engine, token: MakeToken
) -> None:
    writer, reader = token("write"), token("read")
    async with make_client() as client:
        client.headers.update(writer)
        pipeline_id = await make_pipeline(client)
        url = await url_of(client, pipeline_id)
        assert "ping_url" not in (await client.get("/pipeline")).json()[0]
        client.headers.update(reader)
        assert (await client.get(f"/pipeline/{pipeline_id}")).json()["ping_url"] is None
        for path in ("/ping_url", f"/pipeline/{pipeline_id}/ping_url", "/ping_key"):
            assert (await client.post(path, json={"name": "x"})).status_code == 403
        del client.headers["authorization"]
        assert (await client.get(url)).text == "OK"
        assert (await client.get(url, headers={"Origin": "https://elsewhere.example"})).text == "OK"
        assert (await client.get(url, headers={"Authorization": "Bearer wrong"})).text == "OK"
        assert (await client.get("/pipeline_execution")).status_code == 401


async def test_the_last_lines_of_its_output_are_what_a_failed_run_says(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    pipeline_id = await make_pipeline(client)
    url = await url_of(client, pipeline_id)
    output = "reading\n\x1b[31mTraceback:\x1b[0m\r\n  file 1\n\nOSError: disk full, password=hunter22\x07\n\n"
    await client.post(f"{url}/1", content=output)
    with engine.begin() as connection:
        opening = judge_failure(connection, pipeline_id, alert_max_age_hours=24)
        assert opening is not None
        details = connection.scalar(text("SELECT detail FROM incident"))
        alert = connection.execute(text("SELECT details FROM alert")).scalar()
    said = "Traceback: | file 1 | OSError: disk full, password=***"
    assert details == f"Execution ID 1: {said}"
    assert alert is not None
    assert ["Error", said] in alert
