"""What identifies an event: its kind, its job and run or its dataset, its moment and its type."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any, Final, NoReturn
from uuid import UUID, uuid5

from pydantic_core import from_json

from watcher_server.telemetry.redaction import redact

# Of keys, so that names of any length and spelling are found by one index.
_KEYS: Final = UUID("7b9e2d6c-6d0f-4f0e-9d4e-3a1c5b7f8e21")
# Java's clients write a moment with its zone behind it: 2026-01-31T12:00:00+01:00[Europe/Berlin].
_ZONE_NAME = re.compile(r"\[[^\]]*\]$")
# Half a pair of surrogates is no character, and PostgreSQL cannot store a NUL.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_MOST_VALUES: Final = 500_000
# Up to the last @ before the path: a password may have one.
_USER = re.compile(r"^((?:jdbc:)?([A-Za-z][\w+.-]*)://)([^/\s]*)@")
_MAY_BE_SECRET = re.compile(r"passw|secret|api_?key", re.IGNORECASE)


class EventKind(StrEnum):
    """What an event tells of."""

    RUN = "run"
    JOB = "job"
    DATASET = "dataset"


class EventType(IntEnum):
    """Where in its life a run is; of two ends at one moment the greater one counts."""

    OTHER = 0
    START = 1
    RUNNING = 2
    COMPLETE = 3
    ABORT = 4
    FAIL = 5

    @property
    def ends(self) -> bool:
        return self >= EventType.COMPLETE

    @property
    def begins(self) -> bool:
        """Whether the run had begun then."""
        return self in {EventType.START, EventType.RUNNING}


class EnvelopeError(ValueError):
    """A body that is no event; the message says what it lacks."""


@dataclass(frozen=True, slots=True)
class JobName:
    """A job as it is spelt."""

    namespace: str
    name: str

    @property
    def key(self) -> UUID:
        """The same for the same job, in every process and for ever."""
        return key_of("job", self.namespace, self.name)

    def run_key(self, run_id: str) -> UUID:
        """The key of one of its runs: some tools give the same run id to runs of several jobs."""
        return key_of("run", self.namespace, self.name, run_id)


@dataclass(frozen=True, slots=True)
class DatasetName:
    """A dataset as it is spelt."""

    namespace: str
    name: str

    @property
    def key(self) -> UUID:
        return key_of("dataset", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event that can be applied. ``body`` is all of it; ``run_id`` is null but for a run's."""

    kind: EventKind
    at: datetime
    type: EventType
    job: JobName | None
    run_id: str | None
    dataset: DatasetName | None
    body: dict[str, Any]

    @property
    def namespace(self) -> str:
        named = self.job or self.dataset
        return named.namespace if named else ""


# The same datasets stand in event after event.
@lru_cache(20_000)
def key_of(*parts: str) -> UUID:
    """A key of these parts, whatever stands in them: their lengths are part of it."""
    return uuid5(_KEYS, "\n".join(f"{len(part)} {part}" for part in parts))


def hide_user(name: str) -> str:
    """A namespace or a name without the user and password that some producers leave in it."""
    found = _USER.match(name)
    # A container may stand where others have a user: abfss://container@account.dfs.core.windows.net
    if found and not (found[2].lower().startswith(("abfs", "wasb")) and ":" not in found[3]):
        name = found[1] + name[found.end() :]
    return redact(name) if _MAY_BE_SECRET.search(name) else name


def parse_event(raw: bytes) -> Any:
    """The value of a JSON text, with what cannot be stored replaced by U+FFFD.

    Raises:
        EnvelopeError: it is not JSON, is nested too deeply, or has too many values.
    """
    # Every value stands behind a comma, or is the first one of a list or an object.
    if sum(map(raw.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise EnvelopeError(f"The body has more than {_MOST_VALUES:,} values")
    try:
        value = from_json(raw, allow_inf_nan=True)
    except ValueError as error:
        try:
            # Python's own parser takes half a pair of surrogates and more levels.
            return _make_storable(json.loads(raw.decode(errors="replace")))
        except (ValueError, RecursionError):
            raise EnvelopeError(f"The body is not JSON: {error}") from None
    # Looking through all values costs more than parsing them, and hardly any body has such a character.
    return _make_storable(value) if rb"\u" in raw or b"\x00" in raw else value


# What lies deeper is left out. A facet is dropped long before, and neither reader nor writer of JSON goes much deeper.
def _make_storable(value: Any, levels: int = 200) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict | list) and not levels:
        return None
    if isinstance(value, list):
        return [_make_storable(part, levels - 1) for part in value]
    if isinstance(value, dict):
        return {_make_storable(name): _make_storable(part, levels - 1) for name, part in value.items()}
    return value


def read_envelope(body: Any) -> Envelope:
    """What identifies the event; its kind follows from the keys that it has, not from the schema that it names.

    Raises:
        EnvelopeError: says what is missing.
    """
    if not isinstance(body, dict):
        raise EnvelopeError("An event is a JSON object")
    at = read_moment(body.get("eventTime"))
    if at is None:
        _lacks("eventTime", "a moment such as 2026-01-31T12:00:00Z")
    if body.get("run") is not None:
        job, run_id = _read_job(body), _required(body, "run", "runId")
        return Envelope(EventKind.RUN, at, read_type(body.get("eventType")), job, run_id, None, body)
    if body.get("job") is None and body.get("dataset") is not None:
        dataset = DatasetName(_required(body, "dataset", "namespace"), _required(body, "dataset", "name"))
        return Envelope(EventKind.DATASET, at, EventType.OTHER, None, None, dataset, body)
    return Envelope(EventKind.JOB, at, EventType.OTHER, _read_job(body), None, None, body)


def read_type(value: Any) -> EventType:
    """The type of an event in any case; one that is missing or unknown says nothing of where the run is."""
    name = value.strip().upper() if isinstance(value, str) else ""
    return EventType.__members__.get(name, EventType.OTHER)


def read_moment(value: Any) -> datetime | None:
    """A moment of ISO 8601, in UTC; None if it is none. Without a zone it is in UTC; it is cut to microseconds."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(_ZONE_NAME.sub("", value.strip()))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _read_job(body: dict[str, Any]) -> JobName:
    return JobName(_required(body, "job", "namespace"), _required(body, "job", "name"))


def _required(body: dict[str, Any], part: str, field: str) -> str:
    holder = body.get(part)
    value = holder.get(field) if isinstance(holder, dict) else None
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        _lacks(f"{part}.{field}", "a text that is not empty")
    return text


def _lacks(field: str, what: str) -> NoReturn:
    raise EnvelopeError(
        f"{field} must be {what}. An event needs eventTime and job.namespace and job.name, with run.runId if it has "
        "a run; or dataset.namespace and dataset.name"
    )
