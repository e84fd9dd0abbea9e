"""The secrets of channels: from the environment, from files, or encrypted."""

from pathlib import Path

import pytest

from tests.support.snapshots import channel, snapshot
from watcher_server.alerts.channels.account import UnknownSecretError
from watcher_server.alerts.sending import send
from watcher_server.alerts.vault import VaultError, decrypt, encrypt
from watcher_server.settings import SettingsError, load_settings

OLD, NEW = "o" * 44, "n" * 44


def test_what_is_encrypted_is_read_with_the_same_key_and_shows_nothing() -> None:
    settings = load_settings(secret_key=OLD)
    kept = encrypt({"url": "https://hooks.example/a-secret"}, settings)

    assert b"a-secret" not in kept
    assert decrypt(kept, settings) == {"url": "https://hooks.example/a-secret"}
    assert channel("teams", kept, url={"stored": True}).open(settings).text("url") == "https://hooks.example/a-secret"


def test_a_key_is_replaced_without_a_moment_in_which_nothing_can_be_read() -> None:
    kept = encrypt({"url": "x"}, load_settings(secret_key=OLD))
    both = load_settings(secret_key=f"{NEW}, {OLD}")

    assert decrypt(kept, both) == {"url": "x"}
    assert decrypt(encrypt({"url": "x"}, both), load_settings(secret_key=NEW)) == {"url": "x"}
    with pytest.raises(VaultError, match="is not the key that its secrets were encrypted with"):
        decrypt(kept, load_settings(secret_key=NEW))


def test_without_a_key_no_secret_is_kept() -> None:
    with pytest.raises(VaultError, match="WATCHER_SECRET_KEY is not set in this process"):
        encrypt({"url": "x"}, load_settings())


def test_a_key_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(SettingsError, match="WATCHER_SECRET_KEY needs 32 characters at least"):
        load_settings(secret_key="secret")


def test_secrets_are_read_from_the_environment_and_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_text("whsec_b2xk\n")
    monkeypatch.setenv("NEW_KEY", "whsec_bmV3")
    spec = {"signing_keys": [{"env": "NEW_KEY"}, {"file": str(tmp_path / "old")}], "url": "https://hooks.example"}

    account = channel("webhook", **spec).open(load_settings())

    assert account.texts("signing_keys") == ["whsec_bmV3", "whsec_b2xk"]
    assert (account.text("url"), account.own) == ("https://hooks.example", frozenset())
    assert "bmV3" not in repr(account)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ({"env": "NOT_HERE"}, "The variable NOT_HERE is not set in this process"),
        ({"env": "WATCHER_DATABASE_URL"}, "WATCHER_DATABASE_URL is for the server alone"),
        ({"env": "WATCHER_SECRET_KEY"}, "WATCHER_SECRET_KEY is for the server alone"),
        ({"file": "/not/here"}, "The file /not/here cannot be read in this process"),
        ({"file": "/dev/null"}, "The file /dev/null is one of the system"),
        ({"file": "//proc/self/environ"}, "The file //proc/self/environ is one of the system"),
    ],
)
def test_a_secret_that_this_process_does_not_have_fails_with_a_sentence(
    reference: dict[str, str], sentence: str
) -> None:
    teams = channel("teams", url=reference)

    with pytest.raises(UnknownSecretError, match=sentence):
        teams.open(load_settings())
    assert (send(teams, snapshot(), load_settings()).error or "").startswith(sentence)


def test_a_link_leads_to_nothing_that_the_system_shows_of_this_process(tmp_path: Path) -> None:
    (tmp_path / "token").symlink_to("/proc/self/environ")

    with pytest.raises(UnknownSecretError, match="is one of the system"):
        channel("teams", url={"file": str(tmp_path / "token")}).open(load_settings())
