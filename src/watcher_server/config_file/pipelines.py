"""Applying what the file says of pipelines to those that there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.schemas import RulePost
from watcher_server.anomalies.service import sync_rule
from watcher_server.config_file.schemas import Change, PipelineEntry
from watcher_server.kit.errors import InvalidFieldError
from watcher_server.kit.globs import like_pattern
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.service import change_pipeline


@dataclass
class _Wanted:
    """What the entries together say of one pipeline, and which entry spoke last."""

    pipeline: Pipeline
    entry: int
    fields: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)


async def apply_pipelines(session: AsyncSession, entries: Sequence[PipelineEntry]) -> tuple[list[Change], int]:
    """Change the pipelines that the entries name; what changed, and how many were so already.

    Raises:
        InvalidFieldError: with the path of the entry, where half a threshold would be left.
    """
    wanted, changes = await _gather(session, entries)
    ruled = [each.pipeline.id for each in wanted.values() if each.rules]
    found = await session.scalars(select(AnomalyDetectionRule).where(AnomalyDetectionRule.pipeline_id.in_(ruled)))
    rules = {(rule.pipeline_id, rule.metric_field): rule for rule in found}
    unchanged = 0
    for each in wanted.values():
        changed = [*await _change_fields(session, each), *await _change_rules(session, each, rules)]
        unchanged += not changed
        if changed:
            name, detail = each.pipeline.name, ", ".join(changed)
            changes.append(Change(action="changed", kind="pipeline", name=name, detail=detail))
    return changes, unchanged


async def _gather(
    session: AsyncSession, entries: Sequence[PipelineEntry]
) -> tuple[Mapping[int, _Wanted], list[Change]]:
    wanted: dict[int, _Wanted] = {}
    unmatched = []
    for number, entry in enumerate(entries):
        named = select(Pipeline).where(Pipeline.name.like(like_pattern(entry.pipeline)), Pipeline.archived_at.is_(None))
        pipelines = (await session.scalars(named.order_by(Pipeline.name))).all()
        if not pipelines:
            unmatched.append(Change(action="unmatched", kind="pipeline", name=entry.pipeline))
        for pipeline in pipelines:
            each = wanted.setdefault(pipeline.id, _Wanted(pipeline, number))
            each.entry = number
            each.fields |= entry.fields()
            for rule in entry.rules:
                each.rules[rule.metric_field] = each.rules.get(rule.metric_field, {}) | rule.carried()
    return wanted, unmatched


async def _change_fields(session: AsyncSession, wanted: _Wanted) -> list[str]:
    changes = {name: value for name, value in wanted.fields.items() if getattr(wanted.pipeline, name) != value}
    if changes:
        try:
            await change_pipeline(session, wanted.pipeline, changes)
        except InvalidFieldError as error:
            path = ("document", "pipelines", wanted.entry)
            raise InvalidFieldError(error.field, f"{error} (pipeline {wanted.pipeline.name!r})", path) from None
    return list(changes)


async def _change_rules(
    session: AsyncSession, wanted: _Wanted, rules: Mapping[tuple[int, str], AnomalyDetectionRule]
) -> list[str]:
    changed = []
    for metric, carried in wanted.rules.items():
        rule = rules.get((wanted.pipeline.id, metric))
        if rule is None or any(getattr(rule, name) != value for name, value in carried.items()):
            await sync_rule(session, RulePost.model_validate({"pipeline_id": wanted.pipeline.id, **carried}))
            changed.append(f"rule {metric}")
    return changed
