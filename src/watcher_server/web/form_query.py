"""The state of a page as its address has it, sent by links and by forms."""

from typing import Any

from pydantic import BaseModel, model_validator


class FormQuery(BaseModel):
    """The query of a page; a field that is sent empty is as one that is not sent."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_empty(cls, given: Any) -> Any:
        """A form sends every field, those that nobody filled in as well."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if not (isinstance(value, str) and not value.strip())}
