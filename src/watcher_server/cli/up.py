"""``watcher up``: everything on one machine, in the foreground."""

import os
import signal
import time

from rich.panel import Panel
from rich.text import Text

from watcher_server.cli import checks
from watcher_server.cli.celery_processes import run_configured_worker
from watcher_server.cli.children import Child, child_command, prepare_children
from watcher_server.cli.databases import ensure_migrated
from watcher_server.cli.errors import CommandError
from watcher_server.cli.readiness import ask_readiness
from watcher_server.cli.serve import serve_beside_worker
from watcher_server.cli.signals import StopSignals
from watcher_server.cli.supervisor import Supervisor, end_leftover_children
from watcher_server.cli.terminal import console
from watcher_server.embedded.disk import full_disk
from watcher_server.embedded.lock import already_running, is_locked
from watcher_server.embedded.running import RunningServices, base_url, publish, withdraw
from watcher_server.embedded.services import EmbeddedServices
from watcher_server.embedded.trust import require_trusted_home
from watcher_server.kit.terminal import program
from watcher_server.kit.text import escape_controls
from watcher_server.settings import Settings, load_settings


def run_up(*, verbose: bool) -> None:
    """Start the engines that no URL replaces, then api and worker, and keep them running until a signal.

    Raises:
        CommandError: something cannot start, or keeps ending.
        EmbeddedError: the same for an embedded engine.
    """
    settings = load_settings()
    level = _terminal_level(settings, verbose=verbose)
    home = require_trusted_home(settings.home).resolve()
    # Before the port: a user who starts Watcher twice is told so, instead of that the port is taken.
    if is_locked(home):
        raise already_running(home)
    end_leftover_children(home)
    checks.require_free_port(settings.host, settings.port)
    with StopSignals() as signals:
        try:
            with EmbeddedServices(
                home, postgres=settings.database_url is None, valkey=settings.broker_url is None
            ) as services:
                _run(settings, services, signals, level)
        except KeyboardInterrupt:
            console().print("Watcher has stopped.")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised again
            raise full_disk(home, error) or error from None


def _run(settings: Settings, services: EmbeddedServices, signals: StopSignals, level: str) -> None:
    database_url = services.database_url if settings.database_url is None else settings.database
    broker_url = services.broker_url if settings.broker_url is None else settings.broker
    direct_url = settings.direct_url or database_url
    checks.require_fit_broker(broker_url)
    checks.require_database(database_url, settings.direct_url)
    ensure_migrated(direct_url)
    checks.require_tokens_for_strangers(settings, direct_url)
    urls = {"WATCHER_DATABASE_URL": database_url, "WATCHER_BROKER_URL": broker_url}
    environment = {**os.environ, **urls, "WATCHER_LOG_LEVEL": level}
    prepare_children(environment)
    children = [
        Child("api", serve_beside_worker, grace_seconds=5),
        # On this signal Celery puts unfinished tasks back; the tasks of a killed worker wait for an hour.
        Child("worker", run_configured_worker, grace_seconds=5, drop_signal=signal.SIGQUIT),
    ]

    def publish_all() -> None:
        pids = [child.pid for child in children]
        running = RunningServices(os.getpid(), database_url, broker_url, base_url(settings), pids, child_command())
        publish(services.home, running)

    supervisor = Supervisor(children, services.engines, environment, signals, changed=publish_all)
    try:
        supervisor.start()
        _wait_until_ready(settings, children)
        _welcome(settings, services, level)
        supervisor.watch()
    finally:
        supervisor.stop()
        withdraw(services.home)


def _terminal_level(settings: Settings, *, verbose: bool) -> str:
    """The level of the terminal: WARNING, at which alerts are logged, unless the user chose another."""
    level = checks.log_level(settings)
    if "log_level" in settings.model_fields_set:
        return level
    return "INFO" if verbose else "WARNING"


def _wait_until_ready(settings: Settings, children: list[Child]) -> None:
    """Raise CommandError if a child ends before, or the api takes more than a minute."""
    deadline = time.monotonic() + 60
    answer = "does not answer"
    while time.monotonic() < deadline:
        ended = next((child for child in children if child.status() is not None), None)
        if ended is not None:
            raise CommandError(f"The {ended.name} did not start: read its message above.")
        readiness = ask_readiness(base_url(settings))
        if readiness is not None and readiness.ready:
            return
        answer = answer if readiness is None else readiness.text
        time.sleep(0.05)
    raise CommandError(f"The api was not ready after 60 seconds ({answer}): see more with `watcher up --verbose`.")


def _welcome(settings: Settings, services: EmbeddedServices, level: str) -> None:
    url = base_url(settings)
    own = " and ".join(engine.name for engine in services.engines)
    lines = [
        f"  in a browser; the API's reference is {url}/docs",
        f"Data      {escape_controls(str(services.home))}" + (f" (embedded {own})" if own else ""),
        f"Messages  {level} and above; more with --verbose or WATCHER_LOG_LEVEL",
        f"Try it    {program()} demo      Stop it   Ctrl-C",
    ]
    # Text, because rich reads a plain string as markup, and a folder may have any name.
    text = Text.assemble((url, "bold"), "\n".join(lines))
    console().print(Panel(text, title="Watcher is running", expand=False))
