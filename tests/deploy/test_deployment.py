"""The image, the compose file and the unit of systemd: their commands and settings are those of Watcher."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from tests.deploy.tools import DEPLOY, ROOT
from watcher_server import __version__
from watcher_server.app import create_app
from watcher_server.cli.main import app
from watcher_server.settings import Settings, load_settings

COMMANDS: set[str] = set(get_command(app).commands)  # type: ignore[attr-defined]
KNOWN = {f"WATCHER_{name.upper()}" for name in Settings.model_fields}
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
PARTS = [name for name, service in SERVICES.items() if service["image"].startswith("watcher:")]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PAGE = (ROOT / "docs" / "deployment.md").read_text()


def _block(language: str) -> str:
    block = re.search(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]


def test_compose_has_every_part() -> None:
    assert sorted(PARTS) == ["api", "beat", "migrate", "worker"]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_compose_runs_a_command_on_settings_that_there_are(name: str) -> None:
    part = SERVICES[name]
    assert part["command"] == [name]
    assert name in COMMANDS
    assert {variable for variable in part["environment"] if variable.startswith("WATCHER_")} <= KNOWN
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]


def test_compose_asks_where_something_answers() -> None:
    settings = load_settings()
    paths = create_app(settings).openapi()["paths"]
    ports = {"api": settings.port, "worker": settings.worker_metrics_port}
    for name, port in ports.items():
        asked = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", SERVICES[name]["healthcheck"]["test"][-1])
        assert asked is not None
        assert (int(asked[1]), asked[2] in paths) == (port, True)
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > settings.worker_stop_seconds


def test_the_image_knows_only_settings_that_there_are_and_is_not_root() -> None:
    assert set(re.findall(r"\b(WATCHER_\w+)=", DOCKERFILE)) <= KNOWN
    user = re.search(r"^USER (\d+):0$", DOCKERFILE, flags=re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0
    assert 'ENTRYPOINT ["watcher"]' in DOCKERFILE


def test_the_image_opens_the_ports_that_watcher_listens_on() -> None:
    settings = load_settings()
    assert f"EXPOSE {settings.port} {settings.worker_metrics_port}\n" in DOCKERFILE


def test_the_unit_runs_every_part_and_leaves_a_worker_time_to_stop() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # names of systemd have upper case
    unit.read_string(_block("ini"))
    assert unit["Service"]["ExecStart"] == "/opt/watcher/bin/watcher %i"
    assert int(unit["Service"]["TimeoutStopSec"]) > load_settings().worker_stop_seconds
    enabled = re.search(r"^systemctl enable --now (.*)$", PAGE, flags=re.MULTILINE)
    assert enabled is not None
    parts = [name.removeprefix("watcher@") for name in enabled[1].split()]
    assert sorted(parts) == ["api", "beat", "worker"]
    assert set(parts) < COMMANDS
    assert set(re.findall(r"^(WATCHER_\w+)=", _block("sh"), flags=re.MULTILINE)) <= KNOWN


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed.")
    # It looks whether the program and the user are there.
    unit = tmp_path / "watcher@.service"
    unit.write_text(_block("ini").replace("/opt/watcher/bin/watcher", "/bin/true").replace("User=watcher\n", ""))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "document",
    [path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *DEPLOY.rglob("*.*"), *ROOT.glob("docs/*.md"))],
)
def test_a_document_that_names_a_package_or_an_image_names_this_version(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"watcher_server-(\d+\.\d+\.\d+)|watcher:(\d+\.\d+\.\d+)|newTag: \"?(\d+\.\d+\.\d+)", text)
    assert {version for versions in named for version in versions if version} <= {__version__}
