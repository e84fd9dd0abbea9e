"""Running the command as it would run alone: its output, its terminal, its signals and its end pass through.

A terminal stays one: where the wrapper's output is a terminal, the command gets a pseudo-terminal of the same size, and
where its input is one too, that is the terminal of its session, as ``script`` does it. Elsewhere its output goes
through pipes, and its input is the wrapper's own.
"""

import contextlib
import errno
import fcntl
import os
import selectors
import signal
import subprocess
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

TAIL_BYTES = 16 * 1024
_CHUNK = 64 * 1024
# A command that is told to end has this long.
_GRACE_SECONDS = 10.0
# A terminal sends these to the whole foreground group, so the command has them already.
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_PASSED = (*sorted(_ENDING), signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)

NOT_FOUND, NOT_EXECUTABLE, TIMED_OUT = 127, 126, 124


@dataclass
class Ended:
    """How the command ended: ``status`` is its exit status, or minus the signal that killed it.

    ``told`` is the signal that the wrapper was sent to end it, if any. ``tail`` are the last 16 kB of its output.
    """

    status: int
    told: int | None = None
    timed_out: bool = False
    tail: bytes = b""
    error: str | None = None


class SignalPost:
    """Takes the signals that the wrapper is sent, and hands them to the command once it runs."""

    def __init__(self) -> None:
        self.told: int | None = None
        self._waiting: list[int] = []
        self._deliver: Callable[[int], None] | None = None
        self.wake_fd, self._write_fd = os.pipe()
        for fd in (self.wake_fd, self._write_fd):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in _PASSED:
            # What the wrapper ignores, as under nohup, the command ignores too.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _take(self, number: int, _frame: object) -> None:
        if number in _ENDING:
            self.told = number
        if self._deliver is None:
            self._waiting.append(number)
        else:
            self._deliver(number)

    @contextlib.contextmanager
    def delivering(self, deliver: Callable[[int], None]) -> Iterator[None]:
        """Hand signals to this function, first those that came before."""
        self._deliver = deliver
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            deliver(number)
        try:
            yield
        finally:
            self._deliver = None

    def clear(self) -> None:
        """Forget that something woke the wrapper."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_fd, _CHUNK)


class Child:
    """One run of the command. ``on_output`` sees everything that it prints."""

    def __init__(self, post: SignalPost, on_output: Callable[[bytes], None] | None) -> None:
        self._post = post
        self._on_output = on_output
        self._tail = bytearray()
        self._targets: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._master: int | None = None
        self._saved_terminal: list[object] | None = None
        self._in_own_group = False

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout: float | None) -> Ended:
        """Run it to its end; the last of its output may come later, see :meth:`pass_on_the_rest`."""
        try:
            process = self._start(command, environment)
        except OSError as error:
            self._restore_terminal()
            for fd in self._targets:
                os.close(fd)
            self._targets.clear()
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            return Ended(status, error=f"{command[0]}: {os.strerror(error.errno or errno.EIO)}")
        try:
            with self._post.delivering(lambda number: self._pass_signal(process, number)):
                timed_out = self._loop(process, timeout)
        finally:
            self._restore_terminal()
        status = process.returncode
        return Ended(TIMED_OUT if timed_out else status, self._post.told, timed_out, bytes(self._tail))

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        outputs, opened = self._outputs()
        is_session = self._master is not None and _is_foreground_terminal(0)
        self._in_own_group = not is_session and not _has_foreground_terminal()
        if is_session:
            self._saved_terminal = termios.tcgetattr(0)
        try:
            process = subprocess.Popen(  # the user's own command
                command,
                env=dict(environment),
                stdin=outputs["terminal"] if is_session else None,
                stdout=outputs.get("stdout"),
                stderr=outputs.get("stderr"),
                start_new_session=is_session,
                process_group=0 if self._in_own_group else None,
                preexec_fn=_take_terminal if is_session else None,  # noqa: PLW1509 - no other thread starts processes
            )
        finally:
            for fd in opened:
                os.close(fd)
        for fd in self._targets:
            self._selector.register(fd, selectors.EVENT_READ)
        if is_session:
            tty.setraw(0)
            self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(self._post.wake_fd, selectors.EVENT_READ)
        return process

    def _outputs(self) -> tuple[dict[str, int], list[int]]:
        """What the command gets as output, and which of these are to be closed once it has them."""
        outputs: dict[str, int] = {}
        opened: list[int] = []
        for name, fd in (("stdout", 1), ("stderr", 2)):
            if not _is_open(fd):
                continue
            if os.isatty(fd):
                if "terminal" not in outputs:
                    self._master, outputs["terminal"] = _open_terminal(fd)
                    self._targets[self._master] = fd
                    opened.append(outputs["terminal"])
                outputs[name] = outputs["terminal"]
            elif name == "stderr" and "stdout" in outputs and os.path.sameopenfile(1, 2):
                # Into one pipe, so that the order of what it prints stays.
                outputs[name] = outputs["stdout"]
            else:
                read, outputs[name] = os.pipe()
                self._targets[read] = fd
                opened.append(outputs[name])
        return outputs, opened

    def _pass_signal(self, process: "subprocess.Popen[bytes]", number: int) -> None:
        if number == signal.SIGWINCH:
            if self._master is not None:
                _copy_size(1 if os.isatty(1) else 2, self._master)
            return
        is_shared = self._saved_terminal is None and not self._in_own_group
        if not (number in _FROM_TERMINAL and is_shared and _has_foreground_terminal()):
            process.send_signal(number)

    def _loop(self, process: "subprocess.Popen[bytes]", timeout: float | None) -> bool:
        """Pass everything on until the command has ended; whether it had to be told."""
        deadline = None if timeout is None else time.monotonic() + timeout
        timed_out = False
        while process.poll() is None:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            if deadline is not None and not wait:
                self._end(process, signal.SIGKILL if timed_out else signal.SIGTERM)
                timed_out, deadline = True, time.monotonic() + _GRACE_SECONDS
                continue
            for key, _ in self._selector.select(wait):
                self._pass(key.fd)
        while self._pass_ready():
            pass
        return timed_out

    def _pass_ready(self) -> bool:
        """Pass on what the command has printed; whether it may have printed more."""
        passed = [self._pass(key.fd) for key, _ in self._selector.select(0) if key.fd in self._targets]
        return any(passed)

    def _end(self, process: "subprocess.Popen[bytes]", number: int) -> None:
        if self._in_own_group or self._saved_terminal is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        else:
            process.send_signal(number)

    def _pass(self, fd: int) -> bool:
        """Pass on what waits there; whether there was anything."""
        if fd == self._post.wake_fd:
            self._post.clear()
            return False
        try:
            data = os.read(fd, _CHUNK)
        except OSError:
            # A terminal whose last program has gone.
            data = b""
        if fd == 0:
            if data and self._master is not None:
                _write(self._master, data)
            else:
                self._selector.unregister(0)
            return False
        if not data or not _write(self._targets[fd], data):
            # Nobody takes its output any more: the command is to learn that as it would without the wrapper.
            self._selector.unregister(fd)
            del self._targets[fd]
            os.close(fd)
            return False
        self._tail += data[-TAIL_BYTES:]
        del self._tail[:-TAIL_BYTES]
        if self._on_output is not None:
            self._on_output(data)
        return True

    def pass_on_the_rest(self) -> None:
        """Have a process of its own pass on what programs print that the command has left behind."""
        if not self._targets:
            return
        if os.fork():
            # Only one process may read there: two would take each other's output, and one would wait for ever.
            self._selector.close()
            for fd in self._targets:
                os.close(fd)
            self._targets.clear()
            return
        # The wrapper would keep its signals for a command that has ended.
        for number in _PASSED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        try:
            while self._targets:
                for key, _ in self._selector.select():
                    if key.fd in self._targets:
                        self._pass(key.fd)
                    else:
                        self._selector.unregister(key.fd)
        finally:
            os._exit(0)

    def _restore_terminal(self) -> None:
        if self._saved_terminal is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved_terminal)  # type: ignore[arg-type]


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _open_terminal(like: int) -> tuple[int, int]:
    """A pseudo-terminal with the size and the modes of that terminal."""
    master, slave = os.openpty()
    _copy_size(like, slave)
    modes = termios.tcgetattr(like)
    if not _is_foreground_terminal(0):
        # The real terminal changes the ends of lines by itself.
        modes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    return master, slave


def _copy_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))


def _is_foreground_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


def _has_foreground_terminal() -> bool:
    """Whether Ctrl-C of a terminal reaches the group of this process."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return _is_foreground_terminal(fd)
    finally:
        os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _write(fd: int, data: bytes) -> bool:
    """Write all of it; False when nobody reads there."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            with selectors.DefaultSelector() as selector:
                selector.register(fd, selectors.EVENT_WRITE)
                selector.select()
        except OSError:
            return False
    return True
