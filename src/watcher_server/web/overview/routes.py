"""The overview: is anything wrong, since when, what does it touch, what to do."""

from fastapi import Request
from fastapi.responses import HTMLResponse

from watcher_server.executions.recent import find_first_run
from watcher_server.http.session import Session
from watcher_server.pipelines.board import read_board
from watcher_server.web.incidents.wording import WORDS
from watcher_server.web.overview import reading
from watcher_server.web.overview.timeline import WIDTH, read_timeline
from watcher_server.web.pages import is_part, page_router, render

router = page_router()


@router.get("/ui")
async def show_overview(request: Request, session: Session) -> HTMLResponse:
    """What needs attention, the last 24 hours, the queues, the worst incidents."""
    settings = request.app.state.settings
    board = await read_board(session, reading.MOST_TROUBLED)
    timeline = await read_timeline(session, board.wrong)
    first_run = await find_first_run(session) if not timeline.lanes and not board.attention else None
    return render(
        request,
        "overview/_live.html" if is_part(request) else "overview/index.html",
        board=board,
        trouble=await reading.read_trouble(session, board.wrong),
        timeline=timeline,
        never_ran=not timeline.lanes and not board.attention and first_run is None,
        first_run=first_run,
        width=WIDTH,
        queues=await reading.read_queues(session, settings),
        workers=await reading.read_workers(session),
        incidents=await reading.read_worst_incidents(session),
        **WORDS,
    )


@router.get("/ui/first-run")
async def show_first_run(request: Request, session: Session) -> HTMLResponse:
    """Whether the first run has come, alone; without scripts, the overview."""
    if not is_part(request):
        return await show_overview(request, session)
    return render(request, "overview/_first.html", first_run=await find_first_run(session))
