"""Starting, watching and stopping child processes that must not outlive Watcher."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from watcher_server.embedded.account import Account

_PR_SET_PDEATHSIG = 1
_LOG_LIMIT_BYTES = 10 * 1024 * 1024
# Loaded once here: a forked child must not import anything before it becomes the program.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent_signal: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn``: the kernel sends this signal to the child when its parent's starting thread ends.

    Only Linux can do this; elsewhere the next start ends what a killed parent left behind. Python runs it
    after changing the user, which matters: a change of user clears the request.
    """
    parent = os.getpid()

    def request() -> None:
        if _libc is None:
            return
        _libc.prctl(_PR_SET_PDEATHSIG, int(parent_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return request


def start_engine(
    command: Sequence[str | Path],
    account: Account,
    *,
    cwd: Path,
    log: IO[bytes],
    parent_signal: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Start an engine as a direct child, in a session of its own: a terminal's Ctrl-C does not reach it."""
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=engine_environment(),
        start_new_session=True,
        preexec_fn=die_with_parent(parent_signal),  # noqa: PLW1509 - one system call, then the program
        user=account.uid if account.switches else None,
        group=account.gid if account.switches else None,
        extra_groups=[] if account.switches else None,
    )


def engine_environment() -> Mapping[str, str]:
    """Nothing of the caller's environment but the path: PGOPTIONS, LD_PRELOAD and locales stay outside."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def open_log(path: Path) -> IO[bytes]:
    """Open an engine's log for appending; one over 10 MiB is first set aside as ``.1``."""
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")


def last_lines(path: Path, count: int = 3) -> str:
    """The last lines of a log in one line, for an error message; empty when there is none."""
    if not path.exists():
        return ""
    lines = path.read_text(errors="replace").splitlines()
    return " / ".join(line.strip() for line in lines[-count:])


def stop_child(
    child: subprocess.Popen[bytes],
    signals: Sequence[tuple[signal.Signals, float]],
    *,
    final_wait_seconds: float = 5,
) -> None:
    """Send each signal and wait that many seconds for the child to end; then kill it."""
    for stop_signal, seconds in signals:
        if child.poll() is not None:
            return
        child.send_signal(stop_signal)
        try:
            child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
    if child.poll() is None:
        child.kill()
        child.wait(timeout=final_wait_seconds)


def end_leftover(pid: int, mark: str, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """End a process that an earlier, killed Watcher left behind; false when no process of ours has that id.

    ``mark`` is text that its command line must contain: ids are reused.
    """
    if mark not in command_line(pid):
        return False
    for stop_signal, seconds in [*signals, (signal.SIGKILL, 5.0)]:
        if not _send(pid, stop_signal) or _wait_until_gone(pid, mark, seconds):
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
    listed = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout.strip()


def _send(pid: int, stop_signal: signal.Signals) -> bool:
    try:
        os.kill(pid, stop_signal)
    except ProcessLookupError:
        return False
    return True


def _wait_until_gone(pid: int, mark: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while mark in command_line(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
