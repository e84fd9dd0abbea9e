"""The libraries of the pages: locked, complete, with their licences, and in the package."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from watcher_server.web.assets import STATIC

ROOT = Path(__file__).parents[2]
VENDOR = STATIC / "vendor"
TOOL = Path("tools", "vendor.py")


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / TOOL))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the set-up of the libraries reads, and nothing that it has made."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / VENDOR.relative_to(ROOT)).parent.mkdir(parents=True)
    return tmp_path


def _run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / TOOL), *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_lock_holds_digests_and_no_addresses() -> None:
    text = (ROOT / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    assert '"resolved"' not in text
    assert all("integrity" in package for path, package in packages.items() if path)


def test_every_version_is_exact() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    versions = {**package["dependencies"], **package["devDependencies"]}
    assert all(version.replace(".", "").isdecimal() for version in versions.values())
    assert versions["htmx.org"].startswith("2.")


def test_each_library_is_there_with_its_licence() -> None:
    folders = sorted(path.name for path in VENDOR.iterdir() if path.is_dir())
    assert folders == ["cytoscape", "cytoscape-dagre", "htmx", "idiomorph", "scalar", "swagger-ui", "uplot"]
    for folder in folders:
        licence = (VENDOR / folder / "LICENSE").read_text().lower()
        assert "permission" in licence or "licensed under" in licence


@pytest.mark.parametrize("module", ["cytoscape/cytoscape.esm.min", "cytoscape-dagre/cytoscape-dagre.esm.min"])
def test_a_module_imports_nothing_that_a_browser_cannot_find(module: str) -> None:
    source = (VENDOR / f"{module}.js").read_text()
    assert "export{" in source
    assert "import{" not in source
    assert ' from"' not in source


def test_a_second_set_up_needs_no_npm() -> None:
    before = (VENDOR / ".stamp").stat().st_mtime_ns
    answer = _run(ROOT, PATH="")
    assert answer.returncode == 0
    assert answer.stdout + answer.stderr == ""
    assert (VENDOR / ".stamp").stat().st_mtime_ns == before


def test_without_a_registry_one_sentence_says_what_to_do(checkout: Path) -> None:
    answer = _run(
        checkout,
        npm_config_registry="http://127.0.0.1:9",
        npm_config_fetch_retries="0",
        npm_config_cache=str(checkout / "cache"),
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("npm could not bring the libraries of the pages (")
    assert answer.stderr.endswith("connect to its registry, then try again.\n")
    assert answer.stderr.count("\n") == 1


def test_an_archive_that_is_not_the_locked_one_is_refused(checkout: Path, tool: dict[str, Any]) -> None:
    for library in tool["LIBRARIES"]:
        for source in library.files.values():
            file = checkout / "node_modules" / library.package / source
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    fake_npm = checkout / "npm"
    fake_npm.write_text('#!/bin/sh\nfor folder; do :; done\necho other > "$folder/scalar.tgz"\n')
    fake_npm.chmod(0o755)

    with pytest.raises(tool["VendorError"], match=r"is not what package\.json expects"):
        tool["_fill"](checkout, [str(fake_npm)])
    assert not (checkout / VENDOR.relative_to(ROOT)).exists()


def test_the_wheel_contains_the_libraries_and_their_licences(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    package = VENDOR.relative_to(ROOT / "src")
    expected = {str(package / path.relative_to(VENDOR)) for path in VENDOR.rglob("*") if path.is_file()}
    assert str(package / "scalar" / "LICENSE") in expected
    assert expected <= names
