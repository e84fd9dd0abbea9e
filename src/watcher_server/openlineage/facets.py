"""The facets that are used, each read by itself: one of another shape than expected is dropped, and nothing else.

A facet is reduced to what is kept of it (``shapes``) before it goes anywhere.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, Literal

from watcher_server.openlineage import shapes

Place = Literal["run", "job", "dataset", "input", "output"]


def _parent(shape: shapes.Parent) -> Any:
    root = shape.root
    return {
        "run_id": shape.run.runId,
        "job": [shape.job.namespace, shape.job.name],
        **({"root_run_id": root.run.runId, "root_job": [root.job.namespace, root.job.name]} if root else {}),
    }


def _pairs(sources: Iterable[shapes.Source]) -> list[list[str]]:
    """Each dataset once, in order; ends that are jobs are left out."""
    found = {
        (source.namespace, source.name)
        for source in sources
        if source.namespace and source.name and (source.type or "DATASET").upper() == "DATASET"
    }
    return [list(pair) for pair in sorted(found)][: shapes.MOST_SOURCES]


def _job_lineage(shape: shapes.JobLineage) -> Any:
    """Pairs of a target and its sources."""
    return [
        [[entry.namespace, entry.name], _pairs(entry.sources)]
        for entry in shape.entries
        if entry.namespace and entry.name and (entry.type or "DATASET").upper() == "DATASET"
    ]


def _flatten(fields: Iterable[shapes.SchemaField], above: str) -> Iterator[dict[str, str | None]]:
    for field in fields:
        said = {"name": f"{above}{field.name}", "type": field.type, "description": field.description}
        yield {name: value for name, value in said.items() if value or name == "name"}
        yield from _flatten(field.fields, f"{said['name']}.")


def _owners(shape: shapes.Ownership) -> Any:
    # Airflow's default owner says nothing.
    return [name for owner in shape.owners if (name := owner.name.strip()) and name.lower() != "airflow"]


def _dagster_checks(shape: shapes.DagsterChecks) -> Any:
    """As the facet ``test``: the assertions of the same checks do not say how severe they are."""
    return {
        "tests": [
            {"name": check.assertion, "status": "pass" if check.passed else "fail", "severity": check.severity}
            for check in shape.checks
        ]
    }


Reader = tuple[type[shapes.Shape], Callable[[Any], Any]]


def _reader(
    shape: type[shapes.Shape], reduce: Callable[[Any], Any] = lambda shape: shape.model_dump(exclude_none=True)
) -> Reader:
    return shape, reduce


_ASSERTIONS = _reader(shapes.Assertions)
_TAGS = _reader(shapes.Tags)
_OWNERSHIP = _reader(shapes.Ownership, _owners)
_DOCUMENTATION = _reader(shapes.Documentation)
_SMALL = _reader(shapes.Small)

READERS: Final[Mapping[str, Mapping[str, Reader]]] = {
    "run": {
        "parent": _reader(shapes.Parent, _parent),
        "errorMessage": _reader(shapes.ErrorMessage),
        "nominalTime": _reader(shapes.NominalTime),
        "processing_engine": _reader(shapes.Engine),
        "externalQuery": _reader(shapes.Query),
        "extractionError": _reader(shapes.ExtractionError),
        "tags": _TAGS,
        "test": _reader(shapes.Tests),
        "airflow": _reader(shapes.Airflow),
        "airflowDagRun": _reader(shapes.Airflow),
        "airflowState": _reader(shapes.AirflowState),
        "dbt_run": _reader(shapes.DbtRun),
        "dbt_node": _reader(shapes.DbtNode),
        "dbt_version": _reader(shapes.Version),
        "dagster_asset_check": _reader(shapes.DagsterChecks, _dagster_checks),
    },
    "job": {
        "jobType": _reader(shapes.JobType),
        "lineage": _reader(shapes.JobLineage, _job_lineage),
        "ownership": _OWNERSHIP,
        "tags": _TAGS,
        "documentation": _DOCUMENTATION,
        "sql": _reader(shapes.Sql),
        "sourceCodeLocation": _reader(shapes.CodeLocation),
        "sourceCode": _reader(shapes.Code, lambda code: hashlib.sha256(code.sourceCode.encode()).hexdigest()),
        "dbt_node": _reader(shapes.DbtNode),
    },
    "dataset": {
        "columnLineage": _reader(shapes.ColumnLineage, lambda lineage: _pairs(lineage.sources)),
        "lineage": _reader(shapes.Lineage, lambda lineage: _pairs(lineage.sources)),
        "schema": _reader(shapes.Schema, lambda schema: list(islice(_flatten(schema.fields, ""), 5_000))),
        "ownership": _OWNERSHIP,
        "tags": _TAGS,
        "documentation": _DOCUMENTATION,
        "symlinks": _reader(shapes.Symlinks),
        "lifecycleStateChange": _reader(shapes.Lifecycle),
        "dataQualityAssertions": _ASSERTIONS,
        "dbt_model": _reader(shapes.DbtModel),
        "dbt_exposures": _reader(shapes.Exposures),
        "datasetType": _SMALL,
        "storage": _SMALL,
        "catalog": _SMALL,
        "version": _SMALL,
    },
    "input": {"inputStatistics": _reader(shapes.Statistics), "dataQualityAssertions": _ASSERTIONS},
    "output": {"outputStatistics": _reader(shapes.Statistics)},
}

# Known, and left in the event on purpose: secrets, or size without use.
_LEFT = frozenset({
    "environmentVariables", "executionParameters", "spark.logicalPlan", "spark_unknown", "debug",
    "unknownSourceAttribute", "dataSource", "jobDependencies", "hierarchy", "subset", "dataQualityMetrics",
    "spark_properties", "spark_version", "spark_jobDetails", "spark_applicationDetails", "flink_job", "gcp_dataproc",
    "gcp_composer_run", "gcp_lineage", "iceberg_scan_report", "iceberg_commit_report", "airflow_runArgs", "parentRun",
    "unknownSource", "inputSubset", "outputSubset",
})  # fmt: skip
# Producers nest what they describe; Python's own limit lies far above this.
_DEEPEST: Final = 100
DELETED: Final = {"_deleted": True}


def read_facets(place: Place, facets: Any, dropped: dict[tuple[str, bool], int]) -> Iterator[tuple[str, Any]]:
    """The facets of this place that are used, reduced to what is kept; one that was removed is ``DELETED``.

    Args:
        place: where they stand.
        facets: by their names, or anything else.
        dropped: counts, by name and whether it is known, those that could not be read.
    """
    if not isinstance(facets, dict):
        return
    readers = READERS[place]
    for name, facet in facets.items():
        reader = readers.get(name)
        if reader is None:
            # Airflow's facet of a job repeats what other facets say.
            if name not in _LEFT and (place, name) != ("job", "airflow"):
                key = (name[:100], False)
                dropped[key] = dropped.get(key, 0) + 1
            continue
        if isinstance(facet, dict) and facet.get("_deleted") is True:
            yield name, DELETED
            continue
        shape, reduce = reader
        try:
            read = None if _is_too_deep(facet) else reduce(shape.model_validate(facet))
        except (ValueError, RecursionError):
            read = None
        if read is None:
            dropped[name, True] = dropped.get((name, True), 0) + 1
        else:
            yield name, read


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            part
            for holder in level
            if isinstance(holder, dict | list)
            for part in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True
