"""Recording pings, and the URLs and keys by which they come."""

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.audit.service import Change, record_in
from watcher_server.auth.service import digest
from watcher_server.executions.clocks import too_far_ahead
from watcher_server.kit.errors import ConflictError, NotFoundError
from watcher_server.pings.models import PingKey
from watcher_server.pings.pace import TooFastError
from watcher_server.pings.schemas import PingReport, PingUrlPost
from watcher_server.pings.statements import REVIVALS, STATEMENTS
from watcher_server.pings.urls import PingUrl, RefusedError
from watcher_server.pipelines.models import Pipeline
from watcher_server.pipelines.schemas import PipelinePatch, PipelinePost
from watcher_server.pipelines.service import patch_pipeline, revive_pipeline
from watcher_server.registration.service import register
from watcher_server.settings import Settings
from watcher_server.telemetry.context import current_context_json

# The type of a pipeline that a ping or a command makes.
PIPELINE_TYPE = "ping"


class Recorded(NamedTuple):
    """How many pipelines the URL names (2 are several), and the execution that the ping was about, if any."""

    pipelines: int
    execution_id: int | None


async def record_ping(connection: AsyncConnection[TupleRow], url: PingUrl, report: PingReport) -> Recorded:
    """Store what a ping reports; on autocommit, so that its statement is a transaction.

    Raises:
        TooFastError: the URL was pinged too often.
        RefusedError: a date lies too far ahead.
    """
    place, kind = "slug" if url.uuid is None else "uuid", str(url.report)
    parameters = _parameters(url, report)
    # Two pings of one run at once: the second finds another run, or finds the same one under its id.
    for _ in range(5):
        try:
            row = await STATEMENTS[place, kind].fetch_one(connection, parameters)
        except UniqueViolation:
            continue
        found, wait, written, known, now, is_rare = row or (0, None, None, None, None, False)
        if is_rare:
            kind = "rare start"
            continue
        if found == 0:
            # The pipeline of the URL may be in the archive: a ping takes it out.
            revived = await (await connection.execute(REVIVALS[place], parameters)).fetchone()
            if revived is not None and revived[0]:
                continue
        if wait is not None:
            raise TooFastError(wait)
        if now is not None:
            latest = max(date for date in (report.start_date, report.end_date) if date is not None)
            raise RefusedError(422, too_far_ahead(latest, now))
        if found != 1 or written or known or url.report == "log":
            return Recorded(found, written or known)
    raise ConflictError("Other pings about the same run came at the same time.")


def _parameters(url: PingUrl, report: PingReport) -> dict[str, Any]:
    metadata = report.execution_metadata
    if url.exit_status is not None:
        metadata = {"exit_status": url.exit_status, **(metadata or {})}
    return {
        "uuid": url.uuid,
        "key_hash": None if url.key is None else digest(url.key),
        "slug": url.slug,
        "rid": url.rid,
        "completed_successfully": url.succeeded,
        "context": current_context_json(),
        **dict(report),
        "execution_metadata": None if metadata is None else Jsonb(metadata),
    }


async def create_by_slug(session: AsyncSession, key: str, slug: str, settings: Settings) -> bool:
    """Make a pipeline that has the slug as its name; whether this call did.

    Raises:
        NotFoundError: there is no such key.
    """
    if await session.scalar(select(PingKey.id).where(PingKey.key_hash == digest(key))) is None:
        raise NotFoundError("not found")
    _, created = await register(session, PipelinePost(name=slug, pipeline_type_name=PIPELINE_TYPE), settings)
    return created


async def get_url(session: AsyncSession, body: PingUrlPost, settings: Settings) -> tuple[int, UUID, bool]:
    """The id and the secret of the pipeline with that name, and whether it was made by this call.

    One that exists keeps its type, and changes only by the schedule that the body carries.

    Raises:
        InvalidFieldError: the schedule cannot be.
    """
    schedule = {name: value for name, value in body.carried().items() if name != "name"}
    found = await session.scalar(select(Pipeline).where(Pipeline.name == body.name))
    if found is None:
        post = PipelinePost(name=body.name, pipeline_type_name=PIPELINE_TYPE, **schedule)
        pipeline, created = await register(session, post, settings)
        return pipeline.id, pipeline.ping_uuid, created
    if found.archived_at is not None:
        await revive_pipeline(session, found.id)
    if any(getattr(found, name) != value for name, value in schedule.items()):
        await patch_pipeline(session, PipelinePatch(id=found.id, **schedule))
    return found.id, found.ping_uuid, False


async def renew_url(session: AsyncSession, pipeline_id: int) -> UUID:
    """Give the pipeline's URL a new secret; the old URL is that of nothing from now on.

    Raises:
        NotFoundError: there is no such pipeline.
    """
    statement = update(Pipeline).where(Pipeline.id == pipeline_id).values(ping_uuid=func.gen_random_uuid())
    returned = statement.returning(Pipeline.ping_uuid, func.coalesce(Pipeline.display_name, Pipeline.name))
    row = (await session.execute(returned)).one_or_none()
    if row is None:
        raise NotFoundError(f"No pipeline has the id {pipeline_id}.")
    made, name = row
    await record_in(session, Change("renew_ping_url", "pipeline", pipeline_id, name))
    return UUID(str(made))


async def create_key(session: AsyncSession, name: str) -> tuple[int, str]:
    """Make a key; its id, and the key itself, which exists only in what this returns.

    Raises:
        ConflictError: another key has that name.
    """
    key = secrets.token_urlsafe(24)
    statement = insert(PingKey).values(name=name, key_hash=digest(key))
    made = await session.scalar(statement.on_conflict_do_nothing(index_elements=["name"]).returning(PingKey.id))
    if made is None:
        raise ConflictError(f"Another ping key has the name {name!r}.")
    await record_in(session, Change("create", "ping_key", made, name))
    return made, key


async def list_keys(session: AsyncSession) -> Sequence[PingKey]:
    """Every key, by id."""
    return (await session.scalars(select(PingKey).order_by(PingKey.id))).all()


async def delete_key(session: AsyncSession, key_id: int) -> None:
    """Forget a key; its URLs are those of nothing from now on. Raises NotFoundError: there is no such key."""
    key = await session.get(PingKey, key_id)
    if key is None:
        raise NotFoundError(f"No ping key has the id {key_id}.")
    await session.delete(key)
    await record_in(session, Change("revoke", "ping_key", key_id, key.name))
