"""What a worker or beat does before it starts, also one that is started by plain ``celery``."""

import os
from typing import Any

import psycopg
from celery.signals import beat_init, celeryd_init
from celery.utils.nodenames import default_nodename, nodesplit

from watcher_server.database.version import OldServerError, require_server
from watcher_server.settings import get_settings


def refuse_old_server(**_: Any) -> None:
    """End the process if the database server is too old. One that is away is waited for."""
    try:
        require_server(get_settings().database)
    except OldServerError as error:
        raise SystemExit(f"watcher: {error}") from None
    except psycopg.Error:
        return


def name_worker(instance: Any, **_: Any) -> None:
    """Give a worker without a name of its own one that no other has.

    Workers of one name get each other's remote commands and are one in Flower. Celery's default is the name of the
    machine, and the specification starts several there: "celery -A src.celery_app worker", three times.
    """
    if instance.hostname == default_nodename(""):
        name, host = nodesplit(instance.hostname)
        instance.hostname = f"{name}-{os.getpid()}@{host}"


def install() -> None:
    """Have every worker and beat of this process do so."""
    celeryd_init.connect(refuse_old_server)
    celeryd_init.connect(name_worker)
    beat_init.connect(refuse_old_server)
