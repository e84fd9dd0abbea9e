"""Logging in through the provider: there, and back."""

import logging
from datetime import timedelta
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from watcher_server.auth.failures import FailedLogins
from watcher_server.auth.oidc.attempts import COOKIE, SECONDS, new_attempt, read_attempt
from watcher_server.auth.oidc.claims import Identity
from watcher_server.auth.oidc.provider import LoginRefusedError, OidcProvider, ProviderAwayError
from watcher_server.auth.people import note_person
from watcher_server.auth.refusals import too_many_wrong_tokens
from watcher_server.auth.sessions import SENTENCES, Ending, create_session
from watcher_server.auth.trusted_header import without_role
from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.web.login.cookies import set_cookie, set_session_cookie, shown_cookie
from watcher_server.web.login.page import local_target, show_form
from watcher_server.web.login.routes import address_of, browser_of

logger = logging.getLogger(__name__)

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/login/start")
async def start(request: Request, next: str = "/ui") -> Response:  # noqa: A002 - the name in the URL
    """Send the browser to the provider."""
    attempt, provider = new_attempt(local_target(next)), _provider(request)
    if provider is None:
        return _without_provider(attempt.target)
    try:
        url = await provider.login_url(attempt)
    except ProviderAwayError as error:
        return _away(request, attempt.target, error)
    response = RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})
    set_cookie(request, response, COOKIE, attempt.as_cookie(), timedelta(seconds=SECONDS))
    return response


@router.get("/login/callback")
async def finish(request: Request, session: Session) -> Response:
    """Where the provider sends the browser back to: a session for the person, with the role that the provider says."""
    attempt = read_attempt(shown_cookie(request, COOKIE))
    target, provider = local_target(attempt.target if attempt else "/ui"), _provider(request)
    if provider is None:
        return _without_provider(target)
    try:
        identity = await provider.finish(attempt, request.query_params)
    except ProviderAwayError as error:
        return _away(request, target, error)
    except LoginRefusedError as error:
        return _refuse(request, target, str(error))
    return await _let_in(request, session, identity, target)


async def _let_in(request: Request, session: Session, identity: Identity, target: str) -> Response:
    scope = identity.scope
    if scope is None:
        return show_form(request, target, status_code=403, error=without_role(identity.name))
    connection = await session.connection()
    person_id = await connection.run_sync(
        lambda sync: note_person(
            sync, issuer=identity.issuer, subject=identity.subject, name=identity.name, scope=scope
        )
    )
    if person_id is None:
        return show_form(request, target, status_code=403, error=SENTENCES[Ending.BLOCKED])
    session_id = await connection.run_sync(
        lambda sync: create_session(sync, person_id=person_id, address=address_of(request), browser=browser_of(request))
    )
    response = RedirectResponse(target, status_code=303)
    set_session_cookie(request, response, session_id, None)
    set_cookie(request, response, COOKIE, "", timedelta(0))
    return response


def _provider(request: Request) -> OidcProvider | None:
    provider: OidcProvider | None = request.app.state.oidc
    return provider


def _without_provider(target: str) -> Response:
    return RedirectResponse(f"/login?next={quote(target, safe='/')}", status_code=303)


def _away(request: Request, target: str, error: ProviderAwayError) -> Response:
    logger.warning("People cannot log in through the provider: %s", error)
    said = (
        f"Logging in through the provider does not work now: {error}. Until it does, a token lets you in: "
        "a person with access to the server makes one that soon ends, with "
        "`watcher token create NAME --scope admin --expires 1h`."
    )
    return show_form(request, target, status_code=503, error=said)


def _refuse(request: Request, target: str, reason: str) -> Response:
    """Each refusal may have asked the provider, so an address gets only so many within a minute."""
    failed_logins: FailedLogins = request.app.state.failed_logins
    wait = failed_logins.note(request.scope, "provider")
    if wait is None:
        return show_form(request, target, status_code=403, error=reason)
    response = show_form(request, target, status_code=429, error=too_many_wrong_tokens(wait))
    response.headers["Retry-After"] = str(wait)
    return response
