"""Anomaly detection rules, results and flags over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from watcher_server.anomalies import corrections, reading, service
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.anomalies.preview import preview_rule
from watcher_server.anomalies.progress import show_rules
from watcher_server.anomalies.reflagging import reflag
from watcher_server.anomalies.schemas import (
    AcceptNewNormal,
    BaselineResponse,
    EventResponse,
    MetricField,
    PreviewResponse,
    Reflag,
    ResultResponse,
    RulePatch,
    RulePost,
    RulePreview,
    RuleResponse,
    SuggestionResponse,
    Unflag,
)
from watcher_server.anomalies.suggesting import suggest_rule
from watcher_server.database.rows import find
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import Created, Id
from watcher_server.kit.listing import Page, read_page

router = APIRouter(route_class=JsonRoute, tags=["anomalies"])


@router.post("/anomaly_detection_rule", status_code=201, responses={200: {"model": Created}})
async def post_anomaly_detection_rule(body: RulePost, session: Session, response: Response) -> Created:
    """Get or create the rule for a pipeline and metric: 201 when it was created, 200 when it existed."""
    rule, created = await service.post_rule(session, body)
    response.status_code = 201 if created else 200
    return Created(id=rule.id)


@router.get("/anomaly_detection_rule")
async def list_anomaly_detection_rules(
    *,
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    pipeline_id: Id | None = None,
    metric_field: MetricField | None = None,
    active: bool | None = None,
) -> list[RuleResponse]:
    """Every rule, by id, with how far it is with learning."""
    rules = await service.list_rules(session, page, pipeline_id=pipeline_id, metric_field=metric_field, active=active)
    return await show_rules(session, rules)


@router.post("/anomaly_detection_rule/preview")
async def preview_anomaly_detection_rule(body: RulePreview, session: Session) -> PreviewResponse:
    """What a rule would have flagged in the past, by its method and by each other; nothing is written."""
    return await preview_rule(session, body)


@router.get("/pipeline/{pipeline_id}/suggested_rule")
async def get_suggested_rule(
    session: Session, pipeline_id: Annotated[Id, Path()], metric: MetricField
) -> SuggestionResponse:
    """The rule that suits a metric, by how often the pipeline runs and what its past shows; and why."""
    return await suggest_rule(session, pipeline_id, metric)


@router.get("/anomaly_detection_rule/{rule_id}")
async def get_anomaly_detection_rule(rule_id: Annotated[Id, Path()], session: Session) -> RuleResponse:
    """One rule."""
    return (await show_rules(session, [await find(session, AnomalyDetectionRule, rule_id)]))[0]


@router.patch("/anomaly_detection_rule")
async def patch_anomaly_detection_rule(body: RulePatch, session: Session) -> RuleResponse:
    """Change one rule, named by id."""
    return (await show_rules(session, [await service.patch_rule(session, body)]))[0]


@router.get("/anomaly_detection_result", response_model=list[ResultResponse])
async def list_anomaly_detection_results(
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    pipeline_id: Id | None = None,
    pipeline_execution_id: Id | None = None,
    metric_field: MetricField | None = None,
) -> Sequence[AnomalyDetectionResult]:
    """Every anomaly that was found and not unflagged, the newest last."""
    return await service.list_results(
        session,
        page,
        pipeline_id=pipeline_id,
        pipeline_execution_id=pipeline_execution_id,
        metric_field=metric_field,
    )


@router.get("/anomaly_detection_result/{result_id}", response_model=ResultResponse)
async def get_anomaly_detection_result(result_id: Annotated[Id, Path()], session: Session) -> AnomalyDetectionResult:
    """One anomaly."""
    return await find(session, AnomalyDetectionResult, result_id)


@router.post("/unflag_anomaly", status_code=204)
async def unflag_anomaly(body: Unflag, session: Session) -> None:
    """Clear anomaly flags of one execution, and delete their results.

    The way back: ``POST /reflag_anomaly`` with the same body.
    """
    await corrections.unflag_anomaly(session, body)


@router.post("/reflag_anomaly", status_code=204)
async def reflag_anomaly(body: Reflag, session: Session) -> None:
    """Put back anomaly flags of one execution that were unflagged, with their results and events."""
    await reflag(session, body)


@router.get("/anomaly_event", response_model=list[EventResponse])
async def list_anomaly_events(
    *,
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    pipeline_id: Id | None = None,
    metric_field: MetricField | None = None,
    accepted: bool | None = None,
) -> Sequence[AnomalyEvent]:
    """Runs of consecutive anomalies on one side, the newest last."""
    return await service.list_events(
        session, page, pipeline_id=pipeline_id, metric_field=metric_field, accepted=accepted
    )


@router.post("/accept_new_normal")
async def accept_new_normal(body: AcceptNewNormal, session: Session) -> list[RuleResponse]:
    """Take the level of these metrics from this execution on as the new normal; the rules that learn anew.

    The way back: PATCH the rule with ``normal_from`` null.
    """
    return await show_rules(session, await corrections.accept_new_normal(session, body))


@router.get("/pipeline/{pipeline_id}/baseline")
async def get_baseline(
    *,
    session: Session,
    pipeline_id: Annotated[Id, Path()],
    metric: MetricField,
    executions: Annotated[
        int, Query(ge=0, le=200, description="For how many of the latest executions to return the band.")
    ] = 30,
) -> BaselineResponse:
    """What a rule expects: of a run now, and of the latest executions, as they were judged."""
    return await reading.read_baseline(session, pipeline_id, metric, executions)
