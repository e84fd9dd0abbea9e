"""What pages and the API show of a job or a dataset, beside what people noted by hand."""

from collections.abc import Mapping
from typing import Any, Final

from watcher_server.openlineage.deriving import integration_of, tag_text
from watcher_server.openlineage.envelope import DatasetName, JobName
from watcher_server.openlineage.folding import Facet, value_of
from watcher_server.telemetry.redaction import redact

_MOST_TAGS: Final = 50


def describe_job(job: JobName, facts: Mapping[str, Facet]) -> dict[str, Any]:
    """``pipeline.openlineage``: who the job is, and the newest that its events said of it, without secrets."""
    said = _Said(facts)
    sql, code = said.value("sql") or {}, said.value("sourceCodeLocation") or {}
    described = {
        "namespace": job.namespace[:500],
        "name": job.name[:4_000],
        "integration": integration_of(facts),
        "owners": said.value("ownership"),
        "tags": said.tags("tags", "node tags"),
        "description": said.description(),
        "sql": redact(sql["query"]) if sql else None,
        "code": {
            name: redact(code[field])
            for name, field in (
                ("url", "url"),
                ("repository", "repoUrl"),
                ("path", "path"),
                ("version", "version"),
                ("branch", "branch"),
            )
            if code.get(field)
        },
        "file": (said.value("dbt_node") or {}).get("original_file_path"),
        "unique_id": (said.value("dbt_node") or {}).get("unique_id"),
        "schedule": said.value("schedule"),
    }
    return {name: value for name, value in described.items() if value}


def describe_dataset(dataset: DatasetName, facts: Mapping[str, Facet]) -> dict[str, Any]:
    """``address.openlineage``: which dataset the address is, and the newest that events said of it."""
    said = _Said(facts)
    lifecycle = said.value("lifecycleStateChange") or {}
    storage, catalog, kind = said.value("storage") or {}, said.value("catalog") or {}, said.value("datasetType") or {}
    described = {
        "namespace": dataset.namespace[:500],
        "name": dataset.name[:4_000],
        "owners": said.value("ownership"),
        "tags": said.tags("tags"),
        "description": said.description(),
        "fields": said.value("schema"),
        "type": kind.get("datasetType"),
        "format": storage.get("fileFormat"),
        "catalog": catalog.get("name"),
        "version": (said.value("version") or {}).get("datasetVersion"),
        "dropped": lifecycle.get("lifecycleStateChange") == "DROP" or None,
        "exposures": (said.value("dbt_exposures") or {}).get("exposures"),
        "exposure": said.value("exposure"),
    }
    return {name: value for name, value in described.items() if value}


class _Said:
    """The newest values of facets."""

    def __init__(self, facts: Mapping[str, Facet]) -> None:
        self._facts = facts

    def value(self, name: str) -> Any:
        facet = self._facts.get(name)
        return None if facet is None else value_of(facet)

    def tags(self, *names: str) -> list[str] | None:
        tags = [tag_text(tag) for name in names for tag in (self.value(name) or {}).get("tags", ())]
        return list(dict.fromkeys(tag for tag in tags if tag))[:_MOST_TAGS] or None

    def description(self) -> str | None:
        document = self.value("documentation") or {}
        return redact(document["description"]) if document.get("description") else None
