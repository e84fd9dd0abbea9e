"""The image of deploy/Dockerfile: built for real, without a daemon, and run as a strict cluster would run it.

It takes minutes, so it runs where WATCHER_TEST_IMAGE=1 says so: `make release-check`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.conftest import create_database, worker_broker
from tests.deploy.container import Buildah, container_command, container_environment, over_tcp
from tests.deploy.tools import ROOT
from tests.support.live import free_port, wait_until

pytestmark = [
    pytest.mark.skipif(os.environ.get("WATCHER_TEST_IMAGE") != "1", reason="WATCHER_TEST_IMAGE=1 builds the image"),
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can build without a daemon"),
]

ANY_USER = 54321
# The oldest Python that Watcher runs on is the one of this Debian.
DEBIAN = "bookworm"


class Image:
    """The built image: its files, its environment, and its commands."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root = root
        self.environment = environment

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """``watcher …`` in a container, to its end."""
        return subprocess.run(
            container_command(self.root, ANY_USER, "watcher", *arguments),
            env=container_environment(self.environment, **variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @contextmanager
    def started(self, log: Path, *arguments: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
        """``watcher …`` in a container, until SIGTERM at the end."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                container_command(self.root, ANY_USER, "watcher", *arguments),
                env=container_environment(self.environment, **variables),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    for program in ("buildah", "mmdebstrap"):
        assert shutil.which(program), f"{program} is missing: tests/debian-packages.sh image"
    folder = tmp_path_factory.mktemp("image")
    buildah = Buildah(folder)
    base = folder / "base.tar"
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", packages, DEBIAN, base], check=True)
    scratch = buildah("from", "scratch")
    buildah("add", "--quiet", scratch, str(base), "/")
    buildah("commit", "--quiet", "--rm", scratch, "localhost/watcher-base")
    buildah(
        "bud", "--layers=false", "--quiet", "--build-arg", "BASE=localhost/watcher-base", *_as_pip_is_configured(),
        "--file", str(ROOT / "deploy" / "Dockerfile"), "--tag", "watcher:test", str(ROOT),
    )  # fmt: skip
    container = buildah("from", "watcher:test")
    root = Path(buildah("mount", container))
    config = json.loads(buildah("inspect", "watcher:test"))["OCIv1"]["config"]
    report = subprocess.run(["du", "--summarize", "--human-readable", root], capture_output=True, text=True, check=True)
    sys.stdout.write(f"\nThe image's files: {report.stdout.split()[0]}; its packages:\n")
    sys.stdout.writelines(
        f"  {folder.name}\n" for folder in sorted(root.glob("opt/watcher/lib/*/site-packages/*.dist-info"))
    )
    assert config["User"].split(":")[0] not in {"", "0", "root"}
    yield Image(root, dict(variable.split("=", 1) for variable in config["Env"]))
    buildah("umount", container)
    shutil.rmtree(folder, ignore_errors=True)


def _as_pip_is_configured() -> list[str]:
    """What lets pip in the build reach the index that pip here reaches."""
    files = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
    return [option for file in files if Path(file).exists() for option in ("--volume", f"{file}:{file}:ro")]


@pytest.fixture(scope="module")
def services(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Secrets in files of the container's /tmp would be gone: the URLs of the engines, over TCP."""
    database, broker = create_database(f"watcher_image_{worker_id}", "template0"), worker_broker(worker_id, 2)
    folder = parse_qs(urlsplit(database).query)["host"][0]
    with ExitStack() as stack:
        postgres = stack.enter_context(over_tcp(Path(folder, ".s.PGSQL.5432")))
        valkey = stack.enter_context(over_tcp(Path(urlsplit(broker).path)))
        number = parse_qs(urlsplit(broker).query)["virtual_host"][0]
        yield {
            "WATCHER_DATABASE_URL": f"postgresql://postgres@127.0.0.1:{postgres}/{urlsplit(database).path[1:]}",
            "WATCHER_BROKER_URL": f"redis://127.0.0.1:{valkey}/{number}",
            # What Kubernetes sets beside a Service named watcher.
            "WATCHER_PORT": "tcp://10.96.12.7:80",
        }


def test_it_says_its_version(image: Image) -> None:
    assert image.run("--version").stdout.startswith("watcher ")


@pytest.mark.parametrize("command", ["api", "worker", "beat", "migrate"])
def test_without_settings_it_says_what_to_set(image: Image, command: str) -> None:
    done = image.run(command)

    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("watcher: ")


def test_it_leaves_backups_to_the_tools_of_the_server(image: Image, services: dict[str, str]) -> None:
    done = image.run("backup", "/tmp/watcher.backup", **services)  # noqa: S108 - the container's own

    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "your server's own pg_dump" in done.stderr


def test_a_run_is_reported_and_judged_with_every_part_in_a_container(
    image: Image, services: dict[str, str], tmp_path: Path
) -> None:
    migrated = image.run("migrate", **services)
    assert migrated.returncode == 0, migrated.stderr
    refused = image.run("api", **services)
    assert "make a token first" in refused.stderr
    token = image.run("token", "create", "first", "--scope", "admin", **services).stdout.split()[-1]

    port, metrics = free_port(), free_port()
    # The port that Kubernetes sets cannot be known to be free here.
    parts = {**services, "WATCHER_PORT": str(port), "WATCHER_WORKER_METRICS_PORT": str(metrics)}
    with ExitStack() as stack:
        logs = {name: tmp_path / f"{name}.log" for name in ("api", "worker", "beat")}
        processes = {name: stack.enter_context(image.started(logs[name], name, **parts)) for name in logs}
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"})
        )
        _wait(lambda: _answers(client, "/health/live"), "the api answers", logs["api"])
        _wait(
            lambda: _answers(client, f"http://127.0.0.1:{metrics}/health/ready"), "the worker is ready", logs["worker"]
        )
        pipeline = client.post("/pipeline", json={"name": "orders", "pipeline_type_name": "load"}).json()["id"]
        rule = {"pipeline_id": pipeline, "metric_field": "inserts"}
        assert client.post("/anomaly_detection_rule", json=rule).status_code == 201
        run = client.post("/start_pipeline_execution", json={"pipeline_id": pipeline}).json()["id"]
        ended = client.post("/end_pipeline_execution", json={"id": run, "completed_successfully": True, "inserts": 5})
        assert ended.status_code == 204
        tasks = "/tasks?name=detect_anomalies_task"
        _wait(lambda: '"SUCCESS"' in client.get(tasks).text, "the run is judged", logs["worker"])
        assert {process.poll() for process in processes.values()} == {None}
    assert {process.returncode for process in processes.values()} <= {0, -signal.SIGTERM, 128 + signal.SIGTERM}


def _wait(condition: Callable[[], bool], what: str, log: Path) -> None:
    try:
        wait_until(condition, what, 60)
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{log.read_text()[-3000:]}") from None


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False
