"""Jumps of the wall clock: it was set, or the machine slept."""

import time

# Clocks are set right by less than this all the time.
_SLACK_SECONDS = 60.0


class ClockJumps:
    """Tells by how much the wall clock moved beside the time that passed."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def seconds(self) -> float:
        """Seconds since the call before, negative when the clock was put back; 0 for less than a minute."""
        before, self._ahead = self._ahead, time.time() - time.monotonic()
        jump = self._ahead - before
        return jump if abs(jump) >= _SLACK_SECONDS else 0.0
