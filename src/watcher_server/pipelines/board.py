"""Every pipeline at a glance, kept in memory while somebody looks, so that a page of 10,000 of them opens at once.

To say how one pipeline does is a few index seeks; to say it of all of them is too much for each request. So each api
process keeps the latest answer, refreshes it in the background while pages ask for it, and says from when it is.
Whoever shows single pipelines reads those fresh, by id.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from watcher_server.pipelines.states import PipelineState, find_with_state
from watcher_server.pipelines.status import Condition, Status, read_conditions

logger = logging.getLogger(__name__)

# Refreshing takes at most a fiftieth of a core, and is never more frequent than somebody could notice.
_REST_PER_WORK = 50
_LEAST_REST_SECONDS = 2.0
# A view older than this is not shown: whoever asks waits for a new one.
_OLDEST_SECONDS = 20.0
# Nobody has looked for so long: the next one waits for a moment, and nothing is refreshed meanwhile.
_LOOKED_AT_SECONDS = 900.0
_ROWS_AT_ONCE = 500
_MILDER_THAN_LATE = frozenset({Status.STALE, Status.ANOMALOUS, Status.RUNNING, Status.OK, Status.UNKNOWN})
# What never ran and cannot be judged.
_UNJUDGED = Condition(frozenset(), None, None)


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One pipeline at a glance.

    ``conditions`` is every word that holds of it; besides those of ``Status``, ``late`` (its latest run is overdue, or
    the next one was expected and has not begun, within its grace) and ``paused``. ``status`` is the worst of them.
    ``stale_at`` is when its data gets, or got, stale; None without a freshness threshold, or muted.
    ``expected_next_run`` is by its schedule. ``muted`` says that a check of it is. Times are UTC.
    """

    id: int
    name: str
    type_name: str
    tags: tuple[str, ...]
    active: bool
    muted: bool
    conditions: frozenset[str]
    status: str
    last_start: datetime | None
    last_seconds: int | None
    last_write: datetime | None
    stale_at: datetime | None
    expected_next_run: datetime | None


@dataclass(frozen=True, slots=True)
class BoardView:
    """Every pipeline, by id, as they were at ``taken_at`` (UTC)."""

    taken_at: datetime
    rows: tuple[BoardRow, ...]

    def count(self, condition: str) -> int:
        """Of how many active pipelines this condition holds."""
        return sum(condition in row.conditions for row in self.rows if row.active)


# So many pipelines by the primary key. A deadline that never comes, or that no calendar has, is none.
_FACTS = """
SELECT pipeline.id, pipeline.name, pipeline_type.name AS type_name, pipeline.active, pipeline.expected_next_run,
    jsonb_path_query_array(pipeline_metadata, '$.tags[*] ? (@.type() == "string")') AS tags,
    pipeline.mute_freshness_check OR pipeline.mute_timeliness_check AS muted, written.last_write,
    CASE WHEN NOT pipeline.mute_freshness_check AND NOT pipeline_type.mute_freshness_check
        AND deadline.stale_at < '9999-01-01' THEN deadline.stale_at END AS stale_at
FROM pipeline
JOIN pipeline_type ON pipeline_type.id = pipeline.pipeline_type_id
CROSS JOIN LATERAL (
    SELECT greatest(last_target_insert, last_target_update, last_target_soft_delete)
) AS written (last_write)
CROSS JOIN LATERAL (
    SELECT watcher_deadline(coalesce(written.last_write, pipeline.created_at),
        coalesce(pipeline.freshness_number, pipeline_type.freshness_number),
        coalesce(pipeline.freshness_datepart, pipeline_type.freshness_datepart))
) AS deadline (stale_at)
WHERE pipeline.id > :after
ORDER BY pipeline.id LIMIT :at_once
"""


async def take_board(session: AsyncSession) -> BoardView:
    """Every pipeline as it is now; a part of them at a time, so that whoever reports a run meanwhile does not wait."""
    taken_at = datetime.now(UTC)
    late = {row.id for row in await find_with_state(session, state=PipelineState.LATE)}
    rows: list[BoardRow] = []
    while True:
        after = rows[-1].id if rows else 0
        facts = (await session.execute(text(_FACTS), {"after": after, "at_once": _ROWS_AT_ONCE})).all()
        conditions = await read_conditions(session, [row.id for row in facts])
        rows.extend(_row(row, conditions.get(row.id, _UNJUDGED), late=row.id in late) for row in facts)
        if len(facts) < _ROWS_AT_ONCE:
            return BoardView(taken_at, tuple(rows))


# Of tens of thousands of pipelines few differ in this.
@cache
def _words(holding: frozenset[Status], *, has_run: bool, active: bool, late: bool) -> tuple[frozenset[str], str]:
    """Every word that holds, and the worst of them."""
    status = shown_status(Condition.worst_of(holding, has_run=has_run), active=active, late=late)
    extra = {"late"} if late or Status.OVERDUE in holding else set()
    return frozenset({*holding, status, *extra}), status


def _row(row: Row[Any], condition: Condition, *, late: bool) -> BoardRow:
    has_run = condition.last_start is not None
    words, status = _words(condition.holding, has_run=has_run, active=row.active, late=late)
    return BoardRow(
        id=row.id,
        name=row.name,
        type_name=row.type_name,
        tags=tuple(sorted(set(row.tags))) if row.tags else (),
        active=row.active,
        muted=row.muted,
        conditions=words,
        status=status,
        last_start=condition.last_start,
        last_seconds=condition.last_seconds,
        last_write=row.last_write,
        stale_at=row.stale_at,
        expected_next_run=row.expected_next_run,
    )


def shown_status(status: Status, *, active: bool, late: bool) -> str:
    """One word for a pipeline: paused whatever holds of it, and late where that is the worst."""
    if not active:
        return "paused"
    return "late" if late and status in _MILDER_THAN_LATE else status


class Board:
    """The latest view of this process, taken anew in the background while somebody looks."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._view: BoardView | None = None
        self._viewed = 0.0
        self._looked = 0.0
        self._forgotten = float("-inf")
        self._taking = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None

    async def read(self) -> BoardView:
        """Every pipeline, a few seconds old at most while pages are open; the first look waits for it.

        Raises:
            sqlalchemy.exc.DBAPIError: there is no view that is new enough, and the database does not answer.
        """
        self._looked = time.monotonic()
        view = self._view
        if view is None or self._looked - self._viewed > _OLDEST_SECONDS:
            view = await self._take()
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep())
        return view

    def forget(self) -> None:
        """Have the next look wait for a new view: something was changed that it must show."""
        self._forgotten = time.monotonic()
        self._viewed = float("-inf")

    async def close(self) -> None:
        """Stop refreshing."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def _take(self) -> BoardView:
        asked = time.monotonic()
        async with self._taking:
            # Whoever asked while somebody else was at it takes what came of that.
            if self._view is None or self._viewed < asked:
                began = time.monotonic()
                async with AsyncSession(self._engine) as session, session.begin():
                    self._view = await take_board(session)
                # What was begun before something changed may lack it.
                self._viewed = began if began > self._forgotten else float("-inf")
            return self._view

    async def _keep(self) -> None:
        while time.monotonic() - self._looked < _LOOKED_AT_SECONDS:
            began = time.monotonic()
            try:
                await self._take()
            except (SQLAlchemyError, OSError) as error:
                # Whoever looks meanwhile is told by what their own request finds.
                logger.warning("The overview of all pipelines could not be refreshed: %s", type(error).__name__)
                return
            except Exception:
                logger.warning("The overview of all pipelines could not be refreshed", exc_info=True)
                return
            spent = time.monotonic() - began
            await asyncio.sleep(max(_LEAST_REST_SECONDS, _REST_PER_WORK * spent))
