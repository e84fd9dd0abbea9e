"""PATCH bodies of objects that have an id and a unique name."""

from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator

from watcher_server.kit.fields import Id, KnownName, RequestBody
from watcher_server.kit.text import check_no_controls


class NamedPatch(RequestBody):
    """Changes to one object; only what is present changes.

    A field that may be left out but not be null is declared ``X | MISSING = MISSING``. It has no default, so the API's
    reference shows none that clients could send back and change a field by accident.
    """

    id: Id | None = None
    name: KnownName | None = None

    @field_validator("name")
    @classmethod
    def _check_new_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None or info.data.get("id") is None:
            # It says which row is meant.
            return name
        return check_no_controls(name)

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
