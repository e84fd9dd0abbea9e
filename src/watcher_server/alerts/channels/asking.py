"""Asking the other side of a channel over HTTP, within a time, and what its answer means.

A URL or a header may be the secret of a channel: neither they nor the body of an answer are ever in an outcome.
"""

import asyncio
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from watcher_server.alerts.channels.dialling import ForbiddenAddressError, resolve
from watcher_server.alerts.outcome import Outcome
from watcher_server.settings import Settings

# httpx writes whole URLs at INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)

# From the first packet to the last of the answer, however slowly it drips.
WHOLE_SECONDS = 10.0

GONE = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

# No byte of the message was sent when one of these is raised; refused connections, DNS and TLS are ConnectError.
_CERTAINLY_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    OSError,
    # A name of a host that is none, a port that is none, a token that no header can hold: its text may quote them.
    ValueError,
    OverflowError,
)


class FailedTryError(Exception):
    """The other side was not reached, or gave no whole answer."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


@dataclass(frozen=True)
class Question:
    """A request to the other side of a channel; ``service`` is what errors call that side.

    ``is_own``: the URL is Watcher's or the operator's own, so that it may lead anywhere. ``longest`` bytes of an
    answer's body are kept; of a longer one there is none. ``reads_success``: the body of a success is read too, so
    that one that is cut short is no success.
    """

    service: str
    url: str
    content: bytes
    is_own: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    longest: int = 100
    reads_success: bool = False
    whole_seconds: float = WHOLE_SECONDS
    method: str = "POST"


@dataclass(frozen=True)
class Answer:
    """What the other side answered; ``body`` is empty where it was too long."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def is_success(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def parse(self) -> dict[str, Any]:
        """The JSON object that the body is; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def post_json(service: str, url: str, payload: Any, settings: Settings, *, is_own: bool, **more: Any) -> Answer:
    """Send JSON; ``more`` are further fields of the :class:`Question`. Raises as :func:`ask` does."""
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    return ask(Question(service, url, json.dumps(payload).encode(), is_own, headers, **more), settings)


def ask(question: Question, settings: Settings) -> Answer:
    """Send the request; the answer, within its time and the time that a name takes to be resolved.

    It follows no redirect.

    Raises:
        FailedTryError: there is none.
    """
    service = question.service
    try:
        return asyncio.run(_ask(question, settings))
    except ForbiddenAddressError as error:
        raise FailedTryError(Outcome(error=str(error))) from None
    except TimeoutError as error:
        raise _lost(service, error) from None
    except _CERTAINLY_UNSENT as error:
        name = "ConnectError" if isinstance(error, OSError) else type(error).__name__
        raise FailedTryError(Outcome(error=f"{service} could not be reached ({name})")) from None
    except httpx.HTTPError as error:
        raise _lost(service, error) from None


def _lost(service: str, error: Exception) -> FailedTryError:
    return FailedTryError(Outcome(error=f"{service} gave no whole answer ({type(error).__name__})", perhaps_sent=True))


async def _ask(question: Question, settings: Settings) -> Answer:
    timeout = httpx.Timeout(question.whole_seconds, connect=5.0)
    # An answer that is not compressed needs no more memory than was read of it. A proxy would resolve the name again.
    headers = {"Accept-Encoding": "identity", **question.headers}
    async with asyncio.timeout(question.whole_seconds):
        url, extensions = httpx.URL(question.url), {}
        if not question.is_own:
            headers["Host"] = url.netloc.decode("ascii").rpartition("@")[2]
            extensions = {"sni_hostname": url.host}
            port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
            url = url.copy_with(host=await asyncio.to_thread(resolve, url.host, port, settings))
        async with (
            httpx.AsyncClient(timeout=timeout, headers=headers, trust_env=question.is_own) as client,
            client.stream(question.method, url, content=question.content, extensions=extensions) as response,
        ):
            reads = question.reads_success or not response.is_success
            return Answer(response.status_code, response.headers, await _read(response, question) if reads else b"")


async def _read(response: httpx.Response, question: Question) -> bytes:
    """The body; empty when it is too long, or when a connection ends before a refusal does."""
    body = b""
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > question.longest:
                return b""
    except httpx.HTTPError:
        if response.is_success:
            raise
        return b""
    return body


def judge(
    service: str,
    answer: Answer,
    word: str | None = None,
    *,
    gone: Collection[int] = GONE,
    pause_seconds: float | None = None,
) -> Outcome:
    """What an answer means that is no success. ``word`` is one that is known, and no other part of the body.

    ``pause_seconds`` is what the body asks for. Without it the header Retry-After counts.
    """
    error = f"{service} answered with status {answer.status}" + (f" ({word})" if word else "")
    if answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        asked = pause_seconds if pause_seconds is not None else _pause_seconds(answer.headers.get("Retry-After"))
        return Outcome(error=error, pause_seconds=asked)
    if answer.status in gone:
        return Outcome(error=error, gone=True)
    # A proxy lost the answer of what is behind it.
    is_lost = answer.status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
    # A time-out says nothing about the message, as the other refusals do.
    is_refusal = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Outcome(
        error=error, perhaps_sent=is_lost, refused=is_refusal and answer.status != HTTPStatus.REQUEST_TIMEOUT
    )


def _pause_seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header, which has them as a number or as a date; None without a usable one."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return max(1.0, float(retry_after[:10]))
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(1.0, (moment - datetime.now(UTC)).total_seconds())
