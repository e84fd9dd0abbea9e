"""Who acts now: set where a request or a command begins, so that services need not hand it on."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from enum import StrEnum


class ActorKind(StrEnum):
    """How the actor was let in.

    ``token``: by a bearer token; ``session``: by a login of the pages; ``header``: by a header of a trusted proxy;
    ``loopback``: from this machine, while there are no tokens; ``anonymous``: from elsewhere, where
    ``WATCHER_ALLOW_UNAUTHENTICATED`` lets strangers in; ``cli``: by a command on the server; ``file``: by a file that
    `watcher apply` sent.
    """

    TOKEN = "token"  # noqa: S105 - no password
    SESSION = "session"
    HEADER = "header"
    LOOPBACK = "loopback"
    ANONYMOUS = "anonymous"
    CLI = "cli"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or a program. ``source`` is the address of the request, or user and host of the command."""

    name: str
    kind: ActorKind
    source: str


# None while Watcher acts by itself, or a report comes in that needs no login: such changes leave no entry.
_actor: ContextVar[Actor | None] = ContextVar("audit_actor", default=None)


def current_actor() -> Actor | None:
    """Who acts now; None while Watcher acts by itself."""
    return _actor.get()


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Changes within the block are made by this actor."""
    token = begin_acting(actor)
    try:
        yield
    finally:
        end_acting(token)


def begin_acting(actor: Actor | None) -> Token[Actor | None]:
    """Have changes be made by this actor until :func:`end_acting`: what each request does, for less than a block."""
    return _actor.set(actor)


def end_acting(token: Token[Actor | None]) -> None:
    """Have changes be made by whom they were made before."""
    _actor.reset(token)


@contextmanager
def acting_by_file(file: str) -> Iterator[None]:
    """Changes within the block are made by a file of that name, which the present actor sent."""
    actor = _actor.get()
    if actor is None:
        yield
        return
    with acting_as(replace(actor, kind=ActorKind.FILE, source=f"{actor.source} {file}")):
        yield
