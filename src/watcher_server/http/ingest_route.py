"""Routes for what pipelines ask for with each run: from the bytes of a body to a finished response."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope

from watcher_server.http import idempotency
from watcher_server.http.body import Handler, is_json, not_json, parse_json
from watcher_server.http.idempotency import ReplayError, keep_claim
from watcher_server.http.ignored import count_ignored, name_ignored
from watcher_server.http.state import app_state
from watcher_server.kit.unknown import find_unknown

IngestHandler = Callable[[bytes, Request], Awaitable[Response]]

# Parsing and validating JSON at once is faster, but makes Python's objects of the whole body again for every error.
_DIRECT_BYTES = 16 * 1024


class IngestRoute(APIRoute):
    """A route whose endpoint takes the parsed body and the request, and answers with a finished response.

    An endpoint without ``body`` takes the parameters of its path and the request. One that takes the request alone
    reads the body itself, of whatever type it is. FastAPI's dependencies, further parameters and response models are
    left out; it describes the route in the API's reference, and
    :class:`~watcher_server.http.receiving.BodyMiddleware` calls its handler without going through the framework.
    """

    def ingest_handler(self) -> IngestHandler:
        """From the bytes of a body to the response."""
        endpoint, shapes = self.endpoint, self.endpoint.__annotations__
        if "body" in shapes:
            return self.body_handler(shapes["body"])
        names = set(shapes) - {"request", "return"}
        if not names:
            return _give_bytes_to(endpoint)
        validators = {name: TypeAdapter[Any](shapes[name]).validator for name in names}

        async def handle(_raw: bytes, request: Request) -> Response:
            sent = request.path_params
            given = {name: _validate_sent(validator, sent[name], name) for name, validator in validators.items()}
            response: Response = await endpoint(**given, request=request)
            return response

        return handle

    def body_handler(self, shape: Any) -> IngestHandler:
        """The handler of a route whose body has this shape."""
        endpoint, validator = self.endpoint, TypeAdapter[Any](shape).validator

        async def handle(raw: bytes, request: Request) -> Response:
            _check_type(request)
            try:
                if len(raw) <= _DIRECT_BYTES:
                    body = validator.validate_json(raw)
                else:
                    body = validator.validate_python(parse_json(raw))
            except ValidationError as error:
                raise _refused(error, "body") from None
            response: Response = await endpoint(body, request)
            return response

        return handle

    def get_route_handler(self) -> Handler:
        handle = self.ingest_handler()

        async def handle_request(request: Request) -> Response:
            return await handle(await request.body(), request)

        return handle_request


class KeyedIngestRoute(IngestRoute):
    """An ingest route that does for a body what :class:`~watcher_server.http.body.JsonRoute` does.

    A request that is sent again by its key is answered as before, as far as the endpoint claims the key in its
    transaction (:func:`~watcher_server.http.session.in_transaction`). Fields that the shape does not know are named in
    the answer, and counted.
    """

    def body_handler(self, shape: Any) -> IngestHandler:
        endpoint, validator, path = self.endpoint, TypeAdapter[Any](shape).validator, self.path

        async def handle(raw: bytes, request: Request) -> Response:
            if raw:
                _check_type(request)
            sent = parse_json(raw) if raw else None
            keep_claim(request, sent)
            if sent is None:
                raise RequestValidationError([{"loc": ("body",), "msg": "Field required", "type": "missing"}])
            body = _validate_sent(validator, sent)
            try:
                response: Response = await endpoint(body, request)
            except ReplayError as replayed:
                response = replayed.response
            if ignored := [name for name in find_unknown(shape, sent) if name != idempotency.FIELD]:
                name_ignored(response, ignored)
                await count_ignored(app_state(request).query_engine, path)
            return response

        return handle


class IngestRoutes:
    """Finds the ingest route of a request: by its path, or by all of it but the last part, which is a parameter."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._by_path: dict[tuple[str, str], tuple[str, IngestHandler]] = {}
        self._by_parent: dict[tuple[str, str], tuple[str, IngestHandler]] = {}
        for route in routes:
            if not isinstance(route, IngestRoute):
                continue
            parent, _, last = route.path.rpartition("/")
            for method in route.methods or ():
                if last.startswith("{"):
                    self._by_parent[method, parent] = route.path, route.ingest_handler()
                else:
                    self._by_path[method, route.path] = route.path, route.ingest_handler()

    def find(self, scope: Scope) -> tuple[str, IngestHandler] | None:
        """The path of the route as it was declared, and its handler; the parameter of the path is then in the scope."""
        method, path = scope["method"], scope["path"]
        found = self._by_path.get((method, path))
        if found is None:
            parent, _, last = path.rpartition("/")
            found = self._by_parent.get((method, parent)) if last else None
            if found is not None:
                scope["path_params"] = {found[0].rpartition("/")[2][1:-1]: last}
        return found

    def find_path(self, scope: Scope) -> str | None:
        """The path of the route as it was declared."""
        found = self.find(scope)
        return None if found is None else found[0]


def json_answer(body: BaseModel, status: int = 200) -> Response:
    """The answer with this body."""
    return Response(body.model_dump_json(), status, media_type="application/json")


def replay(body: bytes, receive: Receive) -> Receive:
    """What receives this body first, and then the rest."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again


def sent_header(request: Request, name: bytes) -> bytes | None:
    """The first header of a request with this name; without making an object of all of them."""
    for given, value in request.scope["headers"]:
        if given == name:
            found: bytes = value
            return found
    return None


def _check_type(request: Request) -> None:
    # As FastAPI does: a page of another site can post text to a loopback address, but not JSON.
    sent = sent_header(request, b"content-type") or b""
    if sent != b"application/json" and not is_json(sent.decode("latin-1")):
        raise not_json("send it with Content-Type: application/json")


def _validate_sent(validator: Any, sent: Any, parameter: str | None = None) -> Any:
    try:
        return validator.validate_python(sent)
    except ValidationError as error:
        raise _refused(error, *(("body",) if parameter is None else ("path", parameter))) from None


def _refused(error: ValidationError, *place: str) -> RequestValidationError:
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return RequestValidationError([{**detail, "loc": (*place, *detail["loc"])} for detail in details])


def _give_bytes_to(endpoint: Callable[[Request], Awaitable[Response]]) -> IngestHandler:
    async def handle(raw: bytes, request: Request) -> Response:
        return await endpoint(Request(request.scope, replay(raw, request.receive)))

    return handle
