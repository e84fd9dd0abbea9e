"""The diagnostics page, and the same as a report for the description of a bug."""

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse

from watcher_server.diagnostics.checks import known
from watcher_server.diagnostics.report import Report, report_text, write_report
from watcher_server.diagnostics.service import Diagnosis, diagnose
from watcher_server.web.pages import is_part, page_router, render

router = page_router()

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@router.get("/diagnostics")
async def show_diagnostics(request: Request) -> HTMLResponse:
    """The state of database, broker, workers and queues, what is normal, and what to do."""
    diagnosis = await _diagnose(request)
    findings = diagnosis.findings
    return render(
        request,
        "diagnostics/_live.html" if is_part(request) else "diagnostics/index.html",
        diagnosis=diagnosis,
        storage=known(findings.storage),
        sessions=known(findings.sessions),
        work=known(findings.work),
        queues=known(findings.queues),
    )


@router.get("/diagnostics/report.json")
async def get_report(request: Request) -> JSONResponse:
    """The report as JSON."""
    return JSONResponse(await _report(request), headers=_HEADERS)


@router.get("/diagnostics/report.txt")
async def get_report_text(request: Request) -> PlainTextResponse:
    """The report as text."""
    return PlainTextResponse(report_text(await _report(request)), headers=_HEADERS)


async def _diagnose(request: Request) -> Diagnosis:
    state = request.app.state
    return await diagnose(state.query_engine, state.ingest_pool, state.settings)


async def _report(request: Request) -> Report:
    return write_report(await _diagnose(request), request.app.state.settings)
