"""Reading JSON bodies: strictly as JSON, never deeper than the parser can go, always with a clear 422."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response, params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import FormData

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def not_json(message: str) -> RequestValidationError:
    """The 422 for a body that is not JSON."""
    return RequestValidationError(
        [{"loc": ("body",), "msg": f"The body is not JSON: {message}", "type": "json_invalid"}]
    )


def is_json(content_type: str) -> bool:
    """Whether a Content-Type header announces JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def read_form(request: Request) -> FormData:
    """The form that a request carries, as text that can be stored and shown.

    Raises:
        RequestValidationError: a field holds half of a pair of surrogates, as a charset of its sender's choice allows.
    """
    form = await request.form()
    for name, value in form.multi_items():
        if _is_broken(name) or (isinstance(value, str) and _is_broken(value)):
            raise RequestValidationError([{"loc": ("body",), "msg": "The form is not Unicode text", "type": "form"}])
    return form


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


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
                raise not_json(str(error)) from None
        return self._json


class JsonRoute(APIRoute):
    """A route that reads its body as :class:`JsonRequest` does."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        is_form = isinstance(self.body_field.field_info, params.Form)

        async def handle_json(request: Request) -> Response:
            json_request = JsonRequest(request.scope, request.receive)
            if is_form:
                # Kept, so that FastAPI reads this one.
                await read_form(json_request)
            elif await json_request.body():
                if not is_json(request.headers.get("content-type", "")):
                    raise not_json("send it with Content-Type: application/json")
                # Read here, and kept: FastAPI would turn what is raised while it reads into a 400.
                await json_request.json()
            return await handle(json_request)

        return handle_json
