"""Where ``watcher`` begins: `watcher run` starts at once, and loads nothing that the other commands need."""

import sys


def main() -> None:
    """Run the command."""
    if sys.argv[1:2] == ["run"]:
        from watcher_server.cli.running.command import run_wrapped

        run_wrapped(sys.argv[2:])
        return
    from watcher_server.cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
