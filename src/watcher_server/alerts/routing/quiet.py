"""What a window keeps quiet, and which runs it takes away."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection

from watcher_server.alerts.config.schemas import Window
from watcher_server.alerts.routing.book import read_book
from watcher_server.alerts.routing.calendars import Span
from watcher_server.alerts.routing.facts import About, read_facts
from watcher_server.alerts.routing.matching import matches
from watcher_server.alerts.routing.windows import span_at, spans_between
from watcher_server.alerts.service import Subject


def find_windows(
    connection: Connection, subjects: Sequence[About], *, kind: str | None = None, level: str = ""
) -> list[str | None]:
    """For each subject the window that keeps it quiet now, by name; ``kind`` and ``level`` are for no incidents."""
    if not subjects:
        return []
    book = read_book(connection)
    if not book.windows:
        return [None for _ in subjects]
    now = datetime.now(UTC)
    found = [book.window_over(facts, now) for facts in read_facts(connection, subjects, kind=kind, level=level)]
    return [None if window is None else window[0].name for window in found]


def find_held(connection: Connection, incident_ids: Collection[int]) -> dict[int, str]:
    """Those of these incidents that a window keeps quiet now, with its name."""
    ids = list(incident_ids)
    windows = find_windows(connection, [Subject(incident_id=id_) for id_ in ids])
    return {id_: window for id_, window in zip(ids, windows, strict=True) if window is not None}


class Skips:
    """The windows in which the runs of some pipelines are not expected, for one kind of finding."""

    def __init__(self, connection: Connection, pipeline_ids: Collection[int], *, kind: str) -> None:
        """Read the windows, and what there is to know of these pipelines when there are any."""
        windows = [window for window in read_book(connection).windows if window.mode == "skip"]
        ids = list(pipeline_ids) if windows else []
        about = [Subject(pipeline_id=id_) for id_ in ids]
        self._of_pipeline: dict[int, list[Window]] = {
            id_: [window for window in windows if matches(window.match, facts)]
            for id_, facts in zip(ids, read_facts(connection, about, kind=kind, level="WARNING"), strict=True)
        }

    def has(self, pipeline_id: int, moment: datetime) -> bool:
        """Whether a run of the pipeline that is due at the moment is not expected."""
        return any(span_at(window, moment) for window in self._of_pipeline.get(pipeline_id, ()))

    def between(self, pipeline_id: int, since: datetime, until: datetime) -> list[Span]:
        """The spans that touch that time, by their beginnings, joined where they overlap."""
        windows = self._of_pipeline.get(pipeline_id, ())
        spans = (span for window in windows for span in spans_between(window, since, until))
        joined: list[Span] = []
        for span in sorted(spans, key=lambda each: each.begins):
            last = joined[-1] if joined else None
            if last is not None and (last.ends is None or span.begins <= last.ends):
                ends = None if last.ends is None or span.ends is None else max(last.ends, span.ends)
                joined[-1] = Span(last.begins, ends)
            else:
                joined.append(span)
        return joined
