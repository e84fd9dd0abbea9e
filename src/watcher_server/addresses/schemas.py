"""The HTTP shapes of addresses and their types."""

from datetime import datetime
from typing import Any, Self

from pydantic import model_validator

from watcher_server.kit.fields import Id, Metadata, Name, RequestBody, ResponseBody, ShortName


class AddressColumns(RequestBody):
    """What is known of an address besides its name and type; for a table in a database, where it lies."""

    database_name: ShortName | None = None
    schema_name: ShortName | None = None
    table_name: ShortName | None = None
    primary_key: ShortName | None = None
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


class _Patch(RequestBody):
    id: Id | None = None
    name: Name | None = None

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        if self.id is None and self.name is None:
            raise ValueError("Either 'id' or 'name' must be provided")
        return self

    def changes(self) -> dict[str, Any]:
        """The columns to write. With an id, ``name`` is the new name; without one, it says which row."""
        carried = self.carried()
        if carried.pop("id", None) is None or self.name is None:
            carried.pop("name", None)
        return carried


class AddressPatch(_Patch, AddressColumns):
    """Changes to one address; only what is present changes."""

    address_type_id: Id = 0


class AddressTypePost(RequestBody):
    """An address type and the group it belongs to."""

    name: Name
    group_name: Name


class AddressTypePatch(_Patch):
    """Changes to one address type."""

    group_name: Name = ""


class AddressTypeResponse(ResponseBody):
    """An address type, whole."""

    id: int
    name: str
    group_name: str
    created_at: datetime
    updated_at: datetime | None
