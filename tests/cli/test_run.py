"""`watcher run`: the command runs as it would alone, and its run is reported."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.live import LiveServer, free_port, wait_until

WRAPPER = [sys.executable, "-m", "watcher_server.cli.entry", "run"]
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Wrapper:
    """Calls `watcher run` with a state folder of its own."""

    state: Path
    url: str = NOWHERE
    pipeline: str = field(default_factory=lambda: f"run {uuid4()}")

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "XDG_STATE_HOME": str(self.state), "WATCHER_URL": self.url, **more}

    def arguments(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        return [*WRAPPER, "--pipeline", self.pipeline, *options, "--", *command]

    def run(
        self, *command: str, options: tuple[str, ...] = (), given: bytes = b"", **more: str
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            self.arguments(*command, options=options),
            env=self.environment(**more),
            input=given,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def start(self, *command: str, options: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.arguments(*command, options=options),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def flush(self) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*WRAPPER, "--flush"], env=self.environment(), capture_output=True, check=False, timeout=60
        )

    def kept(self) -> list[Any]:
        """The runs on disk, the first first."""
        return [json.loads(path.read_text()) for path in sorted((self.state / "watcher" / "runs").glob("*.json"))]

    def runs(self) -> list[dict[str, Any]]:
        """The runs that the server knows of this pipeline, by their start."""
        with httpx.Client(base_url=self.url) as api:
            found = [one for one in api.get("/pipeline").json() if one["name"] == self.pipeline]
            if not found:
                return []
            runs = api.get("/pipeline_execution", params={"pipeline_id": found[0]["id"]}).json()
            for run in runs:
                run["output"] = api.get(f"/pipeline_execution/{run['id']}/output").text
        return sorted(runs, key=lambda run: str(run["start_date"]))

    def only_run(self) -> dict[str, Any]:
        (run,) = self.runs()
        return run


@pytest.fixture
def alone(tmp_path: Path) -> Wrapper:
    """The wrapper without a Watcher."""
    return Wrapper(tmp_path)


@pytest.fixture
def wrapper(tmp_path: Path, live: LiveServer) -> Wrapper:
    """The wrapper with a real Watcher."""
    return Wrapper(tmp_path, live.url)


def test_every_exit_status_passes_through(alone: Wrapper) -> None:
    # All of them in one process of a shell: 256 wrappers one after another would take long.
    script = 'for n in $(seq 0 5 255) 1 2 126 127 128 130 254; do "$@" -- sh -c "exit $n"; echo $n $?; done'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *WRAPPER, "--pipeline", "x"],
        env={**alone.environment(), "XDG_STATE_HOME": "/dev/null"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    pairs = [line.split() for line in done.stdout.splitlines()]
    assert len(pairs) == 59
    assert [given for given, got in pairs if given != got] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP, signal.SIGPIPE])
def test_a_command_that_a_signal_kills_kills_the_wrapper_in_the_same_way(
    alone: Wrapper, number: signal.Signals
) -> None:
    done = alone.run("sh", "-c", f"kill -{number.value} $$")
    assert done.returncode == -number
    (kept,) = alone.kept()
    assert kept["end"]["execution_metadata"]["error"] == f"it was killed by {number.name}"


@pytest.mark.parametrize(
    ("command", "status"), [("/no/such/command", 127), ("no-such-command", 127), ("/etc/passwd", 126), ("/etc", 126)]
)
def test_a_command_that_cannot_start(alone: Wrapper, command: str, status: int) -> None:
    done = alone.run(command)
    assert done.returncode == status
    assert done.stderr.decode().startswith(f"watcher: {command}: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--pipeline", "x"],
        ["--pipeline", "x", "--"],
        ["--", "true"],
        ["--pipeline", "x", "--timeout", "soon", "--", "true"],
        ["--pipeline", "x", "--timeout", "0", "--", "true"],
        ["--pipeline", "x", "--retries", "-1", "--", "true"],
        ["--pipeline", "x", "--rows-from", "(", "--", "true"],
        ["--pipeline", "x", "--rows-from", r"(?P<rows>\d+)", "--", "true"],
        ["--pipe", "x", "--", "true"],
    ],
)
def test_wrong_arguments_are_status_2_and_say_what_is_wrong(alone: Wrapper, arguments: list[str]) -> None:
    done = subprocess.run([*WRAPPER, *arguments], env=alone.environment(), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"watcher run: error: " in done.stderr
    assert alone.kept() == []


def test_input_output_and_arguments_are_those_of_the_command(alone: Wrapper) -> None:
    script = "cat; echo err >&2; printf '%s|' \"$@\"; printf '\\000\\377'"
    done = alone.run("sh", "-c", script, "sh", "--", "a b", "", "--flush", given=b"in\x00put")
    assert (done.stdout, done.returncode) == (b"in\x00put--|a b||--flush|\x00\xff", 0)
    assert done.stderr.splitlines()[0] == b"err"
    assert done.stderr.count(b"watcher: ") == 1


def test_the_order_of_output_stays_where_both_go_to_one_place(alone: Wrapper, tmp_path: Path) -> None:
    script = "import os\nfor n in range(500): os.write(1 + n % 2, b'%d\\n' % n)"
    with (tmp_path / "out").open("wb") as both:
        subprocess.run(
            alone.arguments(sys.executable, "-c", script), env=alone.environment(), stdout=both, stderr=both, check=True
        )
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[:500] == [str(number) for number in range(500)]


def test_a_command_whose_reader_goes_away_is_told_so(alone: Wrapper) -> None:
    line = " ".join(alone.arguments("yes"))
    line = line.replace(alone.pipeline, "x")
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -1; echo ${{PIPESTATUS[0]}}"],
        env=alone.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["y", str(128 + signal.SIGPIPE)]


def in_terminal(arguments: list[str], environment: Mapping[str, str], typed: bytes = b"") -> tuple[int, str]:
    """The exit status and what a terminal shows that runs this, with keys that are typed once something is shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(arguments[0], arguments, dict(environment))  # noqa: S606
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            # The last program that had it has gone.
            break
        if not data:
            break
        shown += data
        if typed and b"ready" in shown:
            os.write(terminal, typed)
            typed = b""
    os.close(terminal)
    return os.waitpid(pid, 0)[1], shown.decode()


def test_a_terminal_stays_one(alone: Wrapper) -> None:
    script = "import os; print([os.isatty(n) for n in range(3)], open('/dev/tty').isatty())"
    status, shown = in_terminal(alone.arguments(sys.executable, "-c", script), alone.environment())
    assert os.waitstatus_to_exitcode(status) == 0
    assert shown.splitlines()[0] == "[True, True, True] True"
    assert "\r\r\n" not in shown


def test_what_is_typed_reaches_the_command(alone: Wrapper) -> None:
    script = "print('ready', flush=True); print('got', input()[::-1])"
    _, shown = in_terminal(alone.arguments(sys.executable, "-c", script), alone.environment(), typed=b"abc\r")
    assert "got cba" in shown


def test_the_interrupt_key_interrupts_the_command_once(alone: Wrapper) -> None:
    script = (
        "import signal, time, sys\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "print('ready', flush=True)\n"
        "time.sleep(0.8)\n"
        "print('interrupts', len(seen))\n"
        "sys.exit(5)"
    )
    status, shown = in_terminal(alone.arguments(sys.executable, "-c", script), alone.environment(), typed=b"\x03")
    assert "interrupts 1" in shown
    assert os.waitstatus_to_exitcode(status) == 5


def test_output_alone_may_be_a_terminal(alone: Wrapper) -> None:
    script = "import os; print([os.isatty(n) for n in range(3)])"
    wrapped = ["sh", "-c", '"$@" < /dev/null', "sh", *alone.arguments(sys.executable, "-c", script)]
    _, shown = in_terminal(wrapped, alone.environment())
    assert shown.splitlines()[0] == "[False, True, True]"
    assert "\r\r\n" not in shown


def test_a_run_is_reported(wrapper: Wrapper) -> None:
    done = wrapper.run("sh", "-c", "echo fine; echo $WATCHER_EXECUTION_ID $OPENLINEAGE_PARENT_ID $OPENLINEAGE_URL")
    assert (done.returncode, done.stderr) == (0, b"")
    run = wrapper.only_run()
    assert (run["completed_successfully"], run["output"]) == (True, "")
    assert run["execution_metadata"] == {"exit_status": 0, "host": socket.gethostname()}
    execution_id, rest = done.stdout.splitlines()[1].split(b" ", 1)
    assert int(execution_id) == run["id"]
    assert rest.startswith(f"watcher/{wrapper.pipeline}/".encode())
    assert rest.endswith(wrapper.url.encode())
    assert wrapper.kept() == []


def test_a_failure_keeps_the_last_16_kb_of_output(wrapper: Wrapper) -> None:
    done = wrapper.run("sh", "-c", "seq 1 10000; echo the end >&2; exit 3")
    assert done.returncode == 3
    run = wrapper.only_run()
    assert (run["completed_successfully"], run["execution_metadata"]["exit_status"]) == (False, 3)
    assert len(run["output"]) == 16 * 1024
    assert "\n10000\n" in run["output"]
    assert "the end\n" in run["output"]


def test_numbers_are_read_from_the_output_and_from_the_file(wrapper: Wrapper) -> None:
    script = (
        "echo '1,250 rows inserted up to 2026-01-03'; echo 'nothing'; echo '7 rows inserted up to 2026-01-04';"
        ' printf \'{"updates": 4, "total_rows": -1, "soft_deletes": "2"}\' > $WATCHER_RESULT'
    )
    pattern = r"(?P<inserts>[\d,]+) rows inserted up to (?P<watermark>\S+)"
    assert wrapper.run("sh", "-c", script, options=("--rows-from", pattern)).returncode == 0
    run = wrapper.only_run()
    assert [run[name] for name in ("inserts", "updates", "soft_deletes", "total_rows")] == [7, 4, 2, None]
    assert run["next_watermark"] == "2026-01-04"
    assert sorted(path.name for path in (wrapper.state / "watcher" / "runs").iterdir()) == ["lock"]


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"inserts": 1e400}', '{"watermark": "' + "x" * 60 + '"}', "[" * 9999]
)
def test_a_file_of_nonsense_costs_no_report(wrapper: Wrapper, content: str) -> None:
    assert wrapper.run("sh", "-c", 'printf %s "$1" > $WATCHER_RESULT', "sh", content).stderr == b""
    assert wrapper.only_run()["completed_successfully"] is True


def test_a_nested_run_hangs_below(wrapper: Wrapper) -> None:
    inner = Wrapper(wrapper.state, wrapper.url)
    wrapper.run(*inner.arguments("true"))
    assert inner.only_run()["parent_id"] == wrapper.only_run()["id"]


def test_it_knows_its_schedule(wrapper: Wrapper) -> None:
    wrapper.run("true", options=("--schedule", "0 2 * * *", "--timezone", "Europe/Berlin"))
    (pipeline,) = [one for one in httpx.get(f"{wrapper.url}/pipeline").json() if one["name"] == wrapper.pipeline]
    assert (pipeline["schedule"], pipeline["schedule_timezone"]) == ("0 2 * * *", "Europe/Berlin")


def test_a_wrong_schedule_costs_no_report(wrapper: Wrapper) -> None:
    done = wrapper.run("true", options=("--schedule", "often"))
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert b"Watcher refused the schedule" in done.stderr
    assert wrapper.only_run()["completed_successfully"] is True


def test_a_ping_url_is_enough(wrapper: Wrapper) -> None:
    url = httpx.post(f"{wrapper.url}/ping_url", json={"name": wrapper.pipeline}).json()["ping_url"]
    done = subprocess.run(
        [*WRAPPER, "--", "sh", "-c", "echo $OPENLINEAGE_URL; exit 4"],
        env=wrapper.environment(WATCHER_URL="", WATCHER_PING_URL=url),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (4, f"{wrapper.url}\n".encode(), b"")
    assert wrapper.only_run()["execution_metadata"]["exit_status"] == 4


def test_a_time_limit_ends_the_command_and_what_it_started(wrapper: Wrapper) -> None:
    began = time.monotonic()
    done = wrapper.run("sh", "-c", "sleep 60; true", options=("--timeout", "3s"))
    assert (done.returncode, time.monotonic() - began < 20) == (124, True)
    run = wrapper.only_run()
    assert run["execution_metadata"]["error"] == "it took longer than it may, and was ended"


def test_a_command_that_fails_is_run_again(wrapper: Wrapper, tmp_path: Path) -> None:
    script = f"echo try >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) = 3"
    assert wrapper.run("sh", "-c", script, options=("--retries", "5")).returncode == 0
    assert (tmp_path / "tries").read_text().count("try") == 3
    assert wrapper.only_run()["completed_successfully"] is True
    (tmp_path / "tries").unlink()
    assert wrapper.run("sh", "-c", script, options=("--retries", "1")).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_the_run_has_failed(wrapper: Wrapper, number: signal.Signals) -> None:
    script = (
        f"import signal, sys, time\nsignal.signal({number.value}, lambda *_: sys.exit(0))\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    with wrapper.start(sys.executable, "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(20) == 0
    run = wrapper.only_run()
    assert run["completed_successfully"] is False
    assert run["execution_metadata"]["error"] == f"it was ended by {number.name}"


def test_a_wrapper_that_is_killed_leaves_a_run_that_is_found_as_lost(wrapper: Wrapper) -> None:
    with wrapper.start("sh", "-c", "echo ready; exec sleep 2") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    assert wrapper.only_run()["end_date"] is None
    assert wrapper.run("true").returncode == 0
    lost, run = wrapper.runs()
    assert lost["completed_successfully"] is False
    assert lost["execution_metadata"]["error"].startswith("the process that watched this run was killed")
    assert run["completed_successfully"] is True


def test_what_could_not_be_reported_is_sent_later_in_order_with_its_times(wrapper: Wrapper) -> None:
    away = Wrapper(wrapper.state, f"http://127.0.0.1:{free_port()}", wrapper.pipeline)
    for number in (0, 1, 2):
        done = away.run("sh", "-c", f"exit {number}")
        assert (done.returncode, done.stderr.count(b"\n")) == (number, 1)
        assert b"not reported yet: connection refused" in done.stderr
    kept = away.kept()
    for path in (wrapper.state / "watcher" / "runs").glob("*.json"):
        assert path.stat().st_mode & 0o077 == 0
        # The address is the same, and Watcher is there now.
        path.write_text(path.read_text().replace(away.url, wrapper.url))
    flushed = wrapper.flush()
    assert (flushed.returncode, flushed.stdout) == (0, b"3 reported, 0 destinations away\n")
    runs = wrapper.runs()
    assert [run["execution_metadata"]["exit_status"] for run in runs] == [0, 1, 2]
    assert [run["id"] for run in runs] == sorted(run["id"] for run in runs)
    for run, was in zip(runs, kept, strict=True):
        assert run["start_date"].rstrip("Z") == was["start_date"].removesuffix("+00:00")
        assert run["end_date"].rstrip("Z") == was["end"]["end_date"].removesuffix("+00:00")
    assert wrapper.kept() == []


def test_flushes_at_once_send_each_run_once(wrapper: Wrapper) -> None:
    away = Wrapper(wrapper.state, f"http://127.0.0.1:{free_port()}", wrapper.pipeline)
    for _ in range(6):
        away.run("true")
    for path in (wrapper.state / "watcher" / "runs").glob("*.json"):
        path.write_text(path.read_text().replace(away.url, wrapper.url))
    processes = [wrapper.start("true") for _ in range(3)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert wrapper.flush().returncode == 0
    assert len(wrapper.runs()) == 9
    assert wrapper.kept() == []


@contextlib.contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server that answers each POST so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()


def _slowly(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        handler.wfile.write(b"X-Slow: 1\r\n")
        time.sleep(0.5)


def _refusing(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"no")

    return answer


def _nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff\x00" * 100)


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (_slowly, True),
        (_nonsense, True),
        (_refusing(500), True),
        (_refusing(503), True),
        (_refusing(401), True),
        (_refusing(429), True),
        (_refusing(404), False),
        (_refusing(200), True),
    ],
)
def test_a_watcher_in_trouble_never_fails_the_command(
    alone: Wrapper, answer: Callable[[BaseHTTPRequestHandler], None], is_kept: bool
) -> None:
    with server(answer) as url:
        alone.url = url
        began = time.monotonic()
        done = alone.run("sh", "-c", "echo out; exit 6")
        took = time.monotonic() - began
    assert (done.returncode, done.stdout) == (6, b"out\n")
    assert took < 12
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"watcher: ")
    assert len(alone.kept()) == is_kept


@pytest.mark.parametrize("state", ["/dev/null", "/proc/nowhere"])
def test_without_a_place_to_keep_anything_the_command_runs(wrapper: Wrapper, state: str) -> None:
    done = wrapper.run("sh", "-c", "exit 2", XDG_STATE_HOME=state)
    assert (done.returncode, done.stderr) == (2, b"")
    assert wrapper.only_run()["execution_metadata"]["exit_status"] == 2


@pytest.mark.parametrize("content", ["", "{", "null", '{"to": 1}', "\x00\xff", '{"unknown": true}'])
def test_files_of_nonsense_are_dropped(wrapper: Wrapper, content: str) -> None:
    folder = wrapper.state / "watcher" / "runs"
    folder.mkdir(parents=True)
    (folder / "00000000000000000001-x.json").write_text(content, encoding="latin-1")
    done = wrapper.run("true")
    assert (done.returncode, done.stderr) == (0, b"")
    assert wrapper.kept() == []


def test_a_gigabyte_of_output_takes_no_memory(alone: Wrapper) -> None:
    wrapped = alone.arguments("head", "-c", "1000000000", "/dev/zero", options=("--rows-from", "(?P<inserts>1)"))
    # Called by a small process: a child begins with the size of its parent.
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *wrapped], env=alone.environment(), capture_output=True, check=True, timeout=100
    )
    assert int(done.stdout) < 40_000


def test_what_the_command_leaves_behind_goes_on_printing(alone: Wrapper) -> None:
    began = time.monotonic()
    with alone.start("sh", "-c", "(sleep 1; echo later) & echo now") as process:
        assert process.stdout is not None
        assert process.wait(20) == 0
        assert process.stdout.read() == b"now\nlater\n"
    assert time.monotonic() - began > 1


def test_what_a_command_that_fails_leaves_behind_is_passed_on_whole(alone: Wrapper) -> None:
    # Two programs print, each through a pipe of its own: all of it arrives, and nothing waits on after their end.
    script = "(for n in 1 2 3 4 5 6 7 8; do sleep 0.1; echo $n; echo $n >&2; done) & exit 3"
    with alone.start("sh", "-c", script, options=("--retries", "1")) as process:
        assert process.wait(20) == 3
        assert process.stdout is not None
        assert process.stderr is not None
        assert sorted(process.stdout.read().split()) == sorted(b"1 2 3 4 5 6 7 8".split() * 2)
        numbers = [line for line in process.stderr.read().splitlines() if not line.startswith(b"watcher:")]
    assert sorted(numbers) == sorted(b"1 2 3 4 5 6 7 8".split() * 2)


def test_what_passes_on_the_rest_can_be_ended(alone: Wrapper) -> None:
    with alone.start("sh", "-c", "sleep 30 & echo now") as process:
        assert process.stdout is not None
        assert process.wait(20) == 0
        arguments = ["pgrep", "-f", "--", f"--pipeline {alone.pipeline} "]
        passing = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()
        assert len(passing) == 1
        os.kill(int(passing[0]), signal.SIGTERM)
        wait_until(lambda: subprocess.run(arguments, capture_output=True, check=False).returncode == 1, "its end")


def test_it_loads_little(alone: Wrapper) -> None:
    script = "import sys; from watcher_server.cli.running import command; print(len(sys.modules), *sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = done.stdout.split()
    assert int(loaded[0]) < 200
    assert not {"typer", "rich", "httpx", "pydantic", "asyncio", "sqlalchemy"} & set(loaded)


def test_the_lost_and_the_late_are_only_told_when_it_can_be(alone: Wrapper) -> None:
    assert alone.flush().returncode == 0
    alone.run("true")
    waiting = alone.flush()
    assert (waiting.returncode, waiting.stdout) == (1, b"0 reported, 1 destinations away\n")
    wait_until(lambda: len(alone.kept()) == 1, "the run being kept")
