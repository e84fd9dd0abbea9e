"""The pages of routes with their calendars, and of windows."""

from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.config import service
from watcher_server.alerts.config.store import ObjectKind, spec_for_people
from watcher_server.alerts.kinds import Kind
from watcher_server.auth.access import may_administer
from watcher_server.auth.acting import actor_of
from watcher_server.config_file.text import write_yaml
from watcher_server.http.session import Session
from watcher_server.web.alerting import changes, reading
from watcher_server.web.alerting.changes import FormError, NameForm, QuietForm, TextForm
from watcher_server.web.alerting.query import CALENDARS, ROUTES, WINDOWS, DoneView, EditView
from watcher_server.web.pages import back_to, page_router, render
from watcher_server.web.paging import url_builder

router = page_router()

Done = Annotated[DoneView, Query()]
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


def _add_editor(kind: ObjectKind, address: str, remove_address: str) -> None:
    """Add the page on which an object of this kind is made or changed as text, and the form that removes one."""

    @router.get(address)
    async def edit(request: Request, session: Session, view: Annotated[EditView, Query()]) -> HTMLResponse:
        if not view.name:
            return await _show_form(request, session, kind, TextForm(text=changes.EXAMPLES[kind]), is_new=True)
        row = await service.get_object(session, kind, view.name)
        form = TextForm(name=view.name, text=write_yaml(spec_for_people(row)))
        return await _show_form(request, session, kind, form, origin=row.origin)

    @router.post(address)
    async def save(request: Request, session: Session, form: Annotated[TextForm, Form()]) -> Response:
        try:
            # A savepoint: what is refused leaves nothing behind.
            async with session.begin_nested():
                await changes.save(session, kind, form)
        except FormError as error:
            refusal = {"is_new": form.is_new, "error": f"{error}.", "status_code": 422}
            return await _show_form(request, session, kind, form, **refusal)
        return _back(request, kind, "saved", form.name.strip())

    @router.post(remove_address)
    async def remove(request: Request, session: Session, form: Annotated[NameForm, Form()]) -> Response:
        await service.delete_object(session, kind, form.name)
        return _back(request, kind, "removed", form.name)


_add_editor(ObjectKind.ROUTE, ROUTES + "/edit", ROUTES + "/remove")
_add_editor(ObjectKind.CALENDAR, CALENDARS, CALENDARS + "/remove")
_add_editor(ObjectKind.WINDOW, WINDOWS + "/edit", WINDOWS + "/remove")


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


async def _show_form(
    request: Request, session: AsyncSession, kind: ObjectKind, form: TextForm, **more: Any
) -> HTMLResponse:
    names = [row.name for row in await service.list_routes(session)] if kind is ObjectKind.ROUTE else []
    about = {"kind": kind.value, "form": form, "is_new": False, "origin": None, "back": _LISTS[kind]}
    others = [name for name in names if name != form.name]
    return render(request, "alerting/object.html", example=changes.EXAMPLES[kind], others=others, **{**about, **more})


def _back(request: Request, kind: ObjectKind, done: str, name: str) -> Response:
    return back_to(request, url_builder(_LISTS[kind])(done=done, name=name))
