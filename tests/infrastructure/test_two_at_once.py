"""What may happen to a ``watcher up`` on its machine: a second one, a kill at any step, a full disk, another clock."""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.cli.commands import Up, Watcher, free_port
from tests.embedded.homes import temporary_home
from tests.support.live import wait_until
from watcher_server.embedded.services import EmbeddedServices

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses mounts and /proc of Linux")

_START_SECONDS = 120
_RUN = {"start_date": "2026-01-01T00:00:00Z"}


@pytest.fixture
def home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@pytest.fixture
def watcher(home: Path, tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher(home, free_port(), tmp_path)
    yield watcher
    watcher.kill_all()


def post(watcher: Watcher, path: str, **body: object) -> httpx.Response:
    return httpx.post(f"{watcher.url}/{path}", json=body, timeout=30)


def report_a_run(watcher: Watcher) -> int:
    """Register a pipeline, report a run of it; the run's id."""
    pipeline = post(watcher, "pipeline", name="orders", pipeline_type_name="load").json()["id"]
    return int(post(watcher, "start_pipeline_execution", pipeline_id=pipeline, **_RUN).json()["id"])


def end(watcher: Watcher, run: int) -> httpx.Response:
    return post(watcher, "end_pipeline_execution", id=run, end_date="2026-01-01T00:10:00Z", completed_successfully=True)


def database(home: Path, name: str = "watcher") -> str:
    return f"postgresql://postgres@/{name}?host={home / 'postgres'}"


def ask(home: Path, question: str) -> object:
    """What the embedded database answers; None while it does not."""
    with suppress(psycopg.Error), psycopg.connect(database(home), autocommit=True, connect_timeout=2) as connection:
        found = connection.execute(question.encode()).fetchone()
        return found[0] if found else None
    return None


def said(up: Up) -> list[str]:
    """The sentences of a start that has ended, apart from the log lines of its processes."""
    return [line for line in up.text.splitlines() if line.startswith("watcher: ")]


def test_of_two_starts_at_the_same_moment_one_runs_and_the_other_names_it(watcher: Watcher) -> None:
    both = [watcher.begin(), watcher.begin()]
    wait_until(lambda: any(up.process.poll() is not None for up in both), "the end of one", _START_SECONDS)
    refused, runs = sorted(both, key=lambda up: up.process.poll() is None)
    runs.wait_for("Watcher is running")
    assert refused.process.returncode == 1
    assert refused.text == (
        f"watcher: Watcher already runs on {watcher.home} (process {runs.process.pid}): stop it first, "
        "or set WATCHER_HOME to another folder.\n"
    )
    assert end(watcher, report_a_run(watcher)).is_success
    assert runs.stop() == 0


def _migrates(home: Path) -> bool:
    return bool(
        ask(
            home,
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'watcher' AND pid <> pg_backend_pid() "
            "AND xact_start IS NOT NULL",
        )
    )


# In the order of a start.
_STEPS: dict[str, Callable[[Path], bool]] = {
    "the folder is locked": lambda home: (home / "run" / "lock").exists(),
    "initdb runs": lambda home: (home / "postgres.new" / "base").exists(),
    "the database was made": lambda home: (home / "postgres" / "PG_VERSION").exists(),
    "the server starts": lambda home: (home / "postgres" / "postmaster.pid").exists(),
    "the broker starts": lambda home: (home / "valkey" / "valkey.pid").exists(),
    "the first migrations run": _migrates,
    "the processes start": lambda home: (home / "run" / "services.json").exists(),
}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_first_start_that_was_killed_at_any_step_is_finished_by_the_next(watcher: Watcher) -> None:
    for step, is_reached in _STEPS.items():
        _kill_when(step, is_reached, watcher)
    up = watcher.up()
    assert end(watcher, report_a_run(watcher)).is_success
    assert up.stop() == 0
    assert watcher.processes() == []


def _kill_when(step: str, is_reached: Callable[[Path], bool], watcher: Watcher) -> None:
    up = watcher.begin()
    wait_until(lambda: is_reached(watcher.home) or up.process.poll() is not None, step, _START_SECONDS)
    assert up.process.poll() is None, f"it ended before {step}: {up.text}"
    up.process.kill()
    up.process.wait()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of this size, mounted on the folder."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize(disk: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", disk], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1024 * 1024)):
            pass
    return filler


def full_disk(home: Path) -> str:
    return (
        f"watcher: No space is left on the disk of {home}: free some and start again, or set WATCHER_HOME to a folder "
        "on another disk. What was answered with success is kept.\n"
    )


def test_a_disk_that_is_too_small_for_the_first_start_is_named(home: Path, tmp_path: Path) -> None:
    with small_disk(home.parent / "disk", 30) as disk:
        refused = Watcher(disk / "home", free_port(), tmp_path).run("up")
        assert (refused.returncode, refused.stderr) == (1, full_disk(disk / "home"))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_disk_that_fills_up_stops_reports_and_nothing_else(home: Path, tmp_path: Path) -> None:
    with small_disk(home.parent / "disk", 150) as disk:
        watcher = Watcher(disk / "home", free_port(), tmp_path)
        try:
            _fill_while_it_runs(watcher, disk)
            _start_on_a_full_disk(watcher, disk)
        finally:
            watcher.kill_all()


def _fill_while_it_runs(watcher: Watcher, disk: Path) -> None:
    up = watcher.up()
    run = report_a_run(watcher)
    filler = fill(disk)
    refusals = [_report_until_refused(watcher) for _ in range(3)]
    assert {refusal.status_code for refusal in refusals} == {503}
    assert {refusal.json()["detail"] for refusal in refusals} == {
        "The database's disk is full: free some space there, then send this again."
    }
    assert "retry-after" in refusals[0].headers
    assert watcher.get("/pipeline").status_code == 200
    filler.unlink()
    wait_until(lambda: end(watcher, run).is_success, "a report after the disk was freed")
    analysed = f"SELECT count(*) FROM task WHERE pipeline_execution_id = {run} AND state = 'SUCCESS'"
    wait_until(lambda: bool(ask(watcher.home, analysed)), "the analysis of that run", 120)
    assert up.process.poll() is None, up.text
    assert "Traceback" not in up.text
    # It cannot even stop without space: what it had acknowledged is in the write-ahead log.
    fill(disk)
    up.stop()


def _report_until_refused(watcher: Watcher) -> httpx.Response:
    """Large pipelines, until the database has to extend a table."""
    for number in range(10_000):
        answer = post(
            watcher,
            "pipeline",
            name=f"large {os.urandom(8).hex()} {number}",
            pipeline_type_name="load",
            pipeline_metadata={"noise": os.urandom(20_000).hex()},
        )
        if not answer.is_success:
            return answer
    raise AssertionError("the disk never was full")


def _start_on_a_full_disk(watcher: Watcher, disk: Path) -> None:
    fill(disk)
    refused = watcher.begin()
    refused.process.wait(_START_SECONDS)
    assert refused.process.returncode == 1
    assert said(refused)[-1] + "\n" == full_disk(watcher.home)
    assert "Traceback" not in refused.text
    (disk / "filler").unlink()
    resize(disk, 300)
    up = watcher.up()
    assert end(watcher, report_a_run(watcher)).is_success
    assert up.stop() == 0


# What stands before pg_catalog's `now` in the search path; a test sets by how much it differs.
_CLOCK = (
    "CREATE SCHEMA clock",
    "CREATE TABLE clock.shift (by interval NOT NULL)",
    "INSERT INTO clock.shift VALUES ('0')",
    "CREATE FUNCTION clock.now() RETURNS timestamptz STABLE RETURN pg_catalog.now() + (SELECT by FROM clock.shift)",
    "ALTER DATABASE watcher SET search_path = clock, pg_catalog, public",
    # A default is bound to the function that it meant when the table was made.
    """
    DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND column_default = 'now()'
        LOOP
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT clock.now()', c.table_name, c.column_name);
        END LOOP;
    END $$
    """,
)


class Clock:
    """The clock of Watcher's processes and of the database's ``now()``."""

    def __init__(self, library: Path, folder: Path, home: Path) -> None:
        self._home = home
        self._file = folder / "clock"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(self._file)}

    def shift(self, seconds: int) -> None:
        """Let it be so much later than it is."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
        with psycopg.connect(database(self._home), autocommit=True) as connection:
            connection.execute("UPDATE clock.shift SET by = make_interval(secs => %s)", [seconds])


@pytest.fixture
def clock(home: Path, tmp_path: Path) -> Clock:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for a clock that can be moved")
    library = tmp_path / "clock_shift.so"
    source = Path(__file__).parents[1] / "support" / "clock_shift.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return Clock(library, tmp_path, home)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_clock_that_jumps_an_hour_and_back_stops_no_schedule_and_loses_no_task(
    watcher: Watcher, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watcher.run("migrate").returncode == 0
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    _create_clock(watcher)
    up = watcher.up()
    for seconds in (3600, 0, -3600):
        clock.shift(seconds)
        _expect_work(watcher)
    assert up.process.poll() is None, up.text
    assert "was started again" not in up.text
    assert up.text.count("The clock was put back by") == 2
    assert "No worker is alive" not in up.text
    assert "Traceback" not in up.text
    assert up.stop() == 0


def _create_clock(watcher: Watcher) -> None:
    with (
        EmbeddedServices(watcher.home, valkey=False) as services,
        psycopg.connect(services.database_url, autocommit=True) as connection,
    ):
        for statement in _CLOCK:
            connection.execute(statement.encode())


def _expect_work(watcher: Watcher) -> None:
    """A reported run is analysed, and the check of each minute runs."""
    checks = "SELECT count(*) FROM task WHERE name = 'schedule_check_task' AND state = 'SUCCESS'"
    before = ask(watcher.home, checks)
    run = report_a_run(watcher)
    assert end(watcher, run).is_success
    analysed = f"SELECT count(*) FROM task WHERE pipeline_execution_id = {run} AND state = 'SUCCESS'"
    wait_until(lambda: bool(ask(watcher.home, analysed)), "the analysis", 120)
    wait_until(lambda: ask(watcher.home, checks) != before, "the next check of schedules", 150)
