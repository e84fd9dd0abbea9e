"""Both embedded engines as one thing to start and stop."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeVar

from watcher_server.embedded.account import engine_account, own_account
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import prepare_home, private_folder
from watcher_server.embedded.lock import HomeLock
from watcher_server.embedded.postgres import EmbeddedPostgres
from watcher_server.embedded.valkey import EmbeddedValkey

Engine = EmbeddedPostgres | EmbeddedValkey
EngineT = TypeVar("EngineT", EmbeddedPostgres, EmbeddedValkey)


class EmbeddedServices:
    """A lock on WATCHER_HOME and the engines that run on it.

    ``with EmbeddedServices(home) as services: services.database_url, services.broker_url``. The engines end
    with the thread that entered, at the latest. ``postgres=False`` or ``valkey=False`` leaves that one out.

    Raises:
        EmbeddedError: on entering, when the home folder is taken or unusable or an engine does not start.
    """

    def __init__(self, home: Path, *, postgres: bool = True, valkey: bool = True) -> None:
        self.home = home.expanduser().resolve()
        self._wants_postgres = postgres
        self._wants_valkey = valkey
        self._postgres: EmbeddedPostgres | None = None
        self._valkey: EmbeddedValkey | None = None
        self._stack = ExitStack()

    @property
    def database_url(self) -> str:
        """The embedded database as a ``postgresql://`` URL."""
        return _running(self._postgres).url

    @property
    def broker_url(self) -> str:
        """The embedded broker's URL, as Celery takes it."""
        return _running(self._valkey).url

    @property
    def engines(self) -> list[Engine]:
        """The engines that were started here."""
        return [engine for engine in (self._postgres, self._valkey) if engine is not None]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            account = engine_account() if self._wants_postgres or self._wants_valkey else own_account()
            self.home = prepare_home(self.home, account)
            for name in ("run", "logs"):
                private_folder(self.home / name)
            stack.enter_context(HomeLock(self.home))
            if self._wants_postgres:
                self._postgres = _start(EmbeddedPostgres(self.home, account), stack)
            if self._wants_valkey:
                self._valkey = _start(EmbeddedValkey(self.home, account), stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop Valkey, then PostgreSQL, then release the home folder."""
        self._stack.close()


def _start(engine: EngineT, stack: ExitStack) -> EngineT:
    stack.callback(engine.stop)
    engine.start()
    return engine


def _running(engine: EngineT | None) -> EngineT:
    if engine is None:
        raise EmbeddedError("This embedded engine does not run: enter EmbeddedServices with `with` first.")
    return engine
