"""The page of channels: how each does, its test, and the form that makes or changes one."""

from collections.abc import Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import HTMLResponse, Response

from watcher_server.alerts.config import answers, service
from watcher_server.alerts.notifications import resend
from watcher_server.alerts.trying import run_test
from watcher_server.http.body import read_form
from watcher_server.http.session import Session, open_session
from watcher_server.http.state import app_state
from watcher_server.kit.errors import InvalidFieldError
from watcher_server.web.alerting.changes import FormError, NameForm, read_name
from watcher_server.web.alerting.channel_form import TYPES, fields_of, read_typed, show_typed, without_secrets
from watcher_server.web.alerting.query import CHANNELS, DoneView, EditView
from watcher_server.web.pages import back_to, page_router, render
from watcher_server.web.paging import url_builder

router = page_router()


@router.get(CHANNELS)
async def show_channels(request: Request, session: Session, view: Annotated[DoneView, Query()]) -> HTMLResponse:
    """Where alerts go, whether they arrive there, and what was answered last."""
    channels = await answers.list_channels(session)
    named = next((channel for channel in channels if channel.name == view.name), None)
    is_slack = app_state(request).settings.slack_webhook_url is not None
    return render(
        request, "alerting/channels.html", view=view, channels=channels, named=named, types=TYPES, is_slack=is_slack
    )


@router.post(CHANNELS + "/test")
async def post_test(request: Request, form: Annotated[NameForm, Form()]) -> Response:
    """Send a channel one incident, opened and resolved, and say what came of it."""
    session = partial(asynccontextmanager(open_session), request)
    await run_test(session, form.name, app_state(request).settings)
    request.app.state.relay.wake()
    return _back(request, "tested", form.name)


@router.post(CHANNELS + "/resend")
async def post_resend(request: Request, session: Session, form: Annotated[NameForm, Form()]) -> Response:
    """Have everything that did not arrive in a channel tried again."""
    count = await resend(session, form.name)
    request.app.state.relay.wake()
    return _back(request, "resent", form.name, count=count)


@router.post(CHANNELS + "/remove")
async def post_remove(request: Request, session: Session, form: Annotated[NameForm, Form()]) -> Response:
    """Remove a channel that no route names."""
    await service.delete_channel(session, form.name)
    request.app.state.relay.wake()
    return _back(request, "removed", form.name)


@router.get(CHANNELS + "/edit")
async def edit_channel(request: Request, session: Session, view: Annotated[EditView, Query()]) -> HTMLResponse:
    """The form of a channel, or of a new one of a type."""
    if not view.name:
        return _show_form(request, "", view.type, {})
    channel = await service.get_channel(session, view.name)
    return _show_form(request, channel.name, channel.type, show_typed(channel.type, channel.spec), channel.origin)


@router.post(CHANNELS + "/edit")
async def save_channel(request: Request, session: Session) -> Response:
    """Make or change a channel."""
    typed = {name: str(value) for name, value in (await read_form(request)).multi_items()}
    type_ = _known(typed.get("type", ""))
    try:
        name = read_name(typed.get("name", ""))
        # A savepoint: what is refused leaves nothing behind.
        async with session.begin_nested():
            await service.put_channel(session, name, read_typed(type_, typed), app_state(request).settings)
    except FormError as error:
        return _refuse(request, typed, f"{error}.")
    except InvalidFieldError as error:
        label = next((field.label for field in fields_of(type_) if field.name == error.field), "")
        said = str(error)
        return _refuse(request, typed, f"{said if said.startswith(label or '?') else f'{label} {said}'.strip()}.")
    return _back(request, "saved", name)


def _known(type_: str) -> str:
    return type_ if type_ in TYPES else next(iter(TYPES))


def _show_form(
    request: Request, name: str, type_: str, typed: Mapping[str, str], origin: str | None = None, **more: Any
) -> HTMLResponse:
    type_ = _known(type_)
    about = {"name": name, "type": type_, "typed": typed, "origin": origin, "is_new": not name}
    return render(request, "alerting/channel.html", types=TYPES, fields=fields_of(type_), **{**about, **more})


def _refuse(request: Request, typed: Mapping[str, str], error: str) -> HTMLResponse:
    type_ = _known(typed.get("type", ""))
    return _show_form(
        request,
        typed.get("name", ""),
        type_,
        without_secrets(type_, typed),
        is_new=typed.get("is_new") == "true",
        error=error,
        status_code=422,
    )


def _back(request: Request, done: str, name: str, **more: Any) -> Response:
    return back_to(request, url_builder(CHANNELS)(done=done, name=name, **more))
