"""Who acts by a request, for the audit trail."""

from functools import lru_cache

from starlette.types import Scope

from watcher_server.audit.acting import Actor, ActorKind
from watcher_server.auth.callers import LOOPBACK, Caller
from watcher_server.auth.network import is_from_this_machine


def actor_of(scope: Scope) -> str:
    """Who changes something by this request: a person, or the name of the token; ``loopback`` without one."""
    caller: Caller | None = scope.get("watcher_caller")
    return (caller or LOOPBACK).name


def find_actor(scope: Scope) -> Actor | None:
    """Who acts by a request that ``AuthMiddleware`` let in; None by one that everybody may send."""
    if scope["watcher_access"] is None:
        return None
    caller: Caller = scope.get("watcher_caller") or LOOPBACK
    kind = ActorKind(caller.kind)
    if kind is ActorKind.LOOPBACK and not is_from_this_machine(scope):
        kind = ActorKind.ANONYMOUS
    client = scope.get("client")
    return _make_actor(actor_of(scope), kind, None if client is None else client[0])


# Bounded, because callers choose their names and addresses.
@lru_cache(maxsize=256)
def _make_actor(name: str, kind: ActorKind, address: str | None) -> Actor:
    """The actor; ``address`` is where the request comes from, which a trusted proxy may have named."""
    if address is None:
        return Actor(name, kind, "unix socket")
    # As it can stand in a log.
    is_plain = address.isascii() and address.isprintable()
    return Actor(name, kind, address if is_plain else ascii(address[:100]))
