"""What the sender of a request may do, as :class:`watcher_server.auth.middleware.AuthMiddleware` found."""

from fastapi import Request

from watcher_server.auth.scopes import Scope


def may_read(request: Request) -> bool:
    """Whether the sender may see what is inside; a token that only reports runs may not."""
    return request.scope.get("watcher_access") is not None


def may_write(request: Request) -> bool:
    """Whether the sender may change anything."""
    return _may(request, Scope.WRITE)


def may_administer(request: Request) -> bool:
    """Whether the sender may change what is for administrators."""
    return _may(request, Scope.ADMIN)


def _may(request: Request, scope: Scope) -> bool:
    access: int | None = request.scope.get("watcher_access")
    return access is not None and access >= scope.rank
