"""How the parent of the api's processes looks after them: it is told what happens.

uvicorn's own looks twice a second whether there was a signal and whether each process lives.
"""

import importlib
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from socket import socket
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess

from watcher_server.embedded.process import wait_for_an_end

# A process that hangs says nothing, so it is asked this often whether it lives.
_ASK_SECONDS = 5.0


class _Exit(threading.Event):
    """Whether the api is to end. To wait for it ends also with a process of the api, and when it is woken."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        super().__init__()
        self._pids = pids
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, longer than uvicorn asks for; whether the api is to end."""
        if timeout is not None and not self.is_set():
            wait_for_an_end(self._pids(), seconds=_ASK_SECONDS, alarm=self._reading)
            with suppress(BlockingIOError):
                os.read(self._reading, 4096)
        return self.is_set()

    def wake(self) -> None:
        """End a wait."""
        # One that is full wakes already.
        with suppress(BlockingIOError):
            os.write(self._writing, b"!")


class _Parent(Multiprocess):
    def __init__(self, config: uvicorn.Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._exit = _Exit(lambda: [process.pid for process in self.processes if process.pid])
        self.should_exit = self._exit
        for number in SIGNALS:
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.signal_queue.append(number)
        self._exit.wake()


def watch_by_events() -> None:
    """Have uvicorn use it in this process; only on Linux can it be told that a process has ended."""
    # By `uvicorn.main` uvicorn means a command that has the name of this module.
    module: Any = importlib.import_module("uvicorn.main")
    module.Multiprocess = _Parent
