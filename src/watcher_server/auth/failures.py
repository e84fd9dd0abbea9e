"""Failed logins of one api process: logged, counted, and slowed by address."""

import logging
import math
from collections import Counter
from dataclasses import dataclass
from time import monotonic

from starlette.types import Scope

from watcher_server.auth.network import network_of

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
FREE_TRIES = 10
MOST_ADDRESSES = 10_000
# Of all addresses together, for one client may have very many.
MOST_LINES = 100


@dataclass
class _Window:
    ends_at: float
    tries: int = 0


class FailedLogins:
    """Wrong tokens by address. An address that showed ten within a minute gets 429 for each further one."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._uncounted: Counter[str] = Counter()
        self._lines = _Window(0)

    def note(self, scope: Scope, kind: str) -> int | None:
        """Log and count a wrong token; how many seconds its address should wait, None while it may try again."""
        self._uncounted[kind] += 1
        address = network_of(scope["client"][0]) if scope.get("client") else "a local socket"
        window = self._window(address)
        window.tries += 1
        # Each further one is only counted: an attacker must not be able to fill the log.
        if window.tries <= FREE_TRIES:
            what = "was refused by the provider" if kind == "provider" else "showed an unknown or revoked token"
            self._log("A login failed: %s %s (%s).", address, what, kind)
            return None
        wait = math.ceil(window.ends_at - monotonic())
        if window.tries == FREE_TRIES + 1:
            self._log("%s showed too many wrong tokens: for %d seconds further ones get 429.", address, wait)
        return wait

    def _log(self, line: str, *values: object) -> None:
        now = monotonic()
        if self._lines.ends_at <= now:
            self._lines = _Window(now + WINDOW_SECONDS)
        self._lines.tries += 1
        if self._lines.tries <= MOST_LINES:
            logger.warning(line, *values)
        elif self._lines.tries == MOST_LINES + 1:
            logger.warning("More logins fail than the log can hold: further ones are only counted, for up to a minute.")

    def take_counts(self) -> dict[str, int]:
        """How many wrong tokens were noted since the last call, by the way they were shown."""
        counts, self._uncounted = self._uncounted, Counter()
        return dict(counts)

    def give_back(self, counts: dict[str, int]) -> None:
        """Keep counts that could not be stored for the next call of ``take_counts``."""
        self._uncounted.update(counts)

    def _window(self, address: str) -> _Window:
        now = monotonic()
        window = self._windows.get(address)
        if window is None or window.ends_at <= now:
            self._windows.pop(address, None)
            if len(self._windows) >= MOST_ADDRESSES:
                # A dict keeps its order: the first window began first.
                del self._windows[next(iter(self._windows))]
            window = self._windows[address] = _Window(now + WINDOW_SECONDS)
        return window
