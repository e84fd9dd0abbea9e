"""Watcher under a path of its host, as in ``https://example.com/watcher/``."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watcher_server.kit.public_url import within

# Those in which a browser or htmx is told to go somewhere.
_LEADING = frozenset({b"location", b"hx-location", b"hx-push-url", b"hx-redirect", b"hx-replace-url"})
_SAME_PAGE = 307


class UnderPathMiddleware:
    """Takes the path from the addresses of requests, and puts it before those that answers lead to.

    All that is behind it names a page as if Watcher had the host to itself: ``/ui``. A proxy may leave the path in the
    requests, or take it away. ``web/pages.py`` puts the path before the links of pages.
    """

    def __init__(self, app: ASGIApp, root: str) -> None:
        # By this name FastAPI looks through the middleware.
        self.app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on the request, with the address that it has inside."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        inside = {
            **scope,
            "path": within(self._root, scope["path"]),
            "raw_path": within(self._root, scope.get("raw_path", b"").decode("latin-1")).encode("latin-1"),
        }

        async def send_outside(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, self._outside(value, scope, message) if name.lower() in _LEADING else value)
                    for name, value in message.get("headers", ())
                ]
            await send(message)

        await self.app(inside, receive, send_outside)

    def _outside(self, target: bytes, scope: Scope, message: Message) -> bytes:
        if message["status"] == _SAME_PAGE:
            # Starlette sends a browser from /ui/ to /ui by the whole address, as the Host header says it.
            host = dict(scope["headers"]).get(b"host", b"")
            target = target.removeprefix(scope["scheme"].encode() + b"://" + host)
        is_path = target.startswith(b"/") and not target.startswith(b"//")
        return self._root.encode() + target if is_path else target
