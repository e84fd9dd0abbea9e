"""What tokens allow. It imports nothing of Watcher, so that the commands can name scopes without loading it."""

from enum import StrEnum


class Scope(StrEnum):
    """What a token allows; each scope includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """The scope's place in the order: a higher one includes a lower one."""
        return list(Scope).index(self)
