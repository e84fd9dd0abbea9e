"""Which relation a node reads, also through what is not kept, and which exposures read it."""

from collections import defaultdict

from watcher_server.dbt.artifacts import Manifest, Node
from watcher_server.dbt.errors import UploadError
from watcher_server.dbt.naming import is_kept

# Steps that the search for what nodes read may take. The models of a large project take some ten thousand.
_MOST_STEPS = 1_000_000


class Graph:
    """The relations of a manifest, by the ids of the nodes."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._steps = 0
        self.exposures: dict[str, list[Node]] = defaultdict(list)
        for exposure in manifest.exposures.values():
            for node in self.inputs(exposure):
                self.exposures[node.unique_id].append(exposure)

    def inputs(self, node: Node) -> list[Node]:
        """The relations that a node reads, by id: those that it depends on, or that stand behind ephemeral models.

        Raises:
            UploadError: the nodes depend on each other in more ways than any project has.
        """
        found: dict[str, Node] = {}
        seen = {node.unique_id}
        pending = list(node.depends_on.nodes)
        while pending:
            unique_id = pending.pop()
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise UploadError("manifest.json", "manifest.json: the nodes depend on each other in too many ways")
            source = None if unique_id in seen else self._manifest.find(unique_id)
            if source is None:
                continue
            seen.add(unique_id)
            if is_kept(source) and source.relation_name:
                found[unique_id] = source
            else:
                pending += source.depends_on.nodes
        return [found[unique_id] for unique_id in sorted(found)]


def owner_of(manifest: Manifest, node: Node) -> str | None:
    """Who owns a node: what its ``meta`` says, else its own owner, else that of its group."""
    group = manifest.groups.get(f"group.{node.package_name}.{node.group}") if node.group else None
    names = [*node.meta.owner, *node.config.meta.owner]
    for owner in (node.owner, group.owner if group else None):
        names += [*owner.name, *owner.email] if owner else []
    names += [group.name] if group else []
    return names[0] if names else None
