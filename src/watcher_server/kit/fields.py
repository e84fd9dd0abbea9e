"""Field types of the HTTP contract: what is trimmed, lower-cased, bounded and refused."""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from watcher_server.kit.names import fold
from watcher_server.kit.text import check_no_controls

BIGINT_MAX = 2**63 - 1
INT_MAX = 2**31 - 1
_LONGEST_QUIET = timedelta(days=366)


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


def check_no_nul(value: str) -> str:
    """The text, which PostgreSQL can store; raises ValueError if it contains a NUL character."""
    if "\x00" in value:
        raise ValueError("must not contain a NUL character")
    return value


def bounded(maximum: int) -> AfterValidator:
    """The check that a text is storable, and at most so many characters long after it was folded."""

    def check(value: str) -> str:
        # Lower-casing can lengthen a string ('İ'), so the bound holds for what is stored.
        if len(value) > maximum:
            raise ValueError(f"must be at most {maximum} characters")
        return check_no_nul(value)

    return AfterValidator(check)


def _watermark_text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be text, an integer, a date or a datetime")  # noqa: TRY004 - pydantic reports only ValueError
    if isinstance(value, int):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999 in UTC") from None


def check_within_a_year(moment: datetime) -> datetime:
    """The moment; raises ValueError if it lies further ahead than what somebody asked for may last."""
    if moment - datetime.now(UTC) > _LONGEST_QUIET:
        raise ValueError("must lie within a year")
    return moment


def _check_soon(moment: datetime) -> datetime:
    if not timedelta() < moment - datetime.now(UTC) <= _LONGEST_QUIET:
        raise ValueError("must lie in the future, and within a year")
    return moment


def _strip(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


_stripped = StringConstraints(strip_whitespace=True, min_length=1)
_folded = AfterValidator(fold)

# A name to look for. It may have been stored before names were checked for control characters.
KnownName = Annotated[str, StringConstraints(max_length=150), _stripped, _folded, bounded(150)]
Name = Annotated[KnownName, AfterValidator(check_no_controls)]
ShortName = Annotated[str, StringConstraints(max_length=50), _stripped, _folded, bounded(50)]
# A person or a team, as they write themselves: with capitals.
PersonName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=150), AfterValidator(check_no_controls)
]
SearchText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=150), _folded, bounded(150)]
Watermark = Annotated[str, BeforeValidator(_watermark_text, json_schema_input_type=str | int), bounded(50)]
UtcDatetime = Annotated[datetime, BeforeValidator(_strip, json_schema_input_type=datetime), AfterValidator(_to_utc)]
# When something that people asked for ends by itself.
Soon = Annotated[UtcDatetime, AfterValidator(_check_soon)]
Threshold = Annotated[int, Field(gt=0, le=INT_MAX)]
DatePartField = Annotated[DatePart, BeforeValidator(normalize_text, json_schema_input_type=DatePart)]
Count = Annotated[int, Field(ge=0, le=BIGINT_MAX)]
# No row has an id below 1, but a request for one is well-formed: its answer is a 404.
Id = Annotated[int, Field(ge=-BIGINT_MAX - 1, le=BIGINT_MAX)]
Limit = Annotated[int, Field(ge=0, le=INT_MAX)]
Offset = Annotated[int, Field(ge=0, le=BIGINT_MAX)]


def prefer_given(data: Any, name: str, *other_spellings: str) -> Any:
    """The body with the field under its own name: the first of its spellings that is not null.

    For a ``model_validator(mode="before")``. A null under one spelling does not hide a value under another; null under
    every spelling that is present stays an explicit null, and a body that has none of them stays as it is.
    """
    if not isinstance(data, dict):
        return data
    sent = [data[spelling] for spelling in (name, *other_spellings) if spelling in data]
    if not sent:
        return data
    return {**data, name: next((value for value in sent if value is not None), None)}


class RequestBody(BaseModel):
    """A JSON request body. Unknown fields are ignored; a field that is left out differs from one that is null.

    ``other_spellings`` are the further names by which clients send a field.
    """

    model_config = ConfigDict(extra="ignore", populate_by_name=True)
    other_spellings: ClassVar[frozenset[str]] = frozenset()

    def carried(self) -> dict[str, Any]:
        """The fields that the request carried, explicit nulls included."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class ResponseBody(BaseModel):
    """A JSON answer, read straight from a model's attributes."""

    model_config = ConfigDict(from_attributes=True)


class Refreshed(ResponseBody):
    """The answer to a refresh, which a task carries out."""

    status: str
    message: str


class Created(ResponseBody):
    """The id of a row that was created, or that existed."""

    id: int
