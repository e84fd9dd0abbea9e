"""Logging in through the provider: there, and back."""

import logging
from datetime import timedelta
from functools import partial
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from watcher_server.auth.oidc.attempts import COOKIE, SECONDS, new_attempt, read_attempt
from watcher_server.auth.oidc.provider import LoginRefusedError, OidcProvider, ProviderAwayError
from watcher_server.auth.people import note_person
from watcher_server.auth.sessions import SENTENCES, Ending
from watcher_server.auth.trusted_header import without_role
from watcher_server.database.asking import ask
from watcher_server.http.session import Session
from watcher_server.web.login.cookies import set_cookie, shown_cookie
from watcher_server.web.login.page import let_in, local_target, refuse, show_form
from watcher_server.web.pages import page_router

logger = logging.getLogger(__name__)

router = page_router()


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
        # Each refusal may have asked the provider.
        return refuse(request, target, "provider", str(error), status_code=403)
    if identity.scope is None:
        return show_form(request, target, status_code=403, error=without_role(identity.name))
    person_id = await ask(session, partial(note_person, **vars(identity)))
    if person_id is None:
        return show_form(request, target, status_code=403, error=SENTENCES[Ending.BLOCKED])
    response = await let_in(request, session, target, person_id=person_id)
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
