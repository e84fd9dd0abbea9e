"""What the checks have in common: what they answer, count, and say of what is only close."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.quiet import find_windows
from watcher_server.alerts.service import NewAlert, raise_alert
from watcher_server.incidents.kinds import TEXTS, Kind
from watcher_server.incidents.telling import Line, name_lines
from watcher_server.kit.fields import ResponseBody


class CheckQueued(ResponseBody):
    """The check will run as soon as a worker takes it."""

    status: Literal["queued"] = "queued"


@dataclass(frozen=True)
class Found:
    """How many failures a check logged, how many people were told, and the same for warnings."""

    logged: int = 0
    alerted: int = 0
    warnings_logged: int = 0
    warnings_alerted: int = 0


def warn(connection: Connection, kind: Kind, message: Callable[[int], str], lines: Sequence[Line], *, key: str) -> None:
    """Raise one alert for what is close to an incident; a warning opens none. ``key`` names what was logged.

    ``message`` makes its text of the number of lines. What a window keeps quiet is left out, and not told later.
    """
    windows = find_windows(connection, [line.about for line in lines], kind=kind, level=Level.INFO)
    told = [line for line, window in zip(lines, windows, strict=True) if window is None]
    if told:
        alert = NewAlert(
            dedupe_key=key,
            level=Level.INFO,
            title=TEXTS[kind].title,
            message=message(len(told)),
            details=name_lines(connection, told),
            subjects=[line.about for line in told],
        )
        raise_alert(connection, alert)
