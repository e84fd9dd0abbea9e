"""The port of a worker."""

import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.live import free_port, wait_until
from watcher_server.tasking.workers import server as worker_server
from watcher_server.tasking.workers.server import WorkerServer


class Worker:
    """What the server asks about."""

    def __init__(self) -> None:
        self.alive = True
        self.reason: str | None = None

    def server(self, port: int, host: str = "127.0.0.1") -> WorkerServer:
        return WorkerServer(host, port, lambda: self.alive, lambda: self.reason)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def start(worker: Worker) -> Iterator[Callable[[int], str | None]]:
    servers: list[WorkerServer] = []

    def start_server(port: int) -> str | None:
        servers.append(worker.server(port))
        return servers[-1].start()

    yield start_server
    for server in servers:
        server.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _take(port: int) -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def test_a_worker_that_lives_and_works_says_so(start: Callable[[int], str | None]) -> None:
    url = start(free_port())
    assert httpx.get(f"{url}/health/live").json() == {"status": "ok"}
    assert httpx.get(f"{url}/health/ready").json() == {"status": "ready"}
    assert httpx.head(f"{url}/health/live").status_code == 200


def test_a_worker_that_stands_still_is_not_alive(worker: Worker, start: Callable[[int], str | None]) -> None:
    url = start(free_port())
    worker.alive = False
    answer = httpx.get(f"{url}/health/live")
    assert answer.status_code == 503
    assert "stands still" in answer.json()["detail"]


def test_a_worker_that_cannot_work_says_why(worker: Worker, start: Callable[[int], str | None]) -> None:
    url = start(free_port())
    worker.reason = "The broker is away."
    answer = httpx.get(f"{url}/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"detail": "The broker is away."}
    assert httpx.get(f"{url}/health/live").status_code == 200


def test_metrics_come_in_the_format_that_prometheus_asks_for(start: Callable[[int], str | None]) -> None:
    url = start(free_port())
    plain = httpx.get(f"{url}/metrics?x=1")
    assert plain.headers["content-type"].startswith("text/plain")
    assert "# TYPE celery_task_runtime histogram" in plain.text
    open_metrics = httpx.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


def test_other_paths_are_not_found(start: Callable[[int], str | None]) -> None:
    answer = httpx.get(f"{start(free_port())}/tasks")
    assert answer.status_code == 404
    assert "/metrics" in answer.json()["detail"]


def test_a_port_that_is_taken_leaves_the_next_free_one(start: Callable[[int], str | None]) -> None:
    port = free_port()
    with _take(port):
        url = start(port)
        assert url is not None
        assert port < int(url.rpartition(":")[2]) <= port + 20
        assert httpx.get(f"{url}/health/live").status_code == 200


def test_when_all_ports_are_taken_the_worker_runs_without(
    start: Callable[[int], str | None], caplog: pytest.LogCaptureFixture
) -> None:
    # The last port there is has none that follow.
    taken = _take(65535) if not _listens(65535) else None
    try:
        assert start(65535) is None
    finally:
        if taken is not None:
            taken.close()
    assert "set WATCHER_WORKER_METRICS_PORT" in caplog.text


def test_an_address_of_another_machine_leaves_the_worker_without(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    assert worker.server(free_port(), "192.0.2.1").start() is None
    assert "set WATCHER_WORKER_METRICS_HOST" in caplog.text


def test_port_0_is_off(start: Callable[[int], str | None]) -> None:
    assert start(0) is None


def test_on_every_address_it_names_one_that_others_can_reach(worker: Worker) -> None:
    server = worker.server(free_port(), "0.0.0.0")  # noqa: S104 - this is what is tested
    url = server.start()
    try:
        assert url is not None
        assert "0.0.0.0" not in url  # noqa: S104 - the same
        assert httpx.get(f"{url}/health/live").status_code == 200
    finally:
        server.stop()


def test_a_process_that_the_worker_forked_does_not_keep_the_port(worker: Worker) -> None:
    port = free_port()
    server = worker.server(port)
    server.start()
    forked = multiprocessing.get_context("fork")
    may_end = forked.Event()
    child = forked.Process(target=may_end.wait, args=(60,))
    child.start()
    try:
        # The child's socket is gone, and the parent's is not.
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
        server.stop()
        assert not _listens(port)
        successor = worker.server(port)
        assert successor.start() == f"http://127.0.0.1:{port}"
        successor.stop()
        assert child.is_alive()
    finally:
        may_end.set()
        child.join()


def _half_open(port: int) -> socket.socket:
    """A connection that has begun to send a request and does not go on."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\nX-Slow: ")
    return connection


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_half_open_connections_hold_up_no_probe_and_no_thread(start: Callable[[int], str | None]) -> None:
    port = free_port()
    url = start(port)
    threads = threading.active_count()
    slow = [_half_open(port) for _ in range(200)]
    try:
        begin = time.monotonic()
        assert httpx.get(f"{url}/health/live").status_code == 200
        assert httpx.get(f"{url}/metrics").status_code == 200
        assert time.monotonic() - begin < 2
        assert threading.active_count() == threads
    finally:
        for connection in slow:
            connection.close()


def test_a_connection_does_not_last(start: Callable[[int], str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_server, "_LONGEST_CONNECTION_SECONDS", 0.5)
    port = free_port()
    start(port)
    with _half_open(port) as half, socket.create_connection(("127.0.0.1", port)) as silent:
        assert not _is_closed(half)
        wait_until(lambda: _is_closed(half) and _is_closed(silent), "both being hung up on")


def test_of_too_many_connections_the_oldest_gives_way(
    start: Callable[[int], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_server, "_MOST_CONNECTIONS", 10)
    monkeypatch.setattr(worker_server, "_LONGEST_CONNECTION_SECONDS", 600)
    port = free_port()
    url = start(port)
    slow = [_half_open(port) for _ in range(20)]
    try:
        assert httpx.get(f"{url}/health/live").status_code == 200
        wait_until(lambda: all(map(_is_closed, slow[:10])), "the oldest being hung up on")
        assert not _is_closed(slow[-1])
    finally:
        for connection in slow:
            connection.close()


def test_a_connection_is_closed_after_its_answer(start: Callable[[int], str | None]) -> None:
    assert httpx.get(f"{start(free_port())}/health/live").headers["connection"] == "close"
