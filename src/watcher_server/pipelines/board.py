"""All pipelines at a glance: those with which something is wrong, how many do how, and those that a list shows.

Each is one statement over all pipelines, so that a page of 10,000 of them opens at once, as they are now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.listing import contains
from watcher_server.pipelines.status import PIPELINES, WORST_FIRST, Status, read_due


class Glance(NamedTuple):
    """An active pipeline with its status. ``last_write`` is UTC.

    ``namespace`` is that of its job, where events of OpenLineage say it; its name begins with it then.
    """

    id: int
    name: str
    namespace: str | None
    status: Status
    last_write: datetime | None


@dataclass(frozen=True, slots=True)
class Board:
    """Active pipelines with which something is wrong, the worst first, then by name, some of them.

    ``counts`` has of how many active pipelines a word holds, of those that are wrong or running; ``attention`` is how
    many are wrong, ``total`` how many pipelines there are.
    """

    wrong: Sequence[Glance]
    counts: Mapping[str, int]
    attention: int
    total: int


# Pipelines with an open incident, by ix_incident_open_pipeline_id, or a run that is going, by
# ix_pipeline_execution_running. Of any other pipeline nothing holds that is looked for.
_NOTICED: Final = """
SELECT pipeline_id FROM incident WHERE state <> 'resolved' AND pipeline_id IS NOT NULL
UNION SELECT pipeline_id FROM pipeline_execution WHERE end_date IS NULL
"""

_BOARD = f"""
WITH noticed AS MATERIALIZED (
    SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name, pipeline.last_write, status, also
    FROM {PIPELINES} WHERE pipeline.active AND pipeline.id IN ({_NOTICED})
), counted AS (
    SELECT jsonb_object_agg(word, number) AS counts
    FROM (SELECT word, count(*) AS number FROM noticed, unnest(status || also) AS word GROUP BY word) AS held
), wrong AS (
    SELECT *, row_number() OVER (ORDER BY array_position({WORST_FIRST}, status), name COLLATE "C") AS place
    FROM noticed WHERE status = ANY({WORST_FIRST})
)
SELECT wrong.id, name, (SELECT openlineage ->> 'namespace' FROM pipeline WHERE pipeline.id = wrong.id) AS namespace,
    status, last_write, counts, (SELECT count(*) FROM wrong) AS attention,
    (SELECT count(*) FROM pipeline WHERE archived_at IS NULL) AS total
FROM counted LEFT JOIN wrong ON place <= :most
ORDER BY place
"""  # noqa: S608 - of constants


async def read_board(session: AsyncSession, most: int) -> Board:
    """What is wrong now; of the pipelines at most this number."""
    rows = (await session.execute(text(_BOARD), {"most": most, "due": []})).all()
    wrong = [_glance(row) for row in rows if row.id is not None]
    return Board(wrong, rows[0].counts or {}, rows[0].attention, rows[0].total)


# The pipelines that began last are looked for among the latest runs. One that runs every few seconds may fill them:
# then fewer pipelines are found than there are.
_LATEST_RUNS: Final = 5_000

# The latest runs by ix_pipeline_execution_start_date, what is going by ix_pipeline_execution_running.
_ACTIVE_SINCE = f"""
WITH latest_run AS (
    SELECT pipeline_id
    FROM (
        SELECT pipeline_id, start_date FROM pipeline_execution
        WHERE start_date >= :since ORDER BY start_date DESC LIMIT {_LATEST_RUNS}
    ) AS run
    GROUP BY pipeline_id ORDER BY max(start_date) DESC LIMIT 2 * :most
)
SELECT pipeline.id, coalesce(pipeline.display_name, pipeline.name) AS name,
    (SELECT openlineage ->> 'namespace' FROM pipeline AS stored WHERE stored.id = pipeline.id) AS namespace,
    status, pipeline.last_write
FROM {PIPELINES} CROSS JOIN LATERAL (
    SELECT max(start_date) FROM pipeline_execution AS execution WHERE execution.pipeline_id = pipeline.id
) AS latest (start)
WHERE pipeline.active AND pipeline.id IN (
        SELECT unnest(CAST(:pipeline_ids AS bigint[])) UNION SELECT pipeline_id FROM latest_run
        UNION SELECT pipeline_id FROM pipeline_execution WHERE end_date IS NULL
    )
    AND (latest.start >= :since OR status || also && '{{{Status.MISSED},{Status.RUNNING}}}')
ORDER BY array_position({WORST_FIRST}, status), latest.start DESC NULLS LAST, pipeline.id LIMIT :most
"""  # noqa: S608 - of constants


async def read_active_since(
    session: AsyncSession, pipeline_ids: Sequence[int], since: datetime, most: int
) -> list[Glance]:
    """Of these pipelines and those that began last the ones that ran since then, run, or missed a run; worst first."""
    parameters = {"pipeline_ids": list(pipeline_ids), "since": since, "most": most, "due": []}
    return [_glance(row) for row in await session.execute(text(_ACTIVE_SINCE), parameters)]


def _glance(row: Row[Any]) -> Glance:
    return Glance(row.id, row.name, row.namespace, Status(row.status), row.last_write)


def count_statuses(connection: Connection) -> dict[str, int]:
    """How many pipelines there are of each status."""
    statement = f"SELECT status, count(*) FROM {PIPELINES} WHERE archived_at IS NULL GROUP BY status"  # noqa: S608 - of constants
    counted = {row[0]: row[1] for row in connection.execute(text(statement), {"due": []})}
    return {status.value: counted.get(status, 0) for status in Status}


# The word of every pipeline that needs attention.
ATTENTION: Final = "attention"

# What a list can be ordered by; the latest run by ix_pipeline_execution_pipeline_id_start_date.
_LATEST_OF: Final = "FROM pipeline_execution AS run WHERE run.pipeline_id = chosen.id"
_KEYS: Final[Mapping[str, str]] = {
    "status": f"array_position(CAST('{{{','.join(Status)}}}' AS text[]), status)",
    "name": 'name COLLATE "C"',
    "type": 'type_name COLLATE "C"',
    "last_run": f"(SELECT max(start_date) {_LATEST_OF})",
    "duration": f"(SELECT duration_seconds {_LATEST_OF} ORDER BY start_date DESC LIMIT 1)",
    "last_write": "last_write",
    # The next run, or without a schedule the next write.
    "next_due": (
        "CASE WHEN active THEN coalesce(expected_next_run, CASE WHEN NOT freshness_muted THEN stale_at END) END"
    ),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A page of the pipelines that fit, in order: their ids, the number of the page, and how many fit in all.

    ``counts`` has for each word how many of those have it that fit without a word, ``in_any_state`` of them there are.
    """

    ids: Sequence[int]
    page: int
    total: int
    in_any_state: int
    counts: Mapping[str, int]


# Many pipelines share few lists of tags, so each list is looked at once.
_TAG_LISTS: Final = """
SELECT list, ARRAY(
    SELECT left(tag #>> '{}', 50) FROM jsonb_path_query(list, '$[0 to 19] ? (@.type() == "string")') AS tag
) AS tags
FROM (
    SELECT DISTINCT pipeline_metadata -> 'tags' AS list FROM pipeline WHERE archived_at IS NULL
) AS stored WHERE list IS NOT NULL
"""

_CHOSEN: Final = f"""
WITH fitting AS MATERIALIZED (
    SELECT pipeline.id, name, type_name, active, last_write, stale_at, freshness_muted, expected_next_run, status,
        status || also || CASE
            WHEN 'pipeline' IN (freshness_muted_by, timeliness_muted_by) THEN ARRAY['muted'] ELSE '{{}}'
        END || CASE WHEN status = ANY({WORST_FIRST}) THEN ARRAY['{ATTENTION}'] ELSE '{{}}' END AS words
    FROM {PIPELINES}
    WHERE archived_at IS NULL AND name LIKE ALL(CAST(:patterns AS text[]))
        AND (:type_name = '' OR type_name = :type_name)
        AND (:tag = '' OR pipeline_metadata -> 'tags' IN (
            SELECT list FROM ({_TAG_LISTS}) AS tag_list WHERE :tag = ANY(tags)
        ))
), chosen AS (
    SELECT * FROM fitting WHERE CAST(:word AS text) IS NULL OR :word = ANY(words)
)
"""  # noqa: S608 - of constants


def _choosing(order: str) -> str:
    key, direction = _KEYS[order.removeprefix("-")], "DESC" if order.startswith("-") else "ASC"
    return f"""
    {_CHOSEN}, page AS (
        SELECT count(*) AS total, least(:page, greatest(1, (count(*) + :size - 1) / :size)) AS number FROM chosen
    )
    SELECT number AS page, total, (SELECT count(*) FROM fitting) AS in_any_state,
        (SELECT jsonb_object_agg(word, number) FROM (
            SELECT word, sum(alike) AS number
            FROM (SELECT words, count(*) AS alike FROM fitting GROUP BY words) AS kind, unnest(words) AS word
            GROUP BY word
        ) AS held) AS counts,
        ARRAY(
            SELECT id FROM chosen
            ORDER BY {key} {direction} NULLS LAST, name COLLATE "C"
            LIMIT :size OFFSET :size * ((SELECT number FROM page) - 1)
        ) AS ids
    FROM page
    """  # noqa: S608 - of constants


class Wanted(NamedTuple):
    """Which pipelines fit: each of ``parts`` is in the name, the type and the tag are matched whole.

    ``word`` is one that holds, ``muted`` (the pipeline mutes one of its checks), or ``attention`` (something is wrong).
    """

    parts: Sequence[str] = ()
    type_name: str = ""
    tag: str = ""
    word: str | None = None

    async def parameters(self, session: AsyncSession) -> dict[str, Any]:
        """What the statements of this module take."""
        return {
            "due": await read_due(session),
            "patterns": [contains(part) for part in self.parts],
            "type_name": self.type_name,
            "tag": self.tag,
            "word": self.word,
        }


async def choose_pipelines(session: AsyncSession, wanted: Wanted, *, order: str, page: int, size: int) -> Chosen:
    """The requested page of the pipelines that fit, or the last one when there are fewer.

    ``order`` is status, name, type, last_run, duration, last_write or next_due, backwards with a ``-`` before it.
    Pipelines without what they are ordered by come last either way, equal ones by name.
    """
    parameters = {**await wanted.parameters(session), "page": page, "size": size}
    row = (await session.execute(text(_choosing(order)), parameters)).one()
    return Chosen(row.ids, row.page, row.total, row.in_any_state, row.counts or {})


async def find_fitting(session: AsyncSession, wanted: Wanted, most: int) -> list[int]:
    """The ids of all pipelines that fit, in order; at most this number."""
    statement = f"{_CHOSEN} SELECT id FROM chosen ORDER BY id LIMIT :most"  # noqa: S608 - of constants
    return list(await session.scalars(text(statement), {**await wanted.parameters(session), "most": most}))


class Choices(NamedTuple):
    """How many pipelines there are, and the names of types and the tags that they have, in order."""

    known: int
    type_names: Sequence[str]
    tags: Sequence[str]


_CHOICES = f"""
SELECT (SELECT count(*) FROM pipeline WHERE archived_at IS NULL) AS known, ARRAY(
    SELECT name FROM pipeline_type AS type
    WHERE EXISTS (SELECT FROM pipeline WHERE pipeline_type_id = type.id AND archived_at IS NULL)
    ORDER BY name COLLATE "C"
) AS type_names, ARRAY(
    SELECT tag FROM (SELECT DISTINCT tag FROM ({_TAG_LISTS}) AS tag_list, unnest(tags) AS tag) AS known
    ORDER BY tag COLLATE "C"
) AS tags
"""  # noqa: S608 - of constants


async def read_choices(session: AsyncSession) -> Choices:
    """What pipelines can be chosen by."""
    return Choices._make((await session.execute(text(_CHOICES))).one())
