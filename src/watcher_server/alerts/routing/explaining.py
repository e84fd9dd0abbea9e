"""Who would be told, and why: what each route and each window makes of something that has not happened."""

from datetime import datetime

from sqlalchemy import Connection

from watcher_server.alerts.config.schemas import Route
from watcher_server.alerts.routing.book import Book, read_book
from watcher_server.alerts.routing.deciding import Occasion, plan
from watcher_server.alerts.routing.matching import Facts, misfits
from watcher_server.alerts.routing.schemas import EscalationExplained, Explanation, RouteExplained


def explain(connection: Connection, facts: Facts, at: datetime) -> Explanation:
    """Who would be told if this opened at the moment."""
    book = read_book(connection)
    over = book.window_over(facts, at)
    # What a window holds is told at its end.
    moment = at if over is None or over[1].ends is None else over[1].ends
    taken = book.taken_by(facts)
    return Explanation(
        at=at,
        kind=facts.kind or "",
        level=facts.level,
        pipeline=facts.pipeline,
        owner=facts.owner,
        tags=list(facts.tags),
        window=None if over is None else over[0].name,
        quiet_until=None if over is None else over[1].ends,
        routes=[_explain(book, route, taken, facts, moment) for route in book.routes],
    )


def _explain(book: Book, route: Route, taken: list[Route], facts: Facts, moment: datetime) -> RouteExplained:
    why_not = list(misfits(route.match, facts))
    if route not in taken:
        state = "differs" if why_not else "after"
        return RouteExplained(route=route.name, state=state, why_not=why_not, channels=list(route.to), escalates=[])
    planned = plan(book, route, facts, Occasion(facts.level, facts.kind, "opened"), moment)
    return RouteExplained(
        route=route.name,
        state="takes",
        why_not=[],
        channels=list(route.to),
        told_at=planned.not_before,
        waits_for=planned.reason,
        drops=planned.skip,
        repeat_seconds=None if route.repeat is None else route.repeat.total_seconds(),
        escalates=[
            EscalationExplained(after_seconds=step.after.total_seconds(), to=step.to) for step in route.escalate
        ],
        fallback=route.fallback,
    )
