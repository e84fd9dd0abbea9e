"""A Watcher that a browser can visit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Engine, NullPool, create_engine

from tests.support.live import free_port, start_live
from tests.ui.support.replay import replay_blizzard
from tests.ui.support.scene import add_scene
from watcher_server.auth.service import create_token
from watcher_server.database.engine import sqlalchemy_url


@dataclass(frozen=True)
class Site:
    """A running Watcher: its URL, its database, and ids for paths such as ``site.path("/ui/pipelines/{failed}")``.

    ``tokens`` has a token for each scope (read, write, admin); without tokens the site is open to everybody.
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
        """A sync engine on the site's database, for changes that a test makes without a page."""
        return make_engine(self.database_url)

    def client(self) -> httpx.Client:
        """A client of the API with the token that may write."""
        token = self.tokens.get("write")
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"} if token else {})


def make_engine(database_url: str) -> Engine:
    """A sync engine that keeps no connection."""
    options = {"options": "-c timezone=UTC"}
    return create_engine(sqlalchemy_url(database_url), poolclass=NullPool, connect_args=options)


@contextmanager
def start_empty_site(database_url: str, broker_url: str, logs: Path) -> Iterator[Site]:
    """Start a Watcher without data."""
    with start_live(database_url, broker_url, logs) as server:
        yield Site(server.url, database_url)


@contextmanager
def start_guarded_site(database_url: str, broker_url: str, logs: Path) -> Iterator[Site]:
    """Start a Watcher that has a token of each of these scopes and no other data."""
    with make_engine(database_url).begin() as connection:
        tokens = {scope: create_token(connection, f"a {scope} token", scope) for scope in ("read", "write", "admin")}
    with start_live(database_url, broker_url, logs) as server:
        yield Site(server.url, database_url, tokens=tokens)


@contextmanager
def start_provider_site(
    database_url: str,
    broker_url: str,
    logs: Path,
    start_provider: Callable[[str], AbstractContextManager[str]],
    settings: Mapping[str, str],
) -> Iterator[Site]:
    """Start a Watcher that people log in to through a provider, which is handed where it sends them back to."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with start_provider(f"{url}/login/callback") as issuer:
        environment = {
            "WATCHER_PUBLIC_URL": url,
            "WATCHER_OIDC_ISSUER": issuer,
            "WATCHER_OIDC_CLIENT_ID": "watcher",
            **settings,
        }
        with start_live(database_url, broker_url, logs, port=port, settings=environment) as server:
            yield Site(server.url, database_url, ids={"provider": urlsplit(issuer).netloc})


@contextmanager
def start_demo_site(database_url: str, broker_url: str, logs: Path, *, odd_names: bool = True) -> Iterator[Site]:
    """Start a Watcher with three weeks of the demo's flights, and with pipelines in every kind of trouble.

    ``odd_names=False`` leaves out the pipelines with hostile and very long names.
    """
    with start_live(database_url, broker_url, logs) as server:
        replay_blizzard(server)
        yield Site(server.url, database_url, add_scene(server, make_engine(database_url), odd_names=odd_names))
