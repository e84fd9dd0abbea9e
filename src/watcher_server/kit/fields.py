"""Field types of the HTTP contract: what is trimmed, lower-cased, bounded and refused."""

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

BIGINT_MAX = 2**63 - 1
INT_MAX = 2**31 - 1
METADATA_MAX_DEPTH = 100


class DatePart(StrEnum):
    """The unit of a freshness or timeliness threshold; month, quarter and year follow the calendar."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


def normalize_text(value: Any) -> Any:
    """Trim and lower-case a string; anything else is left for the type to judge."""
    return value.strip().lower() if isinstance(value, str) else value


def _check_no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    return value


def _bounded(maximum: int) -> AfterValidator:
    def check(value: str) -> str:
        # Lower-casing can lengthen a string ('İ'), so the bound holds for what is stored.
        if len(value) > maximum:
            raise ValueError(f"must be at most {maximum} characters")
        return _check_no_nul(value)

    return AfterValidator(check)


def _watermark_text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be text, an integer, a date or a datetime")  # noqa: TRY004 - pydantic reports only ValueError
    if isinstance(value, int):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return value


def _check_items(items: Iterable[Any], depth: int) -> None:
    if depth > METADATA_MAX_DEPTH:
        raise ValueError(f"must not be nested deeper than {METADATA_MAX_DEPTH} levels")
    for item in items:
        _check_storable(item, depth)


def _check_storable(value: Any, depth: int) -> None:
    if isinstance(value, str):
        _check_no_nul(value)
    elif isinstance(value, int):
        if not -BIGINT_MAX - 1 <= value <= BIGINT_MAX:
            raise ValueError("must not contain an integer beyond 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("must not contain NaN or Infinity")
        if abs(value) >= BIGINT_MAX and value.is_integer():
            # Stored as a number without a fraction, it would come back as an integer beyond 64 bits.
            raise ValueError("must not contain a number beyond 64 bits")
    elif isinstance(value, dict):
        _check_items(value, depth)
        _check_items(value.values(), depth + 1)
    elif isinstance(value, list):
        _check_items(value, depth + 1)


def _check_metadata(value: dict[str, Any]) -> dict[str, Any]:
    _check_items(value, 1)
    _check_items(value.values(), 1)
    return value


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


_lowered = StringConstraints(strip_whitespace=True, to_lower=True, min_length=1)

Name = Annotated[str, StringConstraints(max_length=150), _lowered, _bounded(150)]
ShortName = Annotated[str, StringConstraints(max_length=50), _lowered, _bounded(50)]
AddressPart = Annotated[
    str, StringConstraints(max_length=50), StringConstraints(strip_whitespace=True, to_lower=True), _bounded(50)
]
SearchText = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=150), _bounded(150)]
Watermark = Annotated[str, BeforeValidator(_watermark_text, json_schema_input_type=str | int), _bounded(50)]
Metadata = Annotated[dict[str, Any], AfterValidator(_check_metadata)]
UtcDatetime = Annotated[datetime, BeforeValidator(_strip, json_schema_input_type=datetime), AfterValidator(_to_utc)]
Threshold = Annotated[int, Field(gt=0, le=INT_MAX)]
DatePartField = Annotated[DatePart, BeforeValidator(normalize_text, json_schema_input_type=DatePart)]
Count = Annotated[int, Field(ge=0, le=BIGINT_MAX)]
# No row has an id below 1, but asking for one is asking for what does not exist, not a malformed request.
Id = Annotated[int, Field(ge=-BIGINT_MAX - 1, le=BIGINT_MAX)]
Limit = Annotated[int, Field(ge=0, le=INT_MAX)]
Offset = Annotated[int, Field(ge=0, le=BIGINT_MAX)]


class RequestBody(BaseModel):
    """A JSON request body: unknown fields are ignored, and what was carried is told from what was left out."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    def carried(self) -> dict[str, Any]:
        """The fields that the request carried, explicit nulls included."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class ResponseBody(BaseModel):
    """A JSON answer, read straight from a model's attributes."""

    model_config = ConfigDict(from_attributes=True)


class Created(ResponseBody):
    """The id of a row that was created, or that existed."""

    id: int
