"""Programs that these tests need and Python does not bring."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def find_program(name: str, folder: str, how_to_get_it: str) -> str:
    """The path of a program, from the PATH or from a folder of the repository; without it the test is skipped.

    In CI it must be there: a test that is always skipped there tests nothing.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(ROOT / folder)]))
    if found is None:
        miss(f"{name} is missing: {how_to_get_it}.")
    return found


def miss(sentence: str) -> NoReturn:
    """Skip the test; in CI, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
