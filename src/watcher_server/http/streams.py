"""How many answers without an end, such as event streams, a process gives at the same time."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException, Request


class StreamSlots:
    """Counts open streams, in all and per caller."""

    def __init__(self, most: int, most_per_caller: int) -> None:
        self._most = most
        self._most_per_caller = most_per_caller
        self._open: Counter[str] = Counter()

    @contextmanager
    def take(self, request: Request) -> Iterator[None]:
        """Count a stream of this caller while it lasts.

        Raises:
            HTTPException: 429, the caller has too many; 503, all callers together have.
        """
        # The token or person that the request was let in for; without one, the address it comes from.
        caller_id = request.scope.get("watcher_caller_id")
        caller = f"caller {caller_id}" if caller_id else (request.client.host if request.client else "")
        if self._open[caller] >= self._most_per_caller:
            raise _refusal(
                429, "You follow too many tasks at the same time: close some streams, or ask again now and then."
            )
        if self._open.total() >= self._most:
            raise _refusal(503, "Too many tasks are being followed: ask again now and then instead.")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            self._open += Counter()


def _refusal(status: int, detail: str) -> HTTPException:
    return HTTPException(status, detail, headers={"Retry-After": "30"})
