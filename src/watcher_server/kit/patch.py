"""PATCH bodies of objects that have an id and a unique name."""

from typing import Any, Self

from pydantic import model_validator

from watcher_server.kit.fields import Id, Name, RequestBody


class NamedPatch(RequestBody):
    """Changes to one object; only what is present changes.

    A field that may be left out but not be null is declared ``X | MISSING = MISSING``: it has no default, so the API's
    reference shows none that a client could fill in and change what it never meant to.
    """

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
