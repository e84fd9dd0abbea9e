"""The statements that read the task history.

A task waits in ``outbox``; once published it is in ``task``, and while it waits for its next try it is in both. Each
statement reads both tables in one snapshot, so it sees a task that moves between them exactly once.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    Uuid,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import InstrumentedAttribute, aliased

from watcher_server.tasking.history.schemas import TaskQuery
from watcher_server.tasking.history.states import TaskState
from watcher_server.tasking.models import OutboxMessage, TaskRun, Worker

# A list of a thousand tasks shows the arguments of each up to this size.
MOST_BYTES_LISTED = 4096
# The task that did the work of a coalesced one. It is never coalesced itself.
_Doer = aliased(TaskRun, name="doer")
# Under which names tasks take the id of an execution.
_EXECUTION_NAMES = ["pipeline_execution_id", "execution_id"]


def select_task(task_id: UUID) -> Select[Any]:
    """One task, by the primary key of ``task`` and by ix_outbox_task_id."""
    wanted = select(literal(task_id).label("id"), func.now().label("created_at")).subquery("wanted")
    return _select_facts(wanted)


def select_marks(task_ids: list[UUID]) -> Select[Any]:
    """The state of each of these tasks and a digest of its meta: what tells whether it changed."""
    ids = func.unnest(literal(task_ids, ARRAY(Uuid))).label("id")
    facts = _select_facts(select(ids, func.now().label("created_at")).subquery("wanted"))
    columns = facts.selected_columns
    return facts.with_only_columns(columns.id, columns.state, func.md5(cast(columns.meta, Text)).label("digest"))


def select_page(query: TaskQuery) -> Select[Any]:
    """The tasks of a page, the newest first, and one more when there is another page."""
    # Each part is limited to what the page can show. ix_task_created_at, or the index of the filter that ends in
    # created_at, gives them in order; the outbox, which is usually short, is sorted.
    most = query.offset + query.limit + 1
    parts = union_all(*(_newest(part).limit(most) for part in _select_parts(query))).subquery("part")
    page = _newest(select(parts.c.id, parts.c.created_at)).limit(query.limit + 1).offset(query.offset)
    facts = _select_facts(page.subquery("wanted"))
    return facts.with_only_columns(
        *(_short(column) if column.name == "kwargs" else column for column in facts.selected_columns)
    )


def _short(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The object, or what stands in a list for one that is too large."""
    size = func.octet_length(cast(value, Text))
    marker = func.jsonb_build_object("truncated", true(), "bytes", size)
    return cast(case((size > MOST_BYTES_LISTED, marker), else_=value), JSONB).label("kwargs")


def _newest(tasks: Select[UUID, datetime]) -> Select[UUID, datetime]:
    id_, created_at = tasks.selected_columns
    return tasks.order_by(created_at.desc(), id_.desc())


def _select_parts(query: TaskQuery) -> Iterator[Select[UUID, datetime]]:
    published = select(TaskRun.id, TaskRun.created_at).where(*_conditions_of_published(query))
    if query.state is None:
        yield published
    else:
        # The state is written into the statement: the plan of a prepared one could not use the indexes of one state.
        state = literal(query.state.value, literal_execute=True)
        yield published.where(TaskRun.state == state)
        # In the state of the task that did their work: ix_task_coalesced_into.
        coalesced = published.where(TaskRun.coalesced_into.is_not(None))
        yield coalesced.join(_Doer, _Doer.id == TaskRun.coalesced_into).where(_Doer.state == state)
    if query.state in {None, TaskState.PENDING}:
        waiting = select(OutboxMessage.task_id.label("id"), OutboxMessage.created_at)
        newest = _newest(waiting.where(*_conditions_of_waiting(query))).subquery("newest")
        # A scalar subquery looks each of them up in ``task`` until there are enough. NOT EXISTS would be planned as a
        # join with the whole table.
        published_id = select(TaskRun.id).where(TaskRun.id == newest.c.id).scalar_subquery()
        yield select(newest.c.id, newest.c.created_at).where(published_id.is_(None))


def _conditions_of_published(query: TaskQuery) -> Iterator[ColumnElement[bool]]:
    yield from _created_within(TaskRun.created_at, query)
    if query.name is not None:
        yield TaskRun.name == query.name
    if query.pipeline_id is not None:
        yield TaskRun.pipeline_id == query.pipeline_id
    if query.pipeline_execution_id is not None:
        yield TaskRun.pipeline_execution_id == query.pipeline_execution_id


def _conditions_of_waiting(query: TaskQuery) -> Iterator[ColumnElement[bool]]:
    yield from _created_within(OutboxMessage.created_at, query)
    if query.name is not None:
        yield OutboxMessage.task_name == query.name
    if query.pipeline_id is not None:
        yield OutboxMessage.kwargs["pipeline_id"] == func.to_jsonb(query.pipeline_id)
    if query.pipeline_execution_id is not None:
        named = [OutboxMessage.kwargs[name] for name in _EXECUTION_NAMES]
        yield func.coalesce(*named) == func.to_jsonb(query.pipeline_execution_id)


def _created_within(created_at: InstrumentedAttribute[Any], query: TaskQuery) -> Iterator[ColumnElement[bool]]:
    if query.since is not None:
        yield created_at >= query.since
    if query.until is not None:
        yield created_at < query.until


def _subject(kwargs: ColumnElement[Any], names: list[str]) -> ColumnElement[int | None]:
    # The relay fills the columns of ``task`` by the same function.
    subject: ColumnElement[int | None] = func.watcher_task_subject(kwargs, literal(names, ARRAY(Text)))
    return subject


def _select_facts(wanted: Subquery) -> Select[Any]:
    """All columns of the wanted tasks (``id`` and ``created_at``, the newest first)."""
    waiting = (
        select(OutboxMessage.__table__)
        .where(OutboxMessage.task_id == func.coalesce(TaskRun.coalesced_into, wanted.c.id))
        .order_by(OutboxMessage.due_at)
        .limit(1)
        .lateral("waiting")
    )
    return (
        select(*_facts(waiting.c, wanted.c.id))
        .select_from(wanted)
        .outerjoin(TaskRun, TaskRun.id == wanted.c.id)
        .outerjoin(_Doer, _Doer.id == TaskRun.coalesced_into)
        .outerjoin(waiting, true())
        .outerjoin(Worker, Worker.id == _done("worker_id"))
        # A coalesced task whose doer was trimmed is trimmed next.
        .where(or_(TaskRun.id.is_not(None), waiting.c.id.is_not(None)))
        .where(or_(TaskRun.coalesced_into.is_(None), _Doer.id.is_not(None)))
        .order_by(wanted.c.created_at.desc(), wanted.c.id.desc())
    )


def _done(column: str) -> ColumnElement[Any]:
    """A column of the task that does the work."""
    return case((TaskRun.coalesced_into.is_(None), getattr(TaskRun, column)), else_=getattr(_Doer, column))


def _facts(waiting: Any, task_id: ColumnElement[UUID]) -> Iterator[ColumnElement[Any]]:
    """The columns of :class:`watcher_server.tasking.history.schemas.TaskDetail`, by their names there."""
    yield task_id.label("id")
    yield func.coalesce(TaskRun.name, waiting.task_name).label("name")
    yield func.coalesce(_done("state"), literal(TaskState.PENDING.value)).label("state")
    for name in ("meta", "traceback", "published_at", "started_at", "finished_at"):
        yield _done(name).label(name)
    for name in ("kwargs", "queue", "created_at"):
        yield func.coalesce(getattr(TaskRun, name), waiting[name]).label(name)
    yield func.coalesce(_done("retries"), waiting.retries).label("retries")
    yield func.coalesce(TaskRun.pipeline_id, _subject(waiting.kwargs, ["pipeline_id"])).label("pipeline_id")
    execution_id = func.coalesce(TaskRun.pipeline_execution_id, _subject(waiting.kwargs, _EXECUTION_NAMES))
    yield execution_id.label("pipeline_execution_id")
    yield waiting.due_at.label("due_at")
    yield Worker.name.label("worker")
    yield TaskRun.coalesced_into.label("coalesced_into")
    yield func.coalesce(TaskRun.context, waiting.context)["request_id"].astext.label("request_id")
    history = func.coalesce(_done("history"), literal([], JSONB))
    yield history.label("history")
    yield func.jsonb_array_length(history).label("failed_tries")
