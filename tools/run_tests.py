"""Runs the whole suite, several tests at once, and what failed once more, alone.

Some tests stop engines, kill processes and wait for others to notice; beside two more of their kind, on a machine that
is busy with something else, one of them may miss a time limit that is generous when it runs alone. Such a test is named
twice in the output, and the second result counts. With more than a few failures there is no second run: then it is not
the machine. Nor is there where tests could not be collected: pytest would run all of them then.

``python tools/run_tests.py PYTEST-OPTIONS``; the exit status is pytest's.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MOST_AGAIN = 5
TESTS_FAILED = 1


def run(folder: Path, *options: str) -> int:
    """Run pytest, which keeps in this folder what failed; its exit status."""
    command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={folder}", *options]
    return subprocess.run(command, check=False).returncode


def main(options: list[str]) -> int:
    """Run the tests with these options; the status of what counts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        status = run(folder, *options)
        found = folder / "v" / "cache" / "lastfailed"
        failed = list(json.loads(found.read_text())) if found.exists() else []
        if status != TESTS_FAILED or not 0 < len(failed) <= MOST_AGAIN or not all("::" in test for test in failed):
            return status
        sys.stdout.write("\nThese failed beside others. Each runs once more, alone, and that result counts:\n")
        sys.stdout.write("".join(f"  {test}\n" for test in failed))
        sys.stdout.flush()
        return run(folder, "-n", "0", "--last-failed", "--last-failed-no-failures", "none")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
