"""Who acts by a request, for the audit trail."""

from starlette.types import Scope

from watcher_server.audit.acting import Actor, ActorKind
from watcher_server.auth.callers import LOOPBACK, Caller
from watcher_server.auth.network import is_from_this_machine

_LONGEST_SOURCE = 100


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
    return Actor(actor_of(scope), kind, _source(scope))


def _source(scope: Scope) -> str:
    """The address that the request comes from, which a trusted proxy may have named; as it can stand in a log."""
    client = scope.get("client")
    if client is None:
        return "unix socket"
    address: str = client[0]
    return address if address.isascii() and address.isprintable() else ascii(address[:_LONGEST_SOURCE])
