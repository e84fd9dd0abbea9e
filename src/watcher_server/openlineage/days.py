"""How long events are kept: a partition for each day of their arrival (UTC), which goes at once when it is old."""

import logging
import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"openlineage_event_(\d{8})")
# A table that is made or dropped waits for those that use the others, and all that come later wait for it.
_LOCK_MILLISECONDS: Final = 2_000
_AT_ONCE: Final = 1_000

_PARTITIONS = """
SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = CAST('openlineage_event' AS regclass) ORDER BY child.relname
"""
# By the primary key: ids are given in the order of arrival, so the old ones come first. What is replayed keeps its id.
_DELETE_APPLIED = """
WITH batch AS MATERIALIZED (
    SELECT id, received_at, applied_at FROM openlineage_event_default WHERE id > :after ORDER BY id LIMIT :most
), deleted AS (
    DELETE FROM openlineage_event_default AS event USING batch
    WHERE event.id = batch.id AND event.received_at = batch.received_at
        AND batch.received_at < now() - make_interval(days => :days) AND event.applied_at IS NOT NULL
    RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS deleted, max(id) AS last,
    coalesce(bool_or(received_at < now() - make_interval(days => :days)), false) AS reached_old
FROM batch
"""
# By ix_openlineage_failed_event_failed_at.
_DELETE_FAILED = """
DELETE FROM openlineage_failed_event WHERE id IN (
    SELECT id FROM openlineage_failed_event WHERE failed_at < now() - make_interval(days => :days)
    ORDER BY failed_at LIMIT :most FOR UPDATE SKIP LOCKED
)
"""


def keep_days(engine: Engine, event_days: int, failed_event_days: int) -> None:
    """Make the partitions of the days to come, and delete what is older than these numbers of days.

    An event that waits is kept, however old. What cannot be done now, because others use the tables, is done next time.
    """
    today = datetime.now(UTC).date()
    with engine.connect() as connection:
        names = set(connection.scalars(text(_PARTITIONS)))
    for days in (1, 2, 3):
        day = today + timedelta(days=days)
        if _name_of(day) not in names:
            _make(engine, day)
    for name in sorted(names):
        found = _NAME.fullmatch(name)
        if found and datetime.strptime(found[1], "%Y%m%d").replace(tzinfo=UTC).date() < today - timedelta(event_days):
            _drop(engine, name)
    after, goes_on = 0, True
    while goes_on:
        with engine.begin() as connection:
            parameters = {"after": after, "most": _AT_ONCE, "days": event_days}
            done = connection.execute(text(_DELETE_APPLIED), parameters).one()
        after, goes_on = done.last, done.reached_old
    deleted = _AT_ONCE
    while deleted == _AT_ONCE:
        with engine.begin() as connection:
            parameters = {"days": failed_event_days, "most": _AT_ONCE}
            deleted = connection.execute(text(_DELETE_FAILED), parameters).rowcount


def _name_of(day: date) -> str:
    return f"openlineage_event_{day:%Y%m%d}"


def _make(engine: Engine, day: date) -> None:
    """Events go on coming meanwhile; those of a day without a partition go to the default one."""
    name, next_day = _name_of(day), day + timedelta(days=1)
    try:
        with engine.begin() as connection:
            _limit_locks(connection)
            # Attaching a table keeps fewer others waiting than making it as a partition.
            connection.exec_driver_sql(
                f"CREATE TABLE {name} (LIKE openlineage_event INCLUDING DEFAULTS INCLUDING STORAGE)"
            )
            connection.exec_driver_sql(
                f"ALTER TABLE openlineage_event ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next_day} 00:00:00+00')"
            )
    except DBAPIError as error:
        logger.info("There is no table %s yet, so its events go to the default one: %s", name, error.orig)


def _drop(engine: Engine, name: str) -> None:
    try:
        with engine.begin() as connection:
            _limit_locks(connection)
            # In the order in which events are stored, so that neither waits for the other. A replay may come meanwhile.
            connection.exec_driver_sql("LOCK TABLE ONLY openlineage_event IN ACCESS EXCLUSIVE MODE")
            connection.exec_driver_sql(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
            waits = f"SELECT EXISTS (SELECT FROM {name} WHERE applied_at IS NULL)"  # noqa: S608 - a name of ours
            if not connection.exec_driver_sql(waits).scalar():
                connection.exec_driver_sql(f"DROP TABLE {name}")
    except DBAPIError as error:
        logger.info("The old events of %s are kept for now: %s", name, error.orig)


def _limit_locks(connection: Connection) -> None:
    connection.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{_LOCK_MILLISECONDS}ms"})
