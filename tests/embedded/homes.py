import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.live import wait_until


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A data folder that the engines' own account can reach, which pytest's temporary folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="watcher-test-"))
    folder.chmod(0o755)
    yield folder / "home"
    wait_until(lambda: _is_removed(folder), f"the removal of {folder}")


def _is_removed(folder: Path) -> bool:
    # The children of a server that was killed write for a moment longer.
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
