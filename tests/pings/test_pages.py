"""What people see of pings: the URL with lines to copy, and the output of a run."""

import html
import shlex

import httpx
from sqlalchemy import Engine, text

from tests.conftest import MakeClient
from tests.pings.conftest import MakeToken
from tests.pings.test_pings import url_of
from tests.support.factories import make_pipeline
from watcher_server.web.pipelines.detail.recipes import ping_recipes

URL = "https://watcher.example/ping/5e0a2b7e-62a2-4c5c-b2fd-1a2b3c4d5e6f"


async def test_the_page_shows_the_url_and_lines_to_copy(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client, schedule="5 4 * * *", schedule_timezone="Europe/Berlin")
    path = await url_of(client, pipeline_id)
    page = html.unescape((await client.get(f"/ui/pipelines/{pipeline_id}?tab=ping")).text)
    for line in (
        f"5 4 * * * curl -fsS -m 10 --retry 5 -o /dev/null http://localhost{path}/start; ./load.sh;",
        f"wget -q -T 10 -t 5 -O /dev/null http://localhost{path}/$?",
        f'$url = "http://localhost{path}"',
        "timeZone: Europe/Berlin",
        f"WATCHER_PING_URL=http://localhost{path} watcher run -- ./load.sh",
    ):
        assert line in page


async def test_the_url_is_renewed_on_the_page(client: httpx.AsyncClient) -> None:
    pipeline_id = await make_pipeline(client)
    old = await url_of(client, pipeline_id)
    answer = await client.post(f"/ui/pipelines/{pipeline_id}/ping-url")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/ui/pipelines/{pipeline_id}?tab=ping&done=renewed",
    )
    page = (await client.get(answer.headers["location"])).text
    assert old not in page
    assert await url_of(client, pipeline_id) in page
    assert (await client.get(old)).status_code == 404


async def test_a_login_that_may_only_read_sees_no_url(make_client: MakeClient, token: MakeToken) -> None:
    writer, reader = token("write"), token("read")
    async with make_client() as client:
        client.headers.update(writer)
        pipeline_id = await make_pipeline(client)
        path = await url_of(client, pipeline_id)
        answer = await client.get(f"/ui/pipelines/{pipeline_id}?tab=ping", headers=reader)
        assert answer.status_code == 200
        assert path.rpartition("/")[2] not in answer.text
        assert "this one may only read" in answer.text


async def test_the_page_of_a_run_shows_the_last_lines_of_its_output(client: httpx.AsyncClient, engine: Engine) -> None:
    path = await url_of(client, await make_pipeline(client))
    lines = [f"line {number}" for number in range(300)]
    await client.post(f"{path}/1", content="\n".join(lines) + "\n\x1b[31m<b>red</b>\x1b[0m \x07\u202e")
    page = (await client.get("/ui/executions/1")).text
    assert "its last 200 lines" in page
    assert "line 299\n&lt;b&gt;red&lt;/b&gt; \\x07\\u202e</pre>" in page
    assert "line 100\n" not in page
    with engine.begin() as connection:
        connection.execute(text("UPDATE pipeline_execution SET output = NULL"))
    assert 'id="output"' not in (await client.get("/ui/executions/1")).text


def test_the_lines_can_be_read_by_what_they_are_for() -> None:
    recipes = {recipe.title: recipe.lines for recipe in ping_recipes(URL, "orders_daily-", None, "UTC")}
    assert shlex.split(recipes["crontab, with curl"])[:6] == ["0", "2", "*", "*", "*", "curl"]
    compile(recipes["Python"], "recipe", "exec")
    assert "  name: orders-daily\n" in recipes["Kubernetes CronJob"]
    assert recipes["PowerShell"].splitlines()[2] == ".\\load.exe"
    assert "  name: load\n" in ping_recipes(URL, "", None, "UTC")[-1].lines
