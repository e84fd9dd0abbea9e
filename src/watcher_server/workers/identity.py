"""Which worker this is: decided before its pool is forked, so that every process of the pool knows it too."""

from uuid import UUID, uuid4

_worker_id: UUID | None = None


def become_worker() -> UUID:
    """Give this process, and all that it forks, the id of a new worker."""
    global _worker_id  # noqa: PLW0603 - a process is one worker at most
    _worker_id = uuid4()
    return _worker_id


def worker_id() -> UUID | None:
    """The worker that this process belongs to; None in any other process."""
    return _worker_id
