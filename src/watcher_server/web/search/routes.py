"""The search of every page: one field for pipelines, addresses, runs and incidents."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.kit.fields import SearchText
from watcher_server.web.pages import render
from watcher_server.web.search.reading import MOST_FOUND, find

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/ui/search")
async def show_search(request: Request, session: Session, q: Annotated[SearchText, Query()] = "") -> Response:
    """The pages that fit; straight to the page where only one does."""
    found = await find(session, q)
    if len(found.paths) == 1:
        return RedirectResponse(found.paths[0], status_code=HTTPStatus.SEE_OTHER)
    return render(request, "search/index.html", wanted=q, found=found, most_found=MOST_FOUND)
