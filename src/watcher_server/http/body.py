"""Reading JSON bodies: strictly as JSON, never deeper than the parser can go, always with a clear 422."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def _not_json(message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"loc": ("body",), "msg": f"The body is not JSON: {message}", "type": "json_invalid"}]
    )


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


class JsonRequest(Request):
    """A request whose JSON is read by pydantic's parser: it refuses lone surrogates and endless nesting."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            RequestValidationError: the body is not JSON.
        """
        if not hasattr(self, "_json"):
            try:
                self._json = from_json(await self.body(), allow_inf_nan=True)
            except ValueError as error:
                raise _not_json(str(error)) from None
        return self._json


class JsonRoute(APIRoute):
    """A route that reads its body as :class:`JsonRequest` does."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            json_request = JsonRequest(request.scope, request.receive)
            if _is_json(request.headers.get("content-type", "")) and await json_request.body():
                # Read here, and kept: FastAPI would turn what is raised while it reads into a 400.
                await json_request.json()
            return await handle(json_request)

        return handle_json


class IngestRoute(APIRoute):
    """A route for the two requests that every run of every pipeline makes.

    The endpoint takes the parsed body and the request, and answers with a finished response. Dependencies,
    parameters and response models are left to :class:`JsonRoute`: leaving them out is half of the route's time
    (``bench`` measures it).
    """

    def get_route_handler(self) -> Handler:
        endpoint = self.endpoint
        validate = TypeAdapter[Any](endpoint.__annotations__["body"]).validator.validate_json

        async def handle_ingest(request: Request) -> Response:
            raw = await request.body()
            # As FastAPI does: a page of another site can post text to a loopback address, but not JSON.
            if not _is_json(request.headers.get("content-type", "")):
                raise _not_json("send it with Content-Type: application/json")
            try:
                body = validate(raw)
            except ValidationError as error:
                details = error.errors(include_url=False, include_context=False, include_input=False)
                raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in details]) from None
            response: Response = await endpoint(body, request)
            return response

        return handle_ingest
