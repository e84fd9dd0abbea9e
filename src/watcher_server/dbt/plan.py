"""What an upload changes, as rows that name each other: worked out before a transaction begins."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from watcher_server.database.names import longest_part, shorten
from watcher_server.dbt.artifacts import (
    Manifest,
    Metadata,
    Node,
    Result,
    RunResults,
    SourceResult,
    Sources,
    Status,
    Threshold,
)
from watcher_server.dbt.errors import UploadError
from watcher_server.dbt.graph import Graph, owner_of
from watcher_server.dbt.naming import BUILT, TESTS, Names, relation_parts
from watcher_server.dbt.reading import Artifacts
from watcher_server.dbt.runs import run_of, run_of_invocation
from watcher_server.kit.names import SentName, display_of, fold

# The most that all pipelines of an upload may read and write together.
MOST_EDGES = 500_000
Row = dict[str, Any]
_Found = TypeVar("_Found", Result, SourceResult)


@dataclass(frozen=True)
class Plan:
    """What one file changes, as JSON texts of rows; ``number`` is how many nodes it tells of.

    ``pipelines`` and ``addresses`` are named, ``edges`` and ``runs`` name theirs. ``facts`` are what dbt says of one,
    as people would note it; ``dbt`` is the rest.
    """

    kind: str
    metadata: Metadata
    number: int
    pipelines: str
    addresses: str
    edges: str
    invocation: str
    runs: str


class _Rows:
    """The rows of a plan while they are collected. Of a name that occurs again the last row counts."""

    def __init__(self) -> None:
        self.pipelines: dict[str, Row] = {}
        self.addresses: dict[str, Row] = {}
        self.edges: list[Row] = []
        self.runs: list[Row] = []

    def as_plan(self, kind: str, metadata: Metadata, invocation: Row | None = None) -> Plan:
        return Plan(
            kind,
            metadata,
            number=len(self.runs) if invocation else len(self.pipelines),
            pipelines=json.dumps(list(self.pipelines.values())),
            addresses=json.dumps(list(self.addresses.values())),
            edges=json.dumps(self.edges),
            invocation=json.dumps([invocation] if invocation else []),
            runs=json.dumps(self.runs),
        )


def make_plans(artifacts: Artifacts, names: Names) -> list[Plan]:
    """One plan for each file beside the manifest.

    Raises:
        UploadError: the files do not fit together, or have more edges than can be stored.
    """
    planner = _Planner(artifacts.manifest, names)
    plans = [planner.plan_sources(sources) for sources in artifacts.sources]
    if artifacts.run_results is not None:
        plans.append(planner.plan_runs(artifacts.run_results))
    return plans


class _Planner:
    def __init__(self, manifest: Manifest, names: Names) -> None:
        self._manifest = manifest
        self._names = names
        self._graph = Graph(manifest)
        self._edges = 0

    def plan_runs(self, run_results: RunResults) -> Plan:
        """The invocation, and below it every model, seed, snapshot and test that it ran or skipped."""
        rows = _Rows()
        name = self._names.of_invocation()
        rows.pipelines[name] = {**_named(name), "type_name": "dbt job", "facts": {}, "dbt": {}}
        for result, node in self._find_nodes(run_results.results, BUILT | TESTS, "run_results.json"):
            pipeline = self._pipeline(node) | _written_by(result, node)
            rows.pipelines[pipeline["name"]] = pipeline
            rows.runs.append(run_of(result, pipeline["name"], run_results))
            if node.resource_type in BUILT:
                self._add_edges(rows, node, self._graph.inputs(node))
        return rows.as_plan("run_results", run_results.metadata, run_of_invocation(name, run_results))

    def plan_sources(self, sources: Sources) -> Plan:
        """A pipeline for each source, which writes it: its last write and its thresholds are what dbt found."""
        rows = _Rows()
        for result, node in self._find_nodes(sources.results, {"source"}, "sources.json"):
            pipeline = self._pipeline(node) | _freshness(result)
            pipeline["dbt"] |= _facts(freshness=result.status, error=result.error) | _thresholds(result)
            rows.pipelines[pipeline["name"]] = pipeline
            self._add_edges(rows, node, [])
        return rows.as_plan("sources", sources.metadata)

    def _find_nodes(
        self, results: Sequence[_Found], kinds: Collection[str], file: str
    ) -> Iterator[tuple[_Found, Node]]:
        seen: set[str] = set()
        for result in results:
            unique_id = result.unique_id
            # Hooks, exposures and saved queries are in the results too.
            if unique_id.partition(".")[0] not in kinds:
                continue
            if unique_id in seen:
                raise UploadError(file, f"{file} names {unique_id} twice")
            seen.add(unique_id)
            node = self._manifest.find(unique_id)
            if node is None or node.resource_type not in kinds:
                what = f"{file} names {unique_id}, and manifest.json does not: send the files of one target folder"
                raise UploadError(file, what)
            yield result, node

    def _pipeline(self, node: Node) -> Row:
        what = {"unique_id": node.unique_id, "file": node.original_file_path, "tests": node.attached_node}
        return {
            **_named(self._names.of_node(node)),
            "type_name": f"dbt {node.resource_type.replace('_', ' ')}",
            "facts": self._described(node),
            "dbt": _facts(**what, materialized=node.config.materialized),
        }

    def _described(self, node: Node) -> Row:
        return _facts(description=node.description, tags=node.tag_list, owner=owner_of(self._manifest, node))

    def _add_edges(self, rows: _Rows, node: Node, inputs: Sequence[Node]) -> None:
        target = self._names.of_relation(node)
        if target is None:
            return
        exposures = self._graph.exposures.get(node.unique_id, [])
        # What reads nothing that dbt knows has an edge onto itself, so that it is known to write its target.
        ends = [(self._names.of_relation(source), target) for source in inputs or [node]]
        ends += [(target, shorten(exposure.unique_id)) for exposure in exposures]
        self._edges += len(ends)
        if self._edges > MOST_EDGES:
            raise UploadError("manifest.json", f"manifest.json: what was run has more than {MOST_EDGES:,} edges")
        pipeline = self._names.of_node(node)
        rows.edges += [{"pipeline": pipeline, "source": source, "target": end} for source, end in ends]
        for address in (*map(self._relation, (node, *inputs)), *map(self._exposure, exposures)):
            rows.addresses[address["name"]] = address

    def _relation(self, node: Node) -> Row:
        database, schema, table = (part and fold(part)[: longest_part()] for part in relation_parts(node))
        return {
            **_named(self._names.of_relation(node)),
            "type_name": fold(self._manifest.metadata.adapter_type or "dbt")[:150],
            "group_name": "database",
            "database_name": database,
            "schema_name": schema,
            "table_name": table,
            "facts": self._described(node),
            "dbt": {"unique_id": node.unique_id},
        }

    def _exposure(self, node: Node) -> Row:
        return {
            **_named(shorten(node.unique_id)),
            "type_name": "exposure",
            "group_name": "other",
            "facts": self._described(node) | _facts(label=node.label, type=node.type, url=node.url),
            "dbt": {"unique_id": node.unique_id},
        }


def _named(name: SentName | None) -> Row:
    return {"name": name, "display_name": display_of(name)}


def _facts(**facts: Any) -> Row:
    return {name: value for name, value in facts.items() if value}


def _written_by(result: Result, node: Node) -> Row:
    is_built = node.resource_type in BUILT and result.status in {Status.SUCCESS, Status.WARN}
    if not is_built or result.completed_at is None or result.adapter_response.rows_affected == 0:
        return {}
    return {"last_write": result.completed_at.isoformat()}


def _freshness(result: SourceResult) -> Row:
    row: Row = {"last_write": result.max_loaded_at.isoformat() if result.max_loaded_at else None}
    if result.criteria is not None:
        row["freshness_number"], row["freshness_datepart"] = _pair(result.criteria.error_after)
        row["freshness_warning_number"], row["freshness_warning_datepart"] = _pair(result.criteria.warn_after)
    return row


def _thresholds(result: SourceResult) -> Row:
    """Dbt's own thresholds, by which the next upload knows whether somebody has changed them since."""
    if result.criteria is None:
        return {}
    criteria = result.criteria
    return {"thresholds": {"failure": _pair(criteria.error_after), "warning": _pair(criteria.warn_after)}}


def _pair(threshold: Threshold | None) -> tuple[int | None, str | None]:
    return (threshold.count, threshold.period) if threshold and threshold.is_set else (None, None)
