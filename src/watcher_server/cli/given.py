"""What options say, read as the API reads it; what cannot be is a :class:`CommandError`."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from watcher_server.cli.errors import CommandError
from watcher_server.kit.fields import BIGINT_MAX, UtcDatetime

Model = TypeVar("Model", bound=BaseModel)

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def read_options(model: type[Model], given: Mapping[str, Any], options: Mapping[str, str]) -> Model:
    """The body or the query that the options make; ``options`` names those that are not called as their field."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        what = options.get(name, f"--{name}")
        raise CommandError(f"{what} cannot be that: {first['msg'].removeprefix('Value error, ')}.") from None


def read_span(text: str) -> timedelta | None:
    """The time that ``45m``, ``4h`` or ``2d`` means; None when it is none of these."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text.strip().lower())
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def read_moment(option: str, text: str) -> datetime:
    """The moment that an option names; UTC without a zone."""
    try:
        moment: datetime = TypeAdapter(UtcDatetime).validate_python(text)
    except ValidationError:
        raise CommandError(f"{option} cannot be {text}: write it like 2026-11-23T09:00+01:00.") from None
    return moment


def bounded(id_: int) -> int:
    """The id, or one that nothing has, where it is too large for one."""
    return id_ if abs(id_) <= BIGINT_MAX else 0
