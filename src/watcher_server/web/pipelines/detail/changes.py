"""Changes of a pipeline's rules, as the forms of its page send them."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.anomalies import service
from watcher_server.anomalies.models import AnomalyDetectionRule
from watcher_server.anomalies.schemas import RulePatch, RulePost
from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.web.pipelines.detail.wording import FIELDS

Body = TypeVar("Body", bound=BaseModel)


class FormError(Exception):
    """A field of the form is wrong; the message says which one and why."""


async def create_rule(session: AsyncSession, pipeline_id: int, form: Mapping[str, Any]) -> None:
    """Create the rule that was filled in.

    Raises:
        FormError: a field is wrong.
        NotFoundError: no such pipeline.
        ConflictError: the metric has a rule already.
    """
    body = read_rule(RulePost, form, pipeline_id=pipeline_id)
    if await session.scalar(_rule_id(pipeline_id, AnomalyDetectionRule.metric_field == body.metric_field)) is not None:
        raise ConflictError(f"This pipeline has a rule for {body.metric_field} already: change that one.")
    await service.sync_rule(session, body)


async def change_rule(session: AsyncSession, pipeline_id: int, rule_id: int, form: Mapping[str, Any]) -> None:
    """Write what was filled in into one of the pipeline's rules; what the form does not carry stays.

    Raises:
        FormError: a field is wrong.
        NotFoundError: the pipeline has no such rule.
    """
    body = read_rule(RulePatch, form, id=rule_id)
    await _find_rule(session, pipeline_id, rule_id)
    await service.patch_rule(session, body)


async def forget_new_normal(session: AsyncSession, pipeline_id: int, rule_id: int) -> None:
    """Have the normal from before the new one hold again; raises as :func:`change_rule` does."""
    await _find_rule(session, pipeline_id, rule_id)
    await service.take_back_normal(session, rule_id)


async def _find_rule(session: AsyncSession, pipeline_id: int, rule_id: int) -> None:
    if await session.scalar(_rule_id(pipeline_id, AnomalyDetectionRule.id == rule_id)) is None:
        raise NotFoundError(f"Pipeline {pipeline_id} has no anomaly detection rule {rule_id}.")


def _rule_id(pipeline_id: int, which: Any) -> Any:
    return select(AnomalyDetectionRule.id).where(AnomalyDetectionRule.pipeline_id == pipeline_id, which)


def read_rule(kind: type[Body], form: Mapping[str, Any], **about: int) -> Body:
    """The fields of a rule that the form carries. An empty one is left out, or says never or none where it may.

    Raises:
        FormError: a field is wrong.
    """
    given = {name: str(form[name]).strip() for name in FIELDS if name in form}
    filled: dict[str, Any] = {name: value for name, value in given.items() if value}
    empties: dict[str, Any] = {"new_normal_after": None, "alarms_per_month": None, "holidays": []}
    filled |= {name: empty for name, empty in empties.items() if given.get(name) == ""}
    if given.get("holidays"):
        filled["holidays"] = given["holidays"].replace(",", " ").split()
    try:
        return kind.model_validate({**filled, **about})
    except ValidationError as error:
        wrong = error.errors()[0]
        field = str(wrong["loc"][-1]) if wrong["loc"] else ""
        raise FormError(f"{FIELDS.get(field, field)}: {wrong['msg']}.") from None
