"""Runs a command in an image's file system as a strict cluster would: read-only but /tmp, any user id, no home."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

# A mount namespace of its own: the mounts go with the process.
_ENTER = """
set -e
root=$1; user=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot --userspec="$user:0" "$root" "$@"
"""


def container_command(root: Path, user: int, *arguments: str) -> list[str]:
    """The command line that runs ``arguments`` in ``root`` as the user with that id and the group 0."""
    return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(root), str(user), *arguments]


def container_environment(image_environment: Mapping[str, str], **variables: str) -> dict[str, str]:
    """What the image sets, and ``variables``; nothing of this machine's, and no HOME."""
    # The programs that enter the container are found by the first folders, those of the container by the last.
    path = f"/usr/sbin:/usr/bin:/sbin:/bin:{image_environment['PATH']}"
    return {**image_environment, **variables, "PATH": path}


@contextmanager
def over_tcp(unix_socket: Path) -> Iterator[int]:
    """A port of loopback that leads to a unix socket, for a container that cannot see this machine's files."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, unix_socket), daemon=True).start()
        yield listener.getsockname()[1]


def _accept(listener: socket.socket, unix_socket: Path) -> None:
    with suppress(OSError):
        while True:
            caller, _ = listener.accept()
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(str(unix_socket))
            for source, target in ((caller, engine), (engine, caller)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Buildah:
    """Buildah without a daemon, with its storage in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._options = ["--storage-driver", "vfs", "--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def __call__(self, *arguments: str) -> str:
        """Run it; what it prints."""
        program = shutil.which("buildah") or "buildah"
        environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
        done = subprocess.run(
            [program, *self._options, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode:
            raise AssertionError(f"buildah {arguments[0]} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout.strip()
