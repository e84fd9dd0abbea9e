"""From an exception to an answer: every error of the domain and of the database has its status here."""

import logging
from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout

from watcher_server.kit.errors import (
    ConflictError,
    DomainError,
    InvalidFieldError,
    InvalidOrderError,
    NameTakenError,
    NotFoundError,
    UnavailableError,
)

logger = logging.getLogger(__name__)

_STATUS: dict[type[DomainError], int] = {
    NotFoundError: 404,
    NameTakenError: 400,
    InvalidOrderError: 400,
    ConflictError: 409,
    UnavailableError: 503,
}


def _validation_answer(errors: Sequence[Any]) -> JSONResponse:
    # Neither the input nor pydantic's context is echoed: they may hold secrets, or what JSON cannot carry.
    detail = [{"loc": list(e["loc"]), "msg": str(e["msg"]), "type": e["type"]} for e in errors]
    return JSONResponse({"detail": detail}, status_code=422)


async def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    return _validation_answer(error.errors() if isinstance(error, RequestValidationError) else [])


async def _on_domain_error(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, InvalidFieldError):
        return _validation_answer([{"loc": ("body", error.field), "msg": str(error), "type": "value_error"}])
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return JSONResponse({"detail": str(error)}, status_code=status)


async def _on_database_error(_request: Request, error: Exception) -> JSONResponse:
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if isinstance(cause, psycopg.errors.ForeignKeyViolation):
        return JSONResponse({"detail": "The request refers to something that does not exist."}, status_code=404)
    if isinstance(cause, psycopg.IntegrityError):
        return JSONResponse({"detail": "The request contradicts what is already stored."}, status_code=409)
    if isinstance(cause, psycopg.DataError):
        return _validation_answer([{"loc": ("body",), "msg": "A value cannot be stored", "type": "value_error"}])
    logger.error("The database did not answer: %s", cause)
    return JSONResponse(
        {"detail": "The database is not available; try again in a moment."},
        status_code=503,
        headers={"Retry-After": "1"},
    )


def register_error_handlers(app: FastAPI) -> None:
    """Give every expected exception its answer; what is left is a bug, a 500, and a traceback in the log."""
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(DomainError, _on_domain_error)
    for kind in (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, psycopg.Error, PoolTimeout):
        app.add_exception_handler(kind, _on_database_error)
