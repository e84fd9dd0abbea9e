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


def test_a_value_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "database-url"
    secret.write_text("postgresql://watcher:secret@db/watcher\n")
    monkeypatch.delenv("WATCHER_DATABASE_URL", raising=False)
    monkeypatch.setenv("WATCHER_DATABASE_URL_FILE", str(secret))

    assert load_settings().database == "postgresql://watcher:secret@db/watcher"


@pytest.mark.parametrize(
    ("content", "also_set", "sentence"),
    [
        (None, None, "which cannot be read (No such file or directory)."),
        (b"\xff", None, "which is not text in UTF-8."),
        (b"x" * 70_000, None, "which is larger than 64 KiB."),
        (b"INFO", "INFO", "WATCHER_LOG_LEVEL and WATCHER_LOG_LEVEL_FILE are both set: use one of them."),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    content: bytes | None, also_set: str | None, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "level"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("WATCHER_LOG_LEVEL_FILE", str(file))
    if also_set is not None:
        monkeypatch.setenv("WATCHER_LOG_LEVEL", also_set)
    else:
        monkeypatch.delenv("WATCHER_LOG_LEVEL", raising=False)

    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).endswith(sentence)


def test_the_port_that_kubernetes_sets_for_a_service_named_watcher_is_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_PORT", "tcp://10.96.12.7:80")

    assert load_settings().port == 8000


def test_a_user_id_without_an_account_has_a_home_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", staticmethod(no_home))
    monkeypatch.setattr("os.geteuid", lambda: 54321)

    assert load_settings().home == Path("/var/lib/watcher")
