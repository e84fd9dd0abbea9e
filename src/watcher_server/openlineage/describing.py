"""What pages and the API show of a job or a dataset, beside what people noted by hand."""

from collections.abc import Mapping
from typing import Any

from watcher_server.openlineage.deriving import integration_of, tag_text
from watcher_server.openlineage.envelope import DatasetName, JobName
from watcher_server.openlineage.folding import Facet, value_in
from watcher_server.telemetry.redaction import redact


def describe_job(job: JobName, facts: Mapping[str, Facet]) -> dict[str, Any]:
    """``pipeline.openlineage``: who the job is, and the newest that its events said of it, without secrets."""
    sql, node = value_in(facts, "sql") or {}, value_in(facts, "dbt_node") or {}
    code = value_in(facts, "sourceCodeLocation") or {}
    described = {
        "namespace": job.namespace[:500],
        "name": job.name[:4_000],
        "integration": integration_of(facts),
        "owners": value_in(facts, "ownership"),
        "tags": _tags(facts, "tags", "node tags"),
        "description": _description(facts),
        "sql": redact(sql["query"]) if sql else None,
        "code": {"repository" if name == "repoUrl" else name: redact(said) for name, said in code.items() if said},
        "file": node.get("original_file_path"),
        "unique_id": node.get("unique_id"),
        "schedule": value_in(facts, "schedule"),
    }
    return {name: value for name, value in described.items() if value}


def describe_dataset(dataset: DatasetName, facts: Mapping[str, Facet]) -> dict[str, Any]:
    """``address.openlineage``: which dataset the address is, and the newest that events said of it."""
    described = {
        "namespace": dataset.namespace[:500],
        "name": dataset.name[:4_000],
        "owners": value_in(facts, "ownership"),
        "tags": _tags(facts, "tags"),
        "description": _description(facts),
        "fields": value_in(facts, "schema"),
        "type": (value_in(facts, "datasetType") or {}).get("datasetType"),
        "format": (value_in(facts, "storage") or {}).get("fileFormat"),
        "catalog": (value_in(facts, "catalog") or {}).get("name"),
        "version": (value_in(facts, "version") or {}).get("datasetVersion"),
        "dropped": (value_in(facts, "lifecycleStateChange") or {}).get("lifecycleStateChange") == "DROP",
        "exposures": (value_in(facts, "dbt_exposures") or {}).get("exposures"),
        "exposure": value_in(facts, "exposure"),
    }
    return {name: value for name, value in described.items() if value}


def _tags(facts: Mapping[str, Facet], *names: str) -> list[str]:
    tags = [tag_text(tag) for name in names for tag in (value_in(facts, name) or {}).get("tags", ())]
    return list(dict.fromkeys(filter(None, tags)))[:50]


def _description(facts: Mapping[str, Facet]) -> str:
    return redact((value_in(facts, "documentation") or {}).get("description") or "")
