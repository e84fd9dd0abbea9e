"""What tokens allow. This module imports nothing of Watcher, so that a command can name the scopes and start fast."""

import re
from enum import StrEnum
from functools import cached_property


class Scope(StrEnum):
    """What a token allows; each scope includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @cached_property
    def rank(self) -> int:
        """The scope's place in the order: a higher one includes a lower one."""
        return list(Scope).index(self)


# Changing anything here or below is for administrators.
_ADMIN_PATHS = (
    "/log_cleanup",
    "/rate-limits",
    "/alerting",
    "/ui/channels",
    "/ui/routes",
    "/ui/windows/edit",
    "/ui/windows/remove",
)
# But for adding and ending windows: so a script that deploys can quieten its own pipelines.
_QUIET_PATH = re.compile(r"/alerting/windows(/[^/]+/end)?")
# Questions come by POST there, and each tool says what it needs: those that change something need to write.
_ASKING_PATHS = frozenset({"/mcp"})
READING = frozenset({"GET", "HEAD"})


def needed_scope(method: str, path: str) -> Scope:
    """The scope that a request needs."""
    if method in READING or path in _ASKING_PATHS:
        return Scope.READ
    if method == "POST" and _QUIET_PATH.fullmatch(path):
        return Scope.WRITE
    is_admin = any(path == admin or path.startswith(f"{admin}/") for admin in _ADMIN_PATHS)
    return Scope.ADMIN if is_admin else Scope.WRITE
