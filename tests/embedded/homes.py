import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A data folder that the engines' own account can reach, which pytest's temporary folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="watcher-test-"))
    folder.chmod(0o755)
    yield folder / "home"
    shutil.rmtree(folder)
