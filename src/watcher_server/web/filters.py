"""How pages write numbers, times, names and what others wrote."""

import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

from watcher_server.kit.durations import duration_text, exact_duration_text
from watcher_server.kit.sizes import size_text

NONE = "–"  # noqa: RUF001 - a dash is meant
# Where a dot or a slash ends: a place without a length, because to write a group of what was found takes Python longer
# than all the rest.
_JOINT = re.compile(r"(?<=[./\\])(?=[^./\\\n])")
# What is this long without a dot or a slash may also break at these.
_LONG_PART = re.compile(r"[^./\\\s]{25,}")
_SEAM = re.compile(r"(?<=[_-])(?=[^_\n-])")
_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'\\\x00-\x1f\x7f]+", re.IGNORECASE)


def count(value: float | None) -> str:
    """A number with thousands separators, with decimals only where they say something; a dash where there is none."""
    if value is None:
        return NONE
    if isinstance(value, float):
        rounded = round(value, 0 if abs(value) >= 100 else 2)  # noqa: PLR2004 - decimals say no more then
        return f"{int(rounded):,}" if rounded == int(rounded) else f"{rounded:,}"
    return f"{value:,}"


def size(size_bytes: int | None) -> str:
    """A size in the largest binary unit that keeps it above one; a dash where there is none."""
    return NONE if size_bytes is None else size_text(size_bytes)


def percent(value: float | None) -> str:
    """A share of one hundred; a dash where there is none."""
    return NONE if value is None else f"{value:,.1f} %"


def duration(seconds: float | None) -> str:
    """A duration in its two largest units; a dash where there is none."""
    return NONE if seconds is None else duration_text(seconds)


def exact_duration(seconds: float | None) -> str:
    """The duration of a run, to the millisecond where it is short; a dash where there is none."""
    return NONE if seconds is None else exact_duration_text(seconds)


def breakable(name: str) -> Markup:
    """A name that breaks at its dots and slashes, not inside words."""
    escaped = escape(name)
    if len(name) <= 20:  # noqa: PLR2004 - fits where names are shown
        return escaped
    seamed = _LONG_PART.sub(lambda part: _SEAM.sub("<wbr>", part[0]), escaped)
    return Markup(_JOINT.sub("<wbr>", seamed))  # noqa: S704 - escaped above


def linked(said: str) -> Markup:
    """A text that others wrote, in which addresses of the web (``http`` and ``https`` only) are links."""
    pieces, end = [], 0
    for found in _WEB_ADDRESS.finditer(said):
        # What ends a sentence ends no address.
        url = found[0].rstrip(".,;:!?)]}")
        pieces.append(escape(said[end : found.start()]))
        pieces.append(Markup('<a href="{}" rel="noreferrer noopener nofollow">{}</a>').format(url, url))
        end = found.start() + len(url)
    return Markup("").join([*pieces, escape(said[end:])])


def when(moment: datetime | None) -> Markup | str:
    """A moment: in UTC as it is sent, in the viewer's zone where scripts run, in UTC on hover."""
    return _time(moment, "when")


def ago(moment: datetime | None) -> Markup | str:
    """A moment as how long ago it was, or how soon it is, kept right where scripts run; in UTC on hover."""
    return _time(moment, "ago")


def clock(moment: datetime | None) -> Markup | str:
    """A moment of today or yesterday as its time of day, as :func:`when` does."""
    return _time(moment, "clock")


def _time(moment: datetime | None, kind: str) -> Markup | str:
    if moment is None:
        return NONE
    utc = moment.astimezone(UTC)
    shown = _distance(utc) if kind == "ago" else f"{utc:%H:%M}" if kind == "clock" else f"{utc:%Y-%m-%d %H:%M} UTC"
    return Markup('<time class="{}" datetime="{}" title="{}">{}</time>').format(
        kind, utc.isoformat(timespec="milliseconds"), f"{utc:%Y-%m-%d %H:%M:%S} UTC", shown
    )


def _distance(utc: datetime) -> str:
    seconds = (datetime.now(UTC) - utc).total_seconds()
    if abs(seconds) < 1:
        return "now"
    text = duration_text(round(abs(seconds)))
    return f"{text} ago" if seconds > 0 else f"in {text}"
