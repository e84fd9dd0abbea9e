"""What tokens allow. This module imports nothing of Watcher, so that a command can name the scopes and start fast."""

import re
from enum import StrEnum
from functools import cached_property


class Scope(StrEnum):
    """What a token allows: ``read``, ``write`` and ``admin`` each include the ones before them.

    ``ingest`` stands beside them: it reports runs, as ``write`` and ``admin`` may too, and reads nothing.
    """

    INGEST = "ingest"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @cached_property
    def rank(self) -> int:
        """The scope's place in the order: a higher one includes a lower one, but ``read`` not ``ingest``."""
        return list(Scope).index(self)

    @property
    def role(self) -> str:
        """What a person with this scope is called."""
        return {Scope.INGEST: "reporter", Scope.READ: "viewer", Scope.WRITE: "editor", Scope.ADMIN: "admin"}[self]

    @property
    def allowed(self) -> str:
        """What a token of this scope may do, as the end of a sentence."""
        return "report runs" if self is Scope.INGEST else self.value

    def includes(self, needed: "Scope") -> bool:
        """Whether this scope is enough where that one is needed."""
        return self is not Scope.READ if needed is Scope.INGEST else self.rank >= needed.rank


# The scope of each role that a provider of logins or a proxy may give to a person.
ROLE_SCOPES = {scope.role: scope for scope in Scope if scope is not Scope.INGEST}

# Changing anything here or below is for administrators.
_ADMIN_PATHS = (
    "/log_cleanup",
    "/rate-limits",
    "/alerting",
    "/openlineage/replay",
    "/ui/channels",
    "/ui/routes",
    "/ui/windows/edit",
    "/ui/windows/remove",
    "/ui/sources",
    "/ui/account/tokens",
    "/ui/account/people",
)
# Events have whatever a producer put into them, also where it is masked; the audit trail, what everybody changed.
_ADMIN_READS = ("/openlineage/events", "/audit", "/audit.ndjson")
# Questions come by POST to the first two: of assistants each tool says what it needs, and those that change something
# need to write. By the third everybody may end logins of their own.
_ASKING_PATHS = frozenset({"/mcp", "/anomaly_detection_rule/preview", "/ui/account/sessions/end"})
READING = frozenset({"GET", "HEAD"})
# POST to these reports runs; events of OpenLineage that a client sends to "/" too.
_REPORTING_PATHS = frozenset(
    {"/start_pipeline_execution", "/end_pipeline_execution", "/api/v1/lineage", "/api/v1/lineage/batch", "/"}
)


def needed_scope(method: str, path: str) -> Scope:
    """The scope that a request needs."""
    if method in READING or path in _ASKING_PATHS:
        return Scope.ADMIN if _lies_below(path, _ADMIN_READS) else Scope.READ
    if method == "POST" and path in _REPORTING_PATHS:
        return Scope.INGEST
    # But for adding and ending windows: so a script that deploys can quieten its own pipelines.
    is_quieting = method == "POST" and re.fullmatch(r"/alerting/windows(/[^/]+/end)?", path)
    return Scope.ADMIN if _lies_below(path, _ADMIN_PATHS) and not is_quieting else Scope.WRITE


def _lies_below(path: str, paths: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in paths)
