"""A Watcher that a browser can visit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Engine, NullPool, create_engine

from tests.support.live import start_live
from tests.ui.support.replay import replay_blizzard
from tests.ui.support.scene import add_scene
from watcher_server.auth.service import create_token
from watcher_server.database.engine import sqlalchemy_url


@dataclass(frozen=True)
class Site:
    """Where it answers, its database, and the ids that paths name: ``site.path("/ui/pipelines/{failed}")``.

    ``tokens`` are those that it knows, by scope (read, write); without any it is open to everybody.
    """

    url: str
    database_url: str
    ids: Mapping[str, int | str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Its address and port, as a URL has them."""
        return urlsplit(self.url).netloc

    def path(self, template: str) -> str:
        """The path with its ids."""
        return template.format_map(self.ids)

    def address(self, template: str) -> str:
        """The whole address of a path."""
        return self.url + self.path(template)

    def engine(self) -> Engine:
        """A sync engine on its database, for what a test changes behind the pages."""
        return make_engine(self.database_url)

    def client(self) -> httpx.Client:
        """Its API, called as whoever may write."""
        token = self.tokens.get("write")
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"} if token else {})


def make_engine(database_url: str) -> Engine:
    """A sync engine that keeps no connection."""
    options = {"options": "-c timezone=UTC"}
    return create_engine(sqlalchemy_url(database_url), poolclass=NullPool, connect_args=options)


@contextmanager
def start_empty_site(database_url: str, broker_url: str, logs: Path) -> Iterator[Site]:
    """A Watcher that nobody has used yet."""
    with start_live(database_url, broker_url, logs) as server:
        yield Site(server.url, database_url)


@contextmanager
def start_guarded_site(database_url: str, broker_url: str, logs: Path) -> Iterator[Site]:
    """A Watcher that asks for a token, and holds nothing else."""
    with make_engine(database_url).begin() as connection:
        tokens = {scope: create_token(connection, f"a {scope} token", scope) for scope in ("read", "write")}
    with start_live(database_url, broker_url, logs) as server:
        yield Site(server.url, database_url, tokens=tokens)


@contextmanager
def start_demo_site(database_url: str, broker_url: str, logs: Path, *, odd_names: bool = True) -> Iterator[Site]:
    """A Watcher with three weeks of the demo's flights, and with pipelines that are in every kind of trouble now.

    ``odd_names=False`` leaves out the pipelines that only a test would call so.
    """
    with start_live(database_url, broker_url, logs) as server:
        replay_blizzard(server)
        yield Site(server.url, database_url, add_scene(server, make_engine(database_url), odd_names=odd_names))
