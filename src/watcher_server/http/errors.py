"""From an exception to an answer: every error of the domain and of the database has its status here."""

import logging
from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy.exc
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout

from watcher_server.kit import errors

logger = logging.getLogger(__name__)

_STATUS: dict[type[errors.DomainError], int] = {
    errors.NotFoundError: 404,
    errors.NameTakenError: 400,
    errors.InvalidOrderError: 400,
    errors.ConflictError: 409,
    errors.UnavailableError: 503,
}

_MOST_ERRORS = 20


def _validation_answer(found: Sequence[Any]) -> JSONResponse:
    # Neither the input nor pydantic's context is echoed: they may hold secrets, or what JSON cannot carry.
    detail = [{"loc": list(e["loc"]), "msg": str(e["msg"]), "type": e["type"]} for e in found[:_MOST_ERRORS]]
    if len(found) > _MOST_ERRORS:
        left_out = f"{len(found) - _MOST_ERRORS} more errors are left out"
        detail.append({"loc": detail[0]["loc"][:1], "msg": left_out, "type": "too_many_errors"})
    return JSONResponse({"detail": detail}, status_code=422)


def _domain_answer(error: errors.DomainError) -> JSONResponse:
    if isinstance(error, errors.InvalidFieldError):
        place = ("body", *error.path, error.field)
        return _validation_answer([{"loc": place, "msg": str(error), "type": "value_error"}])
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return JSONResponse({"detail": str(error)}, status_code=status)


def _database_answer(error: Exception) -> JSONResponse:
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if isinstance(cause, psycopg.errors.ForeignKeyViolation):
        return JSONResponse({"detail": "The request refers to something that does not exist."}, status_code=404)
    if isinstance(cause, psycopg.IntegrityError):
        return JSONResponse({"detail": "The request contradicts what is already stored."}, status_code=409)
    if isinstance(cause, psycopg.DataError):
        return _validation_answer([{"loc": ("body",), "msg": "A value cannot be stored", "type": "value_error"}])
    if isinstance(cause, (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)):
        return _try_again("Two requests changed the same rows at once; send this one again.")
    logger.error("The database did not answer: %s", cause)
    if isinstance(cause, psycopg.errors.DiskFull):
        return _try_again("The database's disk is full: free some space there, then send this again.")
    return _try_again("The database is not available; try again in a moment.")


def _try_again(detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=503, headers={"Retry-After": "1"})


_DATABASE_ERRORS = (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, psycopg.Error, PoolTimeout)


def answer_error(error: Exception) -> JSONResponse | None:
    """The answer to an expected exception; None for a bug, which is a 500 and a traceback in the log."""
    if isinstance(error, RequestValidationError):
        return _validation_answer(error.errors())
    if isinstance(error, errors.DomainError):
        return _domain_answer(error)
    return _database_answer(error) if isinstance(error, _DATABASE_ERRORS) else None


EXPECTED_ERRORS: tuple[type[Exception], ...] = (RequestValidationError, errors.DomainError, *_DATABASE_ERRORS)
