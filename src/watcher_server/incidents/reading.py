"""Reading incidents: lists of them, the most urgent first, each with what people ask of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from watcher_server.incidents.kinds import RANKS, Kind
from watcher_server.incidents.models import Incident
from watcher_server.kit.fields import BIGINT_MAX
from watcher_server.kit.listing import Page, contains


class WantedState(StrEnum):
    """The state of an incident, or ``live``: all that are not resolved."""

    LIVE = "live"
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents; what is None filters nothing.

    ``owner`` and ``tag`` are those in force of the pipeline, ``root_id`` is what explains the incident. ``explained``
    False leaves out those that a live incident explains. ``since`` (UTC) leaves those that were opened or resolved from
    then on. ``q`` is a part of the pipeline's name, of the subject, of
    the detail or of the assignee, or the number of an incident.
    """

    state: WantedState | None = None
    kind: Kind | None = None
    owner: str | None = None
    tag: str | None = None
    pipeline_id: int | None = None
    root_id: int | None = None
    explained: bool | None = None
    since: datetime | None = None
    q: str | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """The filter in SQL."""
        incident = Incident
        if self.state is not None and self.state is not WantedState.LIVE:
            yield incident.state == self.state.value
        for name in ("kind", "pipeline_id", "root_id"):
            if (wanted := getattr(self, name)) is not None:
                yield getattr(incident, name) == wanted
        if self.explained is not None:
            yield _EXPLAINED if self.explained else ~_EXPLAINED
        if self.since is not None:
            yield sa.or_(incident.opened_at >= self.since, incident.resolved_at >= self.since)
        if self.owner is not None:
            yield _of_pipelines(sa.func.lower(_PIPELINE.c.owner) == sa.func.lower(self.owner))
        if self.tag is not None:
            yield _of_pipelines(sa.literal(self.tag) == sa.any_(_PIPELINE.c.tags))
        if self.q is not None:
            yield _mentions(self.q)


_ROOT = aliased(Incident)
# By the primary key.
_EXPLAINED = sa.exists().where(_ROOT.id == Incident.root_id, _ROOT.state != "resolved")
_PIPELINE = sa.table("pipeline_effective", sa.column("id"), sa.column("name"), sa.column("owner"), sa.column("tags"))


def _of_pipelines(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return Incident.pipeline_id.in_(sa.select(_PIPELINE.c.id).where(condition))


def _mentions(q: str) -> sa.ColumnElement[bool]:
    pattern, incident = contains(q), Incident
    number = q.removeprefix("#")
    is_number = number.isascii() and number.isdigit() and int(number) <= BIGINT_MAX
    return sa.or_(
        incident.subject.ilike(pattern),
        incident.detail.ilike(pattern),
        incident.assignee.ilike(pattern),
        _of_pipelines(_PIPELINE.c.name.ilike(pattern)),
        *([incident.id == int(number)] if is_number else []),
    )


@dataclass(frozen=True, slots=True)
class ListedIncident:
    """An incident with its pipeline, what explains it, and how many open ones it explains (``effects``).

    ``owner``, ``criticality`` and ``runbook_url`` are those in force of its pipeline, and None without one. Times are
    UTC; the others are as in :class:`watcher_server.incidents.models.Incident`.
    """

    id: int
    kind: str
    pipeline_id: int | None
    pipeline_name: str | None
    pipeline_shown: str | None
    subject: str
    owner: str | None
    criticality: str | None
    runbook_url: str | None
    tags: Sequence[str]
    state: str
    level: str
    detail: str
    count: int
    execution_id: int | None
    task_id: UUID | None
    since: datetime
    opened_at: datetime
    changed_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    root_id: int | None
    root_kind: str | None
    root_state: str | None
    root_pipeline_id: int | None
    root_name: str | None
    effects: int
    assignee: str | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    acknowledged_until: datetime | None
    snooze: str | None
    snoozed_until: datetime | None
    flapping: bool
    quiet: bool
    told_at: datetime | None
    version: int

    @property
    def name(self) -> str:
        """What is wrong: the name of the pipeline as it is shown, or the subject."""
        return self.subject if self.pipeline_shown is None else self.pipeline_shown


# What a number of incidents have, in the order of ``ids``: each by its primary key, and so its pipeline and its root.
# What it explains by ix_incident_root_id.
_FACTS = """
SELECT incident.id, incident.kind, incident.pipeline_id, pipeline.name AS pipeline_name,
    coalesce(pipeline.display_name, pipeline.name) AS pipeline_shown, incident.subject,
    pipeline.owner, pipeline.criticality, pipeline.runbook_url, coalesce(pipeline.tags, '{}') AS tags,
    incident.state, incident.level, incident.detail, incident.count, incident.execution_id, incident.task_id,
    incident.since, incident.opened_at, incident.changed_at, incident.resolved_at, incident.resolution,
    incident.root_id, root.kind AS root_kind, root.state AS root_state, root.pipeline_id AS root_pipeline_id,
    coalesce(root_pipeline.display_name, root_pipeline.name, root.subject) AS root_name, explained.effects,
    incident.assignee, incident.acknowledged_by, incident.acknowledged_at, incident.acknowledged_until,
    incident.snooze, incident.snoozed_until, incident.flapping, incident.quiet, incident.told_at, incident.version
FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS wanted (id, place)
JOIN incident USING (id)
LEFT JOIN pipeline_effective AS pipeline ON pipeline.id = incident.pipeline_id
LEFT JOIN incident AS root ON root.id = incident.root_id
LEFT JOIN pipeline AS root_pipeline ON root_pipeline.id = root.pipeline_id
CROSS JOIN LATERAL (
    SELECT count(*) AS effects FROM incident AS effect
    WHERE effect.root_id = incident.id AND effect.state <> 'resolved'
) AS explained
ORDER BY wanted.place
"""


def list_incidents(connection: sa.Connection, wanted: IncidentFilter, page: Page) -> list[ListedIncident]:
    """One page of the incidents, the most urgent first.

    The open ones come first, then the acknowledged ones, of each the worst and then the newest; last the resolved ones,
    the one that was resolved last before all others.
    """
    return read_incidents(connection, connection.scalars(_select_ids(wanted, page)).all())


def read_incidents(connection: sa.Connection, incident_ids: Collection[int]) -> list[ListedIncident]:
    """These incidents, in this order; one that is not there is left out."""
    if not incident_ids:
        return []
    rows = connection.execute(sa.text(_FACTS), {"ids": list(incident_ids)}).mappings()
    return [ListedIncident(**row) for row in rows]


class Sign(NamedTuple):
    """The incident that gives a pipeline its status, since when (UTC), and the pipeline of the one that explains it."""

    pipeline_id: int
    incident_id: int
    since: datetime
    root_pipeline_id: int | None


# By ix_incident_open_pipeline_id, the root by the primary key.
_SIGNS = sa.text("""
SELECT DISTINCT ON (incident.pipeline_id) incident.pipeline_id, incident.id, incident.since, root.pipeline_id
FROM unnest(CAST(:pipeline_ids AS bigint[]), CAST(:kinds AS text[])) AS wanted (pipeline_id, kind)
JOIN incident USING (pipeline_id, kind)
LEFT JOIN incident AS root ON root.id = incident.root_id AND root.state <> 'resolved'
WHERE incident.state <> 'resolved'
ORDER BY incident.pipeline_id, incident.id
""")


def read_signs(connection: sa.Connection, kinds: Mapping[int, str]) -> dict[int, Sign]:
    """The incident of that kind of each of these pipelines; of one that is over by now, none."""
    parameters = {"pipeline_ids": [*kinds], "kinds": [*kinds.values()]}
    return {sign.pipeline_id: sign for sign in map(Sign._make, connection.execute(_SIGNS, parameters))}


def count_incidents(connection: sa.Connection, wanted: IncidentFilter) -> int:
    """How many incidents there are."""
    parts = sa.union_all(*(part.with_only_columns(Incident.id) for part in _select_parts(wanted))).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(parts)) or 0


_STATE_RANK = sa.case((Incident.state == sa.literal_column("'open'"), 0), else_=1)
_LEVEL_RANK = sa.case(RANKS, value=Incident.level)


def _select_ids(wanted: IncidentFilter, page: Page) -> sa.Select[int]:
    """The ids of a page, in order. Only as many resolved ones are read as the page may hold."""
    parts = _select_parts(wanted)
    if page.limit is not None:
        parts = [part.limit(page.limit + page.offset) for part in parts]
    found = sa.union_all(*(part.subquery().select() for part in parts)).subquery("found")
    ordered: sa.Select[int] = sa.select(found.c.id).order_by(
        found.c.state_rank, found.c.level_rank.desc(), found.c.at.desc(), found.c.id.desc()
    )
    return page.of(ordered)


def _select_parts(wanted: IncidentFilter) -> list[sa.Select[Any]]:
    """The live incidents, few, by ix_incident_current; the resolved ones by ix_incident_resolved_at backwards.

    Those of one pipeline or one root by the indexes of these.
    """
    incident: Any = Incident
    conditions = [*wanted.conditions()]
    live: sa.Select[Any] = (
        sa.select(
            incident.id,
            _STATE_RANK.label("state_rank"),
            _LEVEL_RANK.label("level_rank"),
            incident.opened_at.label("at"),
        )
        .where(incident.state != sa.literal_column("'resolved'"), *conditions)
        .order_by(_STATE_RANK, _LEVEL_RANK.desc(), incident.opened_at.desc(), incident.id.desc())
    )
    resolved: sa.Select[Any] = (
        sa.select(
            incident.id,
            sa.literal(2).label("state_rank"),
            sa.literal(0).label("level_rank"),
            incident.resolved_at.label("at"),
        )
        .where(incident.resolved_at.is_not(None), *conditions)
        .order_by(incident.resolved_at.desc(), incident.id.desc())
    )
    if wanted.state is None:
        return [live, resolved]
    return [resolved] if wanted.state is WantedState.RESOLVED else [live]
