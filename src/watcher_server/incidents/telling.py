"""Telling people about incidents: which openings speak for themselves, in messages grouped by kind and level."""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.levels import Level
from watcher_server.alerts.routing.deciding import Delivery
from watcher_server.alerts.routing.grouping import group_subjects
from watcher_server.alerts.service import NewAlert, Subject, raise_alert
from watcher_server.incidents.holding import hold_back
from watcher_server.incidents.impact import NAMED_IN_ALERT, describe_touched
from watcher_server.incidents.kinds import TEXTS, Kind
from watcher_server.incidents.opening import Change, Opening
from watcher_server.incidents.roots import read_roots
from watcher_server.kit.durations import duration_text

# An explained incident that outlives its root speaks for itself at the pipeline's next run, or after this time.
_SPEAKS_AFTER_MINUTES = 60

# A flapping incident is told once an hour at most, whether it opens or ends.
MAY_SPEAK = """
NOT incident.flapping OR NOT EXISTS (
    SELECT FROM incident_event AS event
    WHERE event.incident_id = incident.id AND change = 'told' AND at > now() - interval '1 hour'
)
"""

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Line:
    """A line of a message's details: the label, what it says, what it is about, and what the message calls that."""

    label: str
    text: str
    about: Subject
    name: str = ""


def choose_speakers(connection: Connection, openings: Sequence[Opening]) -> list[Opening]:
    """Those that people are told about. The others are known already, kept quiet, or explained by one that is told.

    One that opened again speaks unless people believe that it is open still, by the same occurrence. One that begins to
    flap is told here as such, and then once an hour at most.
    """
    fresh = [opening for opening in openings if opening.change in {Change.OPENED, Change.REOPENED}]
    explain(connection, [opening.incident_id for opening in fresh if opening.finding.pipeline_id is not None])
    flapping = _mark_flapping(connection, [opening.incident_id for opening in fresh])
    news = [opening for opening in openings if _is_news(opening) or opening.incident_id in flapping]
    held = hold_back(connection, [opening.incident_id for opening in news])
    silent = held | _find_silent(connection, [opening.incident_id for opening in news], flapping, held)
    tell_as(connection, "flapping", flapping - silent)
    return [opening for opening in news if opening.incident_id not in silent | flapping]


def speaking(
    connection: Connection, openings: Sequence[Opening], found: Sequence[Thing]
) -> list[tuple[Opening, Thing]]:
    """The openings that people are told about (:func:`choose_speakers`), each with the thing that was found."""
    chosen = {opening.incident_id for opening in choose_speakers(connection, openings)}
    return [pair for pair in zip(openings, found, strict=True) if pair[0].incident_id in chosen]


def _is_news(opening: Opening) -> bool:
    if opening.change == Change.REOPENED:
        return opening.finding.is_new or not opening.announced
    return opening.change == Change.OPENED or (opening.change == Change.WORSE and opening.announced)


# A root is written where it differs, and with it what the timeline says. One that was silent because of a root that is
# over, or that does not explain it any more, speaks at its next run, unless it is over by then.
_EXPLAIN = """
WITH found AS (
    SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:roots AS bigint[])) AS found (id, root_id)
), changed AS (
    UPDATE incident SET root_id = known.root_id, version = version + 1,
        speaks_at = CASE WHEN known.root_id IS NULL AND told_at IS NULL THEN known.next_run END
    FROM (
        SELECT live.id, found.root_id, coalesce(
            pipeline.expected_next_run + make_interval(mins => pipeline.schedule_grace_minutes),
            now() + make_interval(mins => :speaks_after)
        ) AS next_run
        FROM incident AS live JOIN pipeline ON pipeline.id = live.pipeline_id LEFT JOIN found ON found.id = live.id
        WHERE live.state <> 'resolved' AND live.id = ANY(CAST(:wanted AS bigint[]))
    ) AS known
    WHERE incident.id = known.id AND incident.root_id IS DISTINCT FROM known.root_id
    RETURNING incident.id, incident.root_id
)
INSERT INTO incident_event (incident_id, change, actor, text)
SELECT id, 'explained', 'watcher', 'Because of #' || root_id FROM changed WHERE root_id IS NOT NULL
"""


def explain(connection: Connection, incident_ids: Collection[int]) -> None:
    """Write the root cause of those of these incidents that are open."""
    if not incident_ids:
        return
    roots = read_roots(connection, incident_ids)
    parameters = {
        "ids": list(roots),
        "roots": list(roots.values()),
        "wanted": list(incident_ids),
        "speaks_after": _SPEAKS_AFTER_MINUTES,
    }
    connection.execute(text(_EXPLAIN), parameters)


# Four times within a day is flapping. The event is written once.
_MARK_FLAPPING = """
WITH flapping AS (
    UPDATE incident SET flapping = true, version = version + 1
    WHERE id = ANY(CAST(:ids AS bigint[])) AND NOT flapping AND (
        SELECT count(*) FROM incident_event AS event
        WHERE event.incident_id = incident.id AND change = 'reopened' AND at > now() - interval '24 hours'
    ) >= 4
    RETURNING id
), event AS (
    INSERT INTO incident_event (incident_id, change, actor, text)
    SELECT id, 'flapping', 'watcher', 'It opened again for the fourth time within a day.' FROM flapping
)
SELECT id FROM flapping
"""


def _mark_flapping(connection: Connection, incident_ids: Collection[int]) -> set[int]:
    if not incident_ids:
        return set()
    return set(connection.scalars(text(_MARK_FLAPPING), {"ids": list(incident_ids)}))


# What is snoozed, what flaps and was told just now, and what is explained by a root that people were told about, or
# are told about with it. A root that is snoozed until it gets worse might be silent for ever: it silences nothing new.
# One that has just begun to flap is told as that, however short ago it was told.
_SILENT = f"""
WITH news AS MATERIALIZED (
    SELECT incident.id, incident.root_id, incident.snooze IS NULL AND incident.id <> ALL(CAST(:held AS bigint[]))
        AND (incident.id = ANY(CAST(:flapping AS bigint[])) OR {MAY_SPEAK}) AS may_speak
    FROM incident WHERE incident.id = ANY(CAST(:ids AS bigint[]))
)
SELECT news.id
FROM news
LEFT JOIN incident AS told ON told.id = news.root_id AND told.state <> 'resolved' AND told.told_at IS NOT NULL
    AND told.snooze IS DISTINCT FROM 'worse'
LEFT JOIN news AS root ON root.id = news.root_id
WHERE NOT news.may_speak OR told.id IS NOT NULL OR root.may_speak
"""  # noqa: S608 - the condition is a constant


def _find_silent(
    connection: Connection, incident_ids: Collection[int], flapping: Collection[int], held: Collection[int]
) -> set[int]:
    if not incident_ids:
        return set()
    parameters = {"ids": list(incident_ids), "flapping": list(flapping), "held": list(held)}
    return set(connection.scalars(text(_SILENT), parameters))


def tell(
    connection: Connection,
    kind: Kind,
    change: str,
    message: Callable[[Sequence[Line]], str],
    lines: Iterable[tuple[Level, Line]],
    *,
    deliveries: Sequence[Delivery] = (),
) -> None:
    """Raise one message for each level and group of the routes, with the first 20 lines by name.

    ``message`` makes its text of all lines. Each line comes with what it touches. What the lines are about is marked as
    told. With ``deliveries`` they say where it goes, however often that was told before.
    """
    for level, group in groupby(sorted(lines, key=itemgetter(0)), key=itemgetter(0)):
        of_level = [line for _, line in group]
        for chosen in [of_level] if deliveries else by_audience(connection, of_level, kind=kind, level=level):
            incident_ids = sorted({line.about.incident_id for line in chosen if line.about.incident_id is not None})
            key = _key(connection, kind, change, incident_ids)
            alert = NewAlert(
                dedupe_key=f"{key}:{uuid4()}" if deliveries else key,
                level=level,
                title=TEXTS[kind].title,
                message=message(chosen),
                details=name_lines(connection, chosen),
                kind=kind,
                change=change,
                subjects=[line.about for line in chosen],
                deliveries=deliveries,
            )
            if raise_alert(connection, alert) is not None:
                mark_told(connection, incident_ids, change)


def by_audience(connection: Connection, lines: Sequence[Line], *, kind: str, level: Level) -> Iterable[Sequence[Line]]:
    """The lines, together where the routes have them told together."""
    groups = group_subjects(connection, [line.about for line in lines], kind=kind, level=level)
    found: dict[Hashable, list[Line]] = {}
    for group, line in zip(groups, lines, strict=True):
        found.setdefault(group, []).append(line)
    return found.values()


def name_lines(connection: Connection, lines: Sequence[Line]) -> list[tuple[str, str]]:
    """The details of a message: the first lines, with what each touches, and how many more there are."""
    first = lines[:NAMED_IN_ALERT]
    touched = describe_touched(connection, [line.about for line in first])
    details = [
        (line.label, ", ".join(filter(None, (line.text, touches))))
        for line, touches in zip(first, touched, strict=True)
    ]
    if len(lines) > len(first):
        details.append(("Others", f"and {len(lines) - len(first)} more"))
    return details


def _key(connection: Connection, kind: Kind, change: str, incident_ids: Sequence[int]) -> str:
    """A key that no other message about these incidents has: the newest of them with its version."""
    statement = "SELECT id || '.' || version FROM incident WHERE id = :id"
    newest = connection.scalar(text(statement), {"id": incident_ids[-1]}) if incident_ids else ""
    return f"{kind}:{change}:{newest}"


def mark_told(connection: Connection, incident_ids: Collection[int], change: str) -> None:
    """Note that people are told of this change of these incidents."""
    if incident_ids:
        # Once people are told that it is over, nobody believes any more that it is open.
        statement = """
            WITH told AS (
                UPDATE incident SET
                    told_at = CASE WHEN state <> 'resolved' THEN now() END, speaks_at = NULL, tell_resolved_at = NULL,
                    held_by = NULL
                WHERE id = ANY(CAST(:ids AS bigint[]))
                RETURNING id
            )
            INSERT INTO incident_event (incident_id, change, actor, text)
            SELECT id, 'told', 'watcher', CAST(:change AS text) FROM told
        """
        connection.execute(text(statement), {"ids": list(incident_ids), "change": change})


def tell_as(
    connection: Connection, change: str, incident_ids: Collection[int], deliveries: Sequence[Delivery] = ()
) -> None:
    """Tell people that these are still open (``reminder``), that they flap (``flapping``) or are over (``resolved``).

    ``escalated`` tells others that nobody has acknowledged them. One message for each kind, and for each way in which
    they ended; to where the routes send it, unless ``deliveries`` says where.
    """
    if not incident_ids:
        return
    statement = """
        SELECT incident.id, incident.kind, incident.level, incident.subject, incident.detail, incident.since,
            incident.pipeline_id, incident.execution_id, incident.resolved_at, incident.resolution,
            coalesce(pipeline.display_name, pipeline.name) AS name
        FROM incident LEFT JOIN pipeline ON pipeline.id = incident.pipeline_id
        WHERE incident.id = ANY(CAST(:ids AS bigint[]))
        ORDER BY incident.kind, incident.resolution, incident.id
    """
    rows = connection.execute(text(statement), {"ids": list(incident_ids)})
    for (name, resolution), group in groupby(rows, key=attrgetter("kind", "resolution")):
        phrase = _phrase(Kind(name), change, resolution)
        lines = [_line(row, change) for row in group]
        tell(connection, Kind(name), change, partial(_message, phrase), lines, deliveries=deliveries)


def _phrase(kind: Kind, change: str, resolution: str | None) -> str:
    if change == "resolved":
        # What nobody knows to be over is not said to be.
        return {"hand": "resolved by hand", "paused": "paused or muted"}.get(resolution or "", TEXTS[kind].over)
    if change == "escalated":
        return f"still {kind}, and nobody has acknowledged it"
    if change == "flapping":
        return "flapping: opened again for the fourth time within a day, and told once an hour at most until it is calm"
    return f"still {kind}"


def _message(phrase: str, lines: Sequence[Line]) -> str:
    return f"{lines[0].name if len(lines) == 1 else f'{len(lines):,} incidents:'} {phrase}"


def _line(row: Row[Any], change: str) -> tuple[Level, Line]:
    about = Subject(incident_id=row.id, pipeline_id=row.pipeline_id, execution_id=row.execution_id)
    label = f"{row.name or row.subject} (#{row.id})"
    name = f"Pipeline '{row.name}' (ID: {row.pipeline_id})" if row.pipeline_id else row.subject
    since = f"since {row.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if change == "resolved":
        lasted = duration_text((row.resolved_at - row.since).total_seconds())
        return Level.RESOLVED, Line(label, f"{row.kind} for {lasted}, {since}", about, name)
    return Level(row.level), Line(label, f"{since}, {row.detail}" if row.detail else since, about, name)
