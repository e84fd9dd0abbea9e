"""Why a message is held back, in the words that people read, and the title under which it is told in the end.

Messages of a channel that are held back for the same reason are told in one.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

CAPPED = "over the cap of the channel"
_HELD = "held until "
_DIGEST = "digest at "
_GATHERED = "gathered"
_TITLES = {
    _HELD: "While It Was Quiet",
    _DIGEST: "Daily Digest",
    _GATHERED: "Several Incidents",
    CAPPED: "Many Incidents",
}


def held_until(opens: datetime, zone: str) -> str:
    """It came outside the hours of its route."""
    return f"{_HELD}{_minute(opens, zone)}"


def digest_at(moment: datetime, zone: str) -> str:
    """It is told with what else comes until then."""
    return f"{_DIGEST}{_minute(moment, zone)}"


def gathered(wait: timedelta, route: str, values: str) -> str:
    """It waits for others of its route, whose ``values`` of what the route groups by are the same."""
    seconds = f"{_GATHERED} for {wait.total_seconds():g} s by {route}"
    return f"{seconds}: {values}" if values else seconds


def is_digest(reason: str) -> bool:
    """Whether it is a digest, which also names what was over before anybody was told."""
    return reason.startswith(_DIGEST)


def title_of(reason: str) -> str:
    """The title of the one message."""
    return next(title for begin, title in _TITLES.items() if reason.startswith(begin))


def _minute(moment: datetime, zone: str) -> str:
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"
