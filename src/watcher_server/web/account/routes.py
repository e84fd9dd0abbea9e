"""The page of the one who is logged in, and what can be changed there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from watcher_server.auth.access import may_administer
from watcher_server.auth.callers import LOOPBACK, Caller, caller_of
from watcher_server.auth.people import ListedPerson, block_person, list_people
from watcher_server.auth.scopes import Scope
from watcher_server.auth.service import (
    InvalidTokenNameError,
    ListedToken,
    TokenNameTakenError,
    create_token,
    list_tokens,
    revoke_token,
    rotate_token,
)
from watcher_server.auth.sessions import ListedSession, end_sessions, list_sessions
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.kit.errors import NotFoundError
from watcher_server.web.pages import back_to, page_router, render

router = page_router()


@dataclass(frozen=True)
class Account:
    """``own`` are the sessions of the one who looks; the rest is empty for everybody but administrators."""

    own: Sequence[ListedSession]
    others: Sequence[ListedSession] = ()
    tokens: Sequence[ListedToken] = ()
    people: Sequence[ListedPerson] = ()


def read_account(connection: Connection, me: Caller, *, everybody: bool) -> Account:
    """The sessions of the caller, and with ``everybody`` what administrators see."""
    own = list_sessions(connection, me.id) if me.id else []
    if not everybody:
        return Account(own)
    mine = {session.id for session in own}
    others = [session for session in list_sessions(connection) if session.id not in mine]
    return Account(own, others, list_tokens(connection), list_people(connection))


_PAGE = "/ui/account"
RowId = Annotated[int, Field(ge=1, lt=2**63)]


class NewToken(BaseModel):
    """What the form sends; ``days`` is 0 for a token without an end."""

    name: str
    scope: Scope = Scope.READ
    purpose: str = ""
    days: Annotated[int, Field(ge=0, le=3650)] = 365


class Rotation(BaseModel):
    """What the form sends: which token, for how many hours the old secret goes on, and the days of the new one."""

    name: str
    hours: Annotated[int, Field(ge=0, le=24 * 90)] = 24
    days: Annotated[int, Field(ge=0, le=3650)] = 365


@router.get(_PAGE)
async def show_account(request: Request, session: Session) -> HTMLResponse:
    """Who is logged in, with their sessions; for administrators every session, the tokens and the people."""
    return await _show(request, session)


@router.post(f"{_PAGE}/sessions/end")
async def end_own_sessions(
    request: Request, session: Session, session_id: Annotated[RowId | None, Form()] = None
) -> Response:
    """End a session of one's own, or all but this one. Another's is left alone."""
    caller = _caller(request)
    but = caller.session_id if session_id is None else None
    if caller.id:
        await ask(session, lambda sync: end_sessions(sync, row_id=session_id, owner_id=caller.id, but=but))
    return back_to(request, _PAGE)


@router.post(f"{_PAGE}/people/sessions/end")
async def end_any_session(request: Request, session: Session, session_id: Annotated[RowId, Form()]) -> Response:
    """End the session of any person or token."""
    await ask(session, lambda sync: end_sessions(sync, row_id=session_id))
    return back_to(request, _PAGE)


@router.post(f"{_PAGE}/people/block")
async def block(
    request: Request,
    session: Session,
    person_id: Annotated[RowId, Form()],
    blocked: Annotated[bool, Form()] = True,  # noqa: FBT002 - a field of the form
) -> Response:
    """Keep a person out, whatever the provider says; or let them in again."""
    await ask(session, lambda sync: block_person(sync, person_id, blocked=blocked))
    return back_to(request, _PAGE)


@router.post(f"{_PAGE}/tokens")
async def make_token(request: Request, session: Session, form: Annotated[NewToken, Form()]) -> HTMLResponse:
    """Make a token, and show it, once."""
    name = form.name.strip()
    try:
        token = await ask(
            session,
            lambda sync: create_token(
                sync, name, form.scope, lifetime=_lifetime(form.days), purpose=form.purpose.strip() or None
            ),
        )
    except TokenNameTakenError:
        said = f"There is a token named {name} already: choose another name, or rotate that one."
        return await _show(request, session, error=said, status_code=409)
    except InvalidTokenNameError as error:
        return await _show(request, session, error=str(error), status_code=422)
    return await _show(request, session, made=(name, token))


@router.post(f"{_PAGE}/tokens/rotate")
async def rotate(request: Request, session: Session, form: Annotated[Rotation, Form()]) -> HTMLResponse:
    """Give a token a new secret, and show it, once."""
    token = await ask(
        session,
        lambda sync: rotate_token(sync, form.name, overlap=timedelta(hours=form.hours), lifetime=_lifetime(form.days)),
    )
    if token is None:
        raise NotFoundError(f"There is no token named {form.name}.")
    return await _show(request, session, made=(form.name, token))


@router.post(f"{_PAGE}/tokens/revoke")
async def revoke(request: Request, session: Session, name: Annotated[str, Form()]) -> Response:
    """Revoke a token, and end the sessions that were begun with it."""
    await ask(session, revoke_token, name)
    return back_to(request, _PAGE)


async def _show(
    request: Request,
    session: Session,
    *,
    made: tuple[str, str] | None = None,
    error: str | None = None,
    status_code: int = 200,
) -> HTMLResponse:
    me = _caller(request)
    account = await ask(session, read_account, me, everybody=may_administer(request))
    return render(
        request, "account/index.html", status_code=status_code, account=account, me=me, made=made, error=error
    )


def _caller(request: Request) -> Caller:
    return caller_of(request) or LOOPBACK


def _lifetime(days: int) -> timedelta | None:
    return timedelta(days=days) if days else None
