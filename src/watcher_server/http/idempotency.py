"""Requests that a caller names by a key, so that one that is sent again does not do it again.

The claim of a key, the change and its answer are one transaction: either all are stored or nothing is. Of two requests
with one key at once, the second waits for the first and gets its answer.
"""

import hashlib
import json
from typing import Any, NamedTuple

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from watcher_server.kit.errors import InvalidFieldError
from watcher_server.kit.fields import check_no_nul

HEADER = "idempotency-key"
FIELD = "idempotency_key"
MOST_CHARACTERS = 200
# Where the claim of a request stands in its scope.
_CLAIM = "watcher_idempotency_claim"
# What these answer is shown once, and stored nowhere. A second one of the same name is refused anyway.
_SECRET_ANSWERS = frozenset({"/ping_key"})


class Claim(NamedTuple):
    """A key of a caller (the id of its token, 0 without one), and what it is for: the SHA-256 of path and body."""

    caller: int
    key: str
    fingerprint: bytes


class ReplayError(Exception):
    """The request was answered before; ``response`` is that answer."""

    def __init__(self, response: Response) -> None:
        super().__init__("answered before")
        self.response = response


def read_claim(request: Request, body: Any) -> Claim | None:
    """The claim of a request with that body, if it has a key: in its header, or in its body.

    Raises:
        RequestValidationError: the key is none.
    """
    given = request.headers.get(HEADER)
    place: tuple[str, ...] = ("header", "Idempotency-Key")
    if given is None and isinstance(body, dict):
        given, place = body.get(FIELD), ("body", FIELD)
    if given is None:
        return None
    key = _check_key(given, place)
    caller: int = request.scope.get("watcher_caller_id", 0)
    rest = {name: value for name, value in body.items() if name != FIELD} if isinstance(body, dict) else body
    content = json.dumps([request.url.path, rest], sort_keys=True, default=str)
    return Claim(caller, key, hashlib.sha256(content.encode()).digest())


def _check_key(given: object, place: tuple[str, ...]) -> str:
    try:
        if isinstance(given, str) and 0 < len(given) <= MOST_CHARACTERS:
            return check_no_nul(given)
        message = f"must be text of 1 to {MOST_CHARACTERS} characters"
    except ValueError as error:
        message = str(error)
    raise RequestValidationError([{"loc": place, "msg": message, "type": "value_error"}])


def check_same(claim: Claim, fingerprint: bytes) -> None:
    """That the key was sent for this request before. Raises InvalidFieldError: it was sent for another one."""
    if fingerprint != claim.fingerprint:
        raise InvalidFieldError(
            FIELD,
            "This key was sent within a day with another request: send that one again as it was, or choose a new key",
        )


def keep_claim(request: Request, body: Any) -> None:
    """Have :func:`claim_key` claim the key of the request, if it has one."""
    if request.method == "POST" and request.url.path not in _SECRET_ANSWERS:
        claim = read_claim(request, body)
        if claim is not None:
            request.scope[_CLAIM] = (claim, None)


def has_claim(request: Request) -> bool:
    """Whether the request has a key that its transaction is to claim."""
    return _CLAIM in request.scope


# One that is older than a day is free again.
_CLAIM_KEY = """
INSERT INTO idempotency_key AS known (caller, key, fingerprint, status, answer)
VALUES (:caller, :key, :fingerprint, 0, '')
ON CONFLICT (caller, key) DO UPDATE SET fingerprint = excluded.fingerprint, created_at = now()
WHERE known.created_at <= now() - interval '24 hours'
RETURNING true
"""
_ANSWERED = "SELECT fingerprint, status, answer FROM idempotency_key WHERE caller = :caller AND key = :key"
_REMEMBER = """
UPDATE idempotency_key SET status = :status, answer = :answer WHERE caller = :caller AND key = :key
"""
FORGET_EXPIRED = """
DELETE FROM idempotency_key
WHERE caller = %(caller)s AND key = %(key)s AND created_at <= now() - interval '24 hours'
"""

# By ix_idempotency_key_created_at; the rest waits for the next minute.
_FORGET_OLD = """
DELETE FROM idempotency_key WHERE (caller, key) IN (
    SELECT caller, key FROM idempotency_key WHERE created_at <= now() - interval '24 hours'
    ORDER BY created_at LIMIT 50000 FOR UPDATE SKIP LOCKED
)
"""


def forget_old_keys(connection: Connection) -> int:
    """Delete keys that are older than a day; how many."""
    return connection.execute(text(_FORGET_OLD)).rowcount


async def claim_key(request: Request, session: AsyncSession) -> None:
    """Claim the key of the request in the transaction that does what it asks for.

    Raises:
        ReplayError: it was answered before.
        InvalidFieldError: the key was sent for another request.
    """
    claim, _ = request.scope.get(_CLAIM, (None, None))
    if claim is None:
        return
    parameters = claim._asdict()
    while await session.scalar(text(_CLAIM_KEY), parameters) is None:
        # A cleanup may delete the key in between; then it is free.
        answered = (await session.execute(text(_ANSWERED), parameters)).one_or_none()
        if answered is not None:
            check_same(claim, answered.fingerprint)
            kind = "application/json" if answered.answer else None
            raise ReplayError(Response(answered.answer, answered.status, media_type=kind))
    request.scope[_CLAIM] = (claim, session)


async def remember_answer(request: Request, response: Response) -> None:
    """Store the answer with the key of the request, in its transaction, if there are both."""
    claim, session = request.scope.get(_CLAIM, (None, None))
    if session is None:
        return
    parameters = {**claim._asdict(), "status": response.status_code, "answer": bytes(response.body)}
    await session.execute(text(_REMEMBER), parameters)
