"""The page of one pipeline."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel

from watcher_server.anomalies import corrections
from watcher_server.anomalies.flagged import read_anomaly
from watcher_server.anomalies.reflagging import reflag
from watcher_server.anomalies.schemas import AcceptNewNormal, Reflag, Unflag
from watcher_server.auth.access import may_write
from watcher_server.http.body import read_form
from watcher_server.http.session import Session
from watcher_server.kit.fields import Id, ShortName
from watcher_server.openlineage.pages import describe_pipeline
from watcher_server.pings.service import renew_url
from watcher_server.pipelines.ping_urls import ping_url
from watcher_server.web.pages import back_to, is_part, page_router, render
from watcher_server.web.paging import url_builder
from watcher_server.web.pipelines.detail import changes
from watcher_server.web.pipelines.detail.reading import Done, State, Tab, read_standing, read_tab
from watcher_server.web.pipelines.detail.recipes import ping_recipes
from watcher_server.web.pipelines.detail.trying import preview_form
from watcher_server.web.pipelines.detail.wording import WORDS

router = page_router()

PipelineId = Annotated[Id, Path()]
RuleId = Annotated[Id, Path()]


class Verdict(BaseModel):
    """The metric of a run that is judged; ``back`` is the page to go back to, that of the pipeline when empty."""

    execution_id: Id
    metric: ShortName
    back: str = ""

    def about(self, pipeline_id: int) -> dict[str, Any]:
        """What the API takes for it."""
        return {"pipeline_id": pipeline_id, "pipeline_execution_id": self.execution_id, "metric_field": [self.metric]}


@router.get("/ui/pipelines/{pipeline_id}")
async def show_pipeline(
    request: Request, pipeline_id: PipelineId, state: Annotated[State, Query()], session: Session
) -> HTMLResponse:
    """How the pipeline does, and one of its tabs."""
    return await _show(request, session, pipeline_id, state)


async def _show(
    request: Request, session: Session, pipeline_id: int, state: State, *, status_code: int = 200, **more: Any
) -> HTMLResponse:
    # The part of the state that the links of the page keep.
    runs = state.runs.value if "runs" in state.model_fields_set else None
    url = url_builder(_path(pipeline_id), tab=state.tab.value, runs=runs, outcome=state.outcome.value)
    standing = await read_standing(session, pipeline_id)
    hours = request.app.state.settings.alert_max_age_hours
    context = await read_tab(session, pipeline_id, state, alert_max_age_hours=hours)
    if state.tab is Tab.PING and may_write(request):
        # A secret, for those who may report runs.
        pipeline = standing.pipeline
        address = ping_url(request, pipeline.ping_uuid)
        recipes = ping_recipes(address, pipeline.ping_slug, pipeline.schedule, pipeline.schedule_timezone)
        context |= {"ping_url": address, "recipes": recipes}
    return render(
        request,
        f"pipelines/detail/{state.tab}.html",
        status_code=status_code,
        pipeline=standing.pipeline,
        standing=standing,
        said=describe_pipeline(standing.pipeline, standing.summary.tags),
        state=state,
        tabs=list(Tab),
        url=url,
        **WORDS,
        **{**context, **more},
    )


def _path(pipeline_id: int) -> str:
    return f"/ui/pipelines/{pipeline_id}"


@router.get("/ui/pipelines/{pipeline_id}/standing")
async def show_standing(request: Request, pipeline_id: PipelineId, session: Session) -> HTMLResponse:
    """How the pipeline does, alone: the part that stays alive."""
    standing = await read_standing(session, pipeline_id)
    template = "pipelines/detail/_standing_part.html"
    return render(request, template, pipeline=standing.pipeline, standing=standing, **WORDS)


@router.get("/ui/pipelines/{pipeline_id}/anomalies/{result_id}")
async def show_anomaly(
    request: Request, pipeline_id: PipelineId, result_id: Annotated[Id, Path()], session: Session
) -> Response:
    """The numbers behind an anomaly, alone; without htmx, on their page."""
    if not is_part(request):
        return back_to(request, url_builder(_path(pipeline_id))(tab=Tab.CHARTS.value, anomaly=result_id))
    anomaly = await read_anomaly(session, pipeline_id, result_id)
    return render(request, "pipelines/detail/_anomaly_part.html", anomaly=anomaly, **WORDS)


@router.post("/ui/pipelines/{pipeline_id}/unflag")
async def unflag(
    request: Request, pipeline_id: PipelineId, verdict: Annotated[Verdict, Form()], session: Session
) -> Response:
    """Take the flag of a metric off a run."""
    await corrections.unflag_anomaly(session, Unflag(**verdict.about(pipeline_id)))
    cleared = {"run": verdict.execution_id, "metric": verdict.metric}
    return _done(request, pipeline_id, Tab.CHARTS, Done.UNFLAGGED, verdict.back, **cleared)


@router.post("/ui/pipelines/{pipeline_id}/accept")
async def accept(
    request: Request, pipeline_id: PipelineId, verdict: Annotated[Verdict, Form()], session: Session
) -> Response:
    """Take the level of a metric from a run on as the new normal."""
    await corrections.accept_new_normal(session, AcceptNewNormal(**verdict.about(pipeline_id)))
    return _done(request, pipeline_id, Tab.CHARTS, Done.ACCEPTED, verdict.back)


@router.post("/ui/pipelines/{pipeline_id}/reflag")
async def put_flag_back(
    request: Request, pipeline_id: PipelineId, verdict: Annotated[Verdict, Form()], session: Session
) -> Response:
    """Put the flag of a metric back that was taken off a run."""
    await reflag(session, Reflag(**verdict.about(pipeline_id)))
    return _done(request, pipeline_id, Tab.CHARTS, Done.REFLAGGED, verdict.back)


@router.post("/ui/pipelines/{pipeline_id}/ping-url")
async def renew_ping_url(request: Request, pipeline_id: PipelineId, session: Session) -> Response:
    """Give the pipeline a new ping URL."""
    await renew_url(session, pipeline_id)
    return _done(request, pipeline_id, Tab.PING, Done.RENEWED)


@router.post("/ui/pipelines/{pipeline_id}/rules")
async def create_rule(request: Request, pipeline_id: PipelineId, session: Session) -> Response:
    """Have another metric judged."""
    return await _write_rule(request, session, pipeline_id, None)


@router.get("/ui/pipelines/{pipeline_id}/rules/preview")
async def preview_rule(
    request: Request, pipeline_id: PipelineId, session: Session, rule_id: Id | None = None
) -> Response:
    """What the rule that was filled in would have flagged; nothing is saved."""
    form = dict(request.query_params)
    if not form.keys() - {"rule_id"}:
        # Its address alone, without the fields of the form.
        return RedirectResponse(f"/ui/pipelines/{pipeline_id}?tab=rules", status_code=HTTPStatus.SEE_OTHER)
    state = State.model_validate({"tab": Tab.RULES, "edit": rule_id, "metric": form.get("metric_field")})
    try:
        shown = await preview_form(session, pipeline_id, form)
    except changes.FormError as error:
        return await _show(request, session, pipeline_id, state, status_code=422, error=str(error), filled=form)
    return await _show(request, session, pipeline_id, state, filled=form, **shown)


@router.post("/ui/pipelines/{pipeline_id}/rules/{rule_id}")
async def change_rule(request: Request, pipeline_id: PipelineId, rule_id: RuleId, session: Session) -> Response:
    """Change how a metric is judged."""
    return await _write_rule(request, session, pipeline_id, rule_id)


async def _write_rule(request: Request, session: Session, pipeline_id: int, rule_id: int | None) -> Response:
    form = await read_form(request)
    try:
        if rule_id is None:
            await changes.create_rule(session, pipeline_id, form)
        else:
            await changes.change_rule(session, pipeline_id, rule_id, form)
    except changes.FormError as error:
        state = State(tab=Tab.RULES, edit=rule_id)
        return await _show(request, session, pipeline_id, state, status_code=422, error=str(error), filled=dict(form))
    done = Done.RULE_CREATED if rule_id is None else Done.RULE_CHANGED
    return _done(request, pipeline_id, Tab.RULES, done)


@router.post("/ui/pipelines/{pipeline_id}/rules/{rule_id}/forget")
async def forget_new_normal(request: Request, pipeline_id: PipelineId, rule_id: RuleId, session: Session) -> Response:
    """Have what was normal before count again."""
    await changes.forget_new_normal(session, pipeline_id, rule_id)
    return _done(request, pipeline_id, Tab.RULES, Done.FORGOTTEN)


def _done(request: Request, pipeline_id: int, tab: Tab, done: Done, back: str = "", **more: Any) -> Response:
    """To the page that the form named, if it is one of Watcher's, else to the page of the pipeline."""
    if back.startswith("/ui/"):
        return back_to(request, back)
    return back_to(request, url_builder(_path(pipeline_id))(tab=tab.value, done=done.value, **more))
