"""How much memory an api holds."""

from pathlib import Path
from urllib.parse import urlsplit

import psutil


def peak_megabytes(url: str) -> float:
    """The most memory that a process of the api at this address has held; its engines are not counted."""
    return max(_status(pid, "VmHWM") for pid in _api_processes(url))


def held_megabytes(url: str) -> float:
    """The memory that a process of the api at this address holds now; the most of them."""
    return max(_status(pid, "VmRSS") for pid in _api_processes(url))


def _api_processes(url: str) -> list[int]:
    port = str(urlsplit(url).port)
    processes = [process for process in psutil.process_iter() if "watcher_server" in " ".join(_line(process))]
    return [
        process.pid
        for process in processes
        if "api" in _line(process) and process.environ().get("WATCHER_PORT") == port
    ]


def _status(pid: int, name: str) -> float:
    """A line of the process's status, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0


def _line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
