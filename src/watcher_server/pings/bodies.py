"""The body of a ping: numbers of the run as JSON, or what its command printed."""

from typing import Any

from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from watcher_server.http.body import is_json, parse_json
from watcher_server.http.errors import EXPECTED_ERRORS
from watcher_server.pings.schemas import PingReport
from watcher_server.pings.statements import OUTPUT_BYTES
from watcher_server.pings.urls import RefusedError

_FIELDS = frozenset(PingReport.model_fields)


async def read_body(receive: Receive) -> bytes:
    """The first 100,000 bytes of the body; the rest is received and dropped, so that a long log costs no ping.

    Raises:
        ClientDisconnect: its end never came, and half a ping changes nothing.
    """
    kept, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        kept += message.get("body", b"")[: OUTPUT_BYTES - len(kept)]
        more = message.get("more_body", False)
    return bytes(kept)


def read_report(body: bytes, content_type: str) -> PingReport:
    """What the body says.

    It is a report where it is announced as JSON and has at least one of a report's fields; anything else is output:
    programs that know nothing of Watcher send JSON of their own.

    Raises:
        RefusedError: a field of a report has a value that it cannot have.
    """
    if not body:
        return PingReport()
    fields = _read_json(body) if is_json(content_type) else None
    if not isinstance(fields, dict) or not _FIELDS & fields.keys():
        return PingReport.model_construct(output=_as_text(body))
    try:
        report = PingReport.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        raise RefusedError(400, f"{place}: {wrong['msg']}") from None
    if report.output is not None:
        report.output = _storable(report.output)
    return report


def _read_json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except EXPECTED_ERRORS:
        return None


def _as_text(body: bytes) -> str:
    return _storable(body.decode("utf-8", "replace"))


def _storable(text: str) -> str:
    # PostgreSQL stores no NUL.
    return text.replace("\x00", "\ufffd")
