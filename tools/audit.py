"""Checks every lock file against the known advisories: those of Python with pip-audit, those of npm with npm.

Status 0: no advisory concerns a locked version. Status 1: one does. Status 2: a database could not be asked about every
version, so nothing is known. pip-audit and npm are looked for on the PATH; ``make audit`` brings both.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PYTHON_DATABASES = ("pypi", "osv")
SECONDS = 600


class UnknownError(Exception):
    """A database did not answer for every version; the message names the database."""


def audit_python(lock: Path) -> list[str]:
    """The advisories that concern a lock file of pip, from the first database that knows every version in it."""
    for database in PYTHON_DATABASES:
        options = ("--requirement", str(lock), "--vulnerability-service", database, "--format", "json")
        report = _ask("pip-audit", *options, "--disable-pip", "--no-deps", "--progress-spinner", "off")
        packages = report.get("dependencies", [])
        # pip-audit leaves out, with status 0, a version that its database does not know.
        if packages and not any("skip_reason" in package for package in packages):
            return [
                f"{package['name']} {package['version']}: {found['id']}, fixed in "
                + (", ".join(found["fix_versions"]) or "no version")
                for package in packages
                for found in package["vulns"]
            ]
    raise UnknownError(f"The databases of Python's advisories ({', '.join(PYTHON_DATABASES)})")


def audit_npm(lock: Path) -> list[str]:
    """The advisories that concern a lock file of npm."""
    report = _ask("npm", "audit", "--json", "--package-lock-only", "--prefix", str(lock.parent))
    if "vulnerabilities" not in report:
        raise UnknownError("The databases of npm's advisories")
    return [f"{name} {found['range']}: {found['severity']}" for name, found in report["vulnerabilities"].items()]


def _ask(*command: str) -> dict[str, Any]:
    """The JSON that a command prints, whatever its status; empty when it prints none."""
    try:
        finished = subprocess.run(command, capture_output=True, check=False, timeout=SECONDS)
        report = json.loads(finished.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def main() -> int:
    """Print what each lock file is concerned by."""
    checks = [(audit_python, lock) for lock in sorted(ROOT.glob("requirements/*.lock"))]
    checks += [(audit_npm, ROOT / folder / "package-lock.json") for folder in (".", "tests/deploy/keda")]
    advisories = 0
    for audit, lock in checks:
        try:
            found = audit(lock)
        except UnknownError as error:
            sys.stderr.write(
                f"{error} cannot be asked about every version in {lock.relative_to(ROOT)} from here: "
                "run `make audit` where they can be reached.\n"
            )
            return 2
        sys.stdout.write(f"{lock.relative_to(ROOT)}: {len(found) or 'no'} known advisories\n")
        sys.stdout.writelines(f"  {advisory}\n" for advisory in found)
        advisories += len(found)
    return 1 if advisories else 0


if __name__ == "__main__":
    sys.exit(main())
