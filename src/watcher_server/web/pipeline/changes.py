"""What is changed on the page of a pipeline: verdicts on its anomalies, and its rules."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies import corrections, service
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.schemas import AcceptNewNormal, RulePatch, RulePost, Unflag
from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.web.pipeline.wording import FIELDS

# Fields in which nothing means never.
_OPTIONAL = frozenset({"new_normal_after"})


class FormError(Exception):
    """What was filled in cannot be; the message says which field and why."""


async def unflag(session: AsyncSession, pipeline_id: int, execution_id: int, metric: str) -> None:
    """Say that the metric of that run was no anomaly; raises as :func:`corrections.unflag_anomaly` does."""
    body = Unflag(pipeline_id=pipeline_id, pipeline_execution_id=execution_id, metric_field=[metric])
    await corrections.unflag_anomaly(session, body)


async def accept_new_normal(session: AsyncSession, pipeline_id: int, execution_id: int, metric: str) -> None:
    """Take the level from that run on as normal; raises as :func:`corrections.accept_new_normal` does."""
    body = AcceptNewNormal(pipeline_id=pipeline_id, pipeline_execution_id=execution_id, metric_field=[metric])
    await corrections.accept_new_normal(session, body)


async def create_rule(session: AsyncSession, pipeline_id: int, form: Mapping[str, Any]) -> None:
    """Create the rule that was filled in.

    Raises:
        FormError: a field cannot be what it is.
        NotFoundError: no such pipeline.
        ConflictError: the metric has a rule already.
    """
    try:
        body = RulePost.model_validate({**_filled(form), "pipeline_id": pipeline_id})
    except ValidationError as error:
        raise FormError(_sentence(error)) from None
    if await session.scalar(_rule_id(pipeline_id, AnomalyDetectionRule.metric_field == body.metric_field)) is not None:
        raise ConflictError(f"This pipeline has a rule for {body.metric_field} already: change that one.")
    await service.sync_rule(session, body)


async def change_rule(session: AsyncSession, pipeline_id: int, rule_id: int, form: Mapping[str, Any]) -> None:
    """Write what was filled in into one of the pipeline's rules; what the form does not carry stays.

    Raises:
        FormError: a field cannot be what it is.
        NotFoundError: the pipeline has no such rule.
    """
    try:
        body = RulePatch.model_validate({**_filled(form), "id": rule_id})
    except ValidationError as error:
        raise FormError(_sentence(error)) from None
    await _find_rule(session, pipeline_id, rule_id)
    await service.patch_rule(session, body)


async def forget_new_normal(session: AsyncSession, pipeline_id: int, rule_id: int) -> None:
    """Have the runs from before the new normal count again; raises as :func:`change_rule` does."""
    await _find_rule(session, pipeline_id, rule_id)
    await service.patch_rule(session, RulePatch(id=rule_id, normal_from=None))


async def _find_rule(session: AsyncSession, pipeline_id: int, rule_id: int) -> None:
    if await session.scalar(_rule_id(pipeline_id, AnomalyDetectionRule.id == rule_id)) is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no anomaly detection rule {rule_id}.")


def _rule_id(pipeline_id: int, which: Any) -> Any:
    return select(AnomalyDetectionRule.id).where(AnomalyDetectionRule.pipeline_id == pipeline_id, which)


def _filled(form: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a rule that the form carries; an empty one is left out, or none where that means something."""
    given = {name: str(form[name]).strip() for name in FIELDS if name in form}
    return {name: value or None for name, value in given.items() if value or name in _OPTIONAL}


def _sentence(error: ValidationError) -> str:
    wrong = error.errors()[0]
    field = str(wrong["loc"][-1]) if wrong["loc"] else ""
    return f"{FIELDS.get(field, field)}: {wrong['msg']}."
