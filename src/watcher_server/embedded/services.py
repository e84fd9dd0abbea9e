"""Starting and stopping both embedded engines together."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from watcher_server.embedded.account import engine_account, own_account
from watcher_server.embedded.engine import Engine
from watcher_server.embedded.errors import EmbeddedError
from watcher_server.embedded.folders import prepare_home, private_folder
from watcher_server.embedded.lock import HomeLock
from watcher_server.embedded.postgres import EmbeddedPostgres
from watcher_server.embedded.valkey import EmbeddedValkey


class EmbeddedServices:
    """A lock on WATCHER_HOME and the engines that run on it.

    ``with EmbeddedServices(home) as services: services.database_url, services.broker_url``. The engines end
    with the thread that entered, at the latest. ``postgres=False`` or ``valkey=False`` leaves that one out. Entering
    raises EmbeddedError when another Watcher runs on the home folder, when other users could change it, or when an
    engine does not start.
    """

    def __init__(self, home: Path, *, postgres: bool = True, valkey: bool = True) -> None:
        self.home = home
        self.engines: list[Engine] = []
        kinds: tuple[tuple[type[Engine], bool], ...] = ((EmbeddedPostgres, postgres), (EmbeddedValkey, valkey))
        self._kinds = [kind for kind, is_wanted in kinds if is_wanted]
        self._stack = ExitStack()

    @property
    def database_url(self) -> str:
        """The embedded database as a ``postgresql://`` URL."""
        return self._running(EmbeddedPostgres).url

    @property
    def broker_url(self) -> str:
        """The embedded broker's URL, as Celery takes it."""
        return self._running(EmbeddedValkey).url

    def _running(self, kind: type[Engine]) -> Engine:
        for engine in self.engines:
            if isinstance(engine, kind):
                return engine
        raise EmbeddedError("This embedded engine does not run: enter EmbeddedServices with `with` first.")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            account = engine_account() if self._kinds else own_account()
            self.home = prepare_home(self.home, account)
            for name in ("run", "logs"):
                private_folder(self.home / name)
            stack.enter_context(HomeLock(self.home))
            for kind in self._kinds:
                engine = kind(self.home, account)
                stack.callback(engine.stop)
                engine.start()
                self.engines.append(engine)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop Valkey, then PostgreSQL, then release the home folder."""
        self._stack.close()
