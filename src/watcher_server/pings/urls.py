"""What the URL of a ping says."""

import re
from typing import Literal, NamedTuple
from urllib.parse import parse_qs
from uuid import UUID

_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PATH = re.compile(
    rf"/ping/(?:(?P<uuid>{_UUID})|(?P<key>[\w-]{{1,100}})/(?P<slug>[\w-]{{1,150}}))"
    r"(?:/(?P<signal>start|fail|log|[0-9]+))?/?",
    re.ASCII,
)
_is_uuid = re.compile(_UUID).fullmatch
_NEW_SLUG = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*").fullmatch
# An exit status.
_GREATEST_STATUS = 255


class RefusedError(Exception):
    """A ping that says what cannot be; ``status`` is 400, 404 or 422, the message the text of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PingUrl(NamedTuple):
    """Which pipeline a ping is about, and what it reports.

    ``uuid``, or ``key`` and ``slug``, name the pipeline. ``succeeded`` and ``exit_status`` belong to an end; ``rid`` is
    the caller's own id of the run. ``create`` asks for a pipeline to be made when there is none of that slug.
    """

    uuid: UUID | None
    key: str | None
    slug: str | None
    report: Literal["start", "end", "log"]
    succeeded: bool | None
    exit_status: int | None
    rid: UUID | None
    create: bool

    @property
    def address(self) -> str:
        """What all pings of one URL have in common."""
        return str(self.uuid) if self.uuid is not None else f"{self.key}/{self.slug}"


def read_url(path: str, query: bytes) -> PingUrl:
    """What the path and the query string of a ping say.

    Raises:
        RefusedError: 404, it is the URL of nothing; 400, an exit status above 255, or a run id that is no UUID.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise RefusedError(404, "not found")
    signal = found["signal"]
    exit_status = _read_status(signal) if signal is not None and signal.isdigit() else None
    rid, create = _read_query(query) if query else (None, False)
    slug = found["slug"]
    if create and slug is not None and not _NEW_SLUG(slug):
        raise RefusedError(400, "invalid slug: a new pipeline has lower-case letters, digits, _ and - between them")
    return PingUrl(
        uuid=UUID(found["uuid"]) if found["uuid"] else None,
        key=found["key"],
        slug=slug,
        report="start" if signal == "start" else "log" if signal == "log" else "end",
        succeeded=None if signal in {"start", "log"} else signal is None or exit_status == 0,
        exit_status=exit_status,
        rid=rid,
        create=create and slug is not None,
    )


def _read_status(digits: str) -> int:
    # Only the end of the digits counts: Python refuses to read thousands of them.
    status = int(digits.lstrip("0")[:4] or "0")
    if status > _GREATEST_STATUS:
        raise RefusedError(400, f"invalid exit status: it is 0 to {_GREATEST_STATUS}")
    return status


def _read_query(query: bytes) -> tuple[UUID | None, bool]:
    try:
        fields = parse_qs(query.decode("latin-1"), max_num_fields=20)
    except ValueError:
        raise RefusedError(400, "too many fields in the query string") from None
    rid = fields.get("rid", [None])[-1]
    if rid is not None and not _is_uuid(rid):
        raise RefusedError(400, "invalid uuid format: rid is a UUID with hyphens")
    return UUID(rid) if rid else None, fields.get("create", [""])[-1] == "1"
