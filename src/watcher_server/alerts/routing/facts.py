"""What is known of the subjects of an alert, for routes and windows to match."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection, text

from watcher_server.alerts.routing.matching import Facts


class About(Protocol):
    """Something that an alert is about: an incident, a pipeline, or both."""

    @property
    def incident_id(self) -> int | None:
        """The incident."""

    @property
    def pipeline_id(self) -> int | None:
        """The pipeline; that of the incident where this is None."""


# Each by its primary key.
_FACTS = """
SELECT incident.id, incident.kind, incident.level, coalesce(incident.root_id, incident.id) AS root,
    pipeline.name AS pipeline, pipeline.type_name, pipeline.owner, pipeline.tags
FROM unnest(CAST(:incident_ids AS bigint[]), CAST(:pipeline_ids AS bigint[]))
    WITH ORDINALITY AS about (incident_id, pipeline_id, place)
LEFT JOIN incident ON incident.id = about.incident_id
LEFT JOIN pipeline_effective AS pipeline ON pipeline.id = coalesce(about.pipeline_id, incident.pipeline_id)
ORDER BY place
"""


def read_facts(connection: Connection, subjects: Sequence[About], *, kind: str | None, level: str) -> list[Facts]:
    """What is known of each subject; ``kind`` and ``level`` are those of one that is no incident."""
    parameters = {
        "incident_ids": [subject.incident_id for subject in subjects],
        "pipeline_ids": [subject.pipeline_id for subject in subjects],
    }
    return [
        Facts(
            level=row.level or level,
            kind=row.kind or kind,
            pipeline=row.pipeline,
            type=row.type_name,
            owner=row.owner,
            tags=tuple(row.tags or ()),
            incident_id=row.id,
            root=row.root,
        )
        for row in connection.execute(text(_FACTS), parameters)
    ]
