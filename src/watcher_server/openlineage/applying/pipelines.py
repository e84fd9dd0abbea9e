"""Jobs and their pipelines: got or created, described, and brought back from the archive."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

from watcher_server.openlineage.deriving import integration_of, type_name
from watcher_server.openlineage.describing import describe_job
from watcher_server.openlineage.envelope import JobName
from watcher_server.openlineage.folding import Facet, join_facets
from watcher_server.openlineage.naming import pipeline_name
from watcher_server.openlineage.reading import from_micros
from watcher_server.pipelines.service import REVIVE_TASK
from watcher_server.tasking.sending.outbox import enqueue
from watcher_server.tasking.wire import SCHEDULED_QUEUE

# The pipelines of datasets that say by themselves what they are made of: they have no runs, so no check looks at them.
DECLARED: Final = "declared lineage"

_CREATE_JOBS = """
INSERT INTO openlineage_job (key, namespace, name, integration, last_event_at)
SELECT key, namespace, name, integration, last_event_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
    key uuid, namespace text, name text, integration text, last_event_at timestamptz
)
ORDER BY key
ON CONFLICT (key) DO NOTHING
"""
_READ_JOBS = """
SELECT id, key, adopted, integration, facts, schedule, last_event_at, CASE WHEN EXISTS (
    SELECT FROM pipeline WHERE pipeline.id = pipeline_id AND forgotten_at IS NULL
) THEN pipeline_id END AS pipeline_id
FROM openlineage_job
WHERE key = ANY(CAST(:keys AS uuid[])) ORDER BY key FOR UPDATE
"""
_STORE_JOBS = """
UPDATE openlineage_job AS job SET
    pipeline_id = wanted.pipeline_id, adopted = wanted.adopted, integration = wanted.integration,
    facts = wanted.facts, schedule = nullif(wanted.schedule, 'null'), last_event_at = wanted.last_event_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (
    id bigint, pipeline_id bigint, adopted boolean, integration text, facts jsonb, schedule jsonb,
    last_event_at timestamptz
)
WHERE job.id = wanted.id
"""

# Here and below by the unique indexes on the names, which also decide which of several callers creates a row.
_CREATE_TYPES = """
INSERT INTO pipeline_type (name, mute_freshness_check, mute_timeliness_check)
SELECT DISTINCT wanted.type_name, wanted.type_name = :declared, wanted.type_name = :declared
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (type_name text)
WHERE NOT EXISTS (SELECT FROM pipeline_type WHERE pipeline_type.name = wanted.type_name)
ORDER BY wanted.type_name
ON CONFLICT (name) DO NOTHING
"""
_CREATE_PIPELINES = """
INSERT INTO pipeline (name, display_name, pipeline_type_id, load_lineage)
SELECT wanted.name, wanted.display_name, pipeline_type.id, true
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (name text, display_name text, type_name text)
JOIN pipeline_type ON pipeline_type.name = wanted.type_name
WHERE NOT EXISTS (SELECT FROM pipeline WHERE pipeline.name = wanted.name)
ORDER BY wanted.name
ON CONFLICT (name) DO NOTHING
RETURNING id
"""
# A type that people gave it stays.
_RETYPE = """
UPDATE pipeline SET pipeline_type_id = new.id
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (id bigint, type_name text, old_type_name text)
JOIN pipeline_type AS new ON new.name = wanted.type_name
JOIN pipeline_type AS old ON old.name = wanted.old_type_name
WHERE pipeline.id = wanted.id AND pipeline.pipeline_type_id = old.id
"""
_READ_PIPELINES = "SELECT id, name FROM pipeline WHERE name = ANY(CAST(:names AS text[])) AND forgotten_at IS NULL"
_RULE = """
INSERT INTO anomaly_detection_rule (pipeline_id, metric_field)
SELECT wanted.id, CAST(:metric AS text) FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
WHERE NOT EXISTS (
    SELECT FROM anomaly_detection_rule AS rule
    WHERE rule.pipeline_id = wanted.id AND rule.metric_field = CAST(:metric AS text)
)
ORDER BY wanted.id
"""
_LOCK = """
SELECT id FROM pipeline WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY name FOR NO KEY UPDATE
"""
_REVIVE = """
UPDATE pipeline SET archived_at = NULL
WHERE id = ANY(CAST(:ids AS bigint[])) AND archived_at IS NOT NULL AND forgotten_at IS NULL RETURNING id
"""
_DESCRIBE = """
UPDATE pipeline SET openlineage = wanted.said, updated_at = nullif(now(), created_at)
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS wanted (id bigint, said jsonb)
WHERE pipeline.id = wanted.id AND pipeline.openlineage IS DISTINCT FROM wanted.said
"""


@dataclass(slots=True)
class Job:
    """A job while a turn looks at it; ``old_type_name`` is what the type of its pipeline was called before."""

    name: JobName
    last: int
    facts: dict[str, Facet] = field(default_factory=dict)
    old_type_name: str | None = None
    schedule: list[str] | None = None
    needs_pipeline: bool = False
    id: int = 0
    pipeline_id: int | None = None
    adopted: bool = False
    is_stored: bool = True

    @property
    def key(self) -> UUID:
        return self.name.key

    @property
    def integration(self) -> str:
        return integration_of(self.facts)

    @property
    def type_name(self) -> str:
        return DECLARED if self.name.namespace == DECLARED else type_name(self.facts)


class Jobs:
    """The jobs of a turn, by key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.known: dict[UUID, Job] = {}

    def see(self, name: JobName, at: int, facts: Mapping[str, Facet] | None = None) -> Job:
        """Note that an event names this job, and what it says of it."""
        job = self.known.setdefault(name.key, Job(name, at))
        job.last = max(job.last, at)
        if facts:
            job.facts = join_facets(job.facts, facts)
        return job

    def load(self) -> None:
        """Get or create the rows of the jobs that were seen, and join what was known of them."""
        rows = [
            {
                "key": str(key),
                "namespace": job.name.namespace,
                "name": job.name.name,
                "integration": job.integration[:50],
                "last_event_at": from_micros(job.last).isoformat(),
            }
            for key, job in self.known.items()
        ]
        self._connection.execute(text(_CREATE_JOBS), {"rows": json.dumps(rows)})
        for row in self._connection.execute(text(_READ_JOBS), {"keys": sorted(self.known)}):
            job = self.known[row.key]
            job.id, job.pipeline_id, job.adopted = row.id, row.pipeline_id, row.adopted
            job.schedule, job.old_type_name = row.schedule, type_name(row.facts) if row.facts else None
            facts = join_facets(row.facts, job.facts)
            at = from_micros(job.last)
            # Which runs a job had, and when, the runs say: its own row need not be written for each event.
            is_later = (at - row.last_event_at).total_seconds() > 60  # noqa: PLR2004 - a minute
            job.is_stored = facts == row.facts and not is_later
            job.facts = facts

    def make_pipelines(self, *, with_rules: bool) -> None:
        """Get or create the pipelines of the jobs that need one; the others get the type that is known now."""
        self._retype()
        wanted = {
            pipeline_name(job.name): job
            for job in self.known.values()
            if job.needs_pipeline and job.pipeline_id is None
        }
        if not wanted:
            return
        wanted_rows = [
            {"name": name, "display_name": name.display, "type_name": job.type_name}
            for name, job in sorted(wanted.items())
        ]
        rows = json.dumps(wanted_rows)
        self._connection.execute(text(_CREATE_TYPES), {"rows": rows, "declared": DECLARED})
        created = set(self._connection.scalars(text(_CREATE_PIPELINES), {"rows": rows}))
        ids = self._connection.execute(text(_READ_PIPELINES), {"names": [str(name) for name in wanted]})
        by_name = {row.name: row.id for row in ids}
        for job in self.known.values():
            if job.needs_pipeline and job.pipeline_id is None:
                job.pipeline_id = by_name.get(str(pipeline_name(job.name)))
                job.adopted = job.pipeline_id not in created
                job.is_stored = False
        if with_rules:
            runs = {job.pipeline_id for job in wanted.values() if job.pipeline_id and job.type_name != DECLARED}
            self.add_rules(sorted(created & runs), "duration_seconds")

    def _retype(self) -> None:
        rows = [
            {"id": job.pipeline_id, "type_name": job.type_name, "old_type_name": job.old_type_name}
            for job in self.known.values()
            if job.pipeline_id and not job.adopted and job.old_type_name not in {None, job.type_name}
        ]
        if rows:
            self._connection.execute(text(_CREATE_TYPES), {"rows": json.dumps(rows), "declared": DECLARED})
            self._connection.execute(text(_RETYPE), {"rows": json.dumps(rows)})

    def add_rules(self, pipeline_ids: Sequence[int], metric: str) -> None:
        """Give these pipelines the rule for a metric, unless they have one."""
        if pipeline_ids:
            self._connection.execute(text(_RULE), {"ids": list(pipeline_ids), "metric": metric})

    def store(self) -> None:
        """Write what is known of the jobs now, and what of it their pipelines show."""
        changed = [job for job in self.known.values() if not job.is_stored]
        if not changed:
            return
        rows = [
            {
                "id": job.id,
                "pipeline_id": job.pipeline_id,
                "adopted": job.adopted,
                "integration": job.integration[:50],
                "facts": job.facts,
                "schedule": job.schedule,
                "last_event_at": from_micros(job.last).isoformat(),
            }
            for job in changed
        ]
        self._connection.execute(text(_STORE_JOBS), {"rows": json.dumps(rows)})
        said = [
            {"id": job.pipeline_id, "said": describe_job(job.name, job.facts)} for job in changed if job.pipeline_id
        ]
        self._connection.execute(text(_DESCRIBE), {"rows": json.dumps(said)})

    def lock_pipelines(self) -> None:
        """Lock the pipelines of these jobs in the order of names, as every transaction with several does."""
        self._connection.execute(text(_LOCK), {"ids": self._pipeline_ids()})

    def revive(self) -> None:
        """Take the pipelines of these jobs out of the archive."""
        revived = sorted(self._connection.scalars(text(_REVIVE), {"ids": self._pipeline_ids()}))
        if revived:
            enqueue(self._connection, REVIVE_TASK, SCHEDULED_QUEUE, pipeline_ids=revived, address_ids=[])

    def _pipeline_ids(self) -> list[int]:
        return sorted({job.pipeline_id for job in self.known.values() if job.pipeline_id is not None})
