"""The pages of routes with their calendars, and of windows."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config import service
from watcher_server.alerts.config.store import ObjectKind
from watcher_server.alerts.kinds import Kind
from watcher_server.auth.access import may_administer
from watcher_server.auth.acting import actor_of
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.web.alerting import changes, reading
from watcher_server.web.alerting.changes import FormError, NameForm, QuietForm, TextForm
from watcher_server.web.alerting.query import CALENDARS, ROUTES, WINDOWS, DoneView, EditView
from watcher_server.web.pages import back_to, render
from watcher_server.web.paging import url_builder

router = APIRouter(route_class=JsonRoute, include_in_schema=False)

Done = Annotated[DoneView, Query()]
Edit = Annotated[EditView, Query()]
Save = Callable[[AsyncSession, TextForm], Awaitable[None]]
# Where each kind is shown.
_LISTS = {ObjectKind.ROUTE: ROUTES, ObjectKind.CALENDAR: ROUTES, ObjectKind.WINDOW: WINDOWS}


@router.get(ROUTES)
async def show_routes(request: Request, session: Session, view: Done) -> HTMLResponse:
    """The routes in the order in which they are asked, with what each took in the last week; and the calendars."""
    return render(
        request,
        "alerting/routes.html",
        view=view,
        routes=await reading.read_routes(session),
        calendars=await reading.read_calendars(session),
    )


@router.get(ROUTES + "/edit")
async def edit_route(request: Request, session: Session, view: Edit) -> HTMLResponse:
    """A route as text."""
    return await _edit(request, session, ObjectKind.ROUTE, view.name)


@router.post(ROUTES + "/edit")
async def save_route(request: Request, session: Session, form: Annotated[TextForm, Form()]) -> Response:
    """Make or change a route."""
    return await _save(request, session, ObjectKind.ROUTE, form, changes.save_route)


@router.post(ROUTES + "/remove")
async def remove_route(request: Request, session: Session, form: Annotated[NameForm, Form()]) -> Response:
    """Remove a route."""
    return await _remove(request, session, ObjectKind.ROUTE, form.name)


@router.get(CALENDARS)
async def edit_calendar(request: Request, session: Session, view: Edit) -> HTMLResponse:
    """A calendar as text."""
    return await _edit(request, session, ObjectKind.CALENDAR, view.name)


@router.post(CALENDARS)
async def save_calendar(request: Request, session: Session, form: Annotated[TextForm, Form()]) -> Response:
    """Make or change a calendar."""
    return await _save(request, session, ObjectKind.CALENDAR, form, changes.save_calendar)


@router.post(CALENDARS + "/remove")
async def remove_calendar(request: Request, session: Session, form: Annotated[NameForm, Form()]) -> Response:
    """Remove a calendar that no route names."""
    return await _remove(request, session, ObjectKind.CALENDAR, form.name)


@router.get(WINDOWS)
async def show_windows(request: Request, session: Session, view: Done) -> HTMLResponse:
    """What is quiet now, and what will be."""
    return await _show_windows(request, session, view, QuietForm())


async def _show_windows(
    request: Request, session: AsyncSession, view: DoneView, form: QuietForm, **more: Any
) -> HTMLResponse:
    windows = await reading.read_windows(session)
    return render(request, "alerting/windows.html", view=view, windows=windows, kinds=list(Kind), form=form, **more)


@router.post(WINDOWS)
async def add_window(request: Request, session: Session, form: Annotated[QuietForm, Form()]) -> Response:
    """Have something be quiet from now on."""
    try:
        window = form.window()
    except FormError as error:
        return await _show_windows(request, session, DoneView(), form, error=f"{error}.", status_code=422)
    if service.is_for_administrators(window) and not may_administer(request):
        raise HTTPException(403, service.FOR_ADMINISTRATORS.removesuffix("."))
    row = await service.add_window(session, None, window, actor_of(request.scope))
    return _back(request, ObjectKind.WINDOW, "added", row.name)


@router.post(WINDOWS + "/end")
async def end_window(request: Request, session: Session, form: Annotated[NameForm, Form()]) -> Response:
    """End a window that happens once."""
    await service.end_window(session, form.name)
    return _back(request, ObjectKind.WINDOW, "ended", form.name)


@router.get(WINDOWS + "/edit")
async def edit_window(request: Request, session: Session, view: Edit) -> HTMLResponse:
    """A window as text."""
    return await _edit(request, session, ObjectKind.WINDOW, view.name)


@router.post(WINDOWS + "/edit")
async def save_window(request: Request, session: Session, form: Annotated[TextForm, Form()]) -> Response:
    """Make or change a window."""
    return await _save(request, session, ObjectKind.WINDOW, form, changes.save_window)


@router.post(WINDOWS + "/remove")
async def remove_window(request: Request, session: Session, form: Annotated[NameForm, Form()]) -> Response:
    """Remove a window."""
    return await _remove(request, session, ObjectKind.WINDOW, form.name)


async def _edit(request: Request, session: AsyncSession, kind: ObjectKind, name: str) -> HTMLResponse:
    if not name:
        return await _show_form(request, session, kind, TextForm(text=changes.EXAMPLES[kind]), is_new=True)
    row = await service.get_object(session, kind, name)
    form = TextForm(name=name, text=changes.write_text(row))
    return await _show_form(request, session, kind, form, origin=row.origin)


async def _show_form(
    request: Request, session: AsyncSession, kind: ObjectKind, form: TextForm, **more: Any
) -> HTMLResponse:
    names = [row.name for row in await service.list_routes(session)] if kind is ObjectKind.ROUTE else []
    about = {"kind": kind.value, "form": form, "is_new": False, "origin": None, "back": _LISTS[kind]}
    others = [name for name in names if name != form.name]
    return render(request, "alerting/object.html", example=changes.EXAMPLES[kind], others=others, **{**about, **more})


async def _save(request: Request, session: AsyncSession, kind: ObjectKind, form: TextForm, save: Save) -> Response:
    try:
        # A savepoint: what is refused leaves nothing behind.
        async with session.begin_nested():
            await save(session, form)
    except FormError as error:
        return await _show_form(request, session, kind, form, is_new=form.is_new, error=f"{error}.", status_code=422)
    return _back(request, kind, "saved", form.name.strip())


async def _remove(request: Request, session: AsyncSession, kind: ObjectKind, name: str) -> Response:
    await service.delete_object(session, kind, name)
    return _back(request, kind, "removed", name)


def _back(request: Request, kind: ObjectKind, done: str, name: str) -> Response:
    return back_to(request, url_builder(_LISTS[kind])(done=done, name=name))
