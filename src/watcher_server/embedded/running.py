"""How a command started beside ``watcher up`` finds the services that run."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from watcher_server.embedded.lock import is_locked


@dataclass(frozen=True)
class RunningServices:
    """What ``watcher up`` runs: its process id, its services' URLs, and the process ids of its children."""

    pid: int
    database_url: str | None = None
    broker_url: str | None = None
    api_url: str | None = None
    children: list[int] = field(default_factory=list)


def publish(home: Path, services: RunningServices) -> None:
    """Write ``WATCHER_HOME/run/services.json`` in one step, for its owner only: URLs hold passwords."""
    folder = home / "run"
    file, name = tempfile.mkstemp(dir=folder, prefix="services-")
    with os.fdopen(file, "w") as stream:
        json.dump(asdict(services), stream)
    Path(name).replace(folder / "services.json")


def withdraw(home: Path) -> None:
    """Say that nothing runs any more."""
    (home / "run" / "services.json").unlink(missing_ok=True)


def find_running(home: Path) -> RunningServices | None:
    """The services that run on this home folder; None when there are none, or they are another user's."""
    return last_published(home) if is_locked(home) else None


def last_published(home: Path) -> RunningServices | None:
    """What was last written, also by a Watcher that was killed since; None when there is nothing readable."""
    try:
        return RunningServices(**json.loads((home / "run" / "services.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
