"""A home folder that other users of the machine could have prepared, or could change."""

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from watcher_server.embedded.account import ENGINE_USER, Account, engine_account
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import prepare_home, socket_folder
from watcher_server.embedded.running import RunningServices, find_running, publish
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.embedded.trust import require_trusted_home

STRANGER = 54321
USER = 54322

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to other users")


def refusal(function: Callable[[], object]) -> str:
    """The one sentence with which it is refused."""
    with pytest.raises(EmbeddedError) as caught:
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def content(folder: Path) -> dict[Path, tuple[int, int, float]]:
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[path] = (status.st_mode, status.st_uid, status.st_mtime)
    return found


def run_as(uid: int, function: Callable[[], object]) -> str:
    """What a process of another user says: the refusal, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            function()
        except EmbeddedError as error:
            os.write(writing, str(error).encode())
        except BaseException as error:  # noqa: BLE001 - the parent fails on it
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        return stream.read()


@pytest.fixture
def used_home(home: Path) -> Path:
    """A home as Watcher leaves it."""
    prepare_home(home, engine_account())
    for name in ("run", "logs", "engines", "postgres", "valkey"):
        (home / name).mkdir(mode=0o700)
    if os.geteuid() == 0:
        for name in ("postgres", "valkey"):
            os.chown(home / name, pwd.getpwnam(ENGINE_USER).pw_uid, -1)
    (home / "run" / "lock").write_text("1\n")
    publish(home, RunningServices(1, database_url="postgresql://127.0.0.1/watcher"))
    (home / "logs" / "postgres.log").write_text("log\n")
    return home


def test_a_home_that_only_its_owner_can_change_is_accepted(used_home: Path) -> None:
    assert require_trusted_home(used_home) == used_home


def test_a_home_that_is_not_there_yet_is_accepted(home: Path) -> None:
    assert require_trusted_home(home / "deep" / "home") == home / "deep" / "home"


def test_below_a_sticky_folder_that_all_may_write_a_home_is_accepted(home: Path) -> None:
    home.parent.chmod(0o1777)
    prepare_home(home, engine_account())
    assert require_trusted_home(home) == home


def test_own_links_are_followed(used_home: Path) -> None:
    link = used_home.parent / "link"
    link.symlink_to("home")
    assert require_trusted_home(link) == link
    assert prepare_home(link, engine_account()) == used_home


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
@pytest.mark.parametrize("place", [".", "run", "logs", "engines", "postgres", "valkey"])
def test_a_folder_that_others_may_write_is_refused(used_home: Path, place: str, mode: int) -> None:
    folder = used_home / place
    folder.chmod(mode)
    assert f"chmod go-w {folder}" in refusal(lambda: require_trusted_home(used_home))
    assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_a_home_below_a_folder_in_which_others_may_rename_it_is_refused(used_home: Path) -> None:
    used_home.parent.chmod(0o777)
    assert f"chmod go-w {used_home.parent}" in refusal(lambda: require_trusted_home(used_home))


def test_a_circle_of_links_is_refused(home: Path) -> None:
    home.symlink_to("other")
    (home.parent / "other").symlink_to("home")
    assert "symbolic links" in refusal(lambda: require_trusted_home(home))


@as_root
@pytest.mark.parametrize(
    "place", [".", "run", "logs", "engines", "postgres", "valkey", "run/lock", "logs/postgres.log"]
)
def test_what_belongs_to_another_user_is_refused(used_home: Path, place: str) -> None:
    path = used_home / place
    os.chown(path, STRANGER, STRANGER)
    said = refusal(lambda: require_trusted_home(used_home))
    assert f"{path} belongs to {STRANGER}" in said
    assert f"chown -R root {path}" in said


@as_root
def test_a_home_in_another_users_folder_is_refused_for_root(used_home: Path) -> None:
    os.chown(used_home.parent, STRANGER, STRANGER)
    said = refusal(lambda: require_trusted_home(used_home))
    assert f"{used_home.parent} belongs to {STRANGER}" in said
    assert "set WATCHER_HOME" in said


@as_root
def test_another_users_link_is_refused_wherever_it_leads(used_home: Path) -> None:
    link = used_home.parent / "link"
    link.symlink_to("home")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert f"{link} belongs to {STRANGER}" in refusal(lambda: require_trusted_home(link))


@as_root
def test_a_link_into_another_users_folder_is_refused(used_home: Path) -> None:
    elsewhere = used_home.parent / "elsewhere"
    (elsewhere / "run").mkdir(parents=True)
    os.chown(elsewhere, STRANGER, STRANGER)
    (used_home / "run").rename(used_home / "old")
    (used_home / "run").symlink_to(elsewhere / "run")
    assert f"{elsewhere} belongs to {STRANGER}" in refusal(lambda: require_trusted_home(used_home))


@as_root
def test_nothing_is_read_written_or_started_in_a_refused_home(used_home: Path) -> None:
    os.chown(used_home, STRANGER, STRANGER)
    before = content(used_home)
    for use in (EmbeddedServices(used_home).__enter__, lambda: find_running(used_home)):
        refusal(use)
    assert content(used_home) == before


@as_root
def test_another_user_has_the_same_rules(used_home: Path) -> None:
    own = used_home.parent / "own"
    own.mkdir(mode=0o700)
    os.chown(own, USER, USER)

    def use(home: Path) -> str:
        return run_as(USER, lambda: prepare_home(home, Account(USER, USER, switches=False)))

    assert use(own) == ""
    own.chmod(0o770)
    assert f"chmod go-w {own}" in use(own)
    os.chown(own, STRANGER, STRANGER)
    assert f"{own} belongs to {STRANGER}" in use(own)
    # Root's is no danger, and what runs there is not told to others.
    assert run_as(USER, lambda: find_running(used_home)) == ""


@as_root
def test_the_own_group_of_a_user_may_write_above_the_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = pwd.getpwnam(ENGINE_USER)
    engine_account()
    monkeypatch.setattr(os, "geteuid", lambda: account.pw_uid)
    os.chown(home.parent, account.pw_uid, account.pw_gid)
    home.parent.chmod(0o775)
    assert require_trusted_home(home) == home
    os.chown(home.parent, account.pw_uid, STRANGER)
    assert "chmod go-w" in refusal(lambda: require_trusted_home(home))


def test_a_short_socket_folder_that_others_could_replace_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(home.parent))
    home.parent.chmod(0o777)
    account = Account(os.geteuid(), os.getegid(), switches=False)
    assert "not private" in refusal(lambda: socket_folder(home / ("d" * 120), "socket", account))


@as_root
def test_root_writes_through_no_link_that_the_engines_account_made(home: Path) -> None:
    with EmbeddedServices(home, valkey=False):
        pass
    precious = home.parent / "precious"
    precious.write_text(f"1\n{home / 'postgres'}\n1\n5432\n\n\n\n")
    before = precious.read_text()
    (home / "postgres" / "postmaster.pid").symlink_to(precious)
    with EmbeddedServices(home, valkey=False):
        pass
    assert precious.read_text() == before
