"""Events of OpenLineage over HTTP."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Literal, NoReturn, TypeVar

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from watcher_server.http.ingest_route import IngestRoute
from watcher_server.http.state import app_state
from watcher_server.kit.unpacking import PackingError, TooLargeError
from watcher_server.openlineage import BATCH_PATH, EVENT_PATH, bodies
from watcher_server.openlineage.envelope import EnvelopeError
from watcher_server.openlineage.receiving import LARGE_BYTES, BusyError, InboxFullError, Receiver
from watcher_server.openlineage.splitting import TooManyElementsError

ingest_router = APIRouter(route_class=IngestRoute, tags=["openlineage"])
other_methods_router = APIRouter(include_in_schema=False)

Read = TypeVar("Read")

_OTHER_METHODS: Final = ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"]
_SOON: Final = {"Retry-After": "1"}
_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["eventTime"],
    "properties": {
        "eventType": {"type": "string"},
        "eventTime": {"type": "string", "format": "date-time"},
        "run": {"type": "object", "properties": {"runId": {"type": "string"}}},
        "job": {"type": "object", "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}}},
        "dataset": {"type": "object", "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}}},
        "inputs": {"type": "array", "items": {"type": "object"}},
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}


class EventAccepted(BaseModel):
    """The event is stored, and is applied a moment later."""

    event_id: int


class BatchSummary(BaseModel):
    """How many events of a batch came to what. None of them can be sent again with another result."""

    received: int
    successful: int
    failed: int
    retriable: int = 0
    non_retriable: int


class FailedElement(BaseModel):
    """An element of a batch that is no event; ``index`` is its place, from 0."""

    index: int
    reason: str
    retriable: bool = False


class BatchAccepted(BaseModel):
    """What became of a batch."""

    status: Literal["success", "partial_success"]
    summary: BatchSummary
    failed_events: list[FailedElement]


def _takes(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    413: {"description": "The body is too large, as it came or unpacked."},
    415: {"description": "The Content-Encoding is none of gzip, deflate and identity."},
    422: {"description": "The body is no event: the answer says what is missing."},
    503: {"description": "The database is away, or too many events wait: send it again after Retry-After."},
}


@ingest_router.post(
    EVENT_PATH, status_code=201, response_model=EventAccepted, responses=_REFUSALS, openapi_extra=_takes(_EVENT)
)
async def post_event(request: Request) -> Response:
    """Report a run, a job or a dataset by an event of OpenLineage: it is stored at once, and applied a moment later."""
    return await _store_event(request, await _read_event(request))


@ingest_router.post(
    BATCH_PATH,
    response_model=BatchAccepted,
    responses=_REFUSALS,
    openapi_extra=_takes({"type": "array", "maxItems": bodies.MOST_IN_BATCH, "items": _EVENT}),
)
async def post_events(request: Request) -> Response:
    """Report by several events of OpenLineage; those that are none are named in the answer, and the others stored."""
    limit = app_state(request).settings.openlineage_max_event_bytes
    batch = await _read(request, lambda raw: bodies.read_batch(raw, limit), bodies.BATCH_EVENTS * limit)
    await _stored(_receiver(request).store_many(batch.accepted))
    successful, failed = len(batch.accepted), len(batch.failed)
    answer = BatchAccepted(
        status="partial_success" if failed else "success",
        summary=BatchSummary(received=successful + failed, successful=successful, failed=failed, non_retriable=failed),
        failed_events=[FailedElement(index=place, reason=reason) for place, reason in batch.failed],
    )
    return Response(answer.model_dump_json(), media_type="application/json")


# Java's client takes a URL that has any path, and be it a slash, as it is.
@ingest_router.post(
    "/", status_code=201, response_model=EventAccepted, responses=_REFUSALS, openapi_extra=_takes(_EVENT)
)
async def post_event_to_root(request: Request) -> Response:
    """Report by an event of OpenLineage, from a client whose URL has no path but a slash."""
    try:
        event = await _read_event(request)
    except RequestValidationError:
        raise HTTPException(405, "Method Not Allowed", {"Allow": "GET"}) from None
    return await _store_event(request, event)


@other_methods_router.api_route(EVENT_PATH, methods=_OTHER_METHODS, response_model=None)
@other_methods_router.api_route(BATCH_PATH, methods=_OTHER_METHODS, response_model=None)
async def refuse_other_methods() -> NoReturn:
    """Tell who looks here how events get here."""
    raise HTTPException(
        405,
        "OpenLineage clients POST events here: set OPENLINEAGE_URL to the address of Watcher without this path, and "
        "OPENLINEAGE_API_KEY to a token with the scope ingest.",
        {"Allow": "POST"},
    )


def _receiver(request: Request) -> Receiver:
    receiver: Receiver = request.app.state.openlineage_receiver
    return receiver


async def _read_event(request: Request) -> bodies.Accepted:
    return await _read(request, bodies.read_one, app_state(request).settings.openlineage_max_event_bytes)


async def _store_event(request: Request, event: bodies.Accepted) -> Response:
    event_id = await _stored(_receiver(request).store_one(event))
    return Response(b'{"event_id":%d}' % event_id, status_code=201, media_type="application/json")


async def _read(request: Request, read: Callable[[bytes], Read], most_bytes: int) -> Read:
    """What the body holds: a small one at once, a large one in a thread.

    Raises:
        HTTPException: it is too large (413), in another coding (415), or many large ones wait (503).
        RequestValidationError: it is not what ``read`` takes.
    """
    body = await request.body()
    coding = request.headers.get("content-encoding", "")
    try:
        if len(body) <= LARGE_BYTES:
            # A small one may be large only once it is unpacked.
            with suppress(TooLargeError):
                return read(bodies.unpack(body, coding, min(most_bytes, LARGE_BYTES)))
        return await _receiver(request).read(len(body), lambda: read(bodies.unpack(body, coding, most_bytes)))
    except (PackingError, EnvelopeError) as error:
        said = f"The body {error}" if isinstance(error, PackingError) else str(error)
        raise RequestValidationError([{"loc": ("body",), "msg": said, "type": "openlineage_event"}]) from None
    except bodies.CodingError:
        accepted = ", ".join(bodies.CODINGS)
        raise HTTPException(
            415, f"Send it in one of these codings: {accepted}.", {"Accept-Encoding": accepted}
        ) from None
    except TooLargeError:
        detail = f"Unpacked, the body has more than {most_bytes} bytes: raise WATCHER_OPENLINEAGE_MAX_EVENT_BYTES."
        raise HTTPException(413, detail) from None
    except TooManyElementsError:
        raise HTTPException(413, f"A batch has {bodies.MOST_IN_BATCH:,} events at most: send less at once.") from None
    except BusyError:
        raise HTTPException(503, "Many large bodies wait; send this one again in a moment.", _SOON) from None


async def _stored(storing: Awaitable[Read]) -> Read:
    try:
        return await storing
    except InboxFullError:
        detail = "More events wait than WATCHER_OPENLINEAGE_MAX_WAITING allows; send this one again in a moment."
        raise HTTPException(503, detail, _SOON) from None
