"""Anomaly detection rules, results and flags over HTTP."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from watcher_server.anomalies import corrections, reading, service
from watcher_server.anomalies.models import AnomalyDetectionResult, AnomalyDetectionRule, AnomalyEvent
from watcher_server.anomalies.schemas import (
    AcceptNewNormal,
    BaselineResponse,
    EventResponse,
    MetricField,
    ResultResponse,
    RulePatch,
    RulePost,
    RuleResponse,
    Unflag,
)
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


@router.get("/anomaly_detection_rule", response_model=list[RuleResponse])
async def list_anomaly_detection_rules(
    *,
    session: Session,
    page: Annotated[Page, Depends(read_page)],
    pipeline_id: Id | None = None,
    metric_field: MetricField | None = None,
    active: bool | None = None,
) -> Sequence[AnomalyDetectionRule]:
    """Every rule, by id."""
    return await service.list_rules(session, page, pipeline_id=pipeline_id, metric_field=metric_field, active=active)


@router.get("/anomaly_detection_rule/{rule_id}", response_model=RuleResponse)
async def get_anomaly_detection_rule(rule_id: Annotated[Id, Path()], session: Session) -> AnomalyDetectionRule:
    """One rule."""
    return await find(session, AnomalyDetectionRule, rule_id)


@router.patch("/anomaly_detection_rule", response_model=RuleResponse)
async def patch_anomaly_detection_rule(body: RulePatch, session: Session) -> AnomalyDetectionRule:
    """Change one rule, named by id."""
    return await service.patch_rule(session, body)


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
    """Clear anomaly flags of one execution, and delete their results."""
    await corrections.unflag_anomaly(session, body)


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


@router.post("/accept_new_normal", response_model=list[RuleResponse])
async def accept_new_normal(body: AcceptNewNormal, session: Session) -> Sequence[AnomalyDetectionRule]:
    """Take the level of these metrics from this execution on as the new normal; the rules that learn anew.

    The way back: PATCH the rule with ``normal_from`` null.
    """
    return await corrections.accept_new_normal(session, body)


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
