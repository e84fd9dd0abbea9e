"""The page of settings: everything in force, and no secret."""

import os
import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from tests.conftest import MakeClient
from watcher_server.auth.service import create_token
from watcher_server.settings import Settings, load_settings
from watcher_server.tasking.limits.service import override_limit
from watcher_server.web.configuration.values import place_of, shown_settings

SECRETS = {
    "WATCHER_SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/T0SECRET/B0SECRET/xyzzy",
    "WATCHER_TELEMETRY_KEY": "unrelated-secret",
}


async def _open(client: httpx.AsyncClient, **headers: str) -> str:
    answer = await client.get("/ui/settings", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_it_names_every_setting_with_its_meaning(client: httpx.AsyncClient) -> None:
    page = await _open(client)
    for name in Settings.model_fields:
        assert f"<code>WATCHER_{name.upper()}</code>" in page
    assert "How old" not in page
    assert "The address the api listens on" in page
    assert "`" not in page, "code is marked as such"


async def test_it_says_what_was_set(make_client: MakeClient, engine: Engine) -> None:
    assert engine
    async with make_client(alert_max_age_hours=48, retention_days=None) as client:
        page = await _open(client)
    row = page.split("<code>WATCHER_ALERT_MAX_AGE_HOURS</code>")[1].split("</tr>")[0]
    assert "<code>48</code>" in row
    assert "default 24" in row
    assert "environment" in row
    assert "default" in page.split("<code>WATCHER_PORT</code>")[1].split("</tr>")[0]


async def test_no_secret_is_anywhere(make_client: MakeClient, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    database = os.environ["WATCHER_DATABASE_URL"].replace("://postgres@", "://postgres:database-secret@")
    broker = os.environ["WATCHER_BROKER_URL"].replace("redis+socket://", "redis+socket://:broker-secret@")
    assert "database-secret" in database
    for variable, value in SECRETS.items():
        monkeypatch.setenv(variable, value)
    with engine.begin() as connection:
        token = create_token(connection, "deploy", "admin")
    async with make_client(database_url=database, broker_url=broker) as client:
        page = await _open(client, Authorization=f"Bearer {token}")
    for secret in ("database-secret", "broker-secret", "T0SECRET", "xyzzy", "hooks.slack.example", "unrelated", token):
        assert secret not in page
    assert "deploy" in page


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (
            "postgresql://u:p%40ss@db.example:5433/watcher?password=zzz",
            "postgresql://db.example:5433, database watcher",
        ),
        ("postgres://u:12/p@ss@db/x", "…"),
        ("postgresql://postgres@/watcher?host=/run/pg", "postgresql:///run/pg, database watcher"),
        (
            "postgresql://u:secret@db1:5432,[fd00::2]:5433/watcher?sslpassword=zzz",
            "postgresql://db1:5432,[fd00::2]:5433, database watcher",
        ),
        ("redis://:secret@mq/3", "redis://mq:6379, database 3"),
        ("rediss://user:secret@mq:6380", "rediss://mq:6380, database 0"),
        (
            "sentinel://user:secret@s1,[::1]:26380/2?master_name=mq&sentinel_password=zzz&prefix=shop:",
            "sentinel://s1:26379,[::1]:26380, master mq, database 2, prefix shop:",
        ),
        ("redis+socket:///run/valkey.sock?virtual_host=0&password=zzz", "redis+socket:///run/valkey.sock, database 0"),
    ],
)
def test_of_a_url_only_the_place_is_shown(url: str, place: str) -> None:
    shown = place_of(url)
    assert place in shown
    assert not re.search(r"zzz|secret|ss@|p@", shown)


def test_what_the_home_holds_is_embedded(tmp_path: Path) -> None:
    embedded = load_settings(
        home=tmp_path,
        database_url=f"postgresql://postgres@/watcher?host={tmp_path}/postgres",
        broker_url=f"redis+socket://{tmp_path}/valkey/valkey.sock?virtual_host=0",
    )
    elsewhere = load_settings(home=tmp_path, database_url="postgresql://db/x", broker_url="redis://mq")

    def sources(settings: Settings) -> list[str]:
        shown = shown_settings(settings)["Database, broker and Slack"]
        return [entry.source for entry in shown if entry.variable in {"WATCHER_DATABASE_URL", "WATCHER_BROKER_URL"}]

    assert sources(embedded) == ["embedded", "embedded"]
    assert sources(elsewhere) == ["set", "set"]


async def test_tokens_are_for_administrators(make_client: MakeClient, engine: Engine) -> None:
    async with make_client() as client:
        assert "There is none, so every caller may do everything" in await _open(client)

    with engine.begin() as connection:
        admin = create_token(connection, "the admin's", "admin")
        writer = create_token(connection, "the <writer>", "write")

    async with make_client() as client:
        page = await _open(client, Authorization=f"Bearer {admin}")
        assert "the &lt;writer&gt;" in page
        page = await _open(client, Authorization=f"Bearer {writer}")
    assert "Only a token with the scope" in page
    assert "the admin" not in page


async def test_limits_schedules_and_versions(make_client: MakeClient, engine: Engine) -> None:
    settings = load_settings()
    with engine.begin() as connection:
        override_limit(connection, settings, "detect_anomalies_task", 90.0, 30)
    async with make_client(retention_days=90, retention_schedule="30 2 1 * *") as client:
        page = await _open(client)
    row = page.split('<th scope="row">detect_anomalies_task</th>')[1].split("</tr>")[0]
    assert ">90/s<" in row
    assert "then 15/s" in row
    assert "<code>30 2 1 * *</code>" in page
    assert re.search(r">retention</th>.*?<time class=\"ago\"", page, flags=re.DOTALL)
    versions = page.split('aria-label="Versions"')[1].split("</section>")[0]
    for name in ("Watcher", "PostgreSQL", "Valkey", "Celery", "Python"):
        assert re.search(rf"<dt>{name}</dt><dd>v?\d+\.\d+", versions)


async def test_a_broker_that_is_away_breaks_nothing(make_client: MakeClient, engine: Engine) -> None:
    assert engine
    async with make_client(broker_url="redis://127.0.0.1:1/0") as client:
        assert "cannot be reached" in await _open(client)


@pytest.mark.parametrize("query", ["x=1", "page=%00", "%ff=%ff"])
async def test_odd_parameters_never_break_it(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/ui/settings?{query}")).status_code in {200, 422}
