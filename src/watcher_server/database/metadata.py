"""Metadata objects: what may be stored of them, and how much of them an answer shows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import to_json
from sqlalchemy import ColumnElement, FromClause, Row, Select, Text, case, cast, func, select, true
from sqlalchemy.dialects.postgresql import JSONB

from watcher_server.kit.fields import BIGINT_MAX, check_no_nul
from watcher_server.settings import get_settings

METADATA_MAX_DEPTH = 100
# All metadata of one answer together, as PostgreSQL writes it.
MOST_BYTES_PER_ANSWER = 8 * 1024 * 1024


def _check_metadata(value: dict[str, Any]) -> dict[str, Any]:
    limit = get_settings().max_metadata_bytes
    # As canonical JSON: what stands between the values of a request does not count.
    size = len(to_json(value))
    if size > limit:
        raise ValueError(f"must be at most {limit} bytes as JSON, not {size} (WATCHER_MAX_METADATA_BYTES)")
    _check_items(value, 1)
    _check_items(value.values(), 1)
    return value


def _check_items(items: Iterable[Any], depth: int) -> None:
    if depth > METADATA_MAX_DEPTH:
        raise ValueError(f"must not be nested deeper than {METADATA_MAX_DEPTH} levels")
    for item in items:
        _check_storable(item, depth)


def _check_storable(value: Any, depth: int) -> None:
    if isinstance(value, str):
        check_no_nul(value)
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


Metadata = Annotated[dict[str, Any], AfterValidator(_check_metadata)]


def most_bytes_shown() -> int:
    """The size in bytes up to which lists show an object.

    PostgreSQL writes spaces after commas and colons, so that an object of exactly the limit is longer there.
    """
    return 2 * get_settings().max_metadata_bytes


def show_metadata(
    found: FromClause, *names: str, newest_first: bool = False, spent: Mapping[str, int] | None = None
) -> Select[Any]:
    """The rows that were found, by id, with as much of their metadata, in the named columns, as an answer may hold.

    ``spent`` is for a part of an answer: how many bytes of each column the parts before it hold. Then the rows have the
    size of each object too, as :func:`bytes_shown` wants it.

    ``{"truncated": true, "bytes": N}`` stands for an object that is larger than the limit for one, and for those that
    are left once the answer holds ``MOST_BYTES_PER_ANSWER`` of a column. They are not read then.
    """
    sizes = [func.octet_length(cast(found.c[name], Text)).label(f"{name}_bytes") for name in names]
    # Computed once: the planner would repeat it wherever it is used.
    rows = select(*found.c, *sizes).cte("sized").prefix_with("MATERIALIZED", dialect="postgresql")
    by = rows.c.id.desc() if newest_first else rows.c.id
    shown = {name: _shown(rows, name, by, spent[name] if spent else 0) for name in names}
    columns = [shown.get(column.name, rows.c[column.name]) for column in found.c]
    if spent is not None:
        columns += [rows.c[f"{name}_bytes"] for name in names]
    return select(*columns).order_by(by)


def _shown(rows: FromClause, name: str, by: ColumnElement[Any], spent: int) -> ColumnElement[Any]:
    size = rows.c[f"{name}_bytes"]
    is_small = size <= most_bytes_shown()
    so_far = func.sum(size).filter(is_small).over(order_by=by)
    marker = func.jsonb_build_object("truncated", true(), "bytes", size)
    shown = case((~is_small | (so_far > MOST_BYTES_PER_ANSWER - spent), marker), else_=rows.c[name])
    return cast(shown, JSONB).label(name)


def bytes_shown(rows: Sequence[Row[Any]], name: str) -> int:
    """How much of what an answer may hold the objects of these rows take; they come with their sizes."""
    if not rows:
        return 0
    place, most = rows[0]._fields.index(f"{name}_bytes"), most_bytes_shown()
    return sum([size for row in rows if (size := row[place]) is not None and size <= most])
