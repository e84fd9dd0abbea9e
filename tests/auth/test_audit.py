"""``make audit``: what it makes of the answers of pip-audit and npm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parent.parent.parent / "tools" / "audit.py"
CLEAN = {"dependencies": [{"name": "a", "version": "1", "vulns": []}]}
UNKNOWN = {"dependencies": [{"name": "a", "skip_reason": "Dependency not found"}]}
HIT = {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}]}
NPM_CLEAN: dict[str, object] = {"vulnerabilities": {}}
NPM_HIT = {"vulnerabilities": {"b": {"range": "<3", "severity": "high"}}}
NPM_UNKNOWN = {"message": "the endpoint returned an error"}


def _audit(folder: Path, answers: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    """Run it with a pip-audit and an npm that print these answers; without one the command fails."""
    for name, answer in answers.items():
        program = folder / name
        output = json.dumps(answer) if answer else "no connection"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit 1\n")
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run([sys.executable, AUDIT], env=environment, capture_output=True, text=True, check=False)


def test_no_advisory_is_status_0_and_every_lock_file_is_named(tmp_path: Path) -> None:
    finished = _audit(tmp_path, {"pip-audit": CLEAN, "npm": NPM_CLEAN})
    assert finished.returncode == 0
    for lock in ("requirements/watcher.lock", "requirements/dev.lock", "package-lock.json"):
        assert f"{lock}: no known advisories\n" in finished.stdout


def test_an_advisory_is_named_and_status_1(tmp_path: Path) -> None:
    finished = _audit(tmp_path, {"pip-audit": HIT, "npm": NPM_HIT})
    assert finished.returncode == 1
    assert "  a 1: PYSEC-1, fixed in 2\n" in finished.stdout
    assert "  b <3: high\n" in finished.stdout


@pytest.mark.parametrize(
    ("pip", "npm"), [(UNKNOWN, NPM_CLEAN), (None, NPM_CLEAN), (CLEAN, NPM_UNKNOWN), (CLEAN, None), ([], NPM_CLEAN)]
)
def test_what_cannot_be_asked_is_one_sentence_and_never_status_0(tmp_path: Path, pip: object, npm: object) -> None:
    finished = _audit(tmp_path, {"pip-audit": pip, "npm": npm})
    assert finished.returncode == 2
    assert "cannot be asked about every version in" in finished.stderr
    assert finished.stderr.count("\n") == 1
