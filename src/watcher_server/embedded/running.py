"""How another command finds the services of a ``watcher up`` on the same home."""

import ipaddress
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from watcher_server.embedded.lock import is_locked
from watcher_server.embedded.trust import require_trusted_home
from watcher_server.settings import Settings, get_settings, load_settings


@dataclass(frozen=True)
class RunningServices:
    """What ``watcher up`` runs: its process id, its services' URLs, the process ids of its children.

    ``command`` is the command line of each child, by which it is told from another program that got its id later.
    """

    pid: int
    database_url: str | None = None
    broker_url: str | None = None
    api_url: str | None = None
    children: list[int] = field(default_factory=list)
    command: str = ""


def publish(home: Path, services: RunningServices) -> None:
    """Write ``WATCHER_HOME/run/services.json`` in one step, for its owner only: URLs hold passwords."""
    folder = home / "run"
    file, name = tempfile.mkstemp(dir=folder, prefix="services-")
    try:
        with os.fdopen(file, "w") as stream:
            json.dump(asdict(services), stream)
        Path(name).replace(folder / "services.json")
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def withdraw(home: Path) -> None:
    """Delete what ``publish`` wrote: nothing runs any more."""
    (home / "run" / "services.json").unlink(missing_ok=True)


def find_running(home: Path) -> RunningServices | None:
    """The services that run on this home folder; None when none run, or when this user may not read about them.

    Raises EmbeddedError if another user could have written the URLs.
    """
    home = require_trusted_home(home)
    return last_published(home) if is_locked(home) else None


def last_published(home: Path) -> RunningServices | None:
    """What ``publish`` wrote last, even if that Watcher was killed; None if it cannot be read."""
    try:
        return RunningServices(**json.loads((home / "run" / "services.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def settings_beside_up() -> Settings:
    """The settings, completed by what ``watcher up`` runs on the same WATCHER_HOME.

    The URLs found are put into the environment, where the rest of the program reads them. Raises EmbeddedError if a URL
    is missing, and other users could write to WATCHER_HOME.
    """
    settings = load_settings()
    if settings.database_url is None or settings.broker_url is None:
        running = find_running(settings.home)
        if running is not None:
            if settings.database_url is None and running.database_url is not None:
                os.environ["WATCHER_DATABASE_URL"] = running.database_url
            if settings.broker_url is None and running.broker_url is not None:
                os.environ["WATCHER_BROKER_URL"] = running.broker_url
            get_settings.cache_clear()
    return get_settings()


def find_api_url(settings: Settings) -> str:
    """Where to call the api.

    It is where WATCHER_HOST and WATCHER_PORT say, if either is set, else where ``watcher up`` on the same
    WATCHER_HOME listens, else where the api listens by default. Raises EmbeddedError if neither is set, and other users
    could write to WATCHER_HOME.
    """
    if settings.model_fields_set.isdisjoint({"host", "port"}):
        running = find_running(settings.home)
        if running is not None and running.api_url is not None:
            return running.api_url
    return base_url(settings)


def base_url(settings: Settings) -> str:
    """The api's URL as seen from this machine: an api that listens on every address is called locally."""
    host = settings.host
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - IP's own version number
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
