"""From a result of dbt to an execution."""

from collections import Counter
from datetime import timedelta
from typing import Any

from watcher_server.dbt.artifacts import Result, RunResults, Status

_NAMED_FAILURES = 5
_SKIPPED = "dbt skipped it, because something that it needs failed or the invocation was stopped."


def run_of(result: Result, pipeline: str, run_results: RunResults) -> dict[str, Any]:
    """The execution of one node; what was skipped ends, without a duration, when the invocation did."""
    ended = result.completed_at or run_results.metadata.generated_at
    started = min(result.started_at or ended, ended)
    is_skipped = result.status is Status.SKIPPED
    failed = result.status.failed or is_skipped
    dbt: dict[str, Any] = {"invocation_id": run_results.metadata.invocation_id, "status": result.status}
    if result.message:
        dbt["message"] = result.message
    if result.failures:
        dbt["failures"] = result.failures
    error = {"error": result.message or (_SKIPPED if is_skipped else f"dbt says: {result.status}")} if failed else {}
    return {
        "pipeline": pipeline,
        "started": started.isoformat(),
        "ended": ended.isoformat(),
        "is_timed": result.started_at is not None and result.completed_at is not None,
        "succeeded": not failed,
        "total_rows": result.adapter_response.rows_affected,
        "metadata": {**error, "dbt": dbt},
    }


def run_of_invocation(pipeline: str, run_results: RunResults) -> dict[str, Any]:
    """The execution of the invocation: it failed when anything in it failed."""
    metadata = run_results.metadata
    results = run_results.results
    started = metadata.invocation_started_at or metadata.generated_at - timedelta(seconds=run_results.elapsed_time)
    started = min([started, *(result.started_at for result in results if result.started_at)])
    ended = max([metadata.generated_at, *(result.completed_at for result in results if result.completed_at)])
    failed = [result.unique_id for result in results if result.status.failed]
    dbt = {
        "invocation_id": metadata.invocation_id,
        "command": run_results.args.which,
        "version": metadata.dbt_version,
        "results": Counter(result.status.value for result in results),
    }
    error = {}
    if failed:
        named = ", ".join(failed[:_NAMED_FAILURES]) + (", ..." if len(failed) > _NAMED_FAILURES else "")
        error = {"error": f"{len(failed):,} of {len(results):,} failed: {named}"}
    return {
        "pipeline": pipeline,
        "started": started.isoformat(),
        "ended": ended.isoformat(),
        "is_timed": True,
        "succeeded": not failed,
        "total_rows": None,
        "metadata": {**error, "dbt": dbt},
    }
