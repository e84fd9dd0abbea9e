"""The HTTP shapes of addresses and their types."""

from datetime import datetime
from typing import Any

from pydantic import MISSING

from watcher_server.kit.fields import AddressPart, Id, Metadata, Name, RequestBody, ResponseBody
from watcher_server.kit.patch import NamedPatch


class AddressColumns(RequestBody):
    """What is known of an address besides its name and type; for a table in a database, where it lies."""

    database_name: AddressPart | None = None
    schema_name: AddressPart | None = None
    table_name: AddressPart | None = None
    primary_key: AddressPart | None = None
    address_metadata: Metadata | None = None


class AddressPost(AddressColumns):
    """An address as the pipelines that use it declare it."""

    name: Name
    address_type_name: Name
    address_type_group_name: Name


class AddressResponse(ResponseBody):
    """An address, whole."""

    id: int
    name: str
    address_type_id: int
    database_name: str | None
    schema_name: str | None
    table_name: str | None
    primary_key: str | None
    address_metadata: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime | None


class AddressPatch(NamedPatch, AddressColumns):
    """Changes to one address; only what is present changes."""

    address_type_id: Id | MISSING = MISSING


class AddressTypePost(RequestBody):
    """An address type and the group it belongs to."""

    name: Name
    group_name: Name


class AddressTypePatch(NamedPatch):
    """Changes to one address type; only what is present changes."""

    group_name: Name | MISSING = MISSING


class AddressTypeResponse(ResponseBody):
    """An address type, whole."""

    id: int
    name: str
    group_name: str
    created_at: datetime
    updated_at: datetime | None
