"""Reading bodies within bounds: JSON strictly as JSON, forms as text; what is neither gets a clear answer."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response, params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import FormData

from watcher_server.http import idempotency
from watcher_server.http.idempotency import ReplayError, keep_claim, remember_answer
from watcher_server.http.ignored import count_ignored, name_ignored
from watcher_server.http.state import app_state
from watcher_server.kit.unknown import find_unknown

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# A parsed value takes twenty times the bytes of the shortest JSON for it.
MOST_VALUES = 500_000
# The largest form of the pages selects 50 pipelines.
MOST_FORM_FIELDS = 200
MOST_FIELD_BYTES = 64 * 1024


def not_json(message: str) -> RequestValidationError:
    """The 422 for a body that is not JSON."""
    return RequestValidationError(
        [{"loc": ("body",), "msg": f"The body is not JSON: {message}", "type": "json_invalid"}]
    )


def is_json(content_type: str) -> bool:
    """Whether a Content-Type header announces JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def parse_json(raw: bytes) -> Any:
    """The value of a JSON text. Raises RequestValidationError: the text is not JSON, or has too many values."""
    # Every value stands behind a comma, or is the first one of a list or an object.
    if sum(map(raw.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise RequestValidationError(
            [{"loc": ("body",), "msg": f"The body has more than {MOST_VALUES} values", "type": "too_long"}]
        )
    try:
        return from_json(raw, allow_inf_nan=True)
    except ValueError as error:
        raise not_json(str(error)) from None


async def read_form(request: Request) -> FormData:
    """The form that a request carries, as text that can be stored and shown.

    Raises:
        HTTPException: 400; it has more fields, or a longer one, than any page sends.
        RequestValidationError: a field holds half of a pair of surrogates, as a charset of its sender's choice allows.
    """
    form = await request.form(max_files=1, max_fields=MOST_FORM_FIELDS, max_part_size=MOST_FIELD_BYTES)
    try:
        "".join(text for field in form.multi_items() for text in field if isinstance(text, str)).encode()
    except UnicodeEncodeError:
        wrong = {"loc": ("body",), "msg": "The form is not Unicode text", "type": "form"}
        raise RequestValidationError([wrong]) from None
    return form


class JsonRequest(Request):
    """A request whose JSON is read by pydantic's parser: it refuses lone surrogates and endless nesting."""

    async def json(self) -> Any:
        """The parsed body. Raises RequestValidationError: the body is not JSON, or has too many values."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


class JsonRoute(APIRoute):
    """A route that reads its body as :class:`JsonRequest` does, and answers what is sent again by a key as before.

    Fields that its shape does not know are ignored, named in the answer as ``ignored`` where that is an object, and
    counted.
    """

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        is_form = isinstance(self.body_field.field_info, params.Form)
        shape = self.body_field.field_info.annotation

        async def handle_json(request: Request) -> Response:
            json_request = JsonRequest(request.scope, request.receive)
            if is_form:
                # Kept, so that FastAPI reads this one.
                await read_form(json_request)
            elif await json_request.body():
                if not is_json(request.headers.get("content-type", "")):
                    raise not_json("send it with Content-Type: application/json")
                # Read here, and kept: FastAPI would turn what is raised while it reads into a 400.
                sent = await json_request.json()
                response = await _handle_once(handle, json_request)
                if ignored := [name for name in find_unknown(shape, sent) if name != idempotency.FIELD]:
                    name_ignored(response, ignored)
                    await count_ignored(app_state(request).query_engine, self.path)
                return response
            return await handle(json_request) if is_form else await _handle_once(handle, json_request)

        return handle_json


async def _handle_once(handle: Handler, request: JsonRequest) -> Response:
    # The transaction of the request is open until the route's handler has returned.
    keep_claim(request, await request.json() if await request.body() else None)
    try:
        response = await handle(request)
    except ReplayError as replay:
        return replay.response
    await remember_answer(request, response)
    return response
