"""Writing the file that makes what is so now."""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DefaultClause, select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config.schemas import WindowSpec
from watcher_server.alerts.config.store import ObjectKind, read_channels, read_objects, spec_for_people
from watcher_server.alerts.models import AlertingObject
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.schemas import RulePost
from watcher_server.config_file.schemas import PipelineEntry
from watcher_server.pipelines.models import Pipeline

# What is exported of every pipeline, in the order of the file. Metadata is what the pipeline's own code says.
_FIELDS = tuple(name for name in PipelineEntry.model_fields if name not in {"pipeline", "rules", "pipeline_metadata"})
# What a new pipeline has, by the table.
_DEFAULTS = {
    column.name: json.loads(str(default.arg).replace("'", '"'))
    for column in Pipeline.__table__.columns
    if column.name in _FIELDS and isinstance(default := column.server_default, DefaultClause)
}
_RULE_DEFAULTS = {
    name: field.get_default(call_default_factory=True)
    for name, field in RulePost.model_fields.items()
    if name not in {"pipeline_id", "metric_field"}
}


async def export(session: AsyncSession, *, every_pipeline: bool) -> dict[str, Any]:
    """The file as JSON. Of pipelines it has what files said, or with ``every_pipeline`` what holds of each."""
    now = datetime.now(UTC)
    sections: dict[str, Any] = {
        "channels": {row.name: row.spec for row in await read_channels(session)},
        "calendars": {row.name: spec_for_people(row) for row in await read_objects(session, ObjectKind.CALENDAR)},
        "routes": [_named(row) for row in await read_objects(session, ObjectKind.ROUTE)],
        "windows": [
            _named(row)
            for row in await read_objects(session, ObjectKind.WINDOW)
            if row.origin or not WindowSpec.model_validate(row.spec).is_over(now)
        ],
    }
    if every_pipeline:
        sections["pipelines"] = await _every_pipeline(session)
    else:
        said = await read_objects(session, ObjectKind.PIPELINE)
        sections["pipelines"] = [{"pipeline": row.name, **row.spec} for row in said]
    return {"version": 1, **{name: section for name, section in sections.items() if section}}


def _named(row: AlertingObject) -> dict[str, Any]:
    return {"name": row.name, **spec_for_people(row)}


async def _every_pipeline(session: AsyncSession) -> list[dict[str, Any]]:
    # What of each rule is not as in a new one.
    rules: dict[int, list[dict[str, Any]]] = {}
    for rule in await session.scalars(select(AnomalyDetectionRule).order_by(AnomalyDetectionRule.metric_field)):
        of_rule = {name: getattr(rule, name) for name in _RULE_DEFAULTS}
        changed = {name: value for name, value in of_rule.items() if value != _RULE_DEFAULTS[name]}
        if changed:
            rules.setdefault(rule.pipeline_id, []).append({"metric_field": rule.metric_field, **changed})
    entries = []
    pipelines = select(Pipeline).where(Pipeline.archived_at.is_(None)).order_by(Pipeline.name)
    for pipeline in await session.scalars(pipelines):
        held = {name: getattr(pipeline, name) for name in _FIELDS}
        said = {name: value for name, value in held.items() if value is not None and value != _DEFAULTS.get(name)}
        if pipeline.id in rules:
            said["rules"] = rules[pipeline.id]
        entry = PipelineEntry.model_validate({"pipeline": pipeline.name, **said})
        entries.append({"pipeline": entry.pipeline, **entry.spec()})
    return entries
