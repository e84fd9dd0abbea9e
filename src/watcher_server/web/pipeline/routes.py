"""The page of one pipeline."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel

from watcher_server.http.body import JsonRoute, read_form
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id, ShortName
from watcher_server.web.pages import back_to, is_part, publish_change, render
from watcher_server.web.paging import url_builder
from watcher_server.web.pipeline import changes
from watcher_server.web.pipeline.anomaly import read_anomaly
from watcher_server.web.pipeline.facts import read_facts
from watcher_server.web.pipeline.standing import read_standing
from watcher_server.web.pipeline.tabs import Done, State, Tab, read_tab
from watcher_server.web.pipeline.wording import WORDS

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

PipelineId = Annotated[Id, Path()]
RuleId = Annotated[Id, Path()]


class Verdict(BaseModel):
    """What is said of one metric of one run; ``back`` is the page to go back to, that of the pipeline when empty."""

    execution_id: Id
    metric: ShortName
    back: str = ""


@router.get("/ui/pipelines/{pipeline_id}")
async def show_pipeline(
    request: Request, pipeline_id: PipelineId, state: Annotated[State, Query()], session: Session
) -> HTMLResponse:
    """How the pipeline does, and one of its tabs."""
    return await _show(request, session, pipeline_id, state)


async def _show(
    request: Request, session: Session, pipeline_id: int, state: State, *, status_code: int = 200, **more: Any
) -> HTMLResponse:
    facts = await read_facts(session, pipeline_id)
    standing = await read_standing(session, facts)
    hours = request.app.state.settings.alert_max_age_hours
    context = await read_tab(session, pipeline_id, state, alert_max_age_hours=hours)
    return render(
        request,
        f"pipeline/{state.tab}.html",
        status_code=status_code,
        facts=facts,
        pipeline=facts.row,
        standing=standing,
        state=state,
        tabs=list(Tab),
        url=url_builder(_path(pipeline_id), **_kept(state)),
        **WORDS,
        **{**context, **more},
    )


def _path(pipeline_id: int) -> str:
    return f"/ui/pipelines/{pipeline_id}"


def _kept(state: State) -> dict[str, Any]:
    """What of the state the links of the page carry on."""
    runs = state.runs if "runs" in state.model_fields_set else None
    return {"tab": state.tab.value, "runs": runs and runs.value, "outcome": state.outcome.value}


@router.get("/ui/pipelines/{pipeline_id}/standing")
async def show_standing(request: Request, pipeline_id: PipelineId, session: Session) -> HTMLResponse:
    """How the pipeline does, alone: the part that stays alive."""
    facts = await read_facts(session, pipeline_id)
    standing = await read_standing(session, facts)
    template = "pipeline/_standing_part.html"
    return render(request, template, facts=facts, pipeline=facts.row, standing=standing, **WORDS)


@router.get("/ui/pipelines/{pipeline_id}/anomalies/{result_id}")
async def show_anomaly(
    request: Request, pipeline_id: PipelineId, result_id: Annotated[Id, Path()], session: Session
) -> Response:
    """The numbers behind an anomaly, alone; without htmx, on their page."""
    if not is_part(request):
        return back_to(request, url_builder(_path(pipeline_id))(tab=Tab.CHARTS.value, anomaly=result_id))
    anomaly = await read_anomaly(session, pipeline_id, result_id)
    return render(request, "pipeline/_anomaly_part.html", anomaly=anomaly, **WORDS)


@router.post("/ui/pipelines/{pipeline_id}/unflag")
async def unflag(
    request: Request, pipeline_id: PipelineId, verdict: Annotated[Verdict, Form()], session: Session
) -> Response:
    """Take the flag of a metric off a run."""
    await changes.unflag(session, pipeline_id, verdict.execution_id, verdict.metric)
    await publish_change(request, session)
    return _done(request, pipeline_id, Tab.CHARTS, Done.UNFLAGGED, verdict.back)


@router.post("/ui/pipelines/{pipeline_id}/accept")
async def accept(
    request: Request, pipeline_id: PipelineId, verdict: Annotated[Verdict, Form()], session: Session
) -> Response:
    """Take the level of a metric from a run on as the new normal."""
    await changes.accept_new_normal(session, pipeline_id, verdict.execution_id, verdict.metric)
    await publish_change(request, session)
    return _done(request, pipeline_id, Tab.CHARTS, Done.ACCEPTED, verdict.back)


@router.post("/ui/pipelines/{pipeline_id}/rules")
async def create_rule(request: Request, pipeline_id: PipelineId, session: Session) -> Response:
    """Have another metric judged."""
    form = await read_form(request)
    try:
        await changes.create_rule(session, pipeline_id, form)
    except changes.FormError as error:
        state = State(tab=Tab.RULES)
        return await _show(request, session, pipeline_id, state, status_code=422, error=str(error), filled=dict(form))
    return _done(request, pipeline_id, Tab.RULES, Done.RULE_CREATED)


@router.post("/ui/pipelines/{pipeline_id}/rules/{rule_id}")
async def change_rule(request: Request, pipeline_id: PipelineId, rule_id: RuleId, session: Session) -> Response:
    """Change how a metric is judged."""
    form = await read_form(request)
    try:
        await changes.change_rule(session, pipeline_id, rule_id, form)
    except changes.FormError as error:
        state = State(tab=Tab.RULES, edit=rule_id)
        return await _show(request, session, pipeline_id, state, status_code=422, error=str(error), filled=dict(form))
    return _done(request, pipeline_id, Tab.RULES, Done.RULE_CHANGED)


@router.post("/ui/pipelines/{pipeline_id}/rules/{rule_id}/forget")
async def forget_new_normal(request: Request, pipeline_id: PipelineId, rule_id: RuleId, session: Session) -> Response:
    """Have what was normal before count again."""
    await changes.forget_new_normal(session, pipeline_id, rule_id)
    return _done(request, pipeline_id, Tab.RULES, Done.FORGOTTEN)


def _done(request: Request, pipeline_id: int, tab: Tab, done: Done, back: str = "") -> Response:
    """Back to where the form stood: the page of the pipeline, or another page of ours that it named."""
    if back.startswith("/ui/"):
        return back_to(request, back)
    return back_to(request, url_builder(_path(pipeline_id))(tab=tab.value, done=done.value))
