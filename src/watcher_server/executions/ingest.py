"""The hot path: the start and the end of an execution, one statement and one round trip each.

Both run on autocommit, so each statement is a transaction: the row, its closure, the pipeline's state, the message in
the outbox and, for a day in the past, the note that its figures changed are stored together or not at all.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from watcher_server.database.statements import numbered
from watcher_server.executions.clocks import too_far_ahead
from watcher_server.executions.schemas import ExecutionEnd, ExecutionStart
from watcher_server.executions.statements import (
    END_RARE_STATEMENT,
    END_STATEMENT,
    REFUSED_START,
    START_RARE_STATEMENT,
    START_STATEMENT,
    STORED_END,
)
from watcher_server.http.idempotency import FORGET_EXPIRED, Claim, check_same
from watcher_server.kit.errors import ConflictError, DomainError, InvalidFieldError, InvalidOrderError, NotFoundError
from watcher_server.telemetry.context import current_context_json

# A date older than this is of a past day, so the first statement is left out.
_PAST_AFTER = timedelta(days=1)
# Two starts with one key at once: the second finds what the first answered.
_TRIES = 5

Connection = AsyncConnection[TupleRow]

_START, _START_RARELY, _REFUSED_START = map(numbered, (START_STATEMENT, START_RARE_STATEMENT, REFUSED_START))
_END, _END_RARELY, _STORED_END = map(numbered, (END_STATEMENT, END_RARE_STATEMENT, STORED_END))


def _may_be_usual(reported: datetime | None) -> bool:
    return reported is None or reported > datetime.now(UTC) - _PAST_AFTER


async def start_execution(connection: Connection, body: ExecutionStart, claim: Claim | None = None) -> int:
    """Store a run that begins; its id. With a claim that was answered before, the id of that answer.

    Raises NotFoundError if the pipeline or the parent does not exist; InvalidFieldError if the start lies too far
    ahead, or the key was sent before for another request.
    """
    context = None if body.parent_id is None else current_context_json()
    parameters: dict[str, Any] = {**vars(body), "context": context}
    if claim is None and _may_be_usual(body.start_date):
        row = await _START.fetch_one(connection, parameters)
        if row is not None:
            return int(row[0])
    row = await _start_rarely(connection, parameters, claim)
    if row is None:
        raise await _explain_start(connection, body)
    execution_id, fingerprint, answer = row
    if claim is not None and fingerprint is not None:
        check_same(claim, fingerprint)
        execution_id = json.loads(answer)["id"]
    return int(execution_id)


async def _start_rarely(connection: Connection, parameters: dict[str, Any], claim: Claim | None) -> TupleRow | None:
    """The start that copes with everything.

    Of two at once with one key, the second fails at the first one's key and then finds its answer. A key that is
    older than a day fails too, until it is forgotten.
    """
    named: dict[str, Any] = dict.fromkeys(Claim._fields) if claim is None else claim._asdict()
    for _ in range(_TRIES):
        try:
            return await _START_RARELY.fetch_one(connection, parameters | named)
        except UniqueViolation:
            await connection.execute(FORGET_EXPIRED, named)
    raise ConflictError("Other requests with this key came at the same time.")


async def _explain_start(connection: Connection, body: ExecutionStart) -> DomainError:
    row = await _REFUSED_START.fetch_one(connection, {"start_date": body.start_date, "pipeline_id": body.pipeline_id})
    if row is None:
        return NotFoundError(f"No pipeline has the id {body.pipeline_id}.")
    (now,) = row
    if body.start_date is not None and now is not None:
        return InvalidFieldError("start_date", too_far_ahead(body.start_date, now))
    return NotFoundError(f"No pipeline execution has the id {body.parent_id}, so it cannot be a parent.")


async def end_execution(connection: Connection, body: ExecutionEnd) -> bool:
    """Store how a run ended, unless an earlier call with the same content did; whether a task is to follow.

    Raises NotFoundError if there is no such execution; InvalidOrderError if the end does not come after the start,
    InvalidFieldError if it lies too far ahead; ConflictError if the execution ended already, differently.
    """
    parameters: dict[str, Any] = {**vars(body), "context": current_context_json()}
    if body.execution_metadata is not None:
        parameters["execution_metadata"] = Jsonb(body.execution_metadata)
    ended = await _END.fetch_one(connection, parameters) if _may_be_usual(body.end_date) else None
    ended = ended or await _END_RARELY.fetch_one(connection, parameters)
    if ended is not None:
        return bool(ended[0])
    stored = await _STORED_END.fetch_one(connection, parameters)
    if stored is None:
        raise NotFoundError(f"No pipeline execution has the id {body.id}.")
    now, ordered, repeated = stored
    if body.end_date is not None and now is not None:
        raise InvalidFieldError("end_date", too_far_ahead(body.end_date, now))
    if not ordered:
        raise InvalidOrderError(f"end_date must be greater than start_date (end_date is {body.end_date or 'now'}).")
    if not repeated:
        raise ConflictError(f"Pipeline execution {body.id} has already ended, with other values.")
    return False
