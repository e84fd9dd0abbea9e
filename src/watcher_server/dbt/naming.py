"""How dbt's jobs and relations are named, as OpenLineage names them, so that both ways meet in one pipeline."""

import hashlib
from dataclasses import dataclass

from watcher_server.database.names import shorten
from watcher_server.dbt.artifacts import Manifest, Node
from watcher_server.kit.names import SentName

# How the commands of dbt that build one kind only name the job of a node, and what `dbt build` adds to the name.
_SUFFIXES = {
    "model": ("", ".build.run"),
    "snapshot": (".snapshot", ".build.snapshot"),
    "seed": (".seed", ".build.seed"),
}
BUILT = frozenset(_SUFFIXES)
TESTS = frozenset({"test", "unit_test"})


@dataclass(frozen=True)
class Names:
    """The names within one upload.

    ``namespace`` is that of OpenLineage's jobs. Without a ``dataset_namespace`` an address is named by its relation
    alone, as pipelines that report it by hand name it. ``command`` is dbt's, such as ``build``; ``job_name`` is that of
    the invocation where it is not OpenLineage's usual one.
    """

    manifest: Manifest
    namespace: str
    dataset_namespace: str | None
    job_name: str | None
    command: str | None

    def of_invocation(self) -> SentName:
        """The pipeline of an invocation of dbt."""
        return self._job(self.job_name or f"dbt-run-{_project_name(self.manifest)}")

    def of_node(self, node: Node) -> SentName:
        """The pipeline of a model, seed, snapshot, test or source."""
        if node.resource_type not in _SUFFIXES:
            return self._job(node.unique_id)
        parts = [node.database, node.schema_name, node.unique_id.removeprefix(f"{node.resource_type}.")]
        return self._job(".".join(filter(None, parts)) + _SUFFIXES[node.resource_type][self.command == "build"])

    def of_relation(self, node: Node) -> SentName | None:
        """The address that a node is kept in; None for what is not kept, such as an ephemeral model."""
        if not node.relation_name or not is_kept(node):
            return None
        name = ".".join(filter(None, relation_parts(node)))
        return shorten(f"{self.dataset_namespace}/{name}" if self.dataset_namespace else name)

    def _job(self, name: str) -> SentName:
        return shorten(f"{self.namespace}/{name}")


def relation_parts(node: Node) -> tuple[str | None, str | None, str]:
    """Database, schema and table of a node."""
    return node.database, node.schema_name, node.identifier or node.alias or node.name


def is_kept(node: Node) -> bool:
    """Whether a node is of a kind that is a relation in the warehouse."""
    return node.resource_type in BUILT or node.resource_type == "source"


def _project_name(manifest: Manifest) -> str:
    """The root project's name; manifests before v10 hold only its MD5."""
    metadata = manifest.metadata
    if metadata.project_name:
        return metadata.project_name
    for name in sorted({node.package_name for node in manifest.nodes.values()}):
        if hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() == metadata.project_id:
            return name
    return metadata.project_id or "unknown"
