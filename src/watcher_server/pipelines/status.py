"""How pipelines do: the worst that is wrong with each in one word, and what else holds of it.

This module is the only one that says what each word means: the API, the pages, the lineage and the metrics read it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal
from zoneinfo import ZoneInfoNotFoundError

from sqlalchemy import ARRAY, BigInteger, Row, Select, Text, any_, bindparam, column, literal, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.alerts.kinds import Kind
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.overruns import OVERRUN, overrun_text
from watcher_server.schedules.cron import Schedule
from watcher_server.schedules.windows import opens_at


class Status(StrEnum):
    """How a pipeline does, worst first; an address does as the worst of the active pipelines that write it.

    The first eight are the kinds of incidents that a pipeline can have, and it has the word of the worst that is not
    resolved. ``running``: its latest run is still going. ``ok``: it has run, and nothing of this holds. ``unknown``: it
    has never run; of an address, no active pipeline writes it. ``paused``: it is not active, whatever else holds.
    """

    FAILING = Kind.FAILING.value
    LOST = Kind.LOST.value
    SILENT = Kind.SILENT.value
    MISSED = Kind.MISSED.value
    LATE = Kind.LATE.value
    OVERLAPPING = Kind.OVERLAPPING.value
    STALE = Kind.STALE.value
    ANOMALOUS = Kind.ANOMALOUS.value
    RUNNING = "running"
    OK = "ok"
    UNKNOWN = "unknown"
    PAUSED = "paused"


# What is wrong with a pipeline of which one of these holds, worst first.
WRONG: Final = tuple(status for status in Status if status.value in set(Kind))

# Of these, what keeps data from coming: what lies below in the lineage is affected by it.
WITHOUT_DATA: Final = (Status.FAILING, Status.LOST, Status.SILENT, Status.MISSED, Status.LATE, Status.STALE)

# What is wrong, in SQL, for array_position.
WORST_FIRST: Final = f"CAST('{{{','.join(WRONG)}}}' AS text[])"

# Every word that may hold of a pipeline. ``due``: its next run is expected and has not started, and no check has found
# yet that it was missed. That is nothing wrong, so it only ever stands beside the status.
Word = Status | Literal["due"]
WORDS: Final[tuple[Word, ...]] = (*Status, "due")


class PipelineState(StrEnum):
    """How a pipeline stands by its schedule, in the words of the API; the first that is true of it.

    It is ``missed`` while its incident of that kind is not resolved; ``running`` while any run of it is going, though a
    later one has ended; ``late`` while a run is due.
    """

    PAUSED = "paused"
    MISSED = "missed"
    RUNNING = "running"
    LATE = "late"
    ON_TIME = "on_time"


@dataclass(frozen=True, slots=True)
class Condition:
    """The status of a pipeline, the further words that hold of it, worst first, and what is to be said beside them."""

    status: Status
    also: tuple[str, ...] = ()
    remark: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        return self.status, *self.also


# The kinds of which a pipeline has an incident that is not resolved, worst first: found in sets that are read once,
# however many pipelines are wanted (uq_incident_open), or for each by itself (ix_incident_current).
_OPEN = "SELECT pipeline_id FROM incident WHERE state <> 'resolved' AND kind"
_OPEN_KINDS: Final = ", ".join(f"CASE WHEN pipeline.id IN ({_OPEN} = '{kind}') THEN '{kind}' END" for kind in WRONG)
_WRONG_IN_SETS: Final = f"array_remove(ARRAY[{_OPEN_KINDS}], NULL)"
_WRONG_OF_EACH: Final = f"""ARRAY(
                    SELECT kind::text FROM incident
                    WHERE incident.pipeline_id = pipeline.id AND state <> 'resolved' AND kind = ANY({WORST_FIRST})
                    ORDER BY array_position({WORST_FIRST}, kind::text)
                )"""  # noqa: S608 - made of constants


def _standing(wrong: str, of_this: str, due: str) -> str:
    """Pipelines with their status, what also holds, and their state.

    Whether a pipeline ran that never wrote, and whether a run began after the one that is going, by
    ix_pipeline_execution_pipeline_id_start_date; what is going by ix_pipeline_execution_running. OFFSET 0 has nothing
    computed twice.

    Args:
        wrong: the kinds of incidents that are not resolved.
        of_this: what restricts runs that are going to those of the pipeline; empty where ids are looked up in a set.
        due: whether a run is due.
    """
    return f"""
pipeline_effective AS pipeline CROSS JOIN LATERAL (
    SELECT words[1] AS status, words[2:] AS also, CASE
        WHEN NOT pipeline.active THEN '{PipelineState.PAUSED}'
        WHEN pipeline.schedule IS NOT NULL AND '{Status.MISSED}' = ANY(words) THEN '{PipelineState.MISSED}'
        WHEN is_going THEN '{PipelineState.RUNNING}'
        WHEN pipeline.schedule IS NULL THEN NULL
        WHEN 'due' = ANY(words) THEN '{PipelineState.LATE}'
        ELSE '{PipelineState.ON_TIME}'
    END AS state
    FROM (
        SELECT is_going, CASE
            WHEN NOT pipeline.active THEN ARRAY['{Status.PAUSED}']
            ELSE wrong || CASE
                WHEN is_going AND pipeline.id IN (
                    SELECT pipeline_id FROM pipeline_execution AS execution
                    WHERE end_date IS NULL{of_this} AND NOT backfill AND NOT EXISTS (
                        SELECT FROM pipeline_execution AS later
                        WHERE later.pipeline_id = execution.pipeline_id AND later.start_date >= execution.start_date
                            AND (later.start_date, later.id) > (execution.start_date, execution.id)
                            AND NOT later.backfill
                    )
                ) THEN ARRAY['{Status.RUNNING}']
                WHEN wrong <> '{{}}' THEN NULL
                WHEN is_going OR pipeline.last_write IS NOT NULL OR (
                    SELECT true FROM pipeline_execution AS execution
                    WHERE execution.pipeline_id = pipeline.id LIMIT 1
                ) THEN ARRAY['{Status.OK}']
                ELSE ARRAY['{Status.UNKNOWN}']
            END || CASE WHEN {due} AND '{Status.MISSED}' <> ALL(wrong) THEN ARRAY['due'] END
        END AS words
        FROM (
            SELECT
                {wrong} AS wrong,
                pipeline.id IN (
                    SELECT pipeline_id FROM pipeline_execution AS execution WHERE end_date IS NULL{of_this}
                ) AS is_going
            OFFSET 0
        ) AS found
        OFFSET 0
    ) AS judged
) AS standing
"""  # noqa: S608 - of constants


# Every pipeline; ``:due`` are the ids that :func:`read_due` finds. What is not resolved and what is going is few.
PIPELINES: Final = _standing(_WRONG_IN_SETS, "", "pipeline.id = ANY(CAST(:due AS bigint[]))")
# For a statement that wants one pipeline, of which no run is due.
ONE_PIPELINE: Final = _standing(_WRONG_OF_EACH, " AND execution.pipeline_id = pipeline.id", "false")

# The pipelines of which a run may be due, by ix_pipeline_expected_next_run; the latest start by
# ix_pipeline_execution_pipeline_id_start_date.
MAY_BE_DUE: Final = """
pipeline CROSS JOIN LATERAL (
    SELECT max(start_date) FROM pipeline_execution AS execution
    WHERE execution.pipeline_id = pipeline.id AND NOT backfill
) AS latest (start)
WHERE expected_next_run <= now() AND active AND archived_at IS NULL AND schedule IS NOT NULL
    AND (latest.start >= expected_next_run) IS NOT TRUE
    AND NOT (overlap = 'skip' AND EXISTS (
        SELECT FROM pipeline_execution AS going
        WHERE going.pipeline_id = pipeline.id AND going.end_date IS NULL AND NOT going.backfill
            AND going.start_date < expected_next_run
    ))
""".strip()
_MAY_BE_DUE = f"""
SELECT pipeline.id, schedule, schedule_timezone, schedule_grace_minutes, expected_next_run, latest.start
FROM {MAY_BE_DUE}
    AND (CAST(:ids AS bigint[]) IS NULL OR pipeline.id = ANY(CAST(:ids AS bigint[])))
"""  # noqa: S608 - of constants


async def read_due(session: AsyncSession, pipeline_ids: Collection[int] | None = None) -> list[int]:
    """Those of these pipelines, or of all, of which a run is expected that has not started.

    A run may start a little before its moment; how much, cron decides and SQL cannot. None is expected while another
    one is open, where the scheduler starts no second one.
    """
    wanted = {"ids": None if pipeline_ids is None else list(pipeline_ids)}
    return [row.id for row in await session.execute(text(_MAY_BE_DUE), wanted) if not _started_early(row)]


def _started_early(row: Row[Any]) -> bool:
    grace = timedelta(minutes=row.schedule_grace_minutes)
    if row.start is None or row.start < row.expected_next_run - grace:
        return False
    try:
        return bool(row.start >= opens_at(Schedule(row.schedule, row.schedule_timezone), grace, row.expected_next_run))
    except ZoneInfoNotFoundError:
        # The schedule check logs that this machine lacks the zone.
        return False


async def select_with_status(
    session: AsyncSession,
    wanted: Select[Any],
    *,
    pipeline_id: int | None = None,
    state: PipelineState | Word | None = None,
    status: Word | None = None,
) -> Select[Any]:
    """The wanted pipelines: their columns, ``status``, ``also``, ``state``, and of ``remark`` what it is made of.

    With a ``state`` only those in it, or of which that word holds; a name that is both means the state. With a
    ``status`` those of which that word holds. A ``pipeline_id`` says that no other is wanted.
    """
    due = await read_due(session, None if pipeline_id is None else [pipeline_id])
    standing = (
        text(f"SELECT pipeline.id, status, also, state, {OVERRUN} AS remark FROM {PIPELINES}")  # noqa: S608 - a constant
        .bindparams(bindparam("due", due, ARRAY(BigInteger)))
        .columns(
            *(column("id", BigInteger), column("status", Text), column("also", ARRAY(Text)), column("state", Text)),
            column("remark", JSONB),
        )
        .subquery("standing")
    )
    statement = wanted.with_only_columns(
        *Pipeline.__table__.columns, standing.c.status, standing.c.also, standing.c.state, standing.c.remark
    ).join(standing, standing.c.id == Pipeline.id)
    if state in set(PipelineState):
        statement, state = statement.where(standing.c.state == state), None
    for word in filter(None, (state, status)):
        statement = statement.where((standing.c.status == word) | (literal(word) == any_(standing.c.also)))
    return statement


_THESE = f"FROM {PIPELINES} WHERE pipeline.id = ANY(CAST(:pipeline_ids AS bigint[]))"
_CONDITIONS = text(f"SELECT pipeline.id, status, also, {OVERRUN} AS remark {_THESE}")
_STATUSES = text(f"SELECT pipeline.id, status {_THESE}")


async def read_conditions(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, Condition]:
    """What holds of each of these pipelines, whether active or not; ids of no pipeline are left out."""
    parameters = {"pipeline_ids": list(pipeline_ids), "due": await read_due(session, pipeline_ids)}
    rows = await session.execute(_CONDITIONS, parameters)
    return {row.id: Condition(Status(row.status), tuple(row.also), overrun_text(row.remark)) for row in rows}


# The active pipelines of which one of ``:words`` holds, which are kinds of incidents. By ix_incident_current: few.
HOLDING: Final = """
SELECT DISTINCT pipeline_id FROM incident JOIN pipeline ON pipeline.id = pipeline_id
WHERE state <> 'resolved' AND kind = ANY(CAST(:words AS text[])) AND pipeline.active AND pipeline.archived_at IS NULL
"""


async def read_pipeline_statuses(session: AsyncSession, pipeline_ids: Collection[int]) -> dict[int, Status]:
    """The status of each of these pipelines, whether active or not; ids of no pipeline are left out."""
    rows = await session.execute(_STATUSES, {"pipeline_ids": list(pipeline_ids), "due": []})
    return {row.id: Status(row.status) for row in rows.all()}
