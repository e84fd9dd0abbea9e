"""Applying an upload: all of it in the caller's transaction, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.addresses.creating import CREATE_ADDRESS_TYPES, CREATE_ADDRESSES
from watcher_server.database.locks import DBT_LOCK
from watcher_server.dbt import statements
from watcher_server.dbt.errors import UploadError
from watcher_server.dbt.plan import Plan
from watcher_server.executions.clocks import too_far_ahead
from watcher_server.lineage.service import NO_PIPELINE, REBUILD_TASK
from watcher_server.pipelines.service import REVIVE_TASK
from watcher_server.tasking.sending.outbox import enqueue_async
from watcher_server.tasking.wire import SCHEDULED_QUEUE
from watcher_server.telemetry.context import current_context_json


@dataclass
class Applied:
    """How much an upload changed; ``execution_id`` is the invocation's, null when its run was known already."""

    files: int = 0
    execution_id: int | None = None
    executions: int = 0
    sources: int = 0
    pipelines_created: int = 0


async def apply_plans(session: AsyncSession, plans: Sequence[Plan], *, with_rules: bool) -> Applied:
    """Apply each file that was not applied before; ``with_rules`` gives new pipelines their anomaly rules.

    Two uploads take turns, so that the later one finds what the earlier one applied.
    """
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": DBT_LOCK})
    applied = Applied()
    for plan in plans:
        file = {"kind": plan.kind, **plan.metadata.model_dump(include={"invocation_id", "generated_at"})}
        if await session.scalar(text(statements.CLAIM_ARTIFACT), file):
            applied.files += 1
            await _apply(session, plan, applied, with_rules=with_rules)
    return applied


async def _apply(session: AsyncSession, plan: Plan, applied: Applied, *, with_rules: bool) -> None:
    pipelines = {"rows": plan.pipelines}
    await session.execute(text(statements.CREATE_PIPELINE_TYPES), pipelines)
    created = text(statements.CREATE_PIPELINES)
    applied.pipelines_created += await session.scalar(created, {**pipelines, "with_rules": with_rules}) or 0
    for statement in (statements.LOCK_PIPELINES, statements.DESCRIBE_PIPELINES, statements.NOTE_WRITES):
        await session.execute(text(statement), pipelines)
    await _store_lineage(session, plan)
    parameters = {"pipelines": plan.pipelines, "addresses": plan.addresses}
    revived = (await session.execute(text(statements.REVIVE), parameters)).one()._asdict()
    if any(revived.values()):
        await enqueue_async(session, REVIVE_TASK, SCHEDULED_QUEUE, **revived)
    if plan.kind == "sources":
        applied.sources += plan.number
        # What is stale is told now, and not only when the check is due.
        await enqueue_async(session, "freshness_check_task", SCHEDULED_QUEUE)
    else:
        applied.execution_id = await _store_runs(session, plan.invocation, None)
        await _store_runs(session, plan.runs, applied.execution_id)
        applied.executions += 1 + plan.number


async def _store_lineage(session: AsyncSession, plan: Plan) -> None:
    for statement in (
        CREATE_ADDRESS_TYPES,
        CREATE_ADDRESSES,
        statements.LOCK_ADDRESSES,
        statements.DESCRIBE_ADDRESSES,
    ):
        await session.execute(text(statement), {"rows": plan.addresses})
    await session.execute(text(statements.FORGET_ARCHIVED_EDGES), {"rows": plan.edges})
    ends = sorted(await session.scalars(text(statements.REPLACE_EDGES), {"rows": plan.edges}))
    if ends:
        await enqueue_async(session, REBUILD_TASK, connected_addresses=ends, pipeline_id=NO_PIPELINE)


async def _store_runs(session: AsyncSession, runs: str, parent_id: int | None) -> int | None:
    too_far = (await session.execute(text(statements.TOO_FAR_AHEAD), {"rows": runs})).one_or_none()
    if too_far is not None:
        raise UploadError("run_results.json", f"run_results.json: {too_far_ahead(too_far.latest, too_far.now)}")
    parameters = {"rows": runs, "parent_id": parent_id, "context": current_context_json()}
    first: int | None = await session.scalar(text(statements.STORE_RUNS), parameters)
    return first
