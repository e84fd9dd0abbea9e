"""What is kept of a run in the metadata of its execution."""

from typing import Any, Final

from pydantic_core import to_json

from watcher_server.openlineage.deriving import RunView, tag_text
from watcher_server.openlineage.envelope import JobName
from watcher_server.openlineage.folding import State, facet_of
from watcher_server.telemetry.redaction import redact

_MOST_BYTES: Final = 28 * 1024
# Of an attempt before the latest only what its view says: everything else is of the latest.
_OF_AN_ATTEMPT: Final = ("run_id", "namespace", "name", "state", "attempt", "error", "streaming", "start_known")
# What goes first where all of it is too much.
_LARGE: Final = ("tasks", "stack_trace", "tags")


def note_run(state: State, job: JobName, run_id: str, view: RunView, *, is_latest: bool = True) -> dict[str, Any]:
    """The metadata of the execution: what is kept of the run for its page and for those who ask by the API."""
    error, tests = view.error, view.tests
    parent = facet_of(state, "parent") or {}
    airflow = facet_of(state, "airflow") or facet_of(state, "airflowDagRun") or {}
    instance, dag_run = airflow.get("taskInstance", {}), airflow.get("dagRun", {})
    nominal = facet_of(state, "nominalTime") or {}
    query = facet_of(state, "externalQuery") or {}
    engine = facet_of(state, "processing_engine") or {}
    failure = facet_of(state, "errorMessage") or {}
    dbt = facet_of(state, "dbt_run") or {}
    code = facet_of(state, "sourceCodeLocation") or {}
    seen = state["seen"]
    engine_parts = {"name": "name", "version": "version", "adapter": "openlineageAdapterVersion"}
    said: dict[str, Any] = {
        "run_id": run_id[:500],
        "namespace": job.namespace[:500],
        "name": job.name[:1_000],
        "state": view.outcome.name if view.outcome else "RUNNING",
        "attempt": view.attempt if view.streaming else instance.get("try_number"),
        "nominal_start": nominal.get("nominalStartTime"),
        "nominal_end": nominal.get("nominalEndTime"),
        "parent": "/".join((*parent["job"], parent["run_id"]))[:1_000] if parent else None,
        "root": "/".join((*parent["root_job"], parent["root_run_id"]))[:1_000] if "root_job" in parent else None,
        "error": {"message": error, "language": failure.get("programmingLanguage")} if error else None,
        "stack_trace": redact(failure["stackTrace"]) if error and failure.get("stackTrace") else None,
        "engine": {part: engine.get(field) for part, field in engine_parts.items()} if engine else None,
        "log_url": redact(instance["log_url"]) if instance.get("log_url") else None,
        "dag_run": dag_run.get("run_id"),
        "run_type": dag_run.get("run_type"),
        # -1 is a task that is not mapped.
        "map_index": None if instance.get("map_index") == -1 else instance.get("map_index"),
        "sql_hash": facet_of(state, "sql hash"),
        "code_version": facet_of(state, "code version"),
        "code": {name: redact(code[name]) for name in ("url", "version", "branch") if code.get(name)} or None,
        "query": {"id": query.get("externalQueryId"), "source": redact(query.get("source") or "")} if query else None,
        "invocation_id": dbt.get("invocation_id"),
        "lineage_incomplete": bool((facet_of(state, "extractionError") or {}).get("failedTasks")) or None,
        "tests": tests and tests._asdict() | {"names": [redact(name)[:200] for name in tests.names[:20]]},
        "outputs_bytes": view.bytes,
        "tasks": (facet_of(state, "airflowState") or {}).get("tasksState"),
        "tags": _run_tags(state),
        "events": None if seen is None else len(seen),
        "streaming": view.streaming or None,
        "start_known": view.start_known,
    }
    kept = {name: value for name, value in said.items() if value is not None and (is_latest or name in _OF_AN_ATTEMPT)}
    for name in _LARGE:
        if name in kept and len(to_json(kept)) > _MOST_BYTES:
            del kept[name]
    return {**({"error": error} if error else {}), "openlineage": kept}


def _run_tags(state: State) -> list[str] | None:
    """Tags that say something of this run: those of dbt's nodes belong to pipelines, the client's own say nothing."""
    tags = (facet_of(state, "run tags") or {}).get("tags", ())
    ours = [
        tag_text(tag)
        for tag in tags
        if (tag.get("source") or "").upper() not in {"DBT", "DBT_META", "OPENLINEAGE_CLIENT"}
    ]
    return ours[:50] or None
