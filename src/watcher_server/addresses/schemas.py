"""The HTTP shapes of addresses and their types."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self

from pydantic import MISSING, model_validator
from sqlalchemy import Row

from watcher_server.database.metadata import Metadata
from watcher_server.database.names import KnownObjectName, ObjectName, ObjectPart
from watcher_server.database.parts import pick
from watcher_server.kit.fields import Id, Name, RequestBody, ResponseBody
from watcher_server.kit.patch import NamedPatch

# Tables are found in any case; files and topics are not.
CASE_SENSITIVE_GROUPS = ("file", "stream")


def check_case_sensitive(field: str, group_name: str, *, wanted: bool) -> None:
    """Names of addresses can only differ by case in some groups. Raises ValueError: in this group they cannot."""
    if wanted and group_name not in CASE_SENSITIVE_GROUPS:
        raise ValueError(
            f"{field}: only types in the groups {' and '.join(CASE_SENSITIVE_GROUPS)} can be case-sensitive"
        )


class AddressColumns(RequestBody):
    """The fields of an address besides its name and type; for a table, its database and schema."""

    database_name: ObjectPart | None = None
    schema_name: ObjectPart | None = None
    table_name: ObjectPart | None = None
    primary_key: ObjectPart | None = None
    address_metadata: Metadata | None = None


class AddressPost(AddressColumns):
    """An address as a pipeline declares it.

    ``address_type_case_sensitive`` is for a type that the request creates: its addresses differ by case.
    """

    name: ObjectName
    address_type_name: Name
    address_type_group_name: Name
    address_type_case_sensitive: bool = False

    @model_validator(mode="after")
    def _check_case(self) -> Self:
        check_case_sensitive(
            "address_type_case_sensitive", self.address_type_group_name, wanted=self.address_type_case_sensitive
        )
        return self


class AddressResponse(ResponseBody):
    """All fields of an address. ``display_name`` is the spelling first sent; null when that is the name.

    ``openlineage`` is what events of OpenLineage said of it; null where none did.
    """

    id: int
    name: str
    display_name: str | None
    address_type_id: int
    database_name: str | None
    schema_name: str | None
    table_name: str | None
    primary_key: str | None
    address_metadata: dict[str, Any] | None
    openlineage: dict[str, Any] | None
    archived_at: datetime | None
    created_at: datetime
    updated_at: datetime | None


_SHOWN = tuple(AddressResponse.model_fields)


def shown_fields(rows: Sequence[Row[Any]]) -> Iterator[dict[str, Any]]:
    """The fields of :class:`AddressResponse` from each row of a list, which the database keeps valid."""
    return pick(rows, _SHOWN)


class AddressFound(ResponseBody):
    """An address that a search found."""

    id: int
    name: str
    type_name: str
    group_name: str


class AddressPatch(NamedPatch, AddressColumns):
    """Changes to one address; only what is present changes."""

    name: KnownObjectName | None = None
    address_type_id: Id | MISSING = MISSING


class AddressTypePost(RequestBody):
    """An address type and the group it belongs to; ``case_sensitive``: its addresses differ by case."""

    name: Name
    group_name: Name
    case_sensitive: bool | MISSING = MISSING


class AddressTypePatch(NamedPatch):
    """Changes to one address type; only what is present changes."""

    group_name: Name | MISSING = MISSING
    case_sensitive: bool | MISSING = MISSING


class AddressTypeResponse(ResponseBody):
    """All fields of an address type."""

    id: int
    name: str
    group_name: str
    case_sensitive: bool
    created_at: datetime
    updated_at: datetime | None
