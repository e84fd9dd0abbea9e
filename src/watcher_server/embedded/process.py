"""Starting, watching and stopping child processes that must not outlive Watcher."""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
# How soon to look again where the system does not tell that a process has ended.
_LOOK_SECONDS = 0.25
# Loaded here, because a forked child must not import anything before it becomes the program.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_signal: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn``: the kernel sends this signal to the child when its parent's starting thread ends.

    Only Linux can do this. On other systems the next start ends the children of a killed parent. Python calls it after
    the change of user, which would clear the request.
    """
    return partial(_ask_for_signal, parent_signal, os.getpid())


def _ask_for_signal(parent_signal: signal.Signals, parent: int) -> None:
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, int(parent_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Give this process a name for ``top`` and ``ps -o comm``, of which Linux keeps 15 bytes."""
    if _libc is not None:
        _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def wait_for_an_end(pids: Collection[int], *, seconds: float = 60.0, alarm: int | None = None) -> None:
    """Sleep until one of these children of this process has ended, or ``alarm`` can be read, or for so many seconds.

    Where the system does not tell that a process has ended, it is a moment only.
    """
    if sys.platform != "linux":
        time.sleep(_LOOK_SECONDS)
        return
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        try:
            for pid in pids:
                # The id of a child belongs to it until it was waited for, so it is no other process's meanwhile.
                watched = os.pidfd_open(pid)
                stack.callback(os.close, watched)
                selector.register(watched, selectors.EVENT_READ)
            if alarm is not None:
                selector.register(alarm, selectors.EVENT_READ)
        except OSError:
            # Kernels before 5.3, and some sandboxes, lack it.
            time.sleep(_LOOK_SECONDS)
        else:
            selector.select(seconds)


def end_leftover(pid: int, mark: str, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """End a process of an earlier Watcher that was killed; false if no process of Watcher has that id.

    Other programs may get the same id later, so the command line must contain ``mark``.
    """
    if mark not in command_line(pid):
        return False
    for stop_signal, seconds in [*signals, (signal.SIGKILL, 5.0)]:
        try:
            os.kill(pid, stop_signal)
        except ProcessLookupError:
            break
        if _wait_until_gone(pid, mark, seconds):
            break
    return True


def command_line(pid: int) -> str:
    """The command line of a running process, its parts separated by spaces; empty when there is none."""
    proc = Path("/proc")
    if (proc / "self" / "cmdline").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return ""
    # S603, S607: `ps` of the system, on machines without /proc.
    command = ["ps", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _wait_until_gone(pid: int, mark: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while mark in command_line(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
