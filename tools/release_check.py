"""Whether this checkout can be released: `make release-check`.

Builds the source archive and the wheel, compares version and CHANGELOG, and installs both on every Python that is here,
each into an empty environment in an empty folder, where `watcher up` has to take a run. With ``--quick`` nothing is
installed: `make check`.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PYTHONS = ("python3.11", "python3.12", "python3.13")
LIMIT_SECONDS = 120


def main() -> None:
    """Do all of it; the first thing that is not right ends it with a sentence."""
    shutil.rmtree(DIST, ignore_errors=True)
    _run([sys.executable, "-m", "hatchling", "build"], ROOT)
    (wheel,) = DIST.glob("*.whl")
    (archive,) = DIST.glob("*.tar.gz")
    version = _check_metadata(wheel)
    _check_archive(archive, version)
    _check_changelog(version)
    if "--quick" in sys.argv[1:]:
        print(f"The packages of version {version} are built; `make release-check` installs them.")
        return
    pythons = [found for name in PYTHONS if (found := _find_python(name))]
    if not pythons:
        sys.exit(f"None of {', '.join(PYTHONS)} is here.")
    for python in pythons:
        for package in (wheel, archive):
            _check_install(python, package, version)
    print(f"Version {version} can be released: {len(pythons)} version(s) of Python, wheel and source archive.")


def _find_python(name: str) -> str | None:
    """The path of a Python that starts, also one that pyenv has and does not offer."""
    folders = [*os.environ["PATH"].split(os.pathsep), *map(str, (Path.home() / ".pyenv" / "versions").glob("3.*/bin"))]
    for found in filter(None, (shutil.which(name, path=folder) for folder in folders)):
        if subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    return None


def _check_metadata(wheel: Path) -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        metadata = content.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    fields = dict(line.split(": ", 1) for line in metadata.partition("\n\n")[0].splitlines() if ": " in line)
    for field, wanted in {"Name": project["name"], "Requires-Python": project["requires-python"]}.items():
        if fields.get(field) != wanted:
            sys.exit(f"The wheel's {field} is {fields.get(field)!r}, and pyproject.toml says {wanted!r}.")
    for needed in ("htmx.min.js", "index.html", "watcher.css", "py.typed", "texts/README.md", "texts/docs/README.md"):
        if not any(name.endswith(needed) for name in names):
            sys.exit(f"The wheel has no {needed}.")
    return fields["Version"]


def _check_archive(archive: Path, version: str) -> None:
    """A package can be built from the archive alone: the sources, the libraries of the pages and the hook are in it."""
    with tarfile.open(archive) as content:
        names = content.getnames()
    top = f"watcher_server-{version}"
    for needed in ("hatch_build.py", "tools/vendor.py", "package-lock.json", "LICENSE", "CHANGELOG.md"):
        if f"{top}/{needed}" not in names:
            sys.exit(f"The source archive has no {needed}.")
    if not any("static/vendor/" in name for name in names):
        sys.exit("The source archive has no libraries of the pages.")
    left = {name.split("/")[1] for name in names if "/" in name} & {"build", "dist", "node_modules", ".venv"}
    if left:
        sys.exit(f"The source archive has {', '.join(sorted(left))}, which are no sources.")


def _check_changelog(version: str) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[([^]]+)\]", changelog, flags=re.MULTILINE)
    if newest is None or newest[1] not in {"Unreleased", version}:
        sys.exit(f"The CHANGELOG begins with {newest and newest[1]!r}, and the version is {version}.")
    if f"## [{version}]" not in changelog:
        sys.exit(f"The CHANGELOG has no section for {version}.")


def _check_install(python: str, package: Path, version: str) -> None:
    print(f"{Path(python).name}, {package.name} ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="watcher-release-") as name:
        folder = Path(name)
        # The embedded engines run as a system user when this is root, and read what is installed here.
        folder.chmod(0o755)
        environment = folder / "venv"
        _run([python, "-m", "venv", environment], folder)
        pip: list[str | Path] = [
            environment / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _run([*pip, "--require-hashes", "--no-deps", "-r", ROOT / "requirements" / "watcher.lock"], folder)
        _run([*pip, "--no-deps", "--no-build-isolation", package], folder)
        watcher = environment / "bin" / "watcher"
        said = _run([watcher, "--version"], folder)
        if said.strip() != f"watcher {version}":
            sys.exit(f"`watcher --version` says {said.strip()!r}.")
        _report_a_run(watcher, folder)


def _report_a_run(watcher: Path, folder: Path) -> None:
    """Start everything, report one run, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = folder / "home"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHER_", "PYTHONPATH"))}
    variables |= {"WATCHER_HOME": str(home), "WATCHER_PORT": str(port)}
    with (folder / "up.log").open("w+") as log:
        up = subprocess.Popen([watcher, "up"], cwd=folder, env=variables, stdout=log, stderr=log)
        try:
            _wait_until_running(up, folder / "up.log")
            pipeline = _post(port, "pipeline", {"name": "orders", "pipeline_type_name": "load"})["id"]
            run = _post(port, "start_pipeline_execution", {"pipeline_id": pipeline})["id"]
            _post(port, "end_pipeline_execution", {"id": run, "completed_successfully": True, "inserts": 1})
        finally:
            up.terminate()
            up.wait(60)


def _wait_until_running(up: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while "Watcher is running" not in log.read_text():
        if up.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"`watcher up` did not start:\n{log.read_text()}")
        time.sleep(0.2)


def _post(port: int, path: str, body: dict[str, object]) -> dict[str, int]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
        return dict(json.loads(answer.read() or b"{}"))


def _run(command: Sequence[str | Path], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
