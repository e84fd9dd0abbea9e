"""The values that the file of who is told is made of: durations, caps, levels, hours, secrets."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    Tag,
    WithJsonSchema,
)

from watcher_server.alerts.levels import RANKS
from watcher_server.kit.text import check_no_controls

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")
_CAP = re.compile(r"(\d{1,6})/(\d{1,9}[smhd])")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKLY = re.compile(r"([a-z]{3})(?:-([a-z]{3}))? (\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY_MINUTES = 24 * 60
# In the files of these the system shows what processes hold.
SYSTEM_FOLDERS = frozenset({"proc", "sys", "dev"})


class Shape(BaseModel):
    """An object of the file. A field that it does not know is refused, so that a misspelt one is found."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)


def parse_duration(value: Any) -> timedelta:
    """How long ``30s``, ``15m``, ``4h`` or ``2d`` is; a timedelta stays.

    Raises:
        ValueError: it is no such text, or longer than a year.
    """
    if isinstance(value, timedelta):
        return value
    found = _DURATION.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    length = timedelta(seconds=int(found[1]) * _UNITS[found[2]]) if found else None
    if length is None or length > timedelta(days=366):
        raise ValueError("must be a duration of at most a year, such as 30s, 15m, 4h or 2d")
    return length


def write_duration(length: timedelta) -> str:
    """A duration as the file has it: whole seconds in the largest unit that divides them."""
    seconds = int(length.total_seconds())
    unit = next((unit for unit in "dhm" if seconds and seconds % _UNITS[unit] == 0), "s")
    return f"{seconds // _UNITS[unit]}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(write_duration),
    WithJsonSchema({"type": "string", "examples": ["30s", "15m", "4h", "2d"]}),
]


def _check_minute(length: timedelta) -> timedelta:
    if length < timedelta(minutes=1):
        raise ValueError("must be a minute at least, such as 15m or 4h")
    return length


# What is looked at once a minute.
LongDuration = Annotated[Duration, AfterValidator(_check_minute)]


class Cap(NamedTuple):
    """The most messages in a span of time; as a token bucket, that many tokens that come back evenly over the span."""

    messages: int
    per: timedelta


def parse_cap(value: Any) -> Cap:
    """The cap that ``20/10m`` says; a cap stays. Raises ValueError: it is no such text."""
    if isinstance(value, Cap):
        return value
    found = _CAP.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    cap = Cap(int(found[1]), parse_duration(found[2])) if found else None
    if cap is None or not cap.messages or not cap.per:
        raise ValueError("must be messages per duration, such as 20/10m")
    return cap


CapField = Annotated[
    Cap,
    BeforeValidator(parse_cap),
    PlainSerializer(lambda cap: f"{cap.messages}/{write_duration(cap.per)}", return_type=str),
    WithJsonSchema({"type": "string", "examples": ["20/10m"]}),
]


def _check_level_match(text: str) -> str:
    level = text.replace(" ", "").upper()
    if level.removeprefix(">=") not in RANKS:
        raise ValueError(f"must be one of {', '.join(RANKS)}, or >= and one of them")
    return level


# "WARNING", or ">=WARNING".
LevelMatch = Annotated[str, AfterValidator(_check_level_match)]


def level_matches(wanted: str, level: str) -> bool:
    """Whether a level is the wanted one, or at least as bad where ``wanted`` begins with ``>=``."""
    if wanted.startswith(">="):
        return RANKS.get(level, -1) >= RANKS[wanted.removeprefix(">=")]
    return wanted == level


class WeeklySpan(NamedTuple):
    """Hours of days (0 is Monday), in minutes since midnight; an ``end`` not after ``start`` is on the next day."""

    days: tuple[int, ...]
    start: int
    end: int


def parse_weekly(text: str) -> WeeklySpan:
    """The hours that ``mon-fri 08:00-18:00`` says. Raises ValueError: it is no such text."""
    found = _WEEKLY.fullmatch(" ".join(text.lower().split()))
    if found is None or found[1] not in _DAYS or (found[2] or "mon") not in _DAYS:
        raise ValueError("must be days and hours, such as mon-fri 08:00-18:00 or sat 09:00-12:00")
    first, last = _DAYS.index(found[1]), _DAYS.index(found[2] or found[1])
    start, end = _minutes(found[3], found[4]), _minutes(found[5], found[6])
    if start in {_DAY_MINUTES, end}:
        raise ValueError("must begin before 24:00, and last for some time")
    return WeeklySpan(tuple((first + number) % 7 for number in range((last - first) % 7 + 1)), start, end)


def _minutes(hour: str, minute: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if minutes > _DAY_MINUTES or int(minute) > 59:  # noqa: PLR2004 - the minutes of an hour
        raise ValueError("must have hours from 00:00 to 24:00")
    return minutes


def _check_weekly(text: str) -> str:
    parse_weekly(text)
    return " ".join(text.lower().split())


Weekly = Annotated[str, AfterValidator(_check_weekly)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]

# One text may stand for a list of one.
OneOrMany = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
ObjectName = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$", max_length=50)
]
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300), AfterValidator(check_no_controls)
]


def _check_environment_name(name: str) -> str:
    # What Watcher keeps to itself, such as the password of its database, must not end up in a message.
    # Settings are read whatever the case of their names.
    if name.upper().startswith("WATCHER_") and name != "WATCHER_SLACK_WEBHOOK_URL":
        raise ValueError("must not be a setting of Watcher's own")
    return name


def _check_file(path: str) -> str:
    pure = PurePosixPath(path)
    # "//proc" and "/./proc" are other spellings of the same folder.
    first = next(iter(pure.parts[1:]), "")
    if not pure.is_absolute() or ".." in pure.parts or first in SYSTEM_FOLDERS:
        raise ValueError("must be the full path of a file that holds the secret")
    return path


class EnvironmentSecret(Shape):
    """A secret in an environment variable of every process of Watcher."""

    env: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100),
        AfterValidator(_check_environment_name),
    ]


class FileSecret(Shape):
    """A secret in a file that every process of Watcher can read."""

    file: Annotated[
        str, StringConstraints(max_length=300), AfterValidator(check_no_controls), AfterValidator(_check_file)
    ]


class StoredSecret(Shape):
    """A secret that was given in plain once, and is stored encrypted since."""

    stored: Literal[True]


PlainSecret = Annotated[SecretStr, Field(min_length=1, max_length=2_000)]


def _secret_kind(value: Any) -> str | None:
    if isinstance(value, Mapping) and len(value) == 1:
        return next(iter(value)) if set(value) <= {"env", "file", "stored"} else None
    if isinstance(value, Shape):
        return next(iter(type(value).model_fields))
    return "plain" if isinstance(value, str | SecretStr) else None


Secret = Annotated[
    Annotated[EnvironmentSecret, Tag("env")]
    | Annotated[FileSecret, Tag("file")]
    | Annotated[StoredSecret, Tag("stored")]
    | Annotated[PlainSecret, Tag("plain")],
    Discriminator(
        _secret_kind,
        custom_error_type="secret",
        custom_error_message="must be {env: NAME} or {file: PATH}, or over HTTP the secret itself",
    ),
]
