"""Settings: documented, checked, and clear when wrong."""

import re
from pathlib import Path

import pytest

from watcher_server.settings import Settings, SettingsError, load_settings

DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"


def test_every_setting_has_its_row_in_the_document() -> None:
    rows = re.findall(r"^\| `(WATCHER_\w+)` \|", DOCUMENT.read_text(), flags=re.MULTILINE)

    assert sorted(rows) == sorted(f"WATCHER_{name.upper()}" for name in Settings.model_fields)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_document_gives_the_default(name: str) -> None:
    default = Settings.model_fields[name].default
    row = re.search(rf"^\| `WATCHER_{name.upper()}` \| (.*?) \|", DOCUMENT.read_text(), flags=re.MULTILINE)

    assert row is not None
    if name != "home" and default is not None:
        assert row[1] == f"`{str(default).lower() if isinstance(default, bool) else default}`"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_document_and_the_page_of_settings_say_the_same(name: str) -> None:
    row = re.search(rf"^\| `WATCHER_{name.upper()}` \| .*? \| (.*) \|$", DOCUMENT.read_text(), flags=re.MULTILINE)

    assert row is not None
    told = re.sub(r"; see \[[^]]+\]\([^)]+\)$", "", row[1])
    told = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", told)
    shown = " ".join((Settings.model_fields[name].description or "").split())
    assert shown.lower() == f"{told}.".lower()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("WATCHER_PORT", "99999", "WATCHER_PORT should be less than or equal to 65535."),
        ("WATCHER_DATABASE_URL", "mysql://db/x", "postgresql+psycopg://, not mysql://."),
        ("WATCHER_BROKER_URL", "amqp://mq", "WATCHER_BROKER_URL must start with redis://"),
        ("WATCHER_BROKER_URL", "redis://:pa/ss@h:1/0", "WATCHER_BROKER_URL is not a URL"),
        ("WATCHER_SLACK_WEBHOOK_URL", "hooks.example/x", "WATCHER_SLACK_WEBHOOK_URL must start with https:// or"),
        ("WATCHER_QUEUE_ALERT_INFO", "200", "WATCHER_QUEUE_ALERT_INFO must be below"),
        ("WATCHER_FRESHNESS_CHECK_SCHEDULE", "1 2", "is not a five-field cron expression"),
        ("WATCHER_FRESHNESS_CHECK_SCHEDULE", "0 0 31 2 *", "is a moment that never comes"),
        ("WATCHER_DETECT_ANOMALIES_RATE_LIMIT", "0/s", "must be a rate such as"),
        ("WATCHER_DETECT_ANOMALIES_RATE_LIMIT", "fast", "must be a rate such as"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=re.escape(sentence)):
        load_settings()


def test_the_usual_names_are_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WATCHER_DATABASE_URL", "WATCHER_BROKER_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@db/x")
    monkeypatch.setenv("REDIS_URL", "redis://mq")

    settings = load_settings()

    assert (settings.database, settings.broker) == ("postgresql://u:p@db/x", "redis://mq")


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_DATABASE_URL", "postgresql://u:hunter2@db/x")

    assert "hunter2" not in repr(load_settings())


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WATCHER_SLACK_WEBHOOK_URL", "WATCHER_HOME", "WATCHER_PORT"):
        monkeypatch.setenv(variable, "")

    settings = load_settings()

    assert settings.slack_webhook_url is None
    assert settings.home.is_absolute()
