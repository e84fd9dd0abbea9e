"""The overview: is anything wrong, since when, what does it touch, what to do."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from watcher_server.http.body import JsonRoute
from watcher_server.http.session import Session
from watcher_server.pipelines.board import read_board
from watcher_server.web.incidents.wording import title_of
from watcher_server.web.overview import reading
from watcher_server.web.overview.timeline import WIDTH, read_timeline
from watcher_server.web.pages import is_part, render

router = APIRouter(route_class=JsonRoute, include_in_schema=False)


@router.get("/ui")
async def show_overview(request: Request, session: Session) -> HTMLResponse:
    """What needs attention, the last 24 hours, the queues, the worst incidents."""
    settings = request.app.state.settings
    board = await read_board(session, reading.MOST_TROUBLED)
    return render(
        request,
        "overview/_live.html" if is_part(request) else "overview/index.html",
        board=board,
        wrong=await reading.describe_wrong(session, board.wrong[: reading.WRONG_SHOWN]),
        timeline=await read_timeline(session, board.wrong),
        width=WIDTH,
        queues=await reading.read_queues(session, settings),
        workers=await reading.read_workers(session),
        incidents=await reading.read_worst_incidents(session),
        title_of=title_of,
    )
