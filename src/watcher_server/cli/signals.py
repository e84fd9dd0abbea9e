"""Ctrl-C and SIGTERM: the first stops, the second hurries."""

import signal
from types import FrameType
from typing import Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """While entered, the first signal raises KeyboardInterrupt; later ones set ``impatient``."""

    def __init__(self) -> None:
        self.stopping = False
        self.impatient = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopping:
            self.impatient = True
            return
        self.stopping = True
        raise KeyboardInterrupt
