"""``python -m bench [NAME] [--help]``; without a name it is ``cycles``, and ``--help`` lists the names."""

import argparse
import os
import signal
import sys

from rich.console import Console

from bench import (
    anomaly_quality,
    bands,
    broker_down,
    checks,
    cycles,
    footprint,
    incidents,
    limits,
    lineage,
    notify,
    openlineage,
    pages,
    partitioning,
    pings,
    reporting,
    retention,
    scale,
    sdk,
    tasks,
)

BENCHES = {
    "cycles": cycles,
    "sdk": sdk,
    "tasks": tasks,
    "limits": limits,
    "broker-down": broker_down,
    "notify": notify,
    "lineage": lineage,
    "retention": retention,
    "reporting": reporting,
    "scale": scale,
    "partitioning": partitioning,
    "checks": checks,
    "incidents": incidents,
    "pages": pages,
    "bands": bands,
    "pings": pings,
    "footprint": footprint,
    "openlineage": openlineage,
    "anomaly-quality": anomaly_quality,
}


def main() -> None:
    """Measure and print."""
    name, *rest = sys.argv[1:] if sys.argv[1:2] and sys.argv[1] in BENCHES else ["cycles", *sys.argv[1:]]
    bench = BENCHES[name]
    parser = argparse.ArgumentParser(
        prog=f"python -m bench {name}",
        description=bench.__doc__,
        epilog=f"Others: python -m bench {{{','.join(BENCHES)}}}",
    )
    bench.add_arguments(parser)
    arguments = parser.parse_args(rest)
    # A signal that ends the bench ends the processes that it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    console = Console(width=145)
    console.print(f"{os.cpu_count()} cores, shared by the load, Watcher's processes, the database and the broker.")
    bench.run(arguments, console)


if __name__ == "__main__":
    main()
