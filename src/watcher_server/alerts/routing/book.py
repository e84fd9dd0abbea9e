"""Everything that people have configured about who is told, read at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, text

from watcher_server.alerts.config.schemas import DEFAULT, DEFAULT_ROUTE, Calendar, CalendarSpec, Route, Window
from watcher_server.alerts.routing.calendars import Span
from watcher_server.alerts.routing.matching import Facts, matches
from watcher_server.alerts.routing.windows import span_at

# What no route takes goes out at once, as it did before there were routes.
_LAST_ROUTE = DEFAULT_ROUTE.model_copy(update={"group_wait": timedelta(0), "updates": "all"})
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Book:
    """The routes in their order, with ``default`` at the end, the calendars by name, and the windows.

    ``is_classic`` says that there is no route but the one that is always there.
    """

    routes: Sequence[Route]
    calendars: Mapping[str, CalendarSpec]
    windows: Sequence[Window]
    is_classic: bool

    def taken_by(self, facts: Facts) -> list[Route]:
        """The routes that take this: the first that matches and, while one says to continue, those after it."""
        found = []
        for route in self.routes:
            if matches(route.match, facts):
                found.append(route)
                if not route.continue_:
                    break
        # The last route takes what no other took, however it was changed.
        return found or [self.routes[-1]]

    def window_over(self, facts: Facts, moment: datetime) -> tuple[Window, Span] | None:
        """The window that keeps this quiet at the moment, and its span; of several the one that lasts longest."""
        found = [
            (window, span)
            for window in self.windows
            if matches(window.match, facts) and (span := span_at(window, moment)) is not None
        ]
        return max(found, key=lambda each: (each[1].ends or _FOR_EVER, each[0].name), default=None)


def read_book(connection: Connection) -> Book:
    """What is configured now."""
    # A handful of rows, without an index of its own.
    statement = "SELECT kind, name, spec FROM alerting_object ORDER BY kind, position, id"
    return read_rows(connection.execute(text(statement)).all())


def read_rows(rows: Sequence[Row[Any]]) -> Book:
    """The book of these rows of alerting objects, which have a kind, a name and a spec."""
    named = [(row.kind, {**row.spec, "name": row.name}) for row in rows]
    routes = [Route.model_validate(spec) for kind, spec in named if kind == "route"]
    last = [route for route in routes if route.name == DEFAULT] or [_LAST_ROUTE]
    others = [route for route in routes if route.name != DEFAULT]
    calendars = [Calendar.model_validate(spec) for kind, spec in named if kind == "calendar"]
    return Book(
        routes=[*others, *last],
        calendars={calendar.name: calendar for calendar in calendars},
        windows=[Window.model_validate(spec) for kind, spec in named if kind == "window"],
        is_classic=not routes,
    )
